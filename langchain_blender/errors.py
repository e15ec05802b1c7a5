"""Raise a missed quorum as LangChain's own kind of error too."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator, Sequence
from typing import Any

from langchain_core import exceptions
from langchain_core.exceptions import (
    ContextOverflowError,
    ModelAPIError,
    ModelAuthenticationError,
    ModelConnectionError,
    ModelError,
    ModelInvalidRequestError,
    ModelNotFoundError,
    ModelPermissionDeniedError,
    ModelRateLimitError,
    ModelTimeoutError,
)

from blender_core.errors import QuorumError
from blender_core.types.outcome import MemberOutcome, Status

__all__ = ["as_model_errors"]

# younger than the oldest langchain-core that is supported
_Refusal: type[ModelError] = getattr(exceptions, "ModelRefusalError", ModelError)
_BY_STATUS: dict[Status, type[ModelError]] = {
    Status.RATE_LIMITED: ModelRateLimitError,
    Status.REFUSED: _Refusal,
    Status.TIMEOUT: ModelTimeoutError,
    Status.TOO_LONG: ContextOverflowError,
}
_BY_CODE: dict[int, type[ModelError]] = {
    400: ModelInvalidRequestError,
    401: ModelAuthenticationError,
    403: ModelPermissionDeniedError,
    404: ModelNotFoundError,
    422: ModelInvalidRequestError,
}
_KINDS = tuple({*_BY_STATUS.values(), *_BY_CODE.values(), ModelAPIError, ModelConnectionError} - {ModelError})
# these members say nothing about why the call failed
_BYSTANDERS = frozenset({Status.CANCELLED, Status.UNSUPPORTED, Status.SKIPPED})


@contextlib.contextmanager
def as_model_errors() -> Iterator[None]:
    """Raise a ``QuorumError`` of the block as a ``ModelError`` of LangChain too.

    If all failures are of one kind, such as a rate limit, the error is of that kind. Else it is a plain ``ModelError``
    that says whether a further call may succeed. An error that providers do not report counts as one that may pass, as
    for any model.

    Raises:
        QuorumError: Fewer members answered than the quorum; also a ``langchain_core.exceptions.ModelError``.

    Examples:
        >>> late = MemberOutcome("a", 0, Status.TIMEOUT, reason="no answer within 2 s")
        >>> try:
        ...     with as_model_errors():
        ...         raise QuorumError(1, [late])
        ... except ModelTimeoutError as error:
        ...     isinstance(error, QuorumError), error.is_retryable
        (True, True)
    """
    try:
        yield
    except ModelError:
        raise
    except QuorumError as error:
        raise _model_error(error.needed, error.outcomes) from error.__cause__


def _model_error(needed: int, outcomes: Sequence[Any]) -> QuorumError:
    failed = [outcome for outcome in outcomes if not outcome.ok]
    kinds = [_kind(outcome) for outcome in failed if outcome.status not in _BYSTANDERS]
    one = kinds[0] if len(set(kinds)) == 1 else None
    error = _made(one or ModelError, needed, outcomes)
    if one is None and isinstance(error, ModelError):
        may_pass = sum(kind is None or kind.is_retryable for kind in kinds)
        error.is_retryable = len(outcomes) - len(failed) + may_pass >= needed
    return error


def _kind(outcome: MemberOutcome) -> type[ModelError] | None:
    if outcome.status in _BY_STATUS:
        return _BY_STATUS[outcome.status]
    own = next((kind for kind in _KINDS if isinstance(outcome.error, kind)), None)
    if own is not None:
        return own
    code = outcome.http_status
    if code is not None:
        return ModelAPIError if code >= 500 else _BY_CODE.get(code)
    # providers' packages are not imported; their classes are named alike
    names = "".join(cls.__name__ for cls in type(outcome.error).__mro__)
    return ModelConnectionError if "Connect" in names else None


def _made(kind: type[ModelError], needed: int, outcomes: Sequence[Any]) -> QuorumError:
    # mypy takes the class of an exception for unhashable
    return _both(kind)(needed, outcomes)  # type: ignore[arg-type]


@functools.cache
def _both(kind: type[ModelError]) -> type[QuorumError]:
    """The class that is a ``QuorumError`` and of a kind."""

    def reduce(error: Any) -> tuple[Any, ...]:
        # the class has no name to import it by
        return _made, (kind, error.needed, error.outcomes), {"is_retryable": error.is_retryable}

    return type(f"Quorum{kind.__name__}", (QuorumError, kind), {"__module__": __name__, "__reduce__": reduce})
