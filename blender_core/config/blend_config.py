"""Read and check the file that describes a blend."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PrivateAttr, ValidationError, model_validator

from blender_core.config.source import ConfigSource, read_source
from blender_core.errors import ConfigurationError
from blender_core.gather.breaker import CircuitBreaker
from blender_core.gather.policy import Budget
from blender_core.local.catalog import find_model
from blender_core.members.endpoints import MAX_TOKENS
from blender_core.rank.member_prior import MemberPrior
from blender_core.redaction import redacted, without_secrets
from blender_core.settings import DEFAULTS, IN_POLICY, gather_policy
from blender_core.types.answer import Price

__all__ = ["BlendConfig", "BreakerConfig", "BudgetConfig", "MemberConfig", "PriceConfig"]

DEFAULT_KEY = "OPENAI_API_KEY"
"""Environment variable that holds a member's key if the file names none."""

Share = Annotated[float, Field(gt=0.0, lt=1.0)]
Positive = Annotated[float, Field(gt=0.0, allow_inf_nan=False)]
Amount = Annotated[float, Field(ge=0.0, allow_inf_nan=False)]
AtLeastOne = Annotated[int, Field(ge=1)]


def _seconds(value: float | str) -> float | str:
    if value == "none" or (not isinstance(value, str) and 0.0 < value < math.inf):
        return value
    raise ValueError('it must be seconds above 0, or "none" for no limit')


class _Part(BaseModel):
    """Refuses unknown keys and values of another type, such as ``"3"`` for 3."""

    # a value can be a secret that stands in the wrong place
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, hide_input_in_errors=True)

    def __repr_args__(self) -> Iterator[tuple[str | None, Any]]:
        # addresses may hold a password, options a header
        for name, value in super().__repr_args__():
            yield name, redacted(value) if isinstance(value, str) else without_secrets(value)


class PriceConfig(_Part):
    """Holds what a million tokens of a member cost.

    Attributes:
        input: Price of a million tokens read, in any one currency.
        output: Price of a million tokens written.
    """

    input: Amount
    output: Amount


class BudgetConfig(_Part):
    """Limits what one call may spend; see ``blender_core.Budget``.

    Attributes:
        max_tokens: Most tokens of all members.
        max_cost: Most cost, in the currency of the prices.
    """

    max_tokens: AtLeastOne | None = None
    max_cost: Positive | None = None


class BreakerConfig(_Part):
    """Says when a member that is down is skipped; see ``blender_core.CircuitBreaker``.

    Attributes:
        failures: Calls in a row that have to fail.
        rest_s: Seconds of the first rest.
    """

    failures: AtLeastOne = 5
    rest_s: Positive = 30.0


