"""Share keywords between functions: a TypedDict documents them, signatures show them."""

from __future__ import annotations

import difflib
import functools
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from blender_core.errors import ConfigurationError

__all__ = ["check_keywords", "nearest", "takes_keywords"]

Function = TypeVar("Function", bound=Callable[..., Any])


def takes_keywords(
    *shared: type,
    defaults: Mapping[str, Any],
    owner: str | None = None,
    also: Sequence[inspect.Parameter] = (),
    fill: bool = False,
) -> Callable[[Function], Function]:
    """Show the keywords of TypedDicts in a function's signature, and reject others by name.

    Args:
        *shared: The TypedDicts of ``**settings: Unpack[...]``.
        defaults: Default of each keyword, for the signature.
        owner: Name of the function or class, for the message; default the function's own.
        also: Further keywords, such as those of a function that ``**settings`` are passed to.
        fill: Call the function with the defaults filled in; else it gets only the caller's keywords.

    Returns:
        A decorator for a function that ends in ``**settings``.

    Examples:
        >>> from typing import TypedDict, Unpack
        >>> class Limits(TypedDict, total=False):
        ...     timeout: float
        >>> @takes_keywords(Limits, defaults={"timeout": 60.0}, owner="ask")
        ... def ask(question: str, **settings: Unpack[Limits]) -> str:
        ...     return f"{question} {settings}"
        >>> ask("Why?", timeout=2.0), str(inspect.signature(ask))
        ("Why? {'timeout': 2.0}", "(question: 'str', *, timeout: 'float' = 60.0) -> 'str'")
        >>> ask("Why?", timeuot=2.0)
        Traceback (most recent call last):
        ...
        blender_core.errors.ConfigurationError: ask has no argument 'timeuot'; did you mean timeout?
    """
    annotations = {name: kind for each in shared for name, kind in _annotations(each).items()}

    def decorate(function: Function) -> Function:
        name_shown = owner or function.__qualname__
        signature = inspect.signature(function)
        *own, rest = signature.parameters.values()
        if rest.kind is not inspect.Parameter.VAR_KEYWORD:
            raise TypeError(f"{name_shown} does not end in **settings")
        keywords = [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=defaults[name], annotation=kind)
            for name, kind in annotations.items()
        ]
        keywords += [
            parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
            for parameter in also
            if parameter.name not in signature.parameters and parameter.name not in annotations
        ]
        names = [parameter.name for parameter in (*own, *keywords) if parameter.name != "self"]

        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            check_keywords(kwargs, names, name_shown)
            return function(*args, **({**defaults, **kwargs} if fill else kwargs))

        call.__signature__ = signature.replace(parameters=[*own, *keywords])  # type: ignore[attr-defined]
        return call  # type: ignore[return-value]

    return decorate


def check_keywords(given: Iterable[str], known: Iterable[str], owner: str) -> None:
    """Reject unknown keywords; the message names the nearest known one.

    Args:
        given: Names that the caller wrote.
        known: Names that exist.
        owner: Name of the function or class.

    Raises:
        ConfigurationError: A name is unknown.
    """
    names = sorted(known)
    for name in given:
        if name not in names:
            raise ConfigurationError(f"{owner} has no argument {name!r}{nearest(str(name), names)}")


def nearest(name: str, known: Iterable[str]) -> str:
    """Write the end of an error's message that names the nearest known name.

    Examples:
        >>> nearest("embeded", ["consensus", "embedded"]), nearest("x", ["consensus"])
        ('; did you mean embedded?', '')
    """
    near = difflib.get_close_matches(name, list(known), 1)
    return f"; did you mean {near[0]}?" if near else ""


def _annotations(kind: type) -> dict[str, Any]:
    """Return the annotations of a TypedDict as written; bases come first."""
    return {name: getattr(value, "__forward_arg__", value) for name, value in inspect.get_annotations(kind).items()}
