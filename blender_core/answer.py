"""What a member LLM gives back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from blender_core.errors import ConfigurationError

__all__ = ["Answer", "Price", "ToolCall", "Usage"]


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens that one or more calls used.

    Attributes:
        input_tokens: Tokens read.
        output_tokens: Tokens written.

    Examples:
        >>> Usage(10, 5) + Usage(1, 2)
        Usage(input_tokens=11, output_tokens=7)
    """

    input_tokens: int = 0
    output_tokens: int = 0

    @property
    def total_tokens(self) -> int:
        """Tokens read and written."""
        return self.input_tokens + self.output_tokens

    def __add__(self, other: Usage) -> Usage:
        return Usage(self.input_tokens + other.input_tokens, self.output_tokens + other.output_tokens)

    def to_dict(self) -> dict[str, int]:
        """The counts by name, with ``total_tokens``."""
        return {
            "input_tokens": self.input_tokens,
            "output_tokens": self.output_tokens,
            "total_tokens": self.total_tokens,
        }


@dataclass(frozen=True, slots=True)
class Price:
    """What a member costs, in any one currency.

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
        if self.input_per_million < 0 or self.output_per_million < 0:
            raise ConfigurationError(f"{self!r} has a negative price; give prices of zero or more")

    def cost(self, usage: Usage) -> float:
        """Cost of ``usage`` in the price's currency."""
        return (usage.input_tokens * self.input_per_million + usage.output_tokens * self.output_per_million) / 1_000_000


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A tool that a member asks to be called.

    Attributes:
        name: Name of the tool.
        arguments: Arguments by name, JSON types.
        id: The member's own id of the call, where it has one.
    """

    name: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    id: str | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer of one member.

    Attributes:
        text: The answer's text; may be empty where there are tool calls.
        tool_calls: Tools the member asks for.
        usage: Tokens used, ``None`` where the member does not say.
        cost: Cost where the member reports it itself; otherwise it follows from the member's price.
        model: The model's own name for itself.
        finish_reason: Why it stopped, in the provider's words (``"stop"``, ``"length"``, ...).
        refusal: Set where the provider marks the answer as a refusal or as filtered; the answer then counts
            as refused.
        native: The framework's own message, handed back untouched when this answer is returned verbatim.
    """

    text: str
    tool_calls: tuple[ToolCall, ...] = ()
    usage: Usage | None = None
    cost: float | None = None
    model: str | None = None
    finish_reason: str | None = None
    refusal: str | None = None
    native: Any = field(default=None, repr=False, compare=False)
