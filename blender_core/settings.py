"""Define the settings of a blend, which every face takes.

``Blender``, ``GroundedBlender``, both adapters' ``BlendedLLM``, ``BlendedRAG``, ``BlendedQueryEngine`` and
``BlendedSynthesizer`` take these keywords with these defaults.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from numbers import Integral, Real
from typing import Any, TypedDict

from blender_core.errors import ConfigurationError
from blender_core.fuse.guard import FusionGuard
from blender_core.fuse.policy import FuseWhen
from blender_core.fuse.protocol import Fuser
from blender_core.gather.breaker import CircuitBreaker
from blender_core.gather.policy import GatherPolicy, RetryPolicy
from blender_core.rank.member_prior import MemberPrior
from blender_core.rank.protocol import Ranker
from blender_core.runtime.numbers import in_words
from blender_core.runtime.semaphore import SharedSemaphore

__all__ = ["DEFAULTS", "IN_POLICY", "BlendSettings", "SharedSettings", "check_settings", "gather_policy"]

DEFAULTS: Mapping[str, Any] = {
    "ranker": "embedded",
    "fuser": "llm",
    "top_k": 3,
    "fuse_when": "auto",
    "guard": None,
    "timeout": 60.0,
    "deadline": None,
    "quorum": 1,
    "max_retries": None,
    "max_concurrency": None,
    "policy": None,
    "semaphore": None,
    "gather_share": 0.7,
    "member_prior": None,
    "reserves": (),
    "breaker": None,
}
"""Default of each setting."""

IN_POLICY = ("timeout", "quorum", "max_retries", "max_concurrency")
"""Settings that are part of a ``GatherPolicy``."""


class SharedSettings(TypedDict, total=False):
    """Holds the settings of every blend, with or without sources.

    Attributes:
        fuser: Writes one text from the best answers. ``"llm"`` (default) asks the strongest member that answered and
            follows instructions. ``member_prior`` knows the strongest; without one, list your strongest model first. It
            may also be the name of a member, a fuser, any LLM, or ``None`` to return the best answer unchanged.
        top_k: Number of best answers that are fused (default 3, as in the paper).
        fuse_when: ``"auto"`` (default), ``"always"``, ``"never"``, a ``FusePolicy``, or a function of a
            ``FuseContext``. Tool calls and structured output are never fused. A framework's LLM also picks what has
            a form that a program reads, such as JSON or a query list.
        guard: Checks a fused text; default ``FusionGuard()``.
        timeout: Wall-clock seconds for each member, retries included, and for the fuser (default 60). ``None`` is
            no limit.
        deadline: Wall-clock seconds for the whole call. ``None`` (default) is no limit.
        quorum: Answers needed (default 1); fewer raise ``QuorumError``, which names every member's cause.
        max_retries: Further calls of a member after an error that may pass (default 2). A client's own retries come
            on top; set those to 0.
        max_concurrency: Member calls that run at the same time over all calls of this blend. ``None`` (default) is
            no limit. A member waits for a slot until none has come free within ``timeout``.
        policy: A whole ``GatherPolicy``. It replaces ``timeout``, ``quorum``, ``max_retries`` and
            ``max_concurrency``; giving both is an error.
        semaphore: A ``SharedSemaphore`` that several blends share; it replaces ``max_concurrency``.
        gather_share: Share of the deadline, above 0 and up to 0.95, after which gathering ends if the quorum is met
            (default 0.7).
        member_prior: A ``MemberPrior``: the strength of each member, declared, rated or learned. Every ranking is
            blended with it and then added to it. ``None`` (default): if all members are local models of the catalogue,
            what is known of these (``MemberPrior.of_catalogue()``), else each prompt is ranked by itself.
        reserves: More LLMs, in the form of the members. One is asked in the place of each member that is skipped or
            gives no usable answer, in order, while there is time. Default none.
        breaker: A ``CircuitBreaker``: skips members that are down, so that calls do not wait for them. Several blends
            may share one. ``None`` (default) asks every member in every call.
    """

    fuser: Fuser | str | Any | None
    top_k: int
    fuse_when: FuseWhen
    guard: FusionGuard | None
    timeout: float | None
    deadline: float | None
    quorum: int
    max_retries: int | None
    max_concurrency: int | None
    policy: GatherPolicy | None
    semaphore: SharedSemaphore | None
    gather_share: float
    member_prior: MemberPrior | None
    reserves: Sequence[Any]
    breaker: CircuitBreaker | None


class BlendSettings(SharedSettings, total=False):
    """Holds the settings of a blend; see ``SharedSettings`` for the others.

    Attributes:
        ranker: A ranker, or a name: ``"embedded"`` (default), ``"consensus"``, ``"longest"``, ``"random"``,
            ``"reward-head"``, ``"peers"`` (the members judge each other), ``"judge:<member>"``, or the path or hub name
            of a PairRanker checkpoint.
    """

    ranker: Ranker | str | os.PathLike[str]


def _is_prior(value: Any) -> bool:
    # an object of the caller's own may stand for a MemberPrior
    return value is None or all(callable(getattr(value, name, None)) for name in ("blend", "observe"))


_NUMBER, _SECONDS = "a whole number", "seconds above 0, or None for no limit"
# setting -> its kinds, what it must be, and a further check
_RULES: dict[str, tuple[Any, str, Callable[[Any], bool]]] = {
    "top_k": (Integral, f"{_NUMBER} of at least 1", lambda value: value >= 1),
    "guard": (FusionGuard | None, "a FusionGuard", lambda _: True),
    "timeout": (Real | None, _SECONDS, lambda value: value is None or value > 0),
    "deadline": (Real | None, _SECONDS, lambda value: value is None or value > 0),
    "quorum": (Integral, f"{_NUMBER} of at least 1", lambda value: value >= 1),
    "max_retries": (Integral | None, f"{_NUMBER} of at least 0", lambda value: value is None or value >= 0),
    "max_concurrency": (Integral | None, f"{_NUMBER} of at least 1", lambda value: value is None or value >= 1),
    "policy": (GatherPolicy | None, "a GatherPolicy", lambda _: True),
    "semaphore": (SharedSemaphore | None, "a SharedSemaphore", lambda _: True),
    "member_prior": (object, "a MemberPrior, such as MemberPrior(path='prior.json')", lambda value: _is_prior(value)),
    "reserves": (Sequence, "a list of LLMs", lambda value: not isinstance(value, str | bytes)),
    "breaker": (CircuitBreaker | None, "a CircuitBreaker, such as CircuitBreaker(failures=3)", lambda _: True),
    "gather_share": (Real, "a share above 0 and up to 0.95", lambda value: 0 < value <= 0.95),
    "citations": (bool, "True or False", lambda _: True),
    "source_characters": (Integral, f"{_NUMBER} of at least 0", lambda value: value >= 0),
}


def check_settings(settings: Mapping[str, Any]) -> None:
    """Refuse a setting that cannot work.

    Args:
        settings: The settings that the caller gave.

    Raises:
        ConfigurationError: A value has the wrong kind or size; the message names the setting.
    """
    for name, value in settings.items():
        kinds, words, fits = _RULES.get(name, (object, "", lambda _: True))
        wrong = isinstance(value, bool) and name in _RULES and name != "citations"
        if wrong or not isinstance(value, kinds) or not fits(value):
            raise ConfigurationError(f"{name} is {in_words(value)}; it must be {words}")


def gather_policy(settings: Mapping[str, Any]) -> GatherPolicy:
    """Make the gather policy of a blend.

    Args:
        settings: The settings that the caller gave.

    Returns:
        ``policy`` if it is given, else one from ``timeout``, ``quorum``, ``max_retries`` and ``max_concurrency``.

    Raises:
        ConfigurationError: ``policy`` is given together with a setting that it would override, or ``semaphore``
            together with ``max_concurrency``. Leave one of them out.

    Examples:
        >>> gather_policy({"timeout": 20.0, "max_retries": 0}).retry.retries
        0
        >>> gather_policy({"timeout": 20.0, "policy": GatherPolicy()})
        Traceback (most recent call last):
        ...
        blender_core.errors.ConfigurationError: timeout=20.0 and policy= cannot both be given: the policy says it; \
write GatherPolicy(timeout=20.0, ...)
    """
    policy: GatherPolicy | None = settings.get("policy")
    if policy is None:
        whole = {**DEFAULTS, **settings}
        retries = whole["max_retries"]
        policy = GatherPolicy(
            timeout=whole["timeout"],
            quorum=whole["quorum"],
            max_concurrency=whole["max_concurrency"],
            retry=RetryPolicy() if retries is None else RetryPolicy(retries=retries),
        )
    else:
        for name in IN_POLICY:
            if name in settings:
                value = settings[name]
                place = f"retry=RetryPolicy(retries={value!r})" if name == "max_retries" else f"{name}={value!r}"
                raise ConfigurationError(
                    f"{name}={value!r} and policy= cannot both be given: the policy says it; "
                    f"write GatherPolicy({place}, ...)"
                )
    semaphore: SharedSemaphore | None = settings.get("semaphore")
    if semaphore is not None and policy.max_concurrency not in (None, semaphore.limit):
        raise ConfigurationError(
            f"max_concurrency is {policy.max_concurrency} and the semaphore's limit {semaphore.limit}; give one of them"
        )
    return policy
