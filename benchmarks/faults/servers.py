"""Serve the OpenAI chat API badly, in a process of its own: one port for each kind of fault.

It prints its ports as one line of JSON, and ends with its standard input. A line ``relay PORT`` on the input sends the
port ``relay`` on to another server from then on.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

_WORDS = ["The", "capital", "of", "France", "is", "Paris", "which", "lies", "on", "the", "Seine", "and", "holds", "it."]
_RNG = random.Random(0)

Writer = asyncio.StreamWriter


class _Request:
    """Holds what a client asked."""

    def __init__(self, body: dict[str, Any]) -> None:
        self.streams = bool(body.get("stream"))
        self.text = " ".join(_RNG.sample(_WORDS, 12))

    def events(self) -> list[bytes]:
        events = [self._event({"content": word + " "}, None) for word in self.text.split()]
        return [*events, self._event({}, "stop"), b"data: [DONE]\n\n"]

    def _event(self, delta: dict[str, str], finish: str | None) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        body = {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}
        return f"data: {json.dumps(body)}\n\n".encode()

    def whole(self) -> bytes:
        choice = {"index": 0, "message": {"role": "assistant", "content": self.text}, "finish_reason": "stop"}
        body = {"id": "x", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]}
        return json.dumps(body | {"usage": {"prompt_tokens": 9, "completion_tokens": 12, "total_tokens": 21}}).encode()


Fault = Callable[[_Request, Writer], Awaitable[None]]


def _head(status: int, length: int | None, kind: str = "application/json", more: str = "") -> bytes:
    size = "Connection: close\r\n" if length is None else f"Content-Length: {length}\r\n"
    return f"HTTP/1.1 {status} Said\r\nContent-Type: {kind}\r\n{size}{more}\r\n".encode()


async def _send(request: _Request, writer: Writer, *, between_s: float = 0.0, parts: int = 10**6) -> None:
    """Send an answer in pieces; after some of them, cut the connection."""
    if request.streams:
        writer.write(_head(200, None, "text/event-stream"))
        pieces = request.events()
    else:
        body = request.whole()
        writer.write(_head(200, len(body)))
        step = 1 + len(body) // 14
        pieces = [body[start : start + step] for start in range(0, len(body), step)]
    for number, piece in enumerate(pieces):
        if number == parts:
            writer.transport.abort()
            return
        writer.write(piece)
        await writer.drain()
        await asyncio.sleep(between_s)
    if request.streams:
        writer.close()


async def _good(request: _Request, writer: Writer) -> None:
    await asyncio.sleep(_RNG.uniform(0.02, 0.3))
    await _send(request, writer)


async def _trickle(request: _Request, writer: Writer) -> None:
    await _send(request, writer, between_s=0.15)


async def _cut(request: _Request, writer: Writer) -> None:
    await _send(request, writer, between_s=0.01, parts=_RNG.randrange(1, 12))


async def _drop(_request: _Request, writer: Writer) -> None:
    writer.transport.abort()


async def _stall(_request: _Request, _writer: Writer) -> None:
    await asyncio.sleep(3600)


async def _quota(_request: _Request, writer: Writer) -> None:
    body = b'{"error": {"message": "slow down", "type": "rate_limit"}}'
    writer.write(_head(429, len(body), more="Retry-After: 1\r\n") + body)


async def _broken(_request: _Request, writer: Writer) -> None:
    body = _RNG.choice([b'{"error": {"message": "oops"}}', b"<html>502 Bad Gateway</html>", b""])
    writer.write(_head(_RNG.choice([500, 502, 503]), len(body)) + body)


async def _garbage(request: _Request, writer: Writer) -> None:
    body = _RNG.choice(
        [b"{", b"[]", b"null", b'{"choices": 3}', b'data: {"choices": [', b"\xff\xfe\x00", b"data: 7\n\n"]
    )
    kind = "text/event-stream" if request.streams else "application/json"
    writer.write(_head(200, len(body), kind) + body)


FAULTS: dict[str, Fault] = {
    "good": _good,
    "trickle": _trickle,
    "cut": _cut,
    "drop": _drop,
    "stall": _stall,
    "quota": _quota,
    "broken": _broken,
    "garbage": _garbage,
}


async def _requests(reader: asyncio.StreamReader) -> AsyncIterator[_Request]:
    while head := await reader.readuntil(b"\r\n\r\n"):
        length = 0
        for line in head.decode("latin-1").split("\r\n"):
            name, _, value = line.partition(":")
            length = int(value) if name.lower() == "content-length" else length
        yield _Request(json.loads(await reader.readexactly(length)))


def _handler(fault: Fault) -> Callable[[asyncio.StreamReader, Writer], Awaitable[None]]:
    async def handle(reader: asyncio.StreamReader, writer: Writer) -> None:
        # a client that leaves ends what it waits for
        gone = asyncio.ensure_future(writer.wait_closed())
        gone.add_done_callback(lambda done: done.cancelled() or done.exception())
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            async for request in _requests(reader):
                task = asyncio.ensure_future(fault(request, writer))
                await asyncio.wait([task, gone], return_when=asyncio.FIRST_COMPLETED)
                if not task.done():
                    task.cancel()
                    break
                await task
                if writer.is_closing():
                    break
                await writer.drain()
        writer.close()

    return handle


class _Gone:
    """Serves well for some seconds, then closes its port and all connections for some seconds, and so on."""

    def __init__(self) -> None:
        self._writers: set[Writer] = set()

    async def run(self, port: int) -> None:
        good = _handler(_good)

        async def handle(reader: asyncio.StreamReader, writer: Writer) -> None:
            self._writers.add(writer)
            try:
                await good(reader, writer)
            finally:
                self._writers.discard(writer)

        while True:
            server = await asyncio.start_server(handle, "127.0.0.1", port, reuse_address=True)
            await asyncio.sleep(7)
            server.close()
            for writer in list(self._writers):
                writer.transport.abort()
            await asyncio.sleep(3)


class _Relay:
    """Passes connections on to another port, so that a server which is started anew keeps its address."""

    target: int | None = None

    async def handle(self, reader: asyncio.StreamReader, writer: Writer) -> None:
        try:
            if self.target is None:
                raise ConnectionError
            up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            writer.transport.abort()
            return

        async def pump(source: asyncio.StreamReader, sink: Writer) -> None:
            with contextlib.suppress(OSError):
                while data := await source.read(65536):
                    sink.write(data)
                    await sink.drain()

        ways = [asyncio.ensure_future(pump(reader, up_writer)), asyncio.ensure_future(pump(up_reader, writer))]
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        for way in ways:
            way.cancel()
        writer.transport.abort()
        up_writer.transport.abort()


async def _main() -> None:
    ports = {}
    for kind, fault in FAULTS.items():
        server = await asyncio.start_server(_handler(fault), "127.0.0.1", 0, backlog=512)
        ports[kind] = server.sockets[0].getsockname()[1]
    relay = _Relay()
    server = await asyncio.start_server(relay.handle, "127.0.0.1", 0)
    ports["relay"] = server.sockets[0].getsockname()[1]
    probe = await asyncio.start_server(relay.handle, "127.0.0.1", 0)
    ports["gone"] = probe.sockets[0].getsockname()[1]
    probe.close()
    gone = asyncio.ensure_future(_Gone().run(ports["gone"]))
    sys.stdout.write(json.dumps(ports) + "\n")
    sys.stdout.flush()
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    while line := await lines.readline():
        relay.target = int(line.split()[1])
    gone.cancel()


if __name__ == "__main__":
    asyncio.run(_main())
