"""Hold the settings of a blend as pydantic fields; both adapters' models are built on this."""

# No `from __future__ import annotations`: pydantic resolves these annotations at run time.

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from numbers import Integral, Real
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, model_validator

from blender_core.blender import Blender
from blender_core.errors import ConfigurationError
from blender_core.fuse.guard import FusionGuard
from blender_core.fuse.policy import unless_read_by_program
from blender_core.gather.breaker import CircuitBreaker
from blender_core.gather.policy import GatherPolicy
from blender_core.members.member import Member
from blender_core.rank.registry import check_ranker
from blender_core.runtime.keywords import check_keywords
from blender_core.runtime.semaphore import SemaphoresByLimit, SharedSemaphore
from blender_core.settings import DEFAULTS, IN_POLICY, check_settings, gather_policy

if TYPE_CHECKING:
    from blender_core.config import BlendConfig

__all__ = ["BlendFields"]


class BlendFields(BaseModel):
    """Holds the settings of a blend and builds its engine; ``BlendSettings`` documents them.

    If ``ranker``, ``top_k``, ``timeout`` or ``deadline`` is not given, it is read from the environment:
    ``BLENDED_LLM_RANKER`` and so on.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True, populate_by_name=True, hide_input_in_errors=True)

    # the framework passes these arguments, and the blend ignores them
    _ignored_names: ClassVar[frozenset[str]] = frozenset()

    llms: list[Any]
    ranker: Any = Field(default_factory=lambda: _from_environment("ranker"))
    fuser: Any = DEFAULTS["fuser"]
    top_k: int = Field(default_factory=lambda: _from_environment("top_k"), validate_default=True)
    fuse_when: Any = DEFAULTS["fuse_when"]
    guard: FusionGuard | None = Field(default=None, exclude=True)
    timeout: float | None = Field(default_factory=lambda: _from_environment("timeout"), validate_default=True)
    deadline: float | None = Field(default_factory=lambda: _from_environment("deadline"), validate_default=True)
    quorum: int = DEFAULTS["quorum"]
    max_retries: int | None = DEFAULTS["max_retries"]
    max_concurrency: int | None = DEFAULTS["max_concurrency"]
    policy: GatherPolicy | None = Field(default=None, exclude=True)
    semaphore: SharedSemaphore | None = Field(default=None, exclude=True)
    gather_share: float = DEFAULTS["gather_share"]
    member_prior: Any = Field(default=None, exclude=True)
    reserves: tuple[Any, ...] = DEFAULTS["reserves"]
    breaker: CircuitBreaker | None = Field(default=None, exclude=True)
    # a field, because LangChain copies a model by its fields
    limits: SemaphoresByLimit = Field(default_factory=SemaphoresByLimit, exclude=True, repr=False)

    _engine: "_Engine" = PrivateAttr(default_factory=lambda: _Engine())

    def __init__(self, *given: Any, **settings: Any) -> None:
        if given:
            name = type(self).__name__
            raise ConfigurationError(f"{name} takes keywords only; write {name}(llms=[a, b, ...])")
        super().__init__(**settings)

    @classmethod
    def from_config(cls, config: "BlendConfig | Mapping[str, Any] | str | Path", **settings: Any) -> Self:
        """Make the blend that a file describes; see ``Blender.from_config``.

        Args:
            config: The file (``.toml``, ``.yaml``, ``.json``), or what it holds.
            **settings: Replace what the file says.

        Returns:
            The blend.

        Raises:
            BlendError: The file is not valid, a key is not there, or a local model cannot start.
        """
        # deferred: most blends are made of objects
        from blender_core.config import BlendConfig, keywords_of

        config = BlendConfig.of(config)
        named = {} if config.name is None else {"model": config.name}
        keywords = keywords_of(config, settings)
        return cls(llms=keywords.pop("members"), **{**named, **keywords})

    @model_validator(mode="before")
    @classmethod
    def _check_names(cls, values: Any) -> Any:
        """Refuse arguments that do not exist; pydantic would ignore them silently."""
        if isinstance(values, dict):
            aliases = {field.alias for field in cls.model_fields.values() if field.alias}
            given = [name for name in values if name not in cls._ignored_names]
            check_keywords(given, {*cls.model_fields, *aliases}, cls.__name__)
            for name in ("llms", "reserves"):
                llms = values.get(name, [])
                # pydantic would make a list of the fields of a single model
                if not isinstance(llms, list | tuple):
                    raise ConfigurationError(f"{name} is one {type(llms).__name__}; give a list, such as {name}=[a, b]")
            # pydantic would take a text as a number, and a number of another package not at all
            check_settings({name: value for name, value in values.items() if name in DEFAULTS})
            values = {name: _plain_number(value) if name in DEFAULTS else value for name, value in values.items()}
        return values

    def __setattr__(self, name: str, value: Any) -> None:
        # what one setting shows is told at once; how it fits the others at the next call
        if name in DEFAULTS:
            check_settings({name: value})
        if name == "ranker":
            check_ranker(value)
        super().__setattr__(name, value)

    @model_validator(mode="after")
    def _check_settings(self) -> Self:
        """Build the engine now, so that a wrong setting is reported here."""
        self._blender()
        return self

    @property
    def members(self) -> tuple[tuple[str, Member], ...]:
        """Unique name and member, in order, reserves last."""
        return self._blender().members

    def warm_up(self) -> None:
        """Load the ranker now; see ``Blender.warm_up``."""
        self._blender().warm_up()

    async def awarm_up(self) -> None:
        """Load the ranker now, in a thread; see ``Blender.warm_up``."""
        await self._blender().awarm_up()

    def _blender(self) -> Blender:
        """The engine for the current settings; assigning a field makes a new one."""
        settings = (*self.llms, *(getattr(self, name) for name in DEFAULTS))
        built = self._engine.built
        if built is None or not _same(built[0], settings):
            if _holds(self, self):
                raise ConfigurationError(
                    f"this {type(self).__name__} contains itself, so a call would never end; take it out of its "
                    "llms or fuser, or add a copy of it"
                )
            built = (settings, self._build())
            self._engine.built = built
        return built[1]

    def _build(self) -> Blender:
        policy = gather_policy(self._given())
        settings: dict[str, Any] = {name: getattr(self, name) for name in DEFAULTS if name not in IN_POLICY}
        settings |= {
            "fuser": self._as_fuser(),
            "fuse_when": unless_read_by_program(self.fuse_when),
            "policy": policy,
            "semaphore": self.semaphore or self.limits.of(policy.max_concurrency),
            "reserves": [self._as_member(llm) for llm in self.reserves],
        }
        return Blender([self._as_member(llm) for llm in self.llms], **settings)

    def _given(self) -> dict[str, Any]:
        """The gather settings of the caller."""
        names: Iterable[str] = IN_POLICY
        if self.policy is not None:
            # a framework's copy sets every field, ``limits`` among them; its original was checked
            names = () if "limits" in self.model_fields_set else self.model_fields_set.intersection(IN_POLICY)
        limits = {name: getattr(self, name) for name in names}
        return {**limits, "policy": self.policy, "semaphore": self.semaphore}

    def _as_member(self, llm: Any) -> Any:
        """Convert an LLM to a member; adapters override this."""
        return llm

    def _as_fuser(self) -> Any:
        """Convert the fuser for the engine; adapters override this."""
        return self.fuser

    def __repr_args__(self) -> Iterator[tuple[str | None, Any]]:
        if _holds(self, self):
            yield "llms", "(contains itself)"
            return
        blender = self._blender()
        yield "llms", [name for name, _ in self.members]
        yield "ranker", self.ranker if isinstance(self.ranker, str) else getattr(self.ranker, "name", self.ranker)
        yield "fuser", None if blender.fuser is None else blender.fuser.name
        yield "top_k", self.top_k


class _Engine:
    """Holds the engine of one blend; a copy or a pickle of the blend starts without one."""

    def __init__(self) -> None:
        self.built: tuple[tuple[Any, ...], Blender] | None = None

    def __copy__(self) -> "_Engine":
        return _Engine()

    def __deepcopy__(self, _memo: Any) -> "_Engine":
        return _Engine()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Engine)

    __hash__ = None  # type: ignore[assignment]

    def __reduce__(self) -> tuple[Callable[[], "_Engine"], tuple[()]]:
        return _Engine, ()


# where LLMs, members, fusers and runnables keep the LLMs inside them
_INSIDE = (
    "llms",
    "reserves",
    "fuser",
    "llm",
    "member",
    "_member",
    "runnable",
    "bound",
    "fallbacks",
    "first",
    "middle",
    "last",
)


def _holds(blend: BaseModel, sought: object) -> bool:
    """Tell whether an object is somewhere inside a blend."""
    waiting: list[Any] = [blend]
    seen: set[int] = set()
    while waiting:
        held = waiting.pop()
        if id(held) in seen:
            continue
        seen.add(id(held))
        # attributes only: a property could do anything
        values = getattr(held, "__dict__", {})
        parts = [values[name] for name in _INSIDE if name in values]
        inside = [part for one in parts for part in (one if isinstance(one, list | tuple) else [one])]
        if any(part is sought for part in inside):
            return True
        waiting += inside
    return False


def _from_environment(name: str) -> Any:
    variable = f"BLENDED_LLM_{name.upper()}"
    text = os.environ.get(variable)
    if not text:
        return DEFAULTS[name]
    if name == "ranker":
        return text
    try:
        number = int(text) if name == "top_k" else float(text)
        check_settings({name: number})
    except ValueError as error:
        wanted = error if isinstance(error, ConfigurationError) else "it must be a number"
        raise ConfigurationError(f"the environment variable {variable} is {text!r}: {wanted}") from error
    return number


def _plain_number(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, Real):
        return value
    return int(value) if isinstance(value, Integral) else float(value)


def _same(before: tuple[Any, ...], now: tuple[Any, ...]) -> bool:
    return len(before) == len(now) and all(old is new for old, new in zip(before, now, strict=True))
