"""How far a training run is: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

    from blender_lab.ranker.loop import StepReport

__all__ = ["training_progress"]

_SECONDS_BETWEEN_LINES = 10.0


@contextmanager
def training_progress(
    steps: int, console: Console, *, clock: Callable[[], float] = time.monotonic
) -> Iterator[Callable[[StepReport], None]]:
    """Show steps, loss, rows per second and the time left.

    Args:
        steps: Steps of the whole run. A run with a time limit may end before them; the bar follows whichever is
            further.
        console: Where to show it. On a terminal it is a bar; elsewhere a line for the first and the last step, for
            every evaluation, and else one in ten seconds.
        clock: Seconds, monotonic.

    Yields:
        What ``train_ranker(report=...)`` takes.
    """
    if console.is_terminal:
        with _bar(steps, console, clock) as report:
            yield report
        return
    speed = _Speed(clock)
    last_line = -_SECONDS_BETWEEN_LINES

    def write(step: StepReport) -> None:
        nonlocal last_line
        speed.see(step)
        now = clock()
        if step.evaluation or step.progress >= 1.0 or now - last_line >= _SECONDS_BETWEEN_LINES:
            last_line = now
            # a line of a log is not folded
            console.print(
                f"step {step.step}/{steps}  {speed.text(step)}{_evaluation(step)}", soft_wrap=True, markup=False
            )

    yield write


@contextmanager
def _bar(steps: int, console: Console, clock: Callable[[], float]) -> Iterator[Callable[[StepReport], None]]:
    from rich.progress import BarColumn, Progress, TextColumn

    progress = Progress(
        TextColumn("step {task.fields[step]}/{task.fields[steps]}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}%"),
        TextColumn("{task.fields[numbers]}"),
        console=console,
    )
    speed = _Speed(clock)
    with progress:
        task = progress.add_task("train", total=1.0, step=0, steps=steps, numbers="loading")

        def update(step: StepReport) -> None:
            speed.see(step)
            progress.update(task, completed=step.progress, step=step.step, numbers=speed.text(step))
            if step.evaluation:
                progress.console.print(f"step {step.step}{_evaluation(step)}", markup=False)

        yield update


class _Speed:
    """Rows and progress per second since the first report, so that a resumed run starts its own count."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._first: tuple[float, StepReport] | None = None
        self._rows = self._progress = 0.0

    def see(self, step: StepReport) -> None:
        now = self._clock()
        if self._first is None:
            self._first = (now, step)
        began, first = self._first
        if now > began:
            self._rows = (step.sequences - first.sequences) / (now - began)
            self._progress = (step.progress - first.progress) / (now - began)

    def text(self, step: StepReport) -> str:
        parts = [f"loss {step.loss:.4f}"]
        if self._rows > 0:
            parts.append(f"{self._rows:.0f} rows/s")
        if step.progress >= 1.0:
            parts.append(f"took {_minutes(step.seconds)}")
        elif self._progress > 0:
            parts.append(f"{_minutes((1.0 - step.progress) / self._progress)} left")
        return "  ".join(parts)


def _evaluation(step: StepReport) -> str:
    return "".join(f"  {name} {value:.3f}" for name, value in step.evaluation.items())


def _minutes(seconds: float) -> str:
    hours, rest = divmod(round(seconds), 3600)
    return f"{hours}:{rest // 60:02}:{rest % 60:02}" if hours else f"{rest // 60}:{rest % 60:02}"
