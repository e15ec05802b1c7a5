"""Ask a model of any server with the OpenAI chat API, such as llama.cpp or vLLM."""

from __future__ import annotations

import asyncio
import functools
import importlib
import json
import os
import ssl
import threading
import weakref
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from blender_core.errors import ConfigurationError, MemberError
from blender_core.events import Thought
from blender_core.local.control_tokens import served_tokens
from blender_core.members.member import Member
from blender_core.runtime.extras import require
from blender_core.runtime.numbers import check_number
from blender_core.runtime.outside import read_json
from blender_core.text.thinking import ThinkingFilter, split_thinking
from blender_core.types.answer import Answer, Price, ToolCall, Usage, ended_by_filter, token_logprobs
from blender_core.types.media import Media
from blender_core.types.prompt import Message, Prompt, unreadable

__all__ = [
    "OpenAIMember",
    "api_turns",
]


def api_turns(turns: Sequence[Message]) -> list[dict[str, Any]]:
    """Convert turns to the API's messages.

    A tool call and its result keep their form if an id links them: servers refuse the one without the other. All
    other calls and results, and content that is neither text nor an image, become text.

    Args:
        turns: The turns, oldest first.

    Returns:
        The messages.

    Examples:
        >>> api_turns([Message("user", "Hi"), Message("tool", "42")])
        [{'role': 'user', 'content': 'Hi'}, {'role': 'user', 'content': 'Tool result: 42'}]
    """
    answered = {turn.tool_call_id for turn in turns if turn.role == "tool"}
    asked: set[str | None] = set()
    messages: list[dict[str, Any]] = []
    for turn in turns:
        if turn.tool_calls and all(call.id and call.id in answered for call in turn.tool_calls):
            asked.update(call.id for call in turn.tool_calls)
            calls = [_call(call) for call in turn.tool_calls]
            messages.append({"role": turn.role, "content": _content(turn.parts), "tool_calls": calls})
        elif turn.role != "tool":
            parts = () if turn.tool_calls else turn.parts
            messages.append({"role": turn.role, "content": _content(parts or (turn.content,))})
        elif turn.tool_call_id in asked:
            content = _content((turn.content,))
            messages.append({"role": "tool", "tool_call_id": turn.tool_call_id, "content": content})
        else:
            messages.append({"role": "user", "content": _content((f"Tool result: {turn.content}",))})
    return messages


def _content(parts: Sequence[str | Media]) -> str | list[dict[str, Any]]:
    if any(isinstance(part, Media) and part.kind == "image" for part in parts):
        return [_part(part) for part in parts]
    return _sendable("\n".join(map(str, parts)))


def _part(part: str | Media) -> dict[str, Any]:
    if isinstance(part, str) or part.kind != "image":
        return {"type": "text", "text": _sendable(str(part))}
    url = f"data:{part.mime_type or 'image/png'};base64,{part.data}" if part.data else part.url
    return {"type": "image_url", "image_url": {"url": url}}


def _call(call: ToolCall) -> dict[str, Any]:
    arguments = _sendable(json.dumps(dict(call.arguments), ensure_ascii=False, default=str))
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": arguments}}


