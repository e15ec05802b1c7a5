"""The members that `blended-llm mix` asks, by name: local models, endpoints, and Python objects of any framework."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from blender_core.config import BlendConfig, connect_members
from blender_core.errors import ConfigurationError
from blender_core.members.adapters import as_members
from blender_core.members.member import Member

if TYPE_CHECKING:
    from blender_core.local.download import Progress

__all__ = ["PlannedMember", "load_llms", "named", "open_planned", "plan_config", "plan_objects"]


@dataclass(frozen=True, slots=True)
class PlannedMember:
    """A member that is known by name and perhaps not started yet.

    Attributes:
        name: Its name, unique in the ensemble.
        start: Starts it; a context manager that stops it again.
        alone: It computes on this machine, and is asked while no other of its kind runs.
    """

    name: str
    start: Callable[[], Any]
    alone: bool = False


def plan_config(config: BlendConfig, *, parallel: int = 1, progress: Progress | None = None) -> list[PlannedMember]:
    """Plan the members of a described blend, reserves too; a local model is fetched and started when its turn comes.

    Args:
        config: The description.
        parallel: Requests that a local model answers at the same time.
        progress: Called as its file arrives.

    Returns:
        One plan for each member.
    """

    def plan(place: int) -> PlannedMember:
        @contextmanager
        def start() -> Iterator[Member]:
            # a local model ends with its member
            yield connect_members(config, only=[place], parallel=parallel, progress=progress)[0]

        return PlannedMember(config.names[place], start, alone=config.all_members[place].local is not None)

    return [plan(place) for place in range(len(config.all_members))]


def plan_objects(path: str) -> list[PlannedMember]:
    """Plan LLMs of any framework, made in Python.

    Args:
        path: ``module:attribute``, see `load_llms`.

    Returns:
        One plan for each LLM.

    Raises:
        ConfigurationError: There is no such list, or nobody knows one of its objects.
    """

    def plan(member: Member) -> PlannedMember:
        @contextmanager
        def start() -> Iterator[Member]:
            yield member

        return PlannedMember(member.name, start)

    return [plan(member) for member in as_members(load_llms(path))]


def load_llms(path: str) -> list[Any]:
    """Import a list of LLMs.

    Args:
        path: ``module:attribute``; the module is looked for in the current folder too. The attribute is one LLM, a
            list of them, or a list-making function without arguments that is named ``make_...``.

    Returns:
        The LLMs.

    Raises:
        ConfigurationError: The module or the attribute cannot be had, or holds no LLM.

    Examples:
        >>> [maker.__name__ for maker in load_llms("blender_core.testing.fakes:FakeMember")]
        ['FakeMember']
    """
    module_name, colon, attribute = path.partition(":")
    if not (module_name and colon and attribute):
        raise ConfigurationError(f"{path!r} is not module:attribute; write for example my_llms:ENSEMBLE")
    here = str(Path.cwd())
    if here not in sys.path:  # a console script does not look in the current folder
        sys.path.insert(0, here)
    try:
        value: Any = importlib.import_module(module_name)
        for part in attribute.split("."):
            value = getattr(value, part)
    except (ImportError, AttributeError) as error:
        raise ConfigurationError(f"cannot load {path!r}: {error}; run in the module's folder, or install it") from error
    if attribute.split(".")[-1].startswith("make_") and callable(value):
        value = value()
    llms = list(value) if isinstance(value, Sequence) and not isinstance(value, str) else [value]
    if not llms:
        raise ConfigurationError(f"{path!r} is an empty list; it needs at least one LLM")
    return llms


def named(plans: Sequence[PlannedMember]) -> list[PlannedMember]:
    """Give each member a name of its own.

    Args:
        plans: The members; two may have one name.

    Returns:
        The same with ``#2``, ``#3``, ... added to names that came before.

    Raises:
        ConfigurationError: There are none, or a name has a comma, which joins names in MixInstruct's verdicts.

    Examples:
        >>> [plan.name for plan in named([PlannedMember("a", str), PlannedMember("a", str)])]
        ['a', 'a#2']
    """
    if not plans:
        raise ConfigurationError("the ensemble has no members; give --model, --endpoint, --config or --ensemble")
    taken: set[str] = set()
    result = []
    for plan in plans:
        if "," in plan.name:
            raise ConfigurationError(
                f"a member is called {plan.name!r}; MixInstruct joins names with a comma, rename it"
            )
        name, copy = plan.name, 1
        while name in taken:
            copy += 1
            name = f"{plan.name}#{copy}"
        taken.add(name)
        result.append(replace(plan, name=name))
    return result


@contextmanager
def open_planned(plans: Sequence[PlannedMember]) -> Iterator[list[tuple[str, Member]]]:
    """Start members, and stop them in the end.

    Args:
        plans: The members.

    Yields:
        Name and member, in order.
    """
    from contextlib import ExitStack

    with ExitStack() as stack:
        yield [(plan.name, stack.enter_context(plan.start())) for plan in plans]
