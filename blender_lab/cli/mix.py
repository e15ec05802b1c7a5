"""`blended-llm mix`: one's own MixInstruct, gathered from one's own models."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from blender_core.cli.described import ConfigFile, described, of_members
from blender_core.cli.output import Endpoints, LocalModels, console, reported
from blender_core.errors import ConfigurationError
from blender_core.members.endpoints import MAX_TOKENS
from blender_core.runtime.numbers import check_number

if TYPE_CHECKING:
    from rich.console import Console

    from blender_core.config import BlendConfig
    from blender_lab.data.mixinstruct import MixCandidate, MixRecord
    from blender_lab.mix.ensemble import PlannedMember
    from blender_lab.mix.gather import GatherSettings
    from blender_lab.mix.journal import Journal

__all__ = ["mix"]


def mix(
    context: typer.Context,
    prompts: Annotated[
        Path, typer.Argument(help="JSONL, plain or .gz: instruction, and perhaps id, input, output, task, check.")
    ],
    out: Annotated[Path, typer.Option(help="Target file; a name in .gz is compressed.", show_default=False)],
    model: LocalModels = None,
    endpoint: Endpoints = None,
    config: ConfigFile = None,
    ensemble: Annotated[
        list[str] | None,
        typer.Option(
            metavar="MODULE:ATTRIBUTE",
            help="A list of LLMs of any framework, made in Python; may be repeated.",
            show_default=False,
        ),
    ] = None,
    system: Annotated[str, typer.Option(help="A system message.", show_default=False)] = "",
    max_tokens: Annotated[
        int | None,
        typer.Option(
            help="Longest answer in tokens.", show_default=f"{MAX_TOKENS} for local models, else the member's"
        ),
    ] = None,
    temperature: Annotated[
        float | None,
        typer.Option(help="Sampling temperature.", show_default="0 for local models, else the member's"),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of sampling.", show_default="the member's")] = None,
    timeout: Annotated[
        float, typer.Option(help="Seconds each member gets for a prompt, and the judge for a verdict.")
    ] = 300.0,
    concurrency: Annotated[int, typer.Option(help="Prompts on the way at the same time.")] = 1,
    limit: Annotated[int | None, typer.Option(help="Only the first prompts.", show_default="all")] = None,
    retry_failed: Annotated[
        bool,
        typer.Option(
            "--retry-failed", help="Repeat what failed in an earlier run, and verdicts that could not be read."
        ),
    ] = False,
    give_up_after: Annotated[int, typer.Option(help="Failures of a member in a row that end the run.")] = 10,
    metric: Annotated[
        list[str] | None,
        typer.Option(
            help="Score answers against the references: rougeL, bleu, chrf, bertscore-minilm, ...; may be repeated.",
            show_default=False,
        ),
    ] = None,
    verdicts: Annotated[
        str, typer.Option(help="Pairwise verdicts: none, checks (from the prompts' checks), or judge.")
    ] = "none",
    judge: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL", help="A local model, URL:MODEL or MODULE:ATTRIBUTE that judges.", show_default=False
        ),
    ] = None,
) -> None:
    """Gather every member's answer to every prompt, score them, and write MixInstruct's schema.

    Every answer is on the disk before the next question, in OUT.journal: run the same command again after a kill
    and it resumes. Members can be added later. Local models run one after the other, the others at the same time.
    """
    with reported():
        from blender_core.gather.policy import GatherPolicy
        from blender_lab.data.mixinstruct import write_mix
        from blender_lab.mix.gather import GatherSettings, gathered_records
        from blender_lab.mix.journal import Journal

        _check(max_tokens, temperature, limit, verdicts, judge)
        journal_file = out.with_name(f"{out.name}.journal")
        _check_target(prompts, out, journal_file)
        progress = console(stderr=True)
        records = _prompts(prompts, limit)
        scorers = _metrics(metric or [])
        named_members = bool(model or endpoint or config)
        blend = described(context) if named_members else None
        plan = _plan(blend, ensemble or [], concurrency, progress)
        given = {"max_tokens": max_tokens, "temperature": temperature, "seed": seed}
        settings = GatherSettings(
            system=system,
            options={name: value for name, value in given.items() if value is not None},
            decoding_method=_decoding(temperature),
            policy=GatherPolicy(timeout=timeout),
            concurrency=concurrency,
            retry_failed=retry_failed,
            give_up_after=give_up_after,
        )
        names = [member.name for member in plan]
        with Journal(journal_file, {**given, "system": system}) as journal:
            _gather(records, plan, journal, settings, progress)
            gathered = list(gathered_records(records, names, journal, settings))
            finished = _finish(gathered, scorers, verdicts, judge, journal, settings, progress)
        write_mix(out, finished)
        _tell(out, finished, names, progress)


@dataclass(frozen=True, slots=True)
class _Batch:
    """Members that are asked at the same time."""

    members: tuple[PlannedMember, ...]


def _check(
    max_tokens: int | None, temperature: float | None, limit: int | None, verdicts: str, judge: str | None
) -> None:
    check_number("--max-tokens", max_tokens, least=1, whole=True, none="the member's own")
    check_number("--temperature", temperature, least=0, none="the member's own")
    check_number("--limit", limit, least=1, whole=True, none="all")
    if verdicts not in ("none", "checks", "judge"):
        raise ConfigurationError(f"--verdicts is {verdicts!r}; use none, checks or judge")
    if (verdicts == "judge") != (judge is not None):
        raise ConfigurationError("--verdicts judge and --judge MODEL go together; give both or neither")


def _check_target(prompts: Path, out: Path, journal_file: Path) -> None:
    for path in (out, journal_file):
        path = path.expanduser()
        if not path.resolve().parent.is_dir():
            raise ConfigurationError(f"there is no folder {path.resolve().parent}; make it or give another --out")
        if path.exists() and not path.is_file():
            raise ConfigurationError(f"{path} is not a regular file; give another --out")
        if path.exists() and prompts.exists() and path.samefile(prompts):
            raise ConfigurationError(f"{path} holds the prompts; give another --out")


def _prompts(path: Path, limit: int | None) -> list[MixRecord]:
    from blender_lab.data.mixinstruct import read_mix
    from blender_lab.mix.scoring import validate_check

    records = []
    for record in read_mix(path):
        if not record.prompt.strip():
            raise ConfigurationError(f"{path}: the prompt {record.id!r} is empty")
        if record.check is not None:
            validate_check(record.check)
        records.append(record)
        if len(records) == limit:
            break
    if not records:
        raise ConfigurationError(f"{path} holds no prompt; write one JSON object with an instruction a line")
    return records


def _metrics(names: Sequence[str]) -> list[Any]:
    if not names:
        return []
    from blender_lab.evaluate.metrics.registry import resolve_metric

    # loaded before anybody is asked, so that a mistyped name or a missing library is told at once
    return [resolve_metric(name) for name in dict.fromkeys(names)]


def _plan(blend: BlendConfig | None, objects: Sequence[str], concurrency: int, console: Console) -> list[PlannedMember]:
    from blender_lab.mix.ensemble import named, plan_config, plan_objects

    plans = [] if blend is None else plan_config(blend, parallel=concurrency, progress=_announcer(console))
    for path in objects:
        plans.extend(plan_objects(path))
    return named(plans)


def _announcer(console: Console) -> Any:
    told: set[str] = set()

    def report(model: Any, stage: str, done: int, total: int) -> None:
        if stage not in ("verify", "ready") and model.name not in told:
            told.add(model.name)
            note = f" {model.licence_note}" if model.licence_note else ""
            console.print(
                f"fetching {model.name}: {model.size / 1e6:.0f} MB, licence {model.licence}.{note}", markup=False
            )

    return report


def _decoding(temperature: float | None) -> str:
    if temperature is None:
        return "default"
    return "greedy" if temperature == 0 else f"sampling, temperature {temperature:g}"


def _gather(
    records: Sequence[MixRecord],
    plan: Sequence[PlannedMember],
    journal: Journal,
    settings: GatherSettings,
    progress: Console,
) -> None:
    from blender_lab.mix.ensemble import open_planned
    from blender_lab.mix.gather import gather_answers, missing_answers

    together = tuple(member for member in plan if not member.alone)
    batches = [_Batch((member,)) for member in plan if member.alone] + ([_Batch(together)] if together else [])
    left = {member.name: len(missing_answers(records, [member.name], journal, settings)) for member in plan}
    with _bars(progress, left, total=len(records)) as take:
        for batch in batches:
            due = [member for member in batch.members if left[member.name]]
            if not due:
                continue
            with open_planned(due) as members:
                gather_answers(records, members, journal, settings, on_answer=take)


@contextmanager
def _bars(progress: Console, left: dict[str, int], *, total: int) -> Iterator[Any]:
    """A bar for each member; without a terminal a line at each tenth."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[failed]}"),
    )
    done = {name: total - missing for name, missing in left.items()}
    failed = dict.fromkeys(left, 0)
    with Progress(*columns, console=progress, disable=not progress.is_terminal) as bars:
        tasks = {name: bars.add_task(name, total=total, completed=done[name], failed="") for name in left}

        def take(_record: MixRecord, candidate: MixCandidate) -> None:
            name = candidate.model
            done[name] += 1
            failed[name] += candidate.failed
            told = f"{failed[name]} failed" if failed[name] else ""
            bars.update(tasks[name], completed=done[name], failed=told)
            step = max(1, total // 10)
            if not progress.is_terminal and (done[name] % step == 0 or done[name] == total):
                line = f"{name}: {done[name]} of {total}{', ' + told if told else ''}"
                progress.print(line, soft_wrap=True, markup=False)

        yield take


def _finish(
    records: Sequence[MixRecord],
    metrics: Sequence[Any],
    verdicts: str,
    judge: str | None,
    journal: Journal,
    settings: GatherSettings,
    progress: Console,
) -> list[MixRecord]:
    from blender_lab.mix.scoring import scored_by_check, scored_by_metrics
    from blender_lab.mix.verdicts import judged_by_checks

    scored = [scored_by_check(record) for record in records]
    if metrics:
        told = lambda name: progress.print(f"scored by {name}", markup=False)  # noqa: E731
        scored = list(scored_by_metrics(scored, metrics, on_metric=told))
    if verdicts == "checks":
        return [judged_by_checks(record) for record in scored]
    if judge is not None:
        return _judged(scored, judge, journal, settings, progress)
    return scored


def _judged(
    records: Sequence[MixRecord], judge: str, journal: Journal, settings: GatherSettings, progress: Console
) -> list[MixRecord]:
    from rich.markup import escape
    from rich.progress import Progress

    from blender_lab.mix.ensemble import open_planned
    from blender_lab.mix.verdicts import judged_by_llm, unread_replies, verdict_agreement

    judged = []
    pairs = sum(len(record.candidates) * (len(record.candidates) - 1) for record in records)
    with (
        open_planned([_judge_plan(judge, progress)]) as members,
        Progress(console=progress, disable=not progress.is_terminal) as bars,
    ):
        bar = bars.add_task(f"judged by {escape(members[0][0])}", total=pairs)
        for record in records:
            judged.append(
                judged_by_llm(
                    record,
                    members[0][1],
                    journal,
                    policy=settings.policy,
                    retry_failed=settings.retry_failed,
                    on_verdict=lambda: bars.advance(bar),
                )
            )
    unread, replies = unread_replies(judged)
    if unread:
        progress.print(f"{unread} of {replies} replies could not be read; --retry-failed asks again", soft_wrap=True)
    both, agree, contradict = verdict_agreement(judged)
    progress.print(f"verdicts: {both} pairs in both orders, {agree} agree, {contradict} name different winners")
    return judged


def _judge_plan(judge: str, console: Console) -> PlannedMember:
    from blender_core.local import MODELS
    from blender_lab.mix.ensemble import plan_config, plan_objects

    if judge in MODELS or judge.startswith(("http://", "https://")):
        models, endpoints = ([judge], []) if judge in MODELS else ([], [judge])
        return plan_config(of_members(models, endpoints, {}), progress=_announcer(console))[0]
    plans = plan_objects(judge)
    if len(plans) != 1:
        raise ConfigurationError(f"--judge {judge!r} holds {len(plans)} LLMs; name one")
    return plans[0]


def _tell(out: Path, records: Sequence[MixRecord], names: Sequence[str], progress: Console) -> None:
    from blender_core.view.table import Column, Table
    from blender_lab.mix.scoring import CHECK_SCORE

    rows = []
    for name in names:
        mine = [candidate for record in records for candidate in record.candidates if candidate.model == name]
        checked = [candidate.scores[CHECK_SCORE] for candidate in mine if CHECK_SCORE in candidate.scores]
        gathered = [candidate.gathered for candidate in mine if candidate.gathered is not None]
        tokens = [each.output_tokens for each in gathered if each.output_tokens is not None]
        rows.append(
            [
                name,
                str(sum(not candidate.failed for candidate in mine)),
                str(sum(candidate.failed for candidate in mine)),
                f"{sum(checked) / len(checked):.1%}" if checked else "-",
                f"{sum(each.latency_s for each in gathered) / len(gathered):.2f}" if gathered else "-",
                f"{sum(tokens) / len(tokens):.1f}" if tokens else "-",
            ]
        )
    headings = ("answered", "failed", "right", "seconds, mean", "tokens, mean")
    columns = [Column("member", name=True), *(Column(heading, number=True) for heading in headings)]
    progress.print(Table(columns, rows, title=f"{len(records)} prompts in {out}"))