def _sendable(text: str) -> str:
    """Make a text valid in UTF-8: join surrogate pairs, replace lone surrogates."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


# call options of a prompt that the chat API knows; others are for other members
_KNOWN_OPTIONS = frozenset(
    {
        "frequency_penalty",
        "logprobs",
        "max_tokens",
        "parallel_tool_calls",
        "presence_penalty",
        "response_format",
        "seed",
        "stop",
        "temperature",
        "tool_choice",
        "tools",
        "top_logprobs",
        "top_p",
    }
)


# the engine's own limit comes first
_LATE_S = 1.0


class OpenAIMember(Member):
    """Asks one model through the OpenAI chat API.

    It never retries: the engine has the only retry loop. Any number of threads and event loops can
    share one object; each loop has its own client, which is closed with the loop.

    Thoughts before the answer are not part of it: in ``<think>`` tags, in parts of type ``thinking``, or where servers
    put them beside the content (``reasoning_content``, ``reasoning``).

    Args:
        model: The model's name at the server.
        base_url: The API's address, for example ``"http://127.0.0.1:8080/v1"``. Default: the ``openai``
            package's own, ``$OPENAI_BASE_URL`` or OpenAI.
        api_key: The key; default ``$OPENAI_API_KEY``. It is optional with a ``base_url``.
        name: Shown in results; default is the model's name.
        max_tokens: Longest answer in tokens; default is the server's.
        temperature: Sampling temperature; default is the server's.
        price: Price of its tokens, if cost matters.
        context_window: Tokens of prompt and answer that fit; ``None`` (default) if unknown.
        timeout: Seconds to wait for the next bytes of the server. The engine's time limits apply too, and shorten it.
        stream_usage: Whether to ask for the usage of streams; ``False`` suits a server that rejects
            ``stream_options``.
        client_options: Further arguments of the ``openai`` clients, for example ``default_headers``.
        request_options: Further arguments of every request, for example ``seed`` or ``extra_body``. A
            prompt's own options override them.

    Raises:
        ConfigurationError: No key was found, or an option is one that this member sets.
        MissingExtraError: The ``openai`` package is not installed.

    Examples:
        >>> OpenAIMember("qwen", base_url="http://127.0.0.1:8080/v1").name
        'qwen'
    """

    known_options = _KNOWN_OPTIONS

    def __init__(
        self,
        model: str,
        *,
        base_url: str | None = None,
        api_key: str | None = None,
        name: str | None = None,
        max_tokens: int | None = None,
        temperature: float | None = None,
        price: Price | None = None,
        context_window: int | None = None,
        timeout: float = 600.0,
        stream_usage: bool = True,
        client_options: Mapping[str, Any] | None = None,
        request_options: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(name or model, price=price)
        self._context_window = context_window
        self._openai = require("openai", feature="OpenAIMember", extra="demo")
        check_number("max_tokens", max_tokens, least=1, whole=True, none="the server's limit")
        check_number("temperature", temperature, least=0, none="the server's")
        check_number("timeout", timeout, above=0, finite=False, none="no limit")
        base_url = base_url or os.environ.get("OPENAI_BASE_URL")
        self._client_options: dict[str, Any] = {
            "api_key": _key(api_key, base_url, self.name),
            "base_url": base_url,
            "timeout": timeout,
            "max_retries": 0,
        }
        _add_options(self._client_options, client_options, "client_options", also_taken={"http_client"})
        self._request_options: dict[str, Any] = {"model": model}
        _add_options(self._request_options, request_options, "request_options", also_taken={"messages", "stream"})
        if max_tokens is not None:
            self._request_options["max_tokens"] = max_tokens
        if temperature is not None:
            self._request_options["temperature"] = temperature
        # OpenAI's newer models refuse max_tokens, most other servers know nothing else
        self._speaks_new_limit = base_url is None or "api.openai.com" in base_url
        self._stream_usage = stream_usage
        # a proxy from the environment cannot reach this machine's loopback
        self._trust_env = urlsplit(base_url or "").hostname not in ("127.0.0.1", "localhost", "::1")
        # both take tens of milliseconds, too long for a running event loop
        require("openai.resources.chat.completions", feature="OpenAIMember", extra="demo")
        _tls()
        self._lock = threading.Lock()
        self._sync_client: Any = None
        self._async_clients: dict[asyncio.AbstractEventLoop, tuple[Any, AsyncIterator[None]]] = {}

    def __getstate__(self) -> dict[str, Any]:
        # connections, locks and modules cannot be copied; a copy opens its own
        own = {"_openai", "_lock", "_sync_client", "_async_clients"}
        return {name: value for name, value in self.__dict__.items() if name not in own}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._openai = require("openai", feature="OpenAIMember", extra="demo")
        self._lock = threading.Lock()
        self._sync_client = None
        self._async_clients = {}

    @property
    def model(self) -> str:
        """The model's name at the server."""
        return str(self._request_options["model"])

    async def list_models(self) -> list[dict[str, Any]]:
        """Return what the server says of its models.

        Returns:
            The cards of the API's model list, with at least ``id``.

        Raises:
            openai.OpenAIError: The server has no list, or the request failed.
        """
        client = await self._async()
        return [card.model_dump() for card in (await client.models.list()).data]

    @property
    def context_window(self) -> int | None:
        """Most tokens that one call reads and writes; ``None`` if unknown."""
        return self._context_window

    def generate(self, prompt: Prompt) -> Answer:
        """Ask the model, blocking.

        Args:
            prompt: The prompt.

        Returns:
            The answer with its tool calls and usage; ``refusal`` is set if the server says so.

        Raises:
            MemberError: The reply cannot be read.
            openai.OpenAIError: The request failed, or the reply is an error with HTTP status 200. The engine
                classifies these errors.
        """
        return _answer(self._sync().chat.completions.create(**self._request(prompt)))

    async def agenerate(self, prompt: Prompt) -> Answer:
        """Ask the model without blocking the event loop; see ``generate``."""
        client = await self._async()
        return _answer(await client.chat.completions.create(**self._request(prompt)))

    def stream(self, prompt: Prompt) -> Iterator[str | Thought | Answer]:
        """Ask the model; yield text and thoughts as they come, then the whole ``Answer``.

        Raises:
            MemberError: The stream ended early, with neither a finish reason nor usage.
            openai.OpenAIError: The request failed.
        """
        parts = _StreamParts()
        with self._sync().chat.completions.create(**self._request(prompt, stream=True)) as chunks:
            for chunk in chunks:
                yield from parts.take(chunk)
        yield from parts.end()

    async def astream(self, prompt: Prompt) -> AsyncIterator[str | Thought | Answer]:
        """Stream without blocking the event loop; see ``stream``."""
        client = await self._async()
        parts = _StreamParts()
        async with await client.chat.completions.create(**self._request(prompt, stream=True)) as chunks:
            async for chunk in chunks:
                for piece in parts.take(chunk):
                    yield piece
        for part in parts.end():
            yield part

    def why_not(self, prompt: Prompt) -> str | None:
        """Refuse sound and files, which are not sent to the server."""
        return unreadable(prompt, "image")

    def why_not_blocks(self, prompt: Prompt) -> bool:
        """Return ``False``, unless a subclass writes ``why_not`` anew."""
        return type(self).why_not is not OpenAIMember.why_not

    @property
    def control_tokens(self) -> frozenset[str]:
        """Control tokens of a model that ``local_ensemble`` serves; of another server they are unknown."""
        return served_tokens(self._client_options["base_url"])

    def close(self) -> None:
        """Close the connections of blocking calls; those of an event loop close with the loop."""
        with self._lock:
            client, self._sync_client = self._sync_client, None
        if client is not None:
            client.close()

    def _request(self, prompt: Prompt, *, stream: bool = False) -> dict[str, Any]:
        options = {key: value for key, value in prompt.options.items() if key in _KNOWN_OPTIONS}
        request = {**self._request_options, **options, "messages": api_turns(prompt.messages)}
        if "tool_choice" in request:
            request["tool_choice"] = _tool_choice(request["tool_choice"])
        if self._speaks_new_limit and "max_tokens" in request:
            request["max_completion_tokens"] = request.pop("max_tokens")
        if prompt.time_limit_s is not None:
            # a blocking read of a server that stalls would keep its thread long after the call
            own = request.get("timeout", self._client_options["timeout"])
            limit = prompt.time_limit_s + _LATE_S
            request["timeout"] = min(own, limit) if isinstance(own, int | float) else limit
        if stream:
            request["stream"] = True
            if self._stream_usage:
                request["stream_options"] = {"include_usage": True}
        return request

    def _sync(self) -> Any:
        with self._lock:
            if self._sync_client is None:
                http = self._openai.DefaultHttpxClient(verify=_tls(), trust_env=self._trust_env)
                self._sync_client = self._openai.OpenAI(http_client=http, **self._client_options)
                weakref.finalize(self, http.close)
            return self._sync_client

    async def _async(self) -> Any:
        """Return the client of the running loop: connections belong to the loop that opened them."""
        loop = asyncio.get_running_loop()
        with self._lock:
            known = self._async_clients.get(loop)
        if known is not None:
            return known[0]
        http = self._openai.DefaultAsyncHttpxClient(verify=_tls(), trust_env=self._trust_env)
        client = self._openai.AsyncOpenAI(http_client=http, **self._client_options)
        keeper = self._keep(loop, client)
        with self._lock:
            for closed in [other for other in self._async_clients if other.is_closed()]:
                del self._async_clients[closed]
            self._async_clients[loop] = client, keeper
        await anext(keeper)
        return client

    async def _keep(self, loop: asyncio.AbstractEventLoop, client: Any) -> AsyncIterator[None]:
        # asyncio closes asynchronous generators before it closes their loop: the last moment at which idle
        # connections can be closed
        try:
            yield
        finally:
            with self._lock:
                self._async_clients.pop(loop, None)
            await client.close()


