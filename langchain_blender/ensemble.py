"""What a blend is made of: its settings, the engine built from them, and what it says about itself."""

# No `from __future__ import annotations`: pydantic resolves these annotations at run time.

import difflib
from collections.abc import Sequence
from typing import Any, Self, cast

from langchain_core.language_models import LangSmithParams, ModelProfile
from langchain_core.messages import BaseMessage
from langchain_core.runnables import Runnable
from langchain_core.utils import from_env
from pydantic import ConfigDict, Field, PrivateAttr, model_validator

from blender_core.blender import Blender
from blender_core.errors import ConfigurationError
from blender_core.fuse.guard import FusionGuard
from blender_core.fuse.llm_fuser import LLMFuser
from blender_core.gather.policy import GatherPolicy, RetryPolicy
from blender_core.members.adapters import as_member
from blender_core.members.member import Member
from blender_core.rank.member_prior import MemberPrior
from langchain_blender.call import unless_structured
from langchain_blender.child_runs import ChildRunChatModel
from langchain_blender.composition import model_of
from langchain_blender.identity import identity
from langchain_blender.members import LangChainMember, adapt
from langchain_blender.profile import common_profile
from langchain_blender.shared_limit import SharedLimits
from langchain_blender.tokens import TokenIds, count_messages, count_text, counters_of
from langchain_blender.tools import convert_tools
from langchain_blender.tracing import RUN_KEYWORD

__all__ = ["EnsembleChatModel"]

_PROVIDER = "blended-llm"
# LangChain's standard parameters that mean nothing here: members hold their own
_IGNORED = frozenset({"api_key"})