class MemberConfig(_Part):
    """Describes one member: a model of an OpenAI-compatible API, or a local model.

    Attributes:
        model: The model's name at the API. Give this or ``local``.
        local: Name of a local model, see ``blended-llm models``. One that is named again is a further, sampled answer.
        name: Shown in results; default is the model's name.
        base_url: The API's address; default ``$OPENAI_BASE_URL``, else OpenAI's.
        api_key_env: Environment variable that holds the key; default ``OPENAI_API_KEY``. A key never stands in the
            file.
        temperature: Sampling temperature; default is the blend's.
        max_tokens: Longest answer in tokens; default is the blend's.
        options: Further arguments of each request, such as ``seed`` or ``extra_body``.
        price: What its tokens cost; default 0 for a local model, else unknown.
        context_window: Tokens of prompt and answer that fit; default is what a local model has.
        strength: Share of prompts that it answers well, in (0, 1).
    """

    model: str | None = Field(default=None, min_length=1)
    local: str | None = None
    name: str | None = Field(default=None, min_length=1)
    base_url: str | None = Field(default=None, pattern=r"^https?://\S+$")
    api_key_env: str | None = Field(default=None, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")
    temperature: Amount | None = None
    max_tokens: AtLeastOne | None = None
    options: dict[str, Any] = Field(default_factory=dict)
    price: PriceConfig | None = None
    context_window: AtLeastOne | None = None
    strength: Share | None = None

    @model_validator(mode="after")
    def _is_one_kind(self) -> Self:
        if (self.model is None) == (self.local is None):
            raise ValueError('give either model = "..." (an API\'s) or local = "..." (a local model\'s)')
        if self.local is not None:
            for name in ("base_url", "api_key_env", "context_window"):
                if getattr(self, name) is not None:
                    raise ValueError(f"{name} is for a model of an API; a local model has its own")
            try:
                find_model(self.local)
            except ConfigurationError as error:
                raise ValueError(str(error)) from None
        return self

    @property
    def label(self) -> str:
        """Name of the member in results, before equal ones are numbered."""
        return self.name or self.local or self.model or ""

    @property
    def token_price(self) -> Price | None:
        """The price, if it has one."""
        return None if self.price is None else Price(self.price.input, self.price.output)

    def api_key(self, environment: Mapping[str, str] | None = None) -> str:
        """Look up the key.

        Args:
            environment: The variables; default ``os.environ``.

        Returns:
            The key; ``"none"`` for a server with an address of its own that needs none.

        Raises:
            ConfigurationError: The variable that the file names is not set, or OpenAI's address needs a key.
        """
        found = os.environ if environment is None else environment
        key = found.get(self.api_key_env or DEFAULT_KEY)
        if key:
            return key
        if self.api_key_env is not None or not (self.base_url or found.get("OPENAI_BASE_URL")):
            raise ConfigurationError(
                f"the key of member {self.label!r} is not there: set the environment variable "
                f"{self.api_key_env or DEFAULT_KEY}"
            )
        return "none"


class BlendConfig(_Part):
    """Describes a blend: its members, and the settings of :class:`~blender_core.Blender`.

    ``BlendConfig.load`` reads it from a file. ``Blender.from_config``, ``BlendedLLM.from_config`` of both adapters and
    the commands ``ask``, ``rate``, ``mix`` and ``batch`` take the file. Every key but ``members`` may be left out.

    Attributes:
        members: The members, the strongest first.
        name: Name of the blend in metadata; default ``"blended-llm"``.
        ranker: Name of a ranker, a checkpoint, or the address of one; a folder is relative to the file.
        fuser: ``"llm"`` (default): the strongest member; ``"none"``: only pick; a member's name; or a GenFuser's hub
            name or folder, relative to the file.
        top_k: Number of best answers that are fused.
        fuse_when: ``"auto"``, ``"always"`` or ``"never"``.
        timeout: Seconds for each member; ``"none"`` is no limit.
        deadline: Seconds for the whole call; default no limit.
        quorum: Answers needed.
        max_retries: Further calls of a member after an error that may pass.
        max_concurrency: Member calls at the same time; default no limit.
        gather_share: Share of the deadline for gathering.
        budget: Limits of one call.
        reserves: More members, described like these. One is asked in the place of each member that is skipped or gives
            no usable answer, in order.
        breaker: Skips members that are down; default none.
        prior: File of a member prior, made by ``blended-llm rate``, relative to the file; ``"none"``: without, also if
            all members are local. It is read, not written.
        temperature: Sampling temperature of members that state none.
        max_tokens: Longest answer of members that state none, in tokens; default 512 for local models, else the API's.

    Examples:
        >>> BlendConfig.parse({"members": [{"local": "smollm2-135m"}], "quorum": 2})
        Traceback (most recent call last):
        ...
        blender_core.errors.ConfigurationError: the quorum is 2 but there is 1 member; lower it or add members
    """

    members: list[MemberConfig] = Field(min_length=1)
    name: str | None = Field(default=None, min_length=1)
    ranker: str = Field(default=DEFAULTS["ranker"], min_length=1)
    fuser: str = Field(default="llm", min_length=1)
    top_k: AtLeastOne = DEFAULTS["top_k"]
    fuse_when: Literal["auto", "always", "never"] = "auto"
    timeout: Annotated[float | str, AfterValidator(_seconds)] = DEFAULTS["timeout"]
    deadline: Positive | None = None
    quorum: AtLeastOne = 1
    max_retries: Annotated[int, Field(ge=0)] | None = None
    max_concurrency: AtLeastOne | None = None
    gather_share: Annotated[float, Field(gt=0.0, le=0.95)] = DEFAULTS["gather_share"]
    budget: BudgetConfig | None = None
    reserves: list[MemberConfig] = Field(default_factory=list)
    breaker: BreakerConfig | None = None
    prior: str | None = Field(default=None, min_length=1)
    temperature: Amount | None = None
    max_tokens: AtLeastOne | None = None

    _folder: Path = PrivateAttr(default_factory=Path)

    @classmethod
    def load(cls, path: str | Path) -> BlendConfig:
        """Read a file in TOML, YAML or JSON; the ending of its name says which.

        Args:
            path: The file.

        Returns:
            The checked description.

        Raises:
            ConfigurationError: The file cannot be read, or a value cannot work; the message names the line.
        """
        return cls._checked(read_source(Path(path).expanduser()))

    @classmethod
    def parse(cls, values: Mapping[str, Any]) -> BlendConfig:
        """Check a description that is not in a file; folders are relative to the working directory.

        Args:
            values: The keys of a file.

        Raises:
            ConfigurationError: A value cannot work.
        """
        return cls._checked(ConfigSource(values))

    @classmethod
    def of(cls, config: BlendConfig | str | Path | Mapping[str, Any]) -> BlendConfig:
        """Return a description as it is, load a file, or check a mapping.

        Raises:
            ConfigurationError: What ``load`` and ``parse`` raise.
        """
        if isinstance(config, BlendConfig):
            return config
        return cls.parse(config) if isinstance(config, Mapping) else cls.load(config)

    def with_settings(self, settings: Mapping[str, Any]) -> BlendConfig:
        """Return a copy with other settings.

        Args:
            settings: Keys of a description, except ``members`` and ``reserves``.

        Raises:
            ConfigurationError: A value cannot work.
        """
        stated = {name: getattr(self, name) for name in self.model_fields_set}
        if settings.get("prior") is not None:
            # it takes the place of what the members state
            for name in ("members", "reserves"):
                stated[name] = [member.model_copy(update={"strength": None}) for member in getattr(self, name)]
        changed = self.parse({**stated, **settings})
        changed._folder = self._folder
        return changed

    @classmethod
    def _checked(cls, source: ConfigSource) -> BlendConfig:
        try:
            config = cls.model_validate(source.values)
        except ValidationError as error:
            raise source.error(error) from None
        config._folder = source.folder
        problem = config._problem()
        if problem is not None:
            raise source.refused(*problem)
        return config

    def _problem(self) -> tuple[tuple[str | int, ...], str] | None:
        """Say what does not fit together, and where; ``None`` if all does."""
        number = len(self.members)
        if self.quorum > number:
            there = f"there is {number} member" if number == 1 else f"there are {number} members"
            return ("quorum",), f"the quorum is {self.quorum} but {there}; lower it or add members"
        named: set[str] = set()
        for place, member in enumerate(self.all_members):
            if member.name in named:
                why = f"two members are named {member.name!r}; give each its own name"
                return (*self._place(place), "name"), why
            named |= {member.name} if member.name is not None else set()
        strong = [place for place, member in enumerate(self.all_members) if member.strength is not None]
        if strong and self.prior is not None:
            return ("prior",), "prior and the members' strength cannot both be given; leave one of them out"
        if len(strong) == 1 and len(self.all_members) > 1:
            only = self.all_members[strong[0]].label
            return (*self._place(strong[0]), "strength"), (
                f"only {only!r} has a strength; give one to at least two members"
            )
        return None

    def _place(self, place: int) -> tuple[str, int]:
        """Say where one of ``all_members`` stands in the file."""
        number = len(self.members)
        return ("members", place) if place < number else ("reserves", place - number)

    @property
    def all_members(self) -> tuple[MemberConfig, ...]:
        """The members, then the reserves."""
        return (*self.members, *self.reserves)

    @property
    def names(self) -> tuple[str, ...]:
        """Name of each member in results, reserves last; equal ones are numbered."""
        seen: Counter[str] = Counter()
        names = []
        for member in self.all_members:
            seen[member.label] += 1
            names.append(f"{member.label}#{seen[member.label]}" if seen[member.label] > 1 else member.label)
        return tuple(names)

    @property
    def is_local(self) -> bool:
        """Whether all members and reserves are local models."""
        return all(member.local is not None for member in self.all_members)

    def answer_tokens(self, member: MemberConfig) -> int | None:
        """Return the longest answer of a member in tokens; ``None`` leaves it to the API."""
        stated = member.max_tokens if member.max_tokens is not None else self.max_tokens
        return MAX_TOKENS if stated is None and member.local is not None else stated

    def answer_temperature(self, member: MemberConfig) -> float | None:
        """Return the temperature of a member; ``None`` leaves it to the model."""
        return member.temperature if member.temperature is not None else self.temperature

    def settings(self, given: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Make the keywords that ``Blender`` and every ``BlendedLLM`` take, without ``fuser`` and ``reserves``.

        Args:
            given: Settings that replace those of the file.

        Returns:
            What is given, and else what the file states. The prior's file is read here. The ranker is loaded by the
            first call.

        Raises:
            ConfigurationError: The prior cannot be read.
        """
        stated: dict[str, Any] = {name: getattr(self, name) for name in DEFAULTS if name in self.model_fields_set}
        for name in ("fuser", "reserves"):
            stated.pop(name, None)
        if self.breaker is not None:
            stated["breaker"] = CircuitBreaker(self.breaker.failures, self.breaker.rest_s)
        if "timeout" in stated:
            stated["timeout"] = None if self.timeout == "none" else self.timeout
        if "ranker" in stated:
            stated["ranker"] = self.beside(self.ranker)
        if given is None or "member_prior" not in given:
            prior = self._prior()
            stated |= {} if prior is None else {"member_prior": prior}
        stated |= given or {}
        if stated.get("policy") is not None:
            # a whole policy replaces the file's limits, but not what is given beside it
            return {name: value for name, value in stated.items() if name not in IN_POLICY or name in (given or {})}
        stated.pop("policy", None)
        if self.budget is not None:
            policy = gather_policy({name: stated.pop(name) for name in IN_POLICY if name in stated})
            budget = Budget(max_tokens=self.budget.max_tokens, max_cost=self.budget.max_cost)
            stated["policy"] = replace(policy, budget=budget)
        return stated

    def beside(self, name: str) -> str:
        """Return a folder's path relative to the file, if there is one; else the name."""
        folder = self._folder / Path(name).expanduser()
        return str(folder) if folder.exists() else name

    def _prior(self) -> MemberPrior | None:
        if self.prior is not None:
            return (
                MemberPrior()
                if self.prior == "none"
                else MemberPrior.load(self._folder / Path(self.prior).expanduser())
            )
        strengths = {
            name: member.strength
            for name, member in zip(self.names, self.all_members, strict=True)
            if member.strength is not None
        }
        return MemberPrior.declared(strengths) if len(strengths) > 1 else None
