"""Define the prompt: turns that every member reads, and the caller's input in its own form."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

from blender_core.errors import ConfigurationError
from blender_core.types.answer import ToolCall
from blender_core.types.media import Media, MediaKind
from blender_core.types.votes import normalised_call

__all__ = ["Message", "Prompt", "PromptLike", "unreadable"]

_ROLES = ("system", "user", "assistant", "tool")
_SPEAKERS = {"system": "System", "user": "User", "assistant": "Assistant", "tool": "Tool"}


@dataclass(frozen=True, slots=True)
class Message:
    """Holds one turn of a conversation.

    Attributes:
        role: ``"system"``, ``"user"``, ``"assistant"`` or ``"tool"``.
        content: The turn as text, with marks such as ``[image]`` for other content. Rankers and fusers read this.
        parts: Text and other content in order; empty if ``content`` holds everything.
        tool_calls: Tools that the assistant calls in this turn.
        tool_call_id: Id of the call that a tool's turn answers.
    """

    role: str
    content: str
    parts: tuple[str | Media, ...] = ()
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None

    def __post_init__(self) -> None:
        if self.role not in _ROLES:
            raise ConfigurationError(f"role {self.role!r} is unknown; use one of {', '.join(_ROLES)}")
        if not isinstance(self.content, str):
            raise ConfigurationError(
                f"the content of a message is text, not {type(self.content).__name__}; "
                "Prompt.of(...) reads lists of parts, and None together with tool calls"
            )


@dataclass(frozen=True, slots=True)
class Prompt:
    r"""Holds a conversation for the members to answer.

    Attributes:
        messages: The turns, oldest first; at least one.
        native: The same input in a framework's own format. Members of that framework get it unchanged.
        options: Call options such as ``stop``, ``temperature`` or ``tools``, for members that know them.
        purpose: The member's task: ``"answer"``, ``"fuse"`` or ``"judge"``. Traces show it.
        structured: Whether a program reads the answer, for example by a schema. Such answers are picked, never
            fused.
        member: Name of the member that is asked, unique in its ensemble; empty before the call.
        time_limit_s: Seconds for which the engine waits for the answer; ``None`` is no limit. A client that blocks a
            thread should stop soon after it, because Python cannot stop the thread.

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
    structured: bool = False
    member: str = field(default="", repr=False, compare=False)
    time_limit_s: float | None = field(default=None, repr=False, compare=False)

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
    def media(self) -> tuple[Media, ...]:
        """The images, sounds and files of all turns, in order."""
        return tuple(part for turn in self.messages for part in turn.parts if isinstance(part, Media))

    @property
    def text(self) -> str:
        """The prompt as one text, for rankers and fusers.

        A single user turn is returned unchanged. Otherwise each turn becomes a block that starts with ``User:``,
        ``Assistant:``, ``System:`` or ``Tool:``, as in the training data.
        """
        if len(self.messages) == 1 and self.messages[0].role == "user":
            return self.messages[0].content
        return "\n".join(f"{_SPEAKERS[turn.role]}: {turn.content}" for turn in self.messages)

    @classmethod
    def of(cls, value: PromptLike) -> Prompt:
        """Make a prompt from a string, a prompt, or a list of turns.

        Args:
            value: A question; a ``Prompt``; or turns. A turn is a ``Message``, ``(role, content)``, or a dict in the
                form of the OpenAI chat API. The content of a dict may be a list of text and images. It may have
                ``tool_calls`` or a ``tool_call_id``.

        Returns:
            The prompt.

        Raises:
            ConfigurationError: The value is none of these, or has other content, such as sound. The message shows
                the form that can be read.
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
        """Return a copy with further call options."""
        return replace(self, options={**self.options, **options})

    def __reduce__(self) -> tuple[type[Prompt], tuple[Any, ...]]:
        # the read-only view of the options cannot be pickled
        return type(self), (self.messages, self.native, dict(self.options), self.purpose, self.structured, self.member)


def unreadable(prompt: Prompt, *readable: MediaKind) -> str | None:
    """Tell why a member that reads some kinds of content only cannot take a prompt.

    Args:
        prompt: The prompt.
        readable: The kinds that it reads besides text.

    Returns:
        The reason; ``None`` if it can read everything.

    Examples:
        >>> unreadable(Prompt.of([{"role": "user", "content": [{"type": "image_url", "image_url": "https://x/y"}]}]))
        'it reads no image'
    """
    kind = next((media.kind for media in prompt.media if media.kind not in readable), None)
    return None if kind is None else f"it reads no {kind}"


PromptLike = str | Prompt | Sequence[Message | tuple[str, str] | Mapping[str, Any]]


def _message(turn: Any) -> Message:
    if isinstance(turn, Message):
        return turn
    if isinstance(turn, tuple) and len(turn) == 2:
        turn = dict(zip(("role", "content"), turn, strict=True))
    if not isinstance(turn, Mapping) or "role" not in turn:
        raise ConfigurationError(f"cannot read a turn from {turn!r}; use (role, content)")
    role, call_id = turn["role"], turn.get("tool_call_id")
    calls = _tool_calls(turn.get("tool_calls"))
    if calls and role != "assistant":
        raise ConfigurationError(f"a turn of role {role!r} has tool_calls; only the assistant calls tools")
    if call_id is not None and not isinstance(call_id, str):
        raise ConfigurationError(f"tool_call_id is {call_id!r}, not text")
    parts = _parts(turn.get("content"), may_be_none=bool(calls))
    written = [f"[calls {call.name}({json.dumps(dict(call.arguments), ensure_ascii=False)})]" for call in calls]
    plain = not calls and all(isinstance(part, str) for part in parts)
    return Message(role, "\n".join([*map(str, parts), *written]), () if plain else parts, calls, call_id)


def _parts(content: Any, *, may_be_none: bool) -> tuple[str | Media, ...]:
    if content is None and may_be_none:
        return ()
    if isinstance(content, str):
        return (content,) if content else ()
    if not isinstance(content, list | tuple):
        raise ConfigurationError(
            f"the content of a turn is {type(content).__name__}; give text, or a list of text and images"
        )
    return tuple(map(_part, content))


def _part(part: Any) -> str | Media:
    if isinstance(part, str):
        return part
    kind = part.get("type") if isinstance(part, Mapping) else type(part).__name__
    value = part.get(kind) if kind in ("text", "image_url") else None
    if kind == "image_url":
        url = value.get("url") if isinstance(value, Mapping) else value
        if isinstance(url, str):
            return _image(url)
    elif isinstance(value, str):
        return value
    raise ConfigurationError(
        f"cannot read a part of type {kind!r} of a turn's content; use "
        '{"type": "text", "text": ...} or {"type": "image_url", "image_url": {"url": ...}}'
    )


def _image(url: str) -> Media:
    head, mark, data = url.partition(";base64,")
    if head.startswith("data:") and mark:
        return Media("image", data=data, mime_type=head.removeprefix("data:") or None)
    return Media("image", url=url)


def _tool_calls(stated: Any) -> tuple[ToolCall, ...]:
    if not isinstance(stated, list | tuple | None):
        raise ConfigurationError(f"the tool_calls of a turn are {type(stated).__name__}; give a list")
    return tuple(map(_tool_call, stated or ()))


def _tool_call(call: Any) -> ToolCall:
    function = call.get("function") if isinstance(call, Mapping) else None
    name = function.get("name") if isinstance(function, Mapping) else None
    if not isinstance(function, Mapping) or not isinstance(name, str):
        raise ConfigurationError(
            f'cannot read a tool call from {call!r}; use {{"id": ..., "function": {{"name": ..., "arguments": ...}}}}'
        )
    if not isinstance(call.get("id"), str | None):
        raise ConfigurationError(f"the id of tool call {name!r} is {call['id']!r}, not text")
    arguments = function.get("arguments") or "{}"
    try:
        # a mapping is read through JSON too: it must be JSON, and the caller may change it later
        read = ToolCall(
            name, json.loads(arguments if isinstance(arguments, str) else json.dumps(arguments)), call.get("id")
        )
        # raises RecursionError if they are nested too deep
        normalised_call(read)
    except (TypeError, ValueError, RecursionError) as error:
        raise ConfigurationError(f"the arguments of tool call {name!r} cannot be read: {error}") from error
    if not isinstance(read.arguments, dict):
        raise ConfigurationError(f"the arguments of tool call {name!r} are not a JSON object")
    return read
