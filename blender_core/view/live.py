"""Show a running call live in the terminal: members, ranking and fused text."""

from __future__ import annotations

import time
from collections.abc import Callable

from rich.console import Console, ConsoleOptions, Group, RenderResult
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from blender_core.events import (
    BlendEvent,
    FusionRejected,
    FusionStarted,
    Judging,
    MemberAnswered,
    MemberFailed,
    MemberRetrying,
    MemberStarted,
    Ranked,
    Token,
)
from blender_core.types.outcome import MemberOutcome
from blender_core.view import wording

__all__ = ["LiveBlend", "watch_in_lines"]

_TEXT_ROWS = 8


class LiveBlend:
    """Shows the events of one call, as a rich renderable.

    Args:
        members: Names of the members, in order.
        clock: Monotonic seconds.

    Examples:
        >>> view = LiveBlend(["a", "b"])
        >>> view.take(MemberStarted("a", 0))
        >>> console = Console(width=60)
        >>> with console.capture() as shown:
        ...     console.print(view)
        >>> "answering" in shown.get()
        True
    """

    def __init__(self, members: list[str], *, clock: Callable[[], float] = time.monotonic) -> None:
        self._members = members
        self._clock = clock
        self._spinner = Spinner("dots")
        self._spinners = {member: Spinner("dots") for member in members}
        self._started: dict[str, float] = {}
        self._notes: dict[str, str] = {}
        self._outcomes: dict[str, MemberOutcome] = {}
        self._places: dict[str, int] = {}
        self._stage = ""
        self._text = ""

    def live(self, console: Console) -> Live:
        """Make a rich live display that shows this view and removes it at the end.

        Args:
            console: The console.

        Returns:
            The display, to be used in a ``with`` statement.
        """
        return Live(self, console=console, refresh_per_second=8, transient=True)

    def take(self, event: BlendEvent) -> None:
        """Take the next event.

        Args:
            event: The event.
        """
        match event:
            case MemberStarted(member=member):
                self._started[member] = self._clock()
            case MemberRetrying(member=member, wait_s=wait, reason=reason):
                self._notes[member] = f"asked again in {wording.seconds(wait)}: {reason}"
            case MemberAnswered(outcome=outcome) | MemberFailed(outcome=outcome):
                self._outcomes[outcome.member] = outcome
                if len(self._outcomes) == len(self._members):
                    self._stage = "ranking"
            case Judging(ranker=ranker, done=done, calls=calls):
                self._stage = f"{ranker} ranks: {done} of {calls}"
            case Ranked(ranking=ranking, members=members):
                self._places = dict(zip(members, ranking.ranks, strict=True))
                self._stage = ""
            case FusionStarted(fuser=fuser, members=members):
                self._stage = f"fusing {', '.join(members)} with {fuser}"
            case Token(text=text):
                self._text += text
            case FusionRejected(reason=reason):
                self._stage, self._text = f"kept the best answer: {reason}", ""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        table = Table.grid(padding=(0, 1, 0, 0), expand=True)
        table.add_column(width=2)
        table.add_column(no_wrap=True, overflow="ellipsis", max_width=24)
        table.add_column(justify="right", no_wrap=True, min_width=6)
        table.add_column(no_wrap=True, overflow="ellipsis", ratio=1)
        for member in self._members:
            self._add_member(table, member)
        parts: list[Table | Text | Spinner] = [table]
        if self._stage:
            self._spinner.update(text=Text(wording.one_line(self._stage), style="cyan"))
            parts.append(self._spinner)
        if self._text:
            lines = Text(wording.printable(self._text)).wrap(console, max(20, options.max_width - 2))
            parts.extend(lines[-_TEXT_ROWS:])
        yield Group(*parts)

    def _add_member(self, table: Table, member: str) -> None:
        name = wording.printable(member)
        outcome = self._outcomes.get(member)
        if outcome is None:
            began = self._started.get(member)
            if began is None:
                table.add_row(Text("\u00b7", style="dim"), Text(name, style="dim"), "", Text("waiting", style="dim"))
                return
            note = wording.one_line(self._notes.get(member, "answering"))
            table.add_row(self._spinners[member], name, wording.seconds(self._clock() - began), Text(note, style="dim"))
            return
        took = wording.seconds(outcome.latency_s) if outcome.attempts else ""
        if outcome.answer is None:
            why = outcome.status.value.replace("_", " ") + (f": {outcome.reason}" if outcome.reason else "")
            table.add_row(
                Text("\u2717", style="red"), Text(name, style="dim"), took, Text(wording.one_line(why), style="red")
            )
            return
        place = self._places.get(member)
        mark = Text("\u2713" if place is None else str(place), style="bold green" if place == 1 else "green")
        table.add_row(mark, name, took, Text(wording.one_line(outcome.answer.text)))


def _first(ranked: Ranked) -> str:
    tied = [name for name, rank in zip(ranked.members, ranked.ranking.ranks, strict=True) if rank == 1]
    if len(tied) < 2:
        return f"{ranked.best_member} is first"
    return f"{', '.join(tied)} tie, so {ranked.best_member} is taken"


def watch_in_lines(console: Console) -> Callable[[BlendEvent], None]:
    """Write the events of a call line by line, for outputs that are no terminal.

    Args:
        console: The console.

    Returns:
        A function that takes each event.
    """

    def take(event: BlendEvent) -> None:
        match event:
            case MemberAnswered(outcome=outcome):
                line = f"{outcome.member}: answered in {wording.seconds(outcome.latency_s)}"
            case MemberRetrying(member=member, wait_s=wait, reason=reason):
                line = f"{member}: asked again in {wording.seconds(wait)}: {reason}"
            case MemberFailed(outcome=outcome):
                line = f"{outcome.member}: {outcome.status.value}: {outcome.reason}"
            case Judging(ranker=ranker, judge=str(judge), done=done, calls=calls, problem=problem):
                failed = "" if problem is None else f", {judge} failed: {problem}"
                line = f"{ranker} ranks: {done} of {calls}{failed}"
            case Ranked():
                line = f"ranked by {event.ranking.ranker}: {_first(event)}"
            case FusionStarted(fuser=fuser, members=members):
                line = f"fusing {', '.join(members)} with {fuser}"
            case FusionRejected(reason=reason):
                line = f"kept the best answer: {reason}"
            case _:
                return
        console.print(Text(wording.one_line(line)), soft_wrap=True)

    return take
