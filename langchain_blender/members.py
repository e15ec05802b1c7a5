"""Ask LangChain models, chains and agents as members of a blend."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from typing import Any, Literal

from langchain_core.language_models import BaseChatModel, BaseLanguageModel
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.runnables import Runnable, RunnableConfig
from langchain_core.runnables.base import RunnableBindingBase

from blender_core.errors import ConfigurationError, MemberError, UnsupportedError
from blender_core.events import Thought
from blender_core.local.control_tokens import served_tokens
from blender_core.members.control_tokens import reachable_tokens
from blender_core.members.member import Member
from blender_core.runtime.threads import iterate_in_thread
from blender_core.text.thinking import ThinkingFilter
from blender_core.types.answer import Answer, Price
from blender_core.types.prompt import Prompt
from langchain_blender.capabilities import may_count, why_no_model
from langchain_blender.composition import (
    RunnableMember,
    change_model,
    first_step,
    holds_graph,
    model_of,
    models_of,
    stated_name,
)
from langchain_blender.messages import thought_blocks, to_answer, to_messages
from langchain_blender.structured import AskedSchema, asked_schema, in_own_way, told, with_json_text
from langchain_blender.tools import own_tools
from langchain_blender.tracing import member_config
from langchain_blender.usage import UsageCounter

__all__ = ["TOOL_OPTIONS", "LangChainMember", "MemberInput", "adapt", "why_no_tools"]

MemberInput = Literal["auto", "messages", "text"] | Callable[[Prompt], Any]

# options of `bind_tools`; the other call options are bound to the model
TOOL_OPTIONS = frozenset({"parallel_tool_calls", "response_format", "strict", "tool_choice", "tool_config"})


class LangChainMember(RunnableMember):
    """Asks a LangChain runnable: a chat model, a completion LLM, a chain, or an agent.

    Call options (``temperature``, ``stop``, ...) and tools go to the model inside. Settings bound to the runnable win.
    A chain that shows no model keeps its own settings. The runnable gets the config of the current run, so traces and
    ``configurable`` reach it. Its own retries (``max_retries``, ``with_retry``) come on top of the engine's.

    Thoughts before the answer, in ``<think>`` tags or reasoning blocks, are not part of the answer. The usage of a
    chain or an agent is the sum of its model calls. An agent that fuses does not stream: its text is one piece.

    Args:
        runnable: The runnable.
        name: Shown in results. Default is the model's name, else the runnable's.
        price: Price of its tokens, for the cost in results and for budgets.
        input: The input that it gets: ``"messages"``, ``"text"`` (the prompt as one text), or a function of the
            prompt. ``"auto"`` (default) gives models messages. Other runnables get what their input schema asks for:
            a text, messages, or a dict with one key.
        follows_instructions: Whether it can fuse, which a base model cannot. Default is ``"follows_instructions"`` of
            its model's ``metadata``, else ``True``.

    Raises:
        ConfigurationError: It is not a runnable, or its input needs several keys. Pass ``input=function`` then.

    Examples:
        >>> from langchain_core.language_models import FakeListChatModel
        >>> LangChainMember(FakeListChatModel(responses=["Paris"])).generate(Prompt.of("Capital of France?")).text
        'Paris'
    """

    def __init__(
        self,
        runnable: Runnable[Any, Any],
        *,
        name: str | None = None,
        price: Price | None = None,
        input: MemberInput = "auto",
        follows_instructions: bool | None = None,
    ) -> None:
        if not isinstance(runnable, Runnable):
            raise ConfigurationError(
                f"{type(runnable).__name__} is not a LangChain runnable; pass a model, a chain or a RunnableLambda"
            )
        super().__init__(name or _name_of(runnable), price=price)
        self.runnable = runnable
        self._runs(runnable)
        self.input = input
        self._read = _auto_input(runnable, self.name) if input == "auto" else _input(input)
        self._counts_calls = not _is_model(runnable)
        self._streams = not holds_graph(runnable)
        if follows_instructions is None:
            follows_instructions = _metadata_of(runnable).get("follows_instructions") is not False
        self.follows_instructions = follows_instructions

    def generate(self, prompt: Prompt) -> Answer:
        """Invoke the runnable, blocking."""
        if self._async_only:
            return super().generate(prompt)
        counter = UsageCounter()
        runnable, given = self._ready(prompt)
        return _answer(runnable.invoke(given, self._config(prompt, counter)), prompt, counter)

    async def agenerate(self, prompt: Prompt) -> Answer:
        """Invoke the runnable; it runs in a thread if it would block the event loop."""
        if not self.has_native_async:
            return await super().agenerate(prompt)
        counter = UsageCounter()
        runnable, given = self._ready(prompt)
        return _answer(await runnable.ainvoke(given, self._config(prompt, counter)), prompt, counter)

    def stream(self, prompt: Prompt) -> Iterator[str | Thought | Answer]:
        """Stream the runnable, blocking: pieces of text and thoughts, then the answer."""
        if self._async_only or not self._streams:
            yield from super().stream(prompt)
            return
        counter, stream = UsageCounter(), _TextStream()
        runnable, given = self._ready(prompt)
        for piece in runnable.stream(given, self._config(prompt, counter)):
            yield from stream.take(piece)
        yield from stream.end(counter)

    async def astream(self, prompt: Prompt) -> AsyncIterator[str | Thought | Answer]:
        """Stream the runnable: pieces of text and thoughts, then the answer."""
        if not self._streams:
            async for item in super().astream(prompt):
                yield item
            return
        if not self.has_native_async:
            async for item in iterate_in_thread(lambda: self.stream(prompt)):
                yield item
            return
        counter, stream = UsageCounter(), _TextStream()
        runnable, given = self._ready(prompt)
        async for piece in runnable.astream(given, self._config(prompt, counter)):
            for item in stream.take(piece):
                yield item
        for item in stream.end(counter):
            yield item

    def can_call_tools(self, tools: list[Any]) -> bool:
        """Whether the model inside takes these tools.

        Args:
            tools: Tools as ``bind_tools`` takes them.

        Returns:
            Whether binding them is implemented, and its profile does not say that it cannot.
        """
        return why_no_tools(self, tools) is None

    def why_not(self, prompt: Prompt) -> str | None:
        """Tell why the model's profile rules a prompt out: its images, sound, video or PDF files, or its length.

        A chain, an agent, and a member with an ``input`` of its own read the prompt in their own way.

        Args:
            prompt: The prompt.

        Returns:
            The reason; ``None`` if it can take it, or if that is unknown.
        """
        if self.input not in ("auto", "messages") or not isinstance(first_step(self.runnable), BaseLanguageModel):
            return None
        return why_no_model(models_of(self.runnable), prompt)

    def why_not_blocks(self, prompt: Prompt) -> bool:
        """Tell whether a model's own tokenizer may have to count the prompt.

        Args:
            prompt: The prompt.

        Returns:
            Whether it may. That is rare: most prompts fit by their length in characters.
        """
        if type(self).why_not is not LangChainMember.why_not:
            return True
        return may_count(models_of(self.runnable), prompt)

    @property
    def context_window(self) -> int | None:
        """The ``max_input_tokens`` of its model's profile; ``None`` if it has none."""
        limit = (getattr(model_of(self.runnable), "profile", None) or {}).get("max_input_tokens")
        return limit if isinstance(limit, int) else None

    @property
    def control_tokens(self) -> frozenset[str]:
        """Control tokens of a model that runs in this process or that ``local_ensemble`` serves; else empty."""
        model = model_of(self.runnable)
        return reachable_tokens(model) | served_tokens(getattr(model, "openai_api_base", None))

    def _ready(self, prompt: Prompt) -> tuple[Runnable[Any, Any], Any]:
        """The runnable with the prompt's tools and options bound to its model, and its input."""
        options = {key: value for key, value in prompt.options.items() if value is not None}
        tools, stop = options.pop("tools", None), options.pop("stop", None)
        if stop:
            options["stop"] = [stop] if isinstance(stop, str) else list(stop)
        if tools:
            try:
                return _with_tools(self.runnable, tools, options), self._read(prompt)
            except UnsupportedError as error:
                raise UnsupportedError(
                    f"{self.name} cannot call tools ({error}), so it takes no part in calls with tools"
                ) from error
        options.pop("tool_choice", None)
        asked = asked_schema(options)
        if asked is not None:
            return self._asked(prompt, asked, options)
        if tools is not None:
            # an agent without tools binds an empty list, and options that only ``bind_tools`` reads
            with contextlib.suppress(UnsupportedError):
                return _with_tools(self.runnable, [], options), self._read(prompt)
        return self._with_options(options), self._read(prompt)

    def _asked(self, prompt: Prompt, asked: AskedSchema, options: dict[str, Any]) -> tuple[Runnable[Any, Any], Any]:
        """The runnable asked for structured output as text, and its input."""
        del options["response_format"]
        with contextlib.suppress(UnsupportedError):
            own = change_model(self.runnable, lambda model: _in_own_way(model, asked, options))
            if own is not None:
                return own, self._read(prompt)
        return self._with_options(options), self._read(told(prompt, asked))

    def _with_options(self, options: Mapping[str, Any]) -> Runnable[Any, Any]:
        if not options:
            return self.runnable
        return change_model(self.runnable, lambda model: model.bind(**options)) or self.runnable

    def _config(self, prompt: Prompt, counter: UsageCounter) -> RunnableConfig:
        return member_config(self.name, prompt.purpose, [counter] if self._counts_calls else [])


