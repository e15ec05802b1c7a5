"""What a blend is made of: its settings, the engine built from them, and what it says about itself."""

# No `from __future__ import annotations`: pydantic resolves these annotations at run time.

import difflib
import os
from collections.abc import Sequence
from typing import Any, Self, cast

from llama_index.core.base.llms.types import LLMMetadata
from llama_index.core.constants import DEFAULT_CONTEXT_WINDOW, DEFAULT_NUM_OUTPUTS
from llama_index.core.llms.function_calling import FunctionCallingLLM
from llama_index.core.llms.loading import load_llm
from llama_index.core.schema import BaseComponent
from pydantic import Field, PrivateAttr, field_serializer, model_validator

from blender_core.blender import Blender
from blender_core.errors import ConfigurationError
from blender_core.fuse.guard import FusionGuard
from blender_core.fuse.llm_fuser import LLMFuser
from blender_core.fuse.protocol import Fuser
from blender_core.gather.policy import GatherPolicy, RetryPolicy
from blender_core.members.adapters import as_members
from blender_core.members.member import Member
from blender_core.rank.member_prior import MemberPrior
from llamaindex_blender.call import unless_read_by_machine
from llamaindex_blender.members import LlamaIndexMember
from llamaindex_blender.spans import TracedMember

__all__ = ["EnsembleLLM"]

_NAME = "blended-llm"
# what an LLM is told about fusing, beside the prompt and the answers
_FUSING_TOKENS = 256


