"""What is asked: one prompt, in the engine's words and in the caller's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

from blender_core.answer import ToolCall
from blender_core.errors import ConfigurationError
from blender_core.media import Media

__all__ = ["Message", "Prompt", "PromptLike"]

_ROLES = ("system", "user", "assistant", "tool")
_SPEAKERS = {"system": "System", "user": "User", "assistant": "Assistant", "tool": "Tool"}


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation.

    Attributes:
        role: ``"system"``, ``"user"``, ``"assistant"`` or ``"tool"``.
        content: The turn's text, with marks such as ``[image]`` where it holds more than text. Rankers and fusers
            read this.
        parts: Text and other content in order, where the text is not everything; empty where ``content`` is.
        tool_calls: Tools that the assistant asked for in this turn.
        tool_call_id: The call that a tool's turn answers.
    """

    role: str
    content: str
    parts: tuple[str | Media, ...] = ()
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None

    def __post_init__(self) -> None:
        if self.role not in _ROLES:
            raise ConfigurationError(f"role {self.role!r} is unknown; use one of {', '.join(_ROLES)}")


@dataclass(frozen=True, slots=True)
class Prompt:
    r"""A conversation for the members to answer.

    Attributes:
        messages: The turns, oldest first; at least one.
        native: The same input in a framework's own form. Members of that framework get it untouched.
        options: Call options such as ``stop``, ``temperature`` or ``tools``, for members that know them.
        purpose: ``"answer"``; ``"fuse"`` or ``"judge"`` where a member is asked to fuse or to judge; members use
            it to name their traces.

    Examples:
        >>> Prompt.of("Why is the sky blue?").text
        'Why is the sky blue?'
        >>> Prompt.of([("system", "Be brief."), ("user", "Hi"), ("assistant", "Hello"), ("user", "Bye")]).text
        'System: Be brief.\nUser: Hi\nAssistant: Hello\nUser: Bye'
    """

    messages: tuple[Message, ...]
    native: Any = field(default=None, repr=False, compare=False)
    options: Mapping[str, Any] = field(default_factory=dict)
    purpose: str = "answer"

    def __post_init__(self) -> None:
        if not self.messages:
            raise ConfigurationError("the prompt has no messages; pass a question or at least one turn")
        wrong = next((turn for turn in self.messages if not isinstance(turn, Message)), None)
        if wrong is not None:
            raise ConfigurationError(
                f"a prompt is made of messages, not of {type(wrong).__name__}; Prompt.of(...) takes text and turns"
            )
        object.__setattr__(self, "options", MappingProxyType(dict(self.options)))

    @property
    def text(self) -> str:
        """The prompt flattened for a ranker or a fuser.

        A single user turn is its own text; anything longer becomes one ``User:``, ``Assistant:``, ``System:``
        or ``Tool:`` block a turn, the form in which the training data writes conversations.
        """
        if len(self.messages) == 1 and self.messages[0].role == "user":
            return self.messages[0].content
        return "\n".join(f"{_SPEAKERS[turn.role]}: {turn.content}" for turn in self.messages)

    @classmethod
    def of(cls, value: PromptLike) -> Prompt:
        """Read a prompt from a string, a prompt, or a list of turns.

        Args:
            value: A question; a ``Prompt``; or turns as ``Message``, ``(role, content)`` or
                ``{"role": ..., "content": ...}``.

        Returns:
            The prompt.

        Raises:
            ConfigurationError: The value is none of these.
        """
        if isinstance(value, Prompt):
            return value
        if isinstance(value, str):
            return cls((Message("user", value),))
        if isinstance(value, Sequence):
            return cls(tuple(_message(turn) for turn in value))
        raise ConfigurationError(
            f"cannot read a prompt from {type(value).__name__}; pass a string, or turns as (role, content)"
        )

    def with_options(self, **options: Any) -> Prompt:
        """A copy with further call options."""
        return replace(self, options={**self.options, **options})


PromptLike = str | Prompt | Sequence[Message | tuple[str, str] | Mapping[str, str]]


def _message(turn: Any) -> Message:
    if isinstance(turn, Message):
        return turn
    if isinstance(turn, Mapping) and {"role", "content"} <= set(turn):
        return Message(turn["role"], turn["content"])
    if isinstance(turn, tuple) and len(turn) == 2:
        return Message(*turn)
    raise ConfigurationError(f"cannot read a turn from {turn!r}; use (role, content)")
