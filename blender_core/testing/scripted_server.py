"""Serve the OpenAI chat API on loopback by a script of answers, latency and faults."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from blender_core.errors import ConfigurationError
from blender_core.testing.script import words

__all__ = ["Reply", "ScriptedServer"]


@dataclass(frozen=True, slots=True)
class Reply:
    """Says how the server answers one request.

    Attributes:
        text: The answer; sent word by word if the client asks for a stream.
        status: HTTP status; any other than 200 sends an error body with ``text`` as its message.
        headers: Further response headers, for example ``{"Retry-After": "1"}``.
        latency_s: Seconds before the answer starts.
        between_s: Seconds between the words of a stream.
        finish_reason: Why the model stopped; ``None`` for a server that does not report it.
        refusal: The model's refusal.
        tool_calls: Name and JSON arguments of each tool call. A mapping is sent as an object, as some servers do.
        usage: Tokens read and written, or the API's own mapping; ``None`` sends no usage.
        hang: Never answer.
        breaks_off: End a stream after its words, as if the server had stopped.
        code: The ``code`` of an error body.
        parts: The content as a list of typed parts, in place of ``text``.
        thoughts: What the model thought before, as ``reasoning_content`` beside the content.
        error: An error object that comes with status 200, in a stream after the words. It is at the top, or in the
            choice if ``finish_reason`` is ``"error"``.
        choices: Whether the body of such an error has choices too.
    """

    text: str = ""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    latency_s: float = 0.0
    between_s: float = 0.0
    finish_reason: str | None = "stop"
    refusal: str | None = None
    tool_calls: tuple[tuple[str, str | Mapping[str, Any]], ...] = ()
    usage: tuple[int, int] | Mapping[str, Any] | None = (7, 3)
    hang: bool = False
    breaks_off: bool = False
    code: str | None = None
    parts: Sequence[Mapping[str, Any] | str] = ()
    thoughts: str = ""
    error: Mapping[str, Any] | None = None
    choices: bool = True


class ScriptedServer:
    """Serves ``/v1/chat/completions`` on a free port of 127.0.0.1 until it is closed.

    Args:
        script: Model name -> one reply for each of its requests, in order; the last reply repeats. Text is a plain
            answer. A single reply need not be in a list.

    Attributes:
        requests: The bodies of all requests, in order of arrival.

    Raises:
        ConfigurationError: A model has no reply.

    Examples:
        >>> import urllib.request
        >>> with ScriptedServer({"echo": "Hello"}) as server:
        ...     body = b'{"model": "echo", "messages": []}'
        ...     reply = urllib.request.urlopen(server.base_url + "/chat/completions", body)
        ...     json.load(reply)["choices"][0]["message"]["content"]
        'Hello'
    """

    def __init__(self, script: Mapping[str, Reply | str | Sequence[Reply | str]]) -> None:
        self.requests: list[dict[str, Any]] = []
        self._script = {model: _replies(model, steps) for model, steps in script.items()}
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.scripted = self
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    @property
    def base_url(self) -> str:
        """URL of the API, with ``/v1``."""
        return f"http://127.0.0.1:{self._server.server_port}/v1"

    @property
    def models(self) -> tuple[str, ...]:
        """Names of the models in the script."""
        return tuple(self._script)

    def close(self) -> None:
        """Stop serving, and drop requests that hang."""
        self._closed.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def __enter__(self) -> ScriptedServer:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def take(self, request: dict[str, Any]) -> Reply:
        """Record a request and return its reply."""
        with self._lock:
            self.requests.append(request)
            model = str(request.get("model", ""))
            steps = self._script.get(model)
            if steps is None:
                return Reply(f"no model {model!r}", status=404, code="model_not_found")
            asked: int = sum(other.get("model") == model for other in self.requests)
            return steps[min(asked, len(steps)) - 1]

    def wait(self, seconds: float | None) -> None:
        """Wait the seconds, ``None`` for ever; closing the server ends the wait."""
        if seconds is None or seconds > 0:
            self._closed.wait(seconds)


def _replies(model: str, steps: Reply | str | Sequence[Reply | str]) -> list[Reply]:
    # a text is a sequence, too: of its letters
    steps = [steps] if isinstance(steps, Reply | str) else steps
    if not steps:
        raise ConfigurationError(f"the script of {model!r} is empty; give it at least one reply")
    return [Reply(step) if isinstance(step, str) else step for step in steps]


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    # many members connect at once
    request_queue_size = 128
    scripted: ScriptedServer

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore clients that close their connection."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))))
        scripted = self.server.scripted
        reply = scripted.take(request)
        scripted.wait(None if reply.hang else reply.latency_s)
        if reply.hang:
            self.close_connection = True
        elif reply.status != 200:
            self._send(reply, {"error": {"message": reply.text, "type": "scripted", "code": reply.code}})
        elif request.get("stream"):
            self._stream(request, reply)
        else:
            content = list(reply.parts) or reply.text or None
            message: dict[str, Any] = {"role": "assistant", "content": content, "refusal": reply.refusal}
            if reply.thoughts:
                message["reasoning_content"] = reply.thoughts
            if reply.tool_calls:
                message["tool_calls"] = _tool_calls(reply)
            in_choice, at_top = _errors(reply)
            choice = {"index": 0, "message": message, "finish_reason": reply.finish_reason} | in_choice
            whole = _envelope(request, "chat.completion", [choice]) | _usage(reply)
            self._send(reply, whole | at_top if reply.choices else at_top)

    def do_GET(self) -> None:
        known = self.path.endswith("/models")
        cards = [
            {"id": model, "object": "model", "created": 0, "owned_by": "script"}
            for model in self.server.scripted.models
        ]
        body = {"object": "list", "data": cards} if known else {"error": {"message": f"no {self.path} here"}}
        self._send(Reply(status=200 if known else 404), body)

    def _send(self, reply: Reply, body: dict[str, Any]) -> None:
        data = json.dumps(body).encode()
        self.send_response(reply.status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        for name, value in reply.headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def _stream(self, request: dict[str, Any], reply: Reply) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True
        deltas: list[dict[str, Any]] = [{"reasoning_content": piece} for piece in words(reply.thoughts)]
        deltas += [{"content": piece} for piece in words(reply.text)]
        deltas += [{"content": [part]} for part in reply.parts]
        if reply.refusal:
            deltas.append({"refusal": reply.refusal})
        for index, call in enumerate(_tool_calls(reply)):
            if not isinstance(call["function"]["arguments"], str):
                deltas.append({"tool_calls": [{**call, "index": index}]})
                continue
            half = len(call["function"]["arguments"]) // 2
            head = {**call["function"], "arguments": call["function"]["arguments"][:half]}
            deltas.append({"tool_calls": [{**call, "index": index, "function": head}]})
            tail = {"arguments": call["function"]["arguments"][half:]}
            deltas.append({"tool_calls": [{"index": index, "function": tail}]})
        for delta in deltas:
            self._event(request, [{"index": 0, "delta": delta, "finish_reason": None}])
            self.server.scripted.wait(reply.between_s)
        if reply.breaks_off:
            return
        in_choice, at_top = _errors(reply)
        self._event(request, [{"index": 0, "delta": {}, "finish_reason": reply.finish_reason} | in_choice], at_top)
        if (request.get("stream_options") or {}).get("include_usage"):
            self._event(request, [], _usage(reply))
        self.wfile.write(b"data: [DONE]\n\n")

    def _event(
        self, request: dict[str, Any], choices: list[dict[str, Any]], more: dict[str, Any] | None = None
    ) -> None:
        body = _envelope(request, "chat.completion.chunk", choices) | (more or {})
        self.wfile.write(f"data: {json.dumps(body)}\n\n".encode())
        self.wfile.flush()

    def log_message(self, format: str, *arguments: Any) -> None:
        """Write nothing to stderr."""


def _envelope(request: dict[str, Any], kind: str, choices: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "id": "scripted",
        "object": kind,
        "created": int(time.time()),
        "model": request["model"],
        "choices": choices,
    }


def _errors(reply: Reply) -> tuple[dict[str, Any], dict[str, Any]]:
    """Make the fields of a choice, and of the reply, that state its error."""
    if reply.error is None:
        return {}, {}
    stated = {"error": dict(reply.error)}
    return (stated, {}) if reply.finish_reason == "error" else ({}, stated)


def _usage(reply: Reply) -> dict[str, Any]:
    if reply.usage is None:
        return {}
    if isinstance(reply.usage, Mapping):
        return {"usage": dict(reply.usage)}
    read, written = reply.usage
    return {"usage": {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}}


def _tool_calls(reply: Reply) -> list[dict[str, Any]]:
    return [
        {"id": f"call_{index}", "type": "function", "function": {"name": name, "arguments": arguments}}
        for index, (name, arguments) in enumerate(reply.tool_calls)
    ]