class EnsembleLLM(FunctionCallingLLM):
    """Settings, engine, metadata and serialisation; ``BlendedLLM`` adds the calls and documents all."""

    llms: list[Any] = Field(description="The members.")
    ranker: Any = Field(default_factory=lambda: os.environ.get("BLENDED_LLM_RANKER", "embedded"))
    fuser: Any = "llm"
    top_k: int = Field(default_factory=lambda: os.environ.get("BLENDED_LLM_TOP_K", 3), validate_default=True)
    fuse_when: Any = "auto"
    guard: FusionGuard | None = Field(default=None, exclude=True)
    timeout: float | None = Field(
        default_factory=lambda: os.environ.get("BLENDED_LLM_TIMEOUT", 60.0), validate_default=True
    )
    deadline: float | None = Field(
        default_factory=lambda: os.environ.get("BLENDED_LLM_DEADLINE"), validate_default=True
    )
    quorum: int = 1
    max_retries: int | None = None
    max_concurrency: int | None = None
    policy: GatherPolicy | None = Field(default=None, exclude=True)
    gather_share: float = 0.7
    member_prior: MemberPrior | None = Field(default=None, exclude=True)
    temperature: float | None = None
    max_tokens: int | None = None
    stop: list[str] | None = None
    model: str = _NAME

    _engine: "_Engine" = PrivateAttr(default_factory=lambda: _Engine())

    @model_validator(mode="before")
    @classmethod
    def _check_names(cls, values: Any) -> Any:
        """Refuse arguments that do not exist; pydantic would drop a misspelt one without a word."""
        if not isinstance(values, dict):
            return values
        for name in values:
            if name not in cls.model_fields and name != "class_name":
                near = difflib.get_close_matches(str(name), sorted(cls.model_fields), 1)
                hint = f"; did you mean {near[0]}?" if near else ""
                raise ConfigurationError(f"BlendedLLM has no argument {name!r}{hint}")
        loaded = {name: _loaded(values[name]) for name in ("fuser",) if name in values}
        if _is_list(values.get("llms")):
            loaded["llms"] = [_loaded(llm) for llm in values["llms"]]
        return {**values, **loaded}

    @model_validator(mode="after")
    def _check_settings(self) -> Self:
        """Build the engine now, so that a setting that cannot work is reported here."""
        self._blender()
        return self

    # -- what the blend is -------------------------------------------------------------------------------

    @property
    def members(self) -> tuple[tuple[str, Member], ...]:
        """Unique name and member, in order."""
        traced = cast("tuple[tuple[str, TracedMember], ...]", self._blender().members)
        return tuple((name, member.member) for name, member in traced)

    @property
    def metadata(self) -> LLMMetadata:
        """What a caller may count on, whichever member answers.

        Returns:
            The smallest context window and output of the members that state them, without the room that a fuser
            needs for the answers beside the prompt (at most half of the window); chat is always possible; function
            calling where as many members as the quorum asks for have it.
        """
        members = [member for _, member in self.members]
        windows = [window for window in (member.context_window for member in members) if window]
        stated = [member.metadata.num_output for member in members if isinstance(member, LlamaIndexMember)]
        output = self.max_tokens or min((tokens for tokens in stated if tokens > 0), default=DEFAULT_NUM_OUTPUTS)
        window = min(windows, default=DEFAULT_CONTEXT_WINDOW)
        if isinstance(self._blender().fuser, LLMFuser) and self.fuse_when != "never":
            window -= min(window // 2, min(self.top_k, len(members)) * output + _FUSING_TOKENS)
        needed = max(1, self._policy().quorum)
        return LLMMetadata(
            context_window=window,
            num_output=output,
            is_chat_model=True,
            is_function_calling_model=sum(member.can_call_tools([]) for member in members) >= needed,
            model_name=self.model,
        )

    # -- the engine --------------------------------------------------------------------------------------

    def _blender(self) -> Blender:
        """The engine for the present settings; a blend whose fields were assigned gets a new one."""
        settings = (
            *self.llms,
            self.ranker,
            self.fuser,
            self.top_k,
            self.fuse_when,
            self.guard,
            self.timeout,
            self.deadline,
            self.quorum,
            self.max_retries,
            self.max_concurrency,
            self.policy,
            self.gather_share,
            self.member_prior,
        )
        built = self._engine.built
        if built is None or not _same(built[0], settings):
            built = (settings, self._build())
            self._engine.built = built
        return built[1]

    def _build(self) -> Blender:
        fuser = self.fuser
        if fuser not in (None, "llm") and not isinstance(fuser, str | Fuser):
            fuser = LLMFuser(_traced(as_members([fuser])[0]))
        return Blender(
            [_traced(member) for member in as_members(self.llms)],
            ranker=self.ranker,
            fuser=fuser,
            top_k=self.top_k,
            fuse_when=unless_read_by_machine(self.fuse_when),
            guard=self.guard,
            deadline=self.deadline,
            policy=self._policy(),
            gather_share=self.gather_share,
            member_prior=self.member_prior,
        )

    def _policy(self) -> GatherPolicy:
        if self.policy is not None:
            return self.policy
        retry = RetryPolicy() if self.max_retries is None else RetryPolicy(retries=self.max_retries)
        return GatherPolicy(timeout=self.timeout, quorum=self.quorum, max_concurrency=self.max_concurrency, retry=retry)

    # -- serialisation -----------------------------------------------------------------------------------

    @field_serializer("llms")
    def _serialise_llms(self, llms: list[Any]) -> list[dict[str, Any]]:
        return [_plain(llm) for llm in llms]

    @field_serializer("ranker", "fuser", "fuse_when")
    def _serialise_part(self, part: Any) -> Any:
        return part if part is None or isinstance(part, str) else _plain(part)

    def __getstate__(self) -> dict[str, Any]:
        # the base class takes what cannot be pickled out of the object itself; the copy would blend by the defaults
        whole = dict(self.__dict__)
        state = super().__getstate__()
        state["__dict__"] = dict(state["__dict__"])
        self.__dict__.update(whole)
        lost = [name for name in EnsembleLLM.__annotations__ if name in whole and name not in state["__dict__"]]
        if lost:
            raise ConfigurationError(
                f"this blend cannot be pickled: its {lost[0]} cannot (a lambda or an open client, for example); "
                "pickle the settings and make the blend where it is needed"
            )
        return state

    def __repr_args__(self) -> Any:
        names = [name for name, _ in self.members]
        ranker = self.ranker if isinstance(self.ranker, str) else getattr(self.ranker, "name", self.ranker)
        fuser = self._blender().fuser
        yield from (
            ("llms", names),
            ("ranker", ranker),
            ("fuser", None if fuser is None else fuser.name),
            ("top_k", self.top_k),
        )


class _Engine:
    """Holds the engine of one blend; a copy or a pickle of the blend starts without one."""

    def __init__(self) -> None:
        self.built: tuple[tuple[Any, ...], Blender] | None = None

    def __deepcopy__(self, _memo: Any) -> "_Engine":
        return _Engine()

    def __copy__(self) -> "_Engine":
        return _Engine()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Engine)

    __hash__ = None  # type: ignore[assignment]

    def __reduce__(self) -> tuple[type["_Engine"], tuple[()]]:
        return _Engine, ()


def _traced(member: Member) -> TracedMember:
    return TracedMember(member, own_span=isinstance(member, LlamaIndexMember))


def _is_list(llms: Any) -> bool:
    return isinstance(llms, Sequence) and not isinstance(llms, str)


def _loaded(llm: Any) -> Any:
    """An LLM out of its serialised form; anything else as it is."""
    if not isinstance(llm, dict):
        return llm
    try:
        return load_llm(llm)
    except ValueError as error:
        raise ConfigurationError(
            f"{llm.get('class_name')!r} cannot be made from its serialised form ({error}); make it yourself and pass "
            "it in llms=[...] or fuser=..."
        ) from error


def _plain(part: Any) -> dict[str, Any]:
    """A part of the blend in plain JSON types; what has no serialised form is named."""
    if isinstance(part, BaseComponent):
        return part.to_dict()
    name = getattr(part, "name", None) or getattr(part, "__name__", None)
    return {"class_name": type(part).__name__, **({"name": str(name)} if name else {})}


def _same(before: tuple[Any, ...], now: tuple[Any, ...]) -> bool:
    return len(before) == len(now) and all(old is new for old, new in zip(before, now, strict=True))
