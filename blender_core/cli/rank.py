"""`blended-llm rank`: rank candidate answers from files."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from blender_core.cli.output import RankerName, console, read_text, reported, write_json
from blender_core.errors import ConfigurationError

if TYPE_CHECKING:
    from blender_core.types.ranking import Ranking

__all__ = ["rank"]


@dataclass(frozen=True, slots=True)
class _Task:
    """Holds one prompt with its candidates."""

    instruction: str
    names: tuple[str, ...]
    texts: tuple[str, ...]
    where: str
    label: dict[str, Any]


def rank(
    files: Annotated[
        list[str],
        typer.Argument(
            metavar="FILE...",
            help="One JSONL file, or with --prompt a file for each candidate. - is standard input.",
            show_default=False,
        ),
    ],
    prompt: Annotated[str | None, typer.Option(help="The prompt of the candidate files.", show_default=False)] = None,
    ranker: RankerName = "embedded",
    as_json: Annotated[bool, typer.Option("--json", help="Write one JSON object a line.")] = False,
) -> None:
    """Rank candidate answers, best first.

    A line of the JSONL file is {"instruction": ..., "candidates": [...]}; a candidate is a text, or an object
    with "text" and perhaps "model". An "input" is added to the instruction, an "id" comes back in the output.
    """
    with reported():
        from blender_core.rank.registry import resolve_ranker

        tasks = _from_jsonl(files) if prompt is None else iter([_from_files(prompt, files)])
        chosen = resolve_ranker(ranker)
        for count, task in enumerate(tasks):
            ranking = _ranked(chosen, task)
            if as_json:
                write_json(_record(task, ranking), indent=None)
            else:
                _show(task, ranking, first=count == 0)


def _ranked(ranker: Any, task: _Task) -> Ranking:
    from blender_core.errors import RankerError

    try:
        ranking: Ranking = ranker.rank(task.instruction, list(task.texts))
    except RankerError as error:
        raise RankerError(f"{task.where}: {error}") from error
    return ranking


def _record(task: _Task, ranking: Ranking) -> dict[str, Any]:
    ranks = ranking.ranks
    candidates = [
        {"model": name, "text": text, "score": score if math.isfinite(score) else None, "rank": place}
        for name, text, score, place in zip(task.names, task.texts, ranking.scores, ranks, strict=True)
    ]
    return {**task.label, "instruction": task.instruction, "candidates": candidates, **ranking.to_dict()}


def _show(task: _Task, ranking: Ranking, *, first: bool) -> None:
    from rich.text import Text

    from blender_core.view.result import ranking_table
    from blender_core.view.wording import one_line

    out = console(stderr=False)
    if not first:
        out.print()
    out.print(Text(one_line(task.instruction), style="bold", overflow="ellipsis", no_wrap=True))
    out.print(ranking_table(ranking, task.names, task.texts))


def _from_files(prompt: str, files: Sequence[str]) -> _Task:
    if not prompt.strip():
        raise ConfigurationError("--prompt is empty; give the prompt that the candidates answer")
    names = [Path(path).name if path != "-" else "stdin" for path in files]
    if len(set(names)) < len(names):
        names = list(files)
    return _Task(prompt, tuple(names), tuple(read_text(path) for path in files), "candidates", {})


def _from_jsonl(files: Sequence[str]) -> Iterator[_Task]:
    if len(files) != 1:
        raise ConfigurationError(f"{len(files)} files and no --prompt; give one JSONL file, or --prompt")
    path = files[0]
    return _read_jsonl(path)


def _read_jsonl(path: str) -> Iterator[_Task]:
    empty = True
    try:
        source = nullcontext(sys.stdin) if path == "-" else open(path, encoding="utf-8-sig")  # noqa: SIM115
        with source as lines:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    empty = False
                    yield _task(line, number, f"{path}, line {number}")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"cannot read {path}: {error}; give a JSONL file in UTF-8, or - for stdin") from error
    if empty:
        raise ConfigurationError(f"{path} holds no line; write one JSON object with instruction and candidates a line")


def _task(line: str, number: int, where: str) -> _Task:
    try:
        record = json.loads(line)
    except json.JSONDecodeError as error:
        raise ConfigurationError(f"{where} is not JSON: {error}; with candidate files give --prompt") from error
    if not isinstance(record, dict) or not isinstance(record.get("instruction"), str):
        raise ConfigurationError(f'{where} has no text "instruction"')
    candidates = record.get("candidates")
    if not isinstance(candidates, list) or not candidates:
        raise ConfigurationError(f'{where} has no list "candidates" with at least one answer')
    names, texts = [], []
    for place, candidate in enumerate(candidates):
        held = {"text": candidate} if isinstance(candidate, str) else candidate
        if not isinstance(held, dict) or not isinstance(held.get("text"), str):
            raise ConfigurationError(f'{where}: candidate {place} is neither a text nor an object with a "text"')
        names.append(str(held.get("model") or f"candidate {place}"))
        texts.append(held["text"])
    instruction = record["instruction"]
    if isinstance(record.get("input"), str) and record["input"].strip():
        instruction = f"{instruction}\n{record['input']}"
    label = {"line": number} | ({"id": record["id"]} if "id" in record else {})
    return _Task(instruction, tuple(names), tuple(texts), where, label)