def adapt(llm: Any) -> Any:
    """Return a ``LangChainMember`` of a runnable, else ``NotImplemented``; an entry point names it."""
    return LangChainMember(llm) if isinstance(llm, Runnable) else NotImplemented


def why_no_tools(member: Member, tools: list[Any]) -> str | None:
    """Return why a member cannot take part in calls with tools.

    Args:
        member: Any member.
        tools: Tools in the OpenAI form.

    Returns:
        The reason; ``None`` if it can.
    """
    if not isinstance(member, LangChainMember):
        return None if member.can_call_tools(tools) else "it says so"
    try:
        _with_tools(member.runnable, tools, {})
    except UnsupportedError as error:
        return str(error)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return None


def _with_tools(runnable: Runnable[Any, Any], tools: list[Any], options: Mapping[str, Any]) -> Runnable[Any, Any]:
    bound = change_model(runnable, lambda model: _bind(model, tools, options), verbatim=True)
    if bound is None:
        raise UnsupportedError("it does not end in a model that could")
    return bound


def _bind(model: Runnable[Any, Any], tools: list[Any], options: Mapping[str, Any]) -> Runnable[Any, Any]:
    bind_tools = getattr(model, "bind_tools", None)
    if bind_tools is None:
        raise UnsupportedError("it has no bind_tools")
    if isinstance(model, BaseChatModel) and (model.profile or {}).get("tool_calling") is False:
        raise UnsupportedError("its profile says so")
    asked = asked_schema({"tools": tools})
    own = None if asked is None else in_own_way(model, asked, _without_tool_options(options))
    if own is not None:
        return own
    try:
        of_tools = {key: value for key, value in options.items() if key in TOOL_OPTIONS}
        bound: Runnable[Any, Any] = bind_tools(own_tools(tools), **of_tools)
    except NotImplementedError as error:
        raise UnsupportedError("it does not implement bind_tools") from error
    except Exception as error:
        raise UnsupportedError(f"{type(error).__name__}: {error}") from error
    return bound.bind(**_without_tool_options(options))