class _StreamParts:
    """Assembles an answer from the chunks of a stream."""

    def __init__(self) -> None:
        self._text: list[str] = []
        self._thoughts: list[str] = []
        self._refusal: list[str] = []
        self._calls: dict[int, dict[str, str]] = {}
        self._usage: Usage | None = None
        self._model: str | None = None
        self._finish_reason: str | None = None
        self._counted = False
        self._filter = ThinkingFilter()

    def take(self, chunk: Any) -> Iterator[str | Thought]:
        """Take one chunk, and yield its thoughts and its text."""
        self._model = chunk.model or self._model
        self._usage = _usage(chunk.usage) or self._usage
        if not chunk.choices:
            self._counted = chunk.usage is not None
            return
        choice = chunk.choices[0]
        _raise_stated_error(chunk, choice)
        self._finish_reason = choice.finish_reason or self._finish_reason
        delta = choice.delta
        if delta is None:
            return
        self._refusal.append(getattr(delta, "refusal", None) or "")
        for part in delta.tool_calls or []:
            call = self._calls.setdefault(part.index, {"id": "", "name": "", "arguments": ""})
            call["id"] = part.id or call["id"]
            if part.function is not None:
                call["name"] += part.function.name or ""
                call["arguments"] += _as_json(part.function.arguments)
        if stated := _stated_thoughts(delta):
            self._thoughts.append(stated)
            yield Thought(stated)
        text = _text(delta.content)
        self._text.append(text)
        yield from _told(*self._filter.take(text))

    def end(self) -> Iterator[str | Thought | Answer]:
        """Yield what the thinking filter held back, then the answer."""
        yield from _told(*self._filter.rest())
        # the client hides the stream's end mark; usage comes after all text
        if self._finish_reason is None and not self._counted:
            raise MemberError("the stream ended before the model was done; the server may have been stopped")
        thoughts, text = split_thinking("".join(self._text))
        yield Answer(
            text,
            tool_calls=tuple(
                _tool_call(call["name"], call["arguments"], call["id"]) for _, call in sorted(self._calls.items())
            ),
            usage=self._usage,
            model=self._model,
            finish_reason=self._finish_reason,
            refusal=_refusal("".join(self._refusal), self._finish_reason),
            thoughts="".join(self._thoughts) or thoughts,
        )


