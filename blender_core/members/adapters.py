"""Turn any framework's LLM into a member.

Adapters register in the entry-point group ``blended_llm.members``: the engine imports no framework, and other
packages can add one. An entry point names a function ``adapt(llm) -> Member | NotImplemented``.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Sequence
from importlib.metadata import entry_points
from typing import Any

from blender_core.errors import ConfigurationError
from blender_core.members.member import FunctionMember, Member
from blender_core.redaction import remember_secrets

__all__ = ["ENTRY_POINT_GROUP", "as_member", "as_members"]

ENTRY_POINT_GROUP = "blended_llm.members"


def as_member(llm: Any, *, name: str | None = None) -> Member:
    """Make a member of an LLM.

    Args:
        llm: A ``Member``; an LLM of a framework with an adapter (LangChain, LlamaIndex, ...); or a plain
            function from text to text.
        name: The member's name in results, if not its own.

    Returns:
        The member; a copy if ``llm`` is a member that is renamed.

    Raises:
        ConfigurationError: No adapter knows its type; the message lists the accepted types.

    Examples:
        >>> as_member(str.title).name
        'title'
    """
    member = _adapted(llm)
    remember_secrets(member)
    if name is not None and name != member.name:
        member = copy.copy(member)
        member.name = name
    return member


def _adapted(llm: Any) -> Member:
    if isinstance(llm, Member):
        return llm
    adapters = _adapters_for(_top_packages(type(llm)))
    for adapt in adapters:
        member = adapt(llm)
        if member is not NotImplemented:
            return member  # type: ignore[no-any-return]
    if callable(llm) and not isinstance(llm, type):
        return FunctionMember(llm)
    raise ConfigurationError(
        f"{type(llm).__module__}.{type(llm).__qualname__} is not an LLM this ensemble knows; pass a LangChain or "
        f"LlamaIndex LLM with its extra installed, a blender_core Member, or a function from text to text"
        + (_WITH_NAME if isinstance(llm, tuple) else "")
    )


def as_members(llms: Sequence[Any]) -> tuple[Member, ...]:
    """Make members of LLMs, in order.

    Args:
        llms: At least one LLM.

    Returns:
        The members.

    Raises:
        ConfigurationError: ``llms`` is empty, no adapter knows the type of one, or a name is no text.
    """
    if not llms:
        raise ConfigurationError("the ensemble has no members; pass at least one LLM")
    members = tuple(as_member(llm) for llm in llms)
    for member in members:
        if not isinstance(member.name, str) or not member.name:
            raise ConfigurationError(f"a member's name is {member.name!r}; give it a text, which results show")
    return members


_WITH_NAME = (
    "; for a name write LangChainMember(llm, name=...), LlamaIndexMember(llm, name=...) or "
    "FunctionMember(function, name=...)"
)


def _top_packages(cls: type) -> frozenset[str]:
    return frozenset(base.__module__.split(".")[0] for base in cls.__mro__)


@functools.lru_cache(maxsize=256)
def _adapters_for(packages: frozenset[str]) -> tuple[Callable[[Any], Any], ...]:
    # an entry point is named after the framework's package, so that no other framework gets imported
    return tuple(point.load() for point in entry_points(group=ENTRY_POINT_GROUP) if point.name in packages)