def _without_tool_options(options: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in options.items() if key not in TOOL_OPTIONS}


def _in_own_way(model: Runnable[Any, Any], asked: AskedSchema, options: Mapping[str, Any]) -> Runnable[Any, Any]:
    own = in_own_way(model, asked, options)
    if own is None:
        raise UnsupportedError(f"it does not know {asked.method}")
    return own


def _answer(output: Any, prompt: Prompt, counter: UsageCounter) -> Answer:
    return counter.applied(with_json_text(to_answer(output), asked_schema(prompt.options)))


def _is_model(runnable: Runnable[Any, Any]) -> bool:
    """Tell whether it is one model, with or without bound settings."""
    if isinstance(runnable, RunnableBindingBase):
        return _is_model(runnable.bound)
    return isinstance(runnable, BaseLanguageModel)


def _metadata_of(runnable: Runnable[Any, Any]) -> Mapping[str, Any]:
    return getattr(model_of(runnable), "metadata", None) or {}


def _name_of(runnable: Runnable[Any, Any]) -> str:
    model = model_of(runnable)
    if model is None:
        return stated_name(runnable)
    if model.name:
        return model.name
    stated = model._get_ls_params().get("ls_model_name") if isinstance(model, BaseChatModel) else None
    for name in (stated, *(getattr(model, key, None) for key in ("model_name", "model", "model_id"))):
        if isinstance(name, str) and name:
            return name
    return type(model).__name__


