"""`blended-llm rank`: rank candidate answers from files."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from blender_core.cli.output import (
    ExitCode,
    PriorFile,
    RankerName,
    console,
    open_prior,
    ranker_without_members,
    read_text,
    reported,
    tell_error,
    write_json,
)
from blender_core.cli.prompt_rows import PromptRow, read_rows
from blender_core.cli.rankings_file import RankingsFile
from blender_core.errors import BlendError, ConfigurationError, RankerError

if TYPE_CHECKING:
    from blender_core.rank.protocol import Ranker
    from blender_core.types.ranking import Ranking

__all__ = ["rank"]


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
    prior: PriorFile = None,
    as_json: Annotated[bool, typer.Option("--json", help="Write one JSON object a line.")] = False,
    out: Annotated[
        str | None,
        typer.Option(
            metavar="FILE", help="Append the JSON objects to a file; rows in it are skipped.", show_default=False
        ),
    ] = None,
) -> None:
    """Rank candidate answers, best first.

    A line of the JSONL file is {"instruction": ..., "candidates": [...]}; a candidate is a text, or an object
    with "text" and perhaps "model". An "input" is added to the instruction, an "id" comes back in the output.
    With --prior the strength of each "model" counts. A row that is wrong or fails is told with its line, and the next
    one follows; the exit code is then 2 or 1. Run the same command with --out again after a kill, and it goes on.
    """
    with reported():
        chosen, known = ranker_without_members(ranker), open_prior(prior)
        wrong, failed = _Told(), _Told()
        tasks = _from_jsonl(files, wrong) if prompt is None else iter([_from_files(prompt, files)])
        with _kept(out, files, prompt, chosen) as kept:
            for count, task in enumerate(task for task in tasks if kept is None or not kept.holds(task)):
                try:
                    ranking = _ranked(chosen, task)
                except RankerError as error:
                    failed(error)
                    continue
                if known is not None:
                    ranking = known.blend(task.names, ranking, task.texts)
                if kept is not None:
                    kept.add(_record(task, ranking))
                elif as_json:
                    write_json(_record(task, ranking), indent=None)
                else:
                    _show(task, ranking, first=count == 0)
        if wrong.count or failed.count:
            raise typer.Exit(ExitCode.USAGE if wrong.count else ExitCode.FAILED)


class _Told:
    """Tells the errors of rows, and counts them."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, error: BlendError) -> None:
        self.count += 1
        tell_error(str(error))


def _kept(
    out: str | None, files: Sequence[str], prompt: str | None, ranker: Ranker
) -> AbstractContextManager[RankingsFile | None]:
    if out is None:
        return nullcontext()
    if prompt is not None:
        raise ConfigurationError("--out is for a JSONL file of prompts; leave out --prompt, or use --json")
    return RankingsFile(out, ranker=ranker.name, source=files[0])


def _ranked(ranker: Ranker, task: PromptRow) -> Ranking:
    try:
        return ranker.rank(task.prompt, list(task.texts))
    except RankerError as error:
        raise RankerError(f"{task.where}: {error}") from error


def _record(task: PromptRow, ranking: Ranking) -> dict[str, Any]:
    ranks = ranking.ranks
    candidates = [
        {"model": name, "text": text, "score": score if math.isfinite(score) else None, "rank": place}
        for name, text, score, place in zip(task.names, task.texts, ranking.scores, ranks, strict=True)
    ]
    return {**task.label, "instruction": task.prompt, "candidates": candidates, **ranking.to_dict()}


def _show(task: PromptRow, ranking: Ranking, *, first: bool) -> None:
    from rich.text import Text

    from blender_core.view.result import ranking_table
    from blender_core.view.wording import one_line

    out = console(stderr=False)
    if not first:
        out.print()
    out.print(Text(one_line(task.prompt), style="bold", overflow="ellipsis", no_wrap=True))
    out.print(ranking_table(ranking, task.names, task.texts))


def _from_files(prompt: str, files: Sequence[str]) -> PromptRow:
    if not prompt.strip():
        raise ConfigurationError("--prompt is empty; give the prompt that the candidates answer")
    names = [Path(path).name if path != "-" else "stdin" for path in files]
    if len(set(names)) < len(names):
        names = list(files)
    return PromptRow(prompt, tuple(names), tuple(read_text(path) for path in files), "candidates", {})


def _from_jsonl(files: Sequence[str], on_wrong: Callable[[ConfigurationError], None]) -> Iterator[PromptRow]:
    if len(files) != 1:
        raise ConfigurationError(f"{len(files)} files and no --prompt; give one JSONL file, or --prompt")
    remedy = "write one JSON object a line, or give --prompt if this is a file of one candidate"
    return read_rows(files[0], needs_candidates=True, no_json=remedy, on_wrong=on_wrong)
