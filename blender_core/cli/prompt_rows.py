"""Read prompts, with or without candidate answers, from lines of JSON or text."""

from __future__ import annotations

import gzip
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import IO, Any

from blender_core.errors import ConfigurationError
from blender_core.runtime.outside import read_json

__all__ = ["PromptRow", "parse_row", "read_rows"]


@dataclass(frozen=True, slots=True)
class PromptRow:
    """Holds one prompt and its candidates.

    Attributes:
        prompt: The text; an ``input`` is on a line of its own.
        names: Member of each candidate; ``candidate N`` if the line does not say.
        texts: The candidates; may be empty.
        where: File and line, for messages.
        label: The line's number, and its ``id`` if it has one.
    """

    prompt: str
    names: tuple[str, ...]
    texts: tuple[str, ...]
    where: str
    label: dict[str, Any]


_NO_JSON = "write one JSON object a line"


def read_rows(
    path: str,
    *,
    needs_candidates: bool,
    no_json: str = _NO_JSON,
    on_wrong: Callable[[ConfigurationError], None] | None = None,
) -> Iterator[PromptRow]:
    """Read the rows of a file, one a line; empty lines are skipped.

    A line is ``{"prompt": ...}`` or ``{"instruction": ..., "input": ...}``, perhaps with ``candidates``: texts, or
    objects with ``text`` and perhaps ``model``.

    Args:
        path: JSONL in UTF-8, perhaps with the ending ``.gz``; ``-`` is standard input.
        needs_candidates: Refuse lines without candidates. Else a line that is no JSON object is a prompt itself.
        no_json: Remedy for a line that is not JSON; it depends on the command.
        on_wrong: Gets the error of a line of another form, and the next line follows. Default: it is raised.

    Yields:
        The rows.

    Raises:
        ConfigurationError: The file cannot be read or holds no line, or a line has another form.
    """
    empty = True
    try:
        with _opened(path) as lines:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    empty = False
                    where = f"{path}, line {number}"
                    plain = not needs_candidates
                    try:
                        row = parse_row(
                            line, number, where, needs_candidates=needs_candidates, plain=plain, no_json=no_json
                        )
                    except ConfigurationError as error:
                        if on_wrong is None:
                            raise
                        on_wrong(error)
                        continue
                    yield row
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"cannot read {path}: {error}; give a JSONL file in UTF-8, or - for stdin") from error
    if empty:
        raise ConfigurationError(f"{path} holds no line; write one JSON object with instruction and candidates a line")


def _opened(path: str) -> AbstractContextManager[IO[str]]:
    if path == "-":
        return nullcontext(sys.stdin)
    if path.endswith(".gz"):
        return gzip.open(path, "rt", encoding="utf-8-sig")
    return open(path, encoding="utf-8-sig")


def parse_row(
    line: str, number: int, where: str, *, needs_candidates: bool, plain: bool = False, no_json: str = _NO_JSON
) -> PromptRow:
    r"""Read one line.

    Args:
        line: The line; see ``read_rows``.
        number: Its number, from 1.
        where: File and line, for messages.
        needs_candidates: Refuse a line without candidates.
        plain: Take a line that is no JSON object as a prompt.
        no_json: Remedy for a line that is not JSON.

    Returns:
        The row.

    Raises:
        ConfigurationError: The line has another form.

    Examples:
        >>> parse_row('{"instruction": "Add.", "input": "1 2"}', 1, "in.jsonl, line 1", needs_candidates=False).prompt
        'Add.\n1 2'
    """
    label: dict[str, Any] = {"line": number}
    if plain and not line.lstrip().startswith("{"):
        return PromptRow(line.strip(), (), (), where, label)
    try:
        record = read_json(line)
    except ValueError as error:
        raise ConfigurationError(f"{where} is not JSON: {error}; {no_json}") from error
    prompt = _prompt(record)
    if prompt is None:
        raise ConfigurationError(f'{where} has no text "instruction" or "prompt"')
    candidates = record.get("candidates", [])
    if not isinstance(candidates, list) or (needs_candidates and not candidates):
        raise ConfigurationError(f'{where} has no list "candidates" with at least one answer')
    names, texts = [], []
    for place, candidate in enumerate(candidates):
        held = {"text": candidate} if isinstance(candidate, str) else candidate
        if not isinstance(held, dict) or not isinstance(held.get("text"), str):
            raise ConfigurationError(f'{where}: candidate {place} is neither a text nor an object with a "text"')
        names.append(str(held.get("model") or f"candidate {place}"))
        texts.append(held["text"])
    if "id" in record:
        label["id"] = record["id"]
    return PromptRow(prompt, tuple(names), tuple(texts), where, label)


def _prompt(record: Any) -> str | None:
    """Join instruction and input; ``None`` if there is no text."""
    if not isinstance(record, dict):
        return None
    prompt = record.get("instruction", record.get("prompt"))
    if not isinstance(prompt, str):
        return None
    more = record.get("input")
    return f"{prompt}\n{more}" if isinstance(more, str) and more.strip() else prompt