def _told(thoughts: str, text: str) -> Iterator[str | Thought]:
    if thoughts:
        yield Thought(thoughts)
    if text:
        yield text


@functools.cache
def _tls() -> ssl.SSLContext:
    """Make one TLS context for all members: loading the certificates is slow."""
    openai = require("openai", feature="OpenAIMember", extra="demo")
    packages = [base.__module__.split(".")[0] for base in openai.DefaultHttpxClient.__mro__]
    # the package has changed its HTTP library before
    httpx = importlib.import_module(next(package for package in packages if package.startswith("httpx")))
    context: ssl.SSLContext = httpx.create_ssl_context()
    return context


def _key(api_key: str | None, base_url: str | None, name: str) -> str:
    key = api_key or os.environ.get("OPENAI_API_KEY")
    if key:
        return key
    if base_url is None:
        raise ConfigurationError(
            f"no API key for {name!r}: pass api_key, set OPENAI_API_KEY, or give the base_url of a server "
            "that needs none"
        )
    # the package requires a key; a server that needs none ignores it
    return "not-needed"


def _add_options(
    options: dict[str, Any], more: Mapping[str, Any] | None, argument: str, *, also_taken: set[str]
) -> None:
    taken = sorted((options.keys() | also_taken) & (more or {}).keys())
    if taken:
        raise ConfigurationError(f"{argument} holds {', '.join(taken)}, which OpenAIMember sets itself")
    options.update(more or {})


def _tool_choice(choice: Any) -> Any:
    """Convert a choice to the API's form; frameworks also use ``"any"`` or a tool's name."""
    if choice in ("any", True):
        return "required"
    if isinstance(choice, str) and choice not in ("auto", "none", "required"):
        return {"type": "function", "function": {"name": choice}}
    return choice


