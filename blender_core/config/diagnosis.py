"""Ask every member of a description a few words, to find what is wrong before it costs."""

from __future__ import annotations

import asyncio
import base64
import struct
import time
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from blender_core.members.classify import classify
from blender_core.members.member import Member
from blender_core.members.openai_member import OpenAIMember
from blender_core.types.answer import Answer
from blender_core.types.media import Media
from blender_core.types.prompt import Message, Prompt

__all__ = ["Diagnosis", "diagnose"]

_WINDOW_KEYS = ("max_model_len", "context_length", "context_window", "max_context_length")
_TOOL = {
    "type": "function",
    "function": {
        "name": "report_number",
        "description": "Report a number.",
        "parameters": {"type": "object", "properties": {"number": {"type": "integer"}}, "required": ["number"]},
    },
}


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """Says what one member can do.

    Attributes:
        member: Its name.
        problem: What is wrong, in one line; empty if it answered.
        seconds: Until the answer to one word was there; ``None`` without one.
        tools: ``"yes"``, ``"no"`` (it answered without a call), or why it refused; ``None`` if it was not asked.
        images: ``"yes"``, ``"no"`` (it saw another colour), or why it refused; ``None`` if it was not asked.
        context_window: Tokens of prompt and answer, as stated by the file, the local model, or the server's list.
        usage_reported: Whether answers say how many tokens they took; a budget needs it.
    """

    member: str
    problem: str = ""
    seconds: float | None = None
    tools: str | None = None
    images: str | None = None
    context_window: int | None = None
    usage_reported: bool = False


async def diagnose(members: Sequence[Member], *, timeout: float = 30.0, only_answers: bool = False) -> list[Diagnosis]:
    """Ask all members at once: for a word, for a call of a tool, and for the colour of a picture.

    Args:
        members: The members.
        timeout: Seconds for each call.
        only_answers: Ask for the word only.

    Returns:
        One diagnosis a member, in their order. It never fails: what goes wrong is in the diagnosis.
    """
    return list(await asyncio.gather(*(_diagnosed(member, timeout, only_answers) for member in members)))


async def _diagnosed(member: Member, timeout: float, only_answers: bool) -> Diagnosis:
    begun = time.perf_counter()
    answer, problem = await _asked(member, Prompt.of("Answer with one word: what is the opposite of hot?"), timeout)
    seconds = time.perf_counter() - begun
    window, listed = await _listed(member, timeout)
    found = Diagnosis(member.name, context_window=member.context_window or window)
    if answer is None:
        return replace(found, problem=f"{problem}{listed}")
    if not answer.text.strip():
        return replace(found, problem="it answered with an empty text", seconds=seconds)
    found = replace(found, seconds=seconds, usage_reported=answer.usage is not None)
    if only_answers:
        return found
    call = replace(Prompt.of("Report the number 7 with the tool."), options={"tools": [_TOOL]})
    question = "Name the colour of this picture in one word."
    picture = Prompt((Message("user", f"{question}\n[image]", parts=(question, _red_picture())),))
    tools, images = await asyncio.gather(
        _ability(member, call, timeout, lambda said: bool(said.tool_calls)),
        _ability(member, picture, timeout, lambda said: "red" in said.text.lower()),
    )
    return replace(found, tools=tools, images=images)


async def _asked(member: Member, prompt: Prompt, timeout: float) -> tuple[Answer | None, str]:
    try:
        return await asyncio.wait_for(member.agenerate(prompt), timeout), ""
    except TimeoutError:
        return None, f"no answer within {timeout:g} s"
    except Exception as error:
        return None, classify(error).reason


async def _ability(member: Member, prompt: Prompt, timeout: float, shown: Callable[[Answer], bool]) -> str:
    answer, problem = await _asked(member, prompt, timeout)
    return problem if answer is None else "yes" if shown(answer) else "no"


async def _listed(member: Member, timeout: float) -> tuple[int | None, str]:
    """Return the window that the server's list states, and a hint if the model is not in the list."""
    if not isinstance(member, OpenAIMember):
        return None, ""
    try:
        cards = await asyncio.wait_for(member.list_models(), timeout)
    except Exception:
        # many servers have no list; the answer says what is wrong
        return None, ""
    card = next((card for card in cards if card.get("id") == member.model), None)
    if card is None:
        known = ", ".join(str(card.get("id")) for card in cards[:5])
        return None, f"; the server lists {known}{', ...' if len(cards) > 5 else ''}" if known else ""
    stated: list[Any] = [card.get(key) for key in _WINDOW_KEYS]
    return next((size for size in stated if isinstance(size, int) and size > 0), None), ""


def _red_picture(size: int = 64) -> Media:
    """Make a red square in PNG."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", size, size, 8, 2, 0, 0, 0)
    rows = (b"\0" + b"\xff\0\0" * size) * size
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return Media("image", data=base64.b64encode(data).decode(), mime_type="image/png")
