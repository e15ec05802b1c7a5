"""Show how far a job is: in a terminal, in lines, or as JSON lines; and how it ended."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal

from blender_lab.batch.job import Ended
from blender_lab.batch.ledger import JobState
from blender_lab.batch.plan import Plan

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["ProgressForm", "shown", "summary"]

ProgressForm = Literal["auto", "json", "none"]

_JSON_S, _LINES_S = 1.0, 10.0


@contextmanager
def shown(form: ProgressForm, console: Console) -> Iterator[Callable[[Plan, JobState], None]]:
    """Show progress on a console.

    Args:
        form: ``"auto"`` draws a bar in a terminal, else writes a line every ten seconds; ``"json"`` writes an object a
            second; ``"none"`` is silent.
        console: Standard error.

    Yields:
        What is to be told of each state.
    """
    began = time.monotonic()
    first: tuple[float, int] | None = None

    def figures(plan: Plan, state: JobState) -> tuple[float, float | None]:
        nonlocal first
        now, rows = time.monotonic(), state.run.rows
        if first is None and rows:
            first = now, rows
        # the start of Ray and of the models is no part of the rate
        since, before = first if first is not None and rows > first[1] else (began, 0)
        rate = (rows - before) / max(1e-3, now - since)
        left = plan.due - state.run.rows
        return rate, left / rate if rate else None

    if form == "none":
        yield lambda _plan, _state: None
    elif form == "json":
        with _every(_JSON_S, lambda plan, state: _write_json(console, plan, state, *figures(plan, state))) as take:
            yield take
    elif console.is_terminal:
        with _bar(console, figures) as take:
            yield take
    else:
        with _every(_LINES_S, lambda plan, state: _write_line(console, plan, state, *figures(plan, state))) as take:
            yield take


@contextmanager
def _every(seconds: float, show: Callable[[Plan, JobState], None]) -> Iterator[Callable[[Plan, JobState], None]]:
    last: tuple[Plan, JobState] | None = None
    shown_at = time.monotonic()

    def take(plan: Plan, state: JobState) -> None:
        nonlocal last, shown_at
        last = plan, state
        if time.monotonic() - shown_at >= seconds:
            shown_at = time.monotonic()
            show(plan, state)

    yield take
    if last is not None:
        show(*last)


def _write_json(console: Console, plan: Plan, state: JobState, rate: float, left_s: float | None) -> None:
    held = {
        "rows": plan.rows - plan.due + state.run.rows,
        "of": plan.rows,
        "failed": state.run.failed,
        "rows_per_s": round(rate, 3),
        "seconds_left": None if left_s is None else round(left_s, 1),
        "in_flight": state.in_flight,
        "tokens": state.spent.tokens,
        "cost": round(state.spent.cost, 9),
        "stopping": state.stopping or None,
    }
    console.file.write(json.dumps(held) + "\n")
    console.file.flush()


def _write_line(console: Console, plan: Plan, state: JobState, rate: float, left_s: float | None) -> None:
    done = plan.rows - plan.due + state.run.rows
    console.print(f"{done:,} of {plan.rows:,} rows, {_told(state, rate, left_s)}", soft_wrap=True, markup=False)


def _told(state: JobState, rate: float, left_s: float | None) -> str:
    parts = [f"{rate:.3g} rows/s"]
    if state.run.failed:
        parts.append(f"{state.run.failed:,} failed")
    if state.spent.cost:
        parts.append(f"cost {state.spent.cost:.4g}")
    elif state.spent.tokens:
        parts.append(f"{state.spent.tokens:,} tokens")
    if left_s is not None:
        parts.append(f"{_duration(left_s)} left")
    if state.stopping:
        parts.append("stopping")
    return ", ".join(parts)


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


@contextmanager
def _bar(
    console: Console, figures: Callable[[Plan, JobState], tuple[float, float | None]]
) -> Iterator[Callable[[Plan, JobState], None]]:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[told]}", markup=False))
    with Progress(*columns, console=console) as bars:
        task = bars.add_task("", total=None, told="reading")

        def take(plan: Plan, state: JobState) -> None:
            done = plan.rows - plan.due + state.run.rows
            bars.update(task, total=plan.rows, completed=done, told=_told(state, *figures(plan, state)))

        yield take


def summary(ended: Ended, console: Console) -> None:
    """Show how a job ended: rows, wins a member, failures a cause, cost.

    Args:
        ended: How it ended.
        console: Standard error.
    """
    from blender_core.view.table import Column, Table

    written = ended.written
    parts = [f"{ended.rows:,} rows"]
    if written is not None:
        parts += [f"{written.rows:,} done", f"{written.failed:,} failed"]
    if ended.undone:
        parts.append(f"{ended.undone:,} undone ({ended.stopped})")
    parts.append(f"{ended.here.rows:,} in this run of {ended.seconds:.3g} s")
    if ended.spent.tokens:
        parts.append(f"{ended.spent.tokens:,} tokens")
    if ended.spent.cost:
        parts.append(f"cost {ended.spent.cost:.6g}")
    console.print(", ".join(parts), soft_wrap=True, markup=False)
    if ended.damaged:
        console.print(f"{ended.damaged} damaged lines of journals were left out", soft_wrap=True, markup=False)
    if written is None:
        return
    for title, counts, of in (("winner", written.wins, written.rows), ("failed by", written.causes, written.failed)):
        if counts:
            rows = [[name, f"{count:,}", f"{count / of:.1%}"] for name, count in counts.most_common(20)]
            console.print(
                Table([Column(title, name=True), Column("rows", number=True), Column("share", number=True)], rows)
            )