class EnsembleChatModel(ChildRunChatModel):
    """Settings, engine, identity, profile and token counts; ``BlendedLLM`` adds the calls and documents all."""

    model_config = ConfigDict(arbitrary_types_allowed=True, populate_by_name=True)

    llms: list[Any] = Field(exclude=True)
    ranker: Any = Field(default_factory=from_env("BLENDED_LLM_RANKER", default="embedded"), exclude=True)
    fuser: Any = Field(default="llm", exclude=True)
    top_k: int = Field(default_factory=from_env("BLENDED_LLM_TOP_K", default="3"), validate_default=True)
    fuse_when: Any = Field(default="auto", exclude=True)
    guard: FusionGuard | None = Field(default=None, exclude=True)
    timeout: float | None = Field(default_factory=from_env("BLENDED_LLM_TIMEOUT", default="60"), validate_default=True)
    deadline: float | None = Field(
        default_factory=from_env("BLENDED_LLM_DEADLINE", default=None), validate_default=True
    )
    quorum: int = 1
    max_retries: int | None = None
    max_concurrency: int | None = None
    policy: GatherPolicy | None = Field(default=None, exclude=True)
    gather_share: float = 0.7
    member_prior: MemberPrior | None = Field(default=None, exclude=True)
    temperature: float | None = None
    max_tokens: int | None = None
    stop: list[str] | None = Field(default=None, alias="stop_sequences")
    model_name: str = Field(default=_PROVIDER, alias="model")
    # not False: with `configurable_fields` every field is set, and a set False switches streaming off
    streaming: bool | None = None
    # a field, because the copies that `configurable_fields` makes are given the fields and nothing else
    limits: SharedLimits = Field(default_factory=SharedLimits, exclude=True, repr=False)

    _built: tuple[tuple[Any, ...], Blender] | None = PrivateAttr(default=None)

    @model_validator(mode="before")
    @classmethod
    def _check_names(cls, values: Any) -> Any:
        """Refuse arguments that do not exist; pydantic would drop a misspelt one without a word."""
        if isinstance(values, dict):
            known = set(cls.model_fields) | {field.alias for field in cls.model_fields.values() if field.alias}
            for name in values:
                if name not in known | _IGNORED:
                    near = difflib.get_close_matches(str(name), sorted(known), 1)
                    hint = f"; did you mean {near[0]}?" if near else ""
                    raise ConfigurationError(f"BlendedLLM has no argument {name!r}{hint}")
        return values

    @model_validator(mode="after")
    def _check_settings(self) -> Self:
        """Build the engine now, so that a setting that cannot work is reported here."""
        self._blender()
        return self

    # -- what the blend is -------------------------------------------------------------------------------

    @property
    def members(self) -> tuple[tuple[str, Member], ...]:
        """Unique name and member, in order."""
        return self._blender().members

    @property
    def _llm_type(self) -> str:
        return _PROVIDER

    @property
    def _identifying_params(self) -> dict[str, Any]:
        policy = self._policy()
        return {
            "model_name": self.model_name,
            "members": [{"name": name, "member": identity(member)} for name, member in self.members],
            "ranker": identity(self.ranker),
            "fuser": identity(self._blender().fuser),
            "top_k": self.top_k,
            "fuse_when": identity(self.fuse_when),
            "guard": identity(self.guard),
            "member_prior": identity(self.member_prior),
            "policy": identity(policy),
            "deadline": self.deadline,
            "temperature": self.temperature,
            "max_tokens": self.max_tokens,
            # not "stop": the base class puts the call's stop sequences there
            "stop_sequences": self.stop,
        }

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        kwargs.pop(RUN_KEYWORD, None)
        params = super()._get_ls_params(stop=stop or self.stop, **kwargs)
        params["ls_provider"] = _PROVIDER
        return params

    def _resolve_model_profile(self) -> ModelProfile | None:
        models = [
            model_of(member.runnable) if isinstance(member, LangChainMember) else None for _, member in self.members
        ]
        return common_profile([getattr(model, "profile", None) for model in models])

    def get_token_ids(self, text: str) -> list[int]:
        """Token ids, where a tokenizer was given.

        Args:
            text: Any text.

        Returns:
            The ids.

        Raises:
            ConfigurationError: There is no tokenizer: members have different ones, and the base class would
                download GPT-2's.
        """
        if self.custom_get_token_ids is not None:
            return self.custom_get_token_ids(text)
        raise ConfigurationError(
            "a blend has no tokenizer of its own; pass custom_get_token_ids, or use get_num_tokens"
        )

    def get_num_tokens(self, text: str) -> int:
        """Tokens in a text, without the network.

        Args:
            text: Any text.

        Returns:
            The largest count of the ``custom_get_token_ids`` of the blend and its members; without any, four
            characters a token.
        """
        return count_text(text, self._token_counters())

    def get_num_tokens_from_messages(self, messages: list[BaseMessage], tools: Sequence[Any] | None = None) -> int:
        """Tokens in a conversation, without the network.

        Args:
            messages: The conversation.
            tools: Tools that go with it.

        Returns:
            The count, by the same tokenizers as ``get_num_tokens``.
        """
        return count_messages(messages, convert_tools(tools or ()), self._token_counters())

    def _token_counters(self) -> list[TokenIds]:
        if self.custom_get_token_ids is not None:
            return [self.custom_get_token_ids]
        members = [member.runnable for _, member in self.members if isinstance(member, LangChainMember)]
        return counters_of([model_of(runnable) for runnable in members])

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
        built = self._built
        if built is None or not _same(built[0], settings):
            built = (settings, self._build())
            self._built = built
        return built[1]

    def _build(self) -> Blender:
        fuser = LLMFuser(LangChainMember(self.fuser)) if isinstance(self.fuser, Runnable) else self.fuser
        policy = self._policy()
        return Blender(
            [_member(llm) for llm in self.llms],
            ranker=self.ranker,
            fuser=fuser,
            top_k=self.top_k,
            fuse_when=unless_structured(self.fuse_when),
            guard=self.guard,
            deadline=self.deadline,
            policy=policy,
            semaphore=self.limits.semaphore(policy.max_concurrency),
            gather_share=self.gather_share,
            member_prior=self.member_prior,
        )

    def _policy(self) -> GatherPolicy:
        if self.policy is not None:
            return self.policy
        retry = RetryPolicy() if self.max_retries is None else RetryPolicy(retries=self.max_retries)
        return GatherPolicy(timeout=self.timeout, quorum=self.quorum, max_concurrency=self.max_concurrency, retry=retry)

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


def _member(llm: Any) -> Member:
    member = adapt(llm)
    return as_member(llm) if member is NotImplemented else cast(Member, member)


def _same(before: tuple[Any, ...], now: tuple[Any, ...]) -> bool:
    return len(before) == len(now) and all(old is new for old, new in zip(before, now, strict=True))
