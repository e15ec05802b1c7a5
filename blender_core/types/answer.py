"""Define a member's answer: text, tool calls, usage and price."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from blender_core.runtime.numbers import check_number

__all__ = [
    "Answer",
    "Price",
    "ToolCall",
    "Usage",
    "ended_by_error",
    "ended_by_filter",
    "ended_by_length",
    "token_logprobs",
]

# providers' names for an answer that was withheld
_FILTER_REASONS = frozenset(
    {
        "blocklist",
        "content_filter",
        "content_filtered",
        "guardrail_intervened",
        "image_safety",
        "language",
        "prohibited_content",
        "recitation",
        "refusal",
        "safety",
        "spii",
    }
)
# providers' names for a token limit that ended a text
_LENGTH_REASONS = frozenset(
    {
        "length",
        "max_length",
        "max_new_tokens",
        "max_output_tokens",
        "max_tokens",
        "model_context_window_exceeded",
        "model_length",
        "token_limit",
    }
)


@dataclass(frozen=True, slots=True)
class Usage:
    """Counts the tokens of one or more calls.

    Attributes:
        input_tokens: Tokens read.
        output_tokens: Tokens written.
        input_details: Parts of the tokens read, as (name, tokens) sorted by name, if the member reports them:
            from a cache, audio, ...
        output_details: Parts of the tokens written: reasoning, audio, ...
        estimated: Whether a tokenizer counted some of them, because a call did not report its usage.

    Examples:
        >>> Usage(10, 5) + Usage(1, 2)
        Usage(input_tokens=11, output_tokens=7)
        >>> (Usage(10, 5, output_details=(("reasoning", 4),)) + Usage(1, 2)).output_details
        (('reasoning', 4),)
    """

    input_tokens: int = 0
    output_tokens: int = 0
    input_details: tuple[tuple[str, int], ...] = field(default=(), repr=False)
    output_details: tuple[tuple[str, int], ...] = field(default=(), repr=False)
    estimated: bool = field(default=False, repr=False)

    @property
    def total_tokens(self) -> int:
        """Tokens read and written."""
        return self.input_tokens + self.output_tokens

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
            _summed(self.input_details, other.input_details),
            _summed(self.output_details, other.output_details),
            self.estimated or other.estimated,
        )

    def to_dict(self) -> dict[str, int]:
        """Turn the counts into a dictionary by name, with ``total_tokens``."""
        return {
            "input_tokens": self.input_tokens,
            "output_tokens": self.output_tokens,
            "total_tokens": self.total_tokens,
        }


@dataclass(frozen=True, slots=True)
class Price:
    """Holds a member's prices, in any one currency.

    Attributes:
        input_per_million: Price of a million tokens read.
        output_per_million: Price of a million tokens written.

    Examples:
        >>> Price(1.0, 4.0).cost(Usage(500_000, 250_000))
        1.5
    """

    input_per_million: float
    output_per_million: float

    def __post_init__(self) -> None:
        check_number("input_per_million", self.input_per_million, least=0)
        check_number("output_per_million", self.output_per_million, least=0)

    def cost(self, usage: Usage) -> float:
        """Return the cost of ``usage``, in the price's currency."""
        return (usage.input_tokens * self.input_per_million + usage.output_tokens * self.output_per_million) / 1_000_000


@dataclass(frozen=True, slots=True)
class ToolCall:
    """Holds a tool call that a member asks for.

    Attributes:
        name: Name of the tool.
        arguments: Arguments by name, JSON types.
        id: The member's own id of the call, if it has one.
    """

    name: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    id: str | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """Holds one answer of one member.

    Attributes:
        text: The answer's text; may be empty if there are tool calls.
        tool_calls: Tools the member asks for.
        usage: Tokens used; ``None`` if unknown.
        cost: Cost that the member reports; if ``None``, it is computed from the member's price.
        model: The model's own name for itself.
        finish_reason: Why it stopped, as the provider calls it (``"stop"``, ``"length"``, ...).
        refusal: Set if the provider marks the answer as a refusal or as filtered; the answer then counts
            as refused.
        native: The framework's own message, returned unchanged if this answer is picked.
        has_other_content: Whether ``native`` holds other content: an image, audio, a file. Such an answer may
            have no text; it then ranks last.
        thoughts: What the model thought before it answered, as text; neither ranked nor fused.
        logprobs: Each token with the likeliest tokens in its place and their log-probabilities, if the call asked for
            them and the member gives them.
    """

    text: str
    tool_calls: tuple[ToolCall, ...] = ()
    usage: Usage | None = None
    cost: float | None = None
    model: str | None = None
    finish_reason: str | None = None
    refusal: str | None = None
    native: Any = field(default=None, repr=False, compare=False)
    has_other_content: bool = field(default=False, repr=False)
    thoughts: str = field(default="", repr=False)
    logprobs: tuple[tuple[str, Mapping[str, float]], ...] = field(default=(), repr=False, compare=False)


def ended_by_length(finish_reason: str | None) -> bool:
    """Tell whether a token limit cut a text off.

    Args:
        finish_reason: Why it stopped, as the provider calls it.

    Returns:
        Whether it names a token limit.

    Examples:
        >>> ended_by_length("MAX_TOKENS"), ended_by_length("stop")
        (True, False)
    """
    return _plain_reason(finish_reason) in _LENGTH_REASONS


def ended_by_filter(finish_reason: str | None) -> bool:
    """Tell whether a provider withheld an answer, or the model refused.

    Args:
        finish_reason: Why it stopped, as the provider calls it.

    Returns:
        Whether it names a filter or a refusal.

    Examples:
        >>> ended_by_filter("SAFETY"), ended_by_filter("stop")
        (True, False)
    """
    return _plain_reason(finish_reason) in _FILTER_REASONS


def ended_by_error(finish_reason: str | None) -> bool:
    """Tell whether an error of the provider broke a text off.

    Examples:
        >>> ended_by_error("error"), ended_by_error("stop")
        (True, False)
    """
    return _plain_reason(finish_reason) == "error"


def token_logprobs(content: Any) -> tuple[tuple[str, Mapping[str, float]], ...]:
    """Read log-probabilities in the form of the OpenAI chat API, as objects or dictionaries.

    Args:
        content: The ``content`` of its ``logprobs``: a list of tokens.

    Returns:
        Each token with its likeliest alternatives; empty if it cannot be read.

    Examples:
        >>> token_logprobs([{"token": "A", "logprob": -0.1, "top_logprobs": [{"token": "B", "logprob": -2.5}]}])
        (('A', {'A': -0.1, 'B': -2.5}),)
    """
    read = []
    for entry in content if isinstance(content, list | tuple) else ():
        others = _entry(entry, "top_logprobs")
        pairs = [
            (_entry(each, "token"), _entry(each, "logprob"))
            for each in (entry, *(others if isinstance(others, list | tuple) else ()))
        ]
        known = {token: float(value) for token, value in pairs if isinstance(token, str) and _is_number(value)}
        if isinstance(pairs[0][0], str):
            read.append((pairs[0][0], known))
    return tuple(read)


def _entry(value: Any, name: str) -> Any:
    return value.get(name) if isinstance(value, Mapping) else getattr(value, name, None)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _plain_reason(finish_reason: str | None) -> str:
    # an enumeration's member is written as "FinishReason.MAX_TOKENS"
    return str(finish_reason or "").rpartition(".")[2].lower()


def _summed(one: tuple[tuple[str, int], ...], other: tuple[tuple[str, int], ...]) -> tuple[tuple[str, int], ...]:
    total = Counter(dict(one))
    total.update(dict(other))
    return tuple(sorted(total.items()))
