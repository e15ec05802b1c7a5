"""Read the control tokens in a GGUF file, and know those of the models that are served here."""

from __future__ import annotations

import functools
import mmap
import struct
from pathlib import Path
from typing import Any

from blender_core.errors import CheckpointError

__all__ = ["control_tokens_of", "served_here", "served_tokens"]

_TEXT, _ARRAY = 8, 9
# type of a value in the file -> its format; numbers are little-endian
_NUMBERS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_TOKENS, _KINDS = "tokenizer.ggml.tokens", "tokenizer.ggml.token_type"
_CONTROL = 3
_LENGTH = struct.Struct("<Q")

served_here: dict[str, Path] = {}
"""Address of the API of each server that runs -> its model's file."""


def served_tokens(base_url: str | None) -> frozenset[str]:
    """Look up the control tokens of a model that this process serves.

    Args:
        base_url: Address of an API.

    Returns:
        The tokens; empty if the address is not that of a local server, or its file does not say them.
    """
    path = served_here.get((base_url or "").rstrip("/"))
    try:
        return frozenset() if path is None else control_tokens_of(path)
    except (CheckpointError, OSError):
        # llama.cpp reads the file, which is what counts
        return frozenset()


@functools.lru_cache(maxsize=16)
def control_tokens_of(path: Path) -> frozenset[str]:
    """Read a model's own list of control tokens.

    Args:
        path: A GGUF file.

    Returns:
        The tokens.

    Raises:
        CheckpointError: It is no GGUF file, or is damaged.
        OSError: It cannot be read.
    """
    found: dict[str, Any] = {}
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        try:
            reader = _Reader(data)
            for _ in range(reader.begin()):
                name = reader.text()
                wanted = name in (_TOKENS, _KINDS)
                value = reader.value()
                if wanted:
                    found[name] = value
                if len(found) == 2:
                    break
            # a vocabulary has up to 300,000 texts, few of them control tokens
            spans = zip(found.get(_TOKENS, []), found.get(_KINDS, []), strict=True)
            return frozenset(
                data[start:end].decode("utf-8", "replace") for (start, end), kind in spans if kind == _CONTROL
            )
        except (IndexError, KeyError, OverflowError, TypeError, ValueError, struct.error) as error:
            raise CheckpointError(f"{path} is no whole GGUF file ({type(error).__name__}: {error})") from error


class _Reader:
    """Reads the values before the tensors; a length beyond the end of the file is an error."""

    def __init__(self, data: mmap.mmap) -> None:
        self._data = data
        self._place = 0

    def begin(self) -> int:
        """Read the head, and return how many values follow."""
        if self._take(4) != b"GGUF" or self._number("I") < 2:
            raise ValueError("it has another head")
        self._number("Q")
        return int(self._number("Q"))

    def text(self) -> str:
        return self._take(self._number("Q")).decode("utf-8", "replace")

    def value(self) -> Any:
        """Read a number, a text or an array; of an array of texts, where each begins and ends."""
        kind = self._number("I")
        if kind == _TEXT:
            return self.text()
        if kind != _ARRAY:
            return self._number(_NUMBERS[kind])
        kind, count = self._number("I"), self._number("Q")
        if kind == _TEXT:
            return self._spans(count)
        taken = self._take(struct.calcsize(f"<{_NUMBERS[kind]}") * count)
        return struct.unpack(f"<{count}{_NUMBERS[kind]}", taken)

    def _spans(self, count: int) -> list[tuple[int, int]]:
        data, place, spans = self._data, self._place, []
        for _ in range(count):
            start = place + 8
            # raises an error beyond the end, so a made-up count ends
            place = start + _LENGTH.unpack_from(data, place)[0]
            spans.append((start, place))
        self._place = place
        self._take(0)
        return spans

    def _number(self, form: str) -> Any:
        return struct.unpack(f"<{form}", self._take(struct.calcsize(f"<{form}")))[0]

    def _take(self, size: int) -> bytes:
        start = self._place
        self._place += size
        if self._place > len(self._data):
            raise IndexError("the file ends too early")
        return self._data[start : self._place]