def _answer(completion: Any) -> Answer:
    choices = getattr(completion, "choices", None)
    _raise_stated_error(completion, *(choices or ())[:1])
    if not choices:
        raise MemberError(f"the server's reply has no choices: {str(completion)[:200]!r}")
    choice = choices[0]
    message = choice.message
    calls = [call for call in message.tool_calls or [] if getattr(call, "function", None) is not None]
    thoughts, text = split_thinking(_text(message.content))
    return Answer(
        text,
        tool_calls=tuple(_tool_call(call.function.name, _as_json(call.function.arguments), call.id) for call in calls),
        usage=_usage(completion.usage),
        model=completion.model,
        finish_reason=choice.finish_reason,
        refusal=_refusal(getattr(message, "refusal", None), choice.finish_reason),
        thoughts=_stated_thoughts(message) or thoughts,
        logprobs=token_logprobs(getattr(getattr(choice, "logprobs", None), "content", None)),
    )


def _raise_stated_error(*parts: Any) -> None:
    """Raise the error that a reply with HTTP status 200 states, at its top or in its choice."""
    for part in parts:
        error = getattr(part, "error", None)
        if error:
            openai = require("openai", feature="OpenAIMember", extra="demo")
            message = error.get("message") if isinstance(error, Mapping) else error
            raise openai.APIError(str(message or error), None, body=error)


def _text(content: Any) -> str:
    """Return the text of a message's content, which some servers give as a list of typed parts."""
    if not isinstance(content, list):
        return content or ""
    # parts of other types are thoughts, references, or media
    return "".join(
        part if isinstance(part, str) else part.get("text") or ""
        for part in content
        if isinstance(part, str) or (isinstance(part, Mapping) and part.get("type") in ("text", "output_text"))
    )


def _stated_thoughts(message: Any) -> str:
    """Return the thoughts beside a message's text; servers differ in where they put them."""
    for name in ("reasoning_content", "reasoning"):
        stated = getattr(message, name, None)
        if isinstance(stated, str) and stated:
            return stated
    if not isinstance(message.content, list):
        return ""
    parts = (part.get("thinking") for part in message.content if isinstance(part, Mapping))
    return "".join(part if isinstance(part, str) else _text(part) for part in parts if part)


def _as_json(arguments: Any) -> str:
    """Return a tool call's arguments as JSON; some servers give the object itself."""
    return arguments or "" if isinstance(arguments, str | None) else json.dumps(arguments)


def _tool_call(name: str, arguments: str, call_id: str | None) -> ToolCall:
    try:
        parsed = read_json(arguments or "{}")
    except ValueError as error:
        raise MemberError(f"the arguments of tool call {name!r} are not JSON: {arguments[:200]!r}") from error
    if not isinstance(parsed, dict):
        raise MemberError(f"the arguments of tool call {name!r} are not a JSON object: {arguments[:200]!r}")
    return ToolCall(name, parsed, call_id or None)


def _usage(usage: Any) -> Usage | None:
    read, written = _count(usage, "prompt_tokens"), _count(usage, "completion_tokens")
    if read is None and written is None:
        return None
    parts = _parts(usage, "prompt_tokens_details"), _parts(usage, "completion_tokens_details")
    return Usage(read or 0, written or 0, *parts)


def _parts(usage: Any, name: str) -> tuple[tuple[str, int], ...]:
    """Collect the token details above zero, with LangChain's names."""
    details: Any = getattr(usage, name, None)
    # servers also send counts that the client does not know
    found = details.model_dump(warnings=False) if hasattr(details, "model_dump") else {}
    named = {"cached_tokens": "cache_read"}
    counts = {named.get(key, key.removesuffix("_tokens")): count for key, count in found.items()}
    return tuple(sorted((key, count) for key, count in counts.items() if type(count) is int and count > 0))


def _count(usage: Any, name: str) -> int | None:
    count = getattr(usage, name, None)
    return count if isinstance(count, int) else None


def _refusal(refusal: str | None, finish_reason: str | None) -> str | None:
    if refusal:
        return refusal
    return "removed by the provider's content filter" if ended_by_filter(finish_reason) else None