def _input(form: Any) -> Callable[[Prompt], Any]:
    if form == "messages":
        return to_messages
    if form == "text":
        return lambda prompt: prompt.text
    if callable(form):
        return form  # type: ignore[no-any-return]
    raise ConfigurationError(f'input is {form!r}; use "auto", "messages", "text", or a function of the prompt')


def _auto_input(runnable: Runnable[Any, Any], name: str) -> Callable[[Prompt], Any]:
    if isinstance(first_step(runnable), BaseLanguageModel):
        return to_messages
    try:
        schema = runnable.get_input_jsonschema()
    except Exception:
        # some runnables cannot describe their input; most of them take messages
        return to_messages
    kind = _kind(schema, schema)
    if kind != "object":
        return _input("text") if kind == "string" else to_messages
    properties = schema.get("properties") or {}
    keys = list(schema.get("required") or properties)
    if "messages" in properties and set(keys) <= {"messages"}:
        return lambda prompt: {"messages": to_messages(prompt)}
    if not keys:
        return to_messages
    if len(keys) > 1:
        raise ConfigurationError(
            f"{name} asks for {', '.join(keys)}; wrap it: "
            f"LangChainMember(chain, input=lambda prompt: {{{keys[0]!r}: prompt.text, ...}})"
        )
    key = keys[0]
    if _kind(properties.get(key, {}), schema) == "array":
        return lambda prompt: {key: to_messages(prompt)}
    return lambda prompt: {key: prompt.text}


def _kind(part: Mapping[str, Any], schema: Mapping[str, Any]) -> str | None:
    reference = part.get("$ref")
    if isinstance(reference, str):
        part = (schema.get("$defs") or {}).get(reference.rsplit("/", 1)[-1], {})
    kind = part.get("type")
    return kind if isinstance(kind, str) else None


class _TextStream:
    """Collects the pieces of one stream, and tells thoughts from text."""

    def __init__(self) -> None:
        self._pieces: list[Any] = []
        self._filter = ThinkingFilter()
        self._thought_at: int | str | None = None

    def take(self, piece: Any) -> Iterator[str | Thought]:
        self._pieces.append(piece)
        for block in thought_blocks(piece) if isinstance(piece, AIMessage) else ():
            # the parts of a summary differ in their index
            apart = "\n\n" if self._thought_at not in (None, block.get("index")) else ""
            self._thought_at = block.get("index")
            yield Thought(f"{apart}{block['reasoning']}")
        text = piece if isinstance(piece, str) else str(getattr(piece, "text", ""))
        yield from _told(*self._filter.take(text))

    def end(self, counter: UsageCounter) -> Iterator[str | Thought | Answer]:
        yield from _told(*self._filter.rest())
        yield counter.applied(_joined(self._pieces))


def _told(thoughts: str, text: str) -> Iterator[str | Thought]:
    if thoughts:
        yield Thought(thoughts)
    if text:
        yield text


def _joined(pieces: list[Any]) -> Answer:
    if not pieces:
        raise MemberError("the stream ended before it began")
    if isinstance(pieces[0], AIMessageChunk):
        chunks = [piece for piece in pieces if isinstance(piece, AIMessageChunk)]
        whole = chunks[0] + chunks[1:] if len(chunks) > 1 else chunks[0]
        if _is_unfinished(whole):
            raise MemberError("the stream ended before the model was done; the server may have been stopped")
        return to_answer(whole)
    if isinstance(pieces[0], str):
        return to_answer("".join(pieces))
    return to_answer(pieces[-1])


# models of these providers state at the end of a stream why it ended
_STATING = frozenset({"deepseek", "groq", "moonshot", "openai", "openrouter", "xai"})


def _is_unfinished(whole: AIMessageChunk) -> bool:
    """Tell whether the end of a stream is missing: a connection that breaks may end it without an error."""
    metadata = whole.response_metadata
    # "status" is that of the Responses API
    ended = metadata.get("finish_reason") or metadata.get("status") or whole.usage_metadata
    return metadata.get("model_provider") in _STATING and not ended
