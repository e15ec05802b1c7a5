"""`blended-llm rate`: rate the answers of members blind, and keep their strength in a prior."""

from __future__ import annotations

import random
import sys
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated

import typer

from blender_core.cli.described import ConfigFile, Timeout, connect, described, of_members
from blender_core.cli.output import Endpoints, LocalModels, RankerName, console, ranker_without_members, reported
from blender_core.cli.prompt_rows import PromptRow, read_rows
from blender_core.errors import ConfigurationError, RankerError
from blender_core.runtime.numbers import check_number

if TYPE_CHECKING:
    from rich.console import Console

    from blender_core.blender import Blender
    from blender_core.config import BlendConfig
    from blender_core.members.member import Member
    from blender_core.rank.llm_judge import LLMJudge
    from blender_core.rank.member_prior import MemberPrior
    from blender_core.rank.protocol import Ranker

__all__ = ["rate"]

# without the letters of the other keys
_LETTERS = "ABCDEFGHIJKLMOPRVWXYZ"
_KEYS = "t tie, n none is good, s skip, u undo, q quit"
# after so many failures in a row the judge is to blame, not the prompts
_MOST_JUDGE_FAILURES = 3


@dataclass(frozen=True, slots=True)
class _Task:
    """Holds one prompt, its answers, and the groups of equal answers in the order they are shown."""

    prompt: str
    names: tuple[str, ...]
    texts: tuple[str, ...]
    groups: tuple[tuple[int, ...], ...]

    def ratings(self, shown: Sequence[float]) -> list[float]:
        """Spread a rating of each shown answer over all answers."""
        ratings = [0.0] * len(self.texts)
        for group, rating in zip(self.groups, shown, strict=True):
            for index in group:
                ratings[index] = rating
        return ratings


def rate(
    context: typer.Context,
    prompts: Annotated[
        str,
        typer.Argument(
            metavar="PROMPTS",
            help='A prompt a line: text, or JSON with "prompt", or "instruction" and perhaps "input" and "candidates".',
        ),
    ],
    model: LocalModels = None,
    endpoint: Endpoints = None,
    config: ConfigFile = None,
    answers: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Answers that were gathered before, as `mix` writes.", show_default=False),
    ] = None,
    ranker: RankerName = "embedded",
    out: Annotated[str, typer.Option(metavar="FILE", help="The prior; ratings in it are kept.")] = "prior.json",
    judge: Annotated[
        str | None,
        typer.Option(metavar="MODEL", help="A local model or URL:MODEL rates instead of you.", show_default=False),
    ] = None,
    limit: Annotated[int | None, typer.Option(help="Stop after so many ratings.", show_default="none")] = None,
    timeout: Timeout = 120.0,
    max_tokens: Annotated[int, typer.Option(help="Longest answer of a member, in tokens.")] = 256,
) -> None:
    """Rate answers blind, so that a blend knows which member is strong.

    Shows a prompt with its answers in random order, without names, and takes one key: the letter of the best answer,
    t if several are equally good, n if none is good, s to skip, u to undo, q to stop. If standard input is no terminal,
    each of its lines is a key.

    Every rating is saved at once in --out. Given again, the command goes on with the prompts that are not rated yet.
    """
    with reported():
        from blender_core.rank.member_prior import MemberPrior

        _check(prompts, answers, [*(model or ()), *(endpoint or ()), *([config] if config else ())], limit)
        progress = console(stderr=True)
        rows = _with_answers(list(read_rows(prompts, needs_candidates=False)), answers)
        blend = described(context)
        chosen, prior = ranker_without_members(blend.beside(blend.ranker)), MemberPrior(path=out)
        blender = None
        if not all(row.texts for row in rows):
            blender = _gatherer(connect(blend, progress), blend)
        rater = _Keys(progress) if judge is None else _judge(judge, progress)
        session = _Session(prior, chosen, progress, limit)
        session.run(_tasks(rows, blender, prior, progress), rater)
        _tell_gain(prior, session.rated)


def _check(prompts: str, answers: str | None, members: Sequence[object], limit: int | None) -> None:
    if prompts == "-":
        raise ConfigurationError("PROMPTS is -, but standard input gives the keys; write the prompts into a file")
    if answers is not None and members:
        raise ConfigurationError("--answers and what names members exclude each other: --model, --endpoint, --config")
    check_number("--limit", limit, least=1, whole=True, none="no limit")


def _with_answers(rows: list[PromptRow], answers: str | None) -> list[PromptRow]:
    """Give each row the candidates that a file of answers holds for its prompt."""
    known: dict[str, PromptRow] = {}
    if answers is not None:
        known = {row.prompt: row for row in read_rows(answers, needs_candidates=True)}
    found = [known.get(row.prompt, row) for row in rows]
    for row in found:
        if answers is not None and not row.texts:
            raise ConfigurationError(f"{row.where}: {answers} holds no answers to this prompt; remove it or run `mix`")
        unnamed = [name for name in row.names if name.startswith("candidate ")]
        if unnamed:
            raise ConfigurationError(f'{row.where}: {unnamed[0]} has no "model"; a rating needs the members\' names')
    return found


def _gatherer(members: Sequence[Member], blend: BlendConfig) -> Blender:
    from blender_core.blender import Blender
    from blender_core.settings import IN_POLICY

    if len(members) < 2:
        raise ConfigurationError(f"{len(members)} member cannot be compared; name at least two models")
    kept = {name: value for name, value in blend.settings().items() if name in ("policy", "breaker", *IN_POLICY)}
    return Blender(members, ranker="longest", fuser=None, **kept)


def _tasks(
    rows: Sequence[PromptRow], blender: Blender | None, prior: MemberPrior, progress: Console
) -> Iterator[_Task]:
    """Yield the prompts that are not rated yet, with at least two different answers."""
    from blender_core.errors import QuorumError
    from blender_core.view.wording import one_line

    left_out = 0
    for row in rows:
        names, texts = row.names, row.texts
        if not texts and blender is not None:
            names = tuple(name for name, _ in blender.members)
            if prior.is_rated(row.prompt, names):
                continue
            try:
                with progress.status("the members answer"):
                    found = blender.blend(row.prompt).candidates
            except QuorumError as error:
                progress.print(one_line(f"{row.where}: {error}", 2000), style="red", markup=False)
                continue
            # all names, so that the rating is found again; an answer that is missing is blank
            texts = tuple(one.text or "" for one in found)
            names = tuple(one.model for one in found)
        if prior.is_rated(row.prompt, names):
            continue
        task = _task(row.prompt, names, texts)
        if len(task.groups) < 2:
            left_out += 1
            continue
        yield task
    if left_out:
        progress.print(f"{left_out} prompts left out: their answers do not differ")


def _task(prompt: str, names: tuple[str, ...], texts: tuple[str, ...]) -> _Task:
    from blender_core.text.distinct import distinct_candidates

    distinct = distinct_candidates(texts)
    groups = [
        tuple(index for index, position in enumerate(distinct.positions) if position == place)
        for place in range(len(distinct.texts))
    ]
    if len(groups) > len(_LETTERS):
        raise ConfigurationError(f"{len(groups)} different answers to one prompt; at most {len(_LETTERS)} can be shown")
    # the same order if the prompt is shown again
    random.Random(prompt).shuffle(groups)
    return _Task(prompt, names, texts, tuple(groups))


class _Session:
    """Shows prompts, takes ratings and tells what a blend would pick now."""

    def __init__(self, prior: MemberPrior, ranker: Ranker, progress: Console, limit: int | None) -> None:
        self._prior = prior
        self._ranker = ranker
        self._progress = progress
        self._limit = limit
        self._history: list[_Task] = []

    @property
    def rated(self) -> int:
        """Ratings given in this session."""
        return len(self._history)

    def run(self, tasks: Iterator[_Task], rater: _Keys | _Judge) -> None:
        """Rate until the tasks, the limit or the rater ends."""
        again: deque[_Task] = deque()
        while self._limit is None or self.rated < self._limit:
            task = again.popleft() if again else next(tasks, None)
            if task is None:
                break
            verdict = rater.rate(task)
            if verdict == "quit":
                break
            if verdict == "undo":
                again.appendleft(task)
                if self._history:
                    again.appendleft(self._undo())
                else:
                    self._progress.print("nothing to undo")
            elif not isinstance(verdict, str):
                self._keep(task, verdict)

    def _undo(self) -> _Task:
        last = self._history.pop()
        self._prior.forget(last.prompt, last.names)
        return last

    def _keep(self, task: _Task, shown: Sequence[float]) -> None:
        ranking = self._ranker.rank(task.prompt, list(task.texts))
        self._prior.judge_answers(task.names, ranking, task.ratings(shown), prompt=task.prompt)
        self._history.append(task)
        from blender_core.rank.rating_gain import picks_by_member

        picks = picks_by_member(self._prior)
        strongest = self._prior.strongest_first(list(dict.fromkeys(task.names)))
        told = ", ".join(f"{name} {count}" for name, count in picks.items())
        self._progress.print(
            f"would now pick: {told} of {sum(picks.values())} rated prompts; strongest: {', '.join(strongest)}",
            style="dim",
            markup=False,
            soft_wrap=True,
        )


_Verdict = Sequence[float] | str


@dataclass(slots=True)
class _Keys:
    """Takes keys from the terminal, or lines from standard input."""

    progress: Console
    shown: int = field(default=0)

    def rate(self, task: _Task) -> _Verdict:
        """Show a prompt and read one key: a rating of each shown answer, ``skip``, ``undo`` or ``quit``."""
        from rich.panel import Panel
        from rich.text import Text

        from blender_core.view.wording import printable

        self.progress.rule()
        self.progress.print(Text(printable(task.prompt), style="bold"))
        letters = _LETTERS[: len(task.groups)]
        for letter, group in zip(letters, task.groups, strict=True):
            self.progress.print(Panel(Text(printable(task.texts[group[0]].strip())), title=letter, title_align="left"))
        while True:
            self.progress.print(f"best: {', '.join(letters)}; {_KEYS}", style="dim", markup=False)
            key = _read_key()
            if key in ("s", "u", "q"):
                return {"s": "skip", "u": "undo", "q": "quit"}[key]
            if key in ("t", "n"):
                return [1.0 if key == "t" else 0.0] * len(letters)
            if key and key.upper() in letters:
                return [float(letter == key.upper()) for letter in letters]
            self.progress.print(f"{key!r} is none of the keys", style="red", markup=False)


def _read_key() -> str:
    """Read one key in lower case; the end of the input is ``q``."""
    if not sys.stdin.isatty():
        line = sys.stdin.readline()
        return line.strip()[:1].lower() if line else "q"
    import click

    try:
        return click.getchar()[:1].lower()
    except EOFError:
        return "q"


class _Judge:
    """Lets an LLM rate: its score of each shown answer."""

    def __init__(self, judge: LLMJudge, progress: Console) -> None:
        self._judge = judge
        self._progress = progress
        self._failures = 0

    def rate(self, task: _Task) -> _Verdict:
        """Ask the judge about every pair of answers, in both orders."""
        from blender_core.view.wording import one_line

        try:
            ranking = self._judge.rank(task.prompt, [task.texts[group[0]] for group in task.groups])
        except RankerError as error:
            self._failures += 1
            if self._failures >= _MOST_JUDGE_FAILURES:
                raise
            self._progress.print(f"skipped: {one_line(str(error))}", style="red", markup=False)
            return "skip"
        self._failures = 0
        best = task.groups[ranking.best][0]
        self._progress.print(
            f"{one_line(task.prompt, 60)} -> {one_line(task.texts[best], 60)}", markup=False, soft_wrap=True
        )
        return ranking.scores


def _judge(name: str, progress: Console) -> _Judge:
    from blender_core.local import MODELS
    from blender_core.rank.llm_judge import LLMJudge

    models, endpoints = ([name], []) if name in MODELS else ([], [name])
    [member] = connect(of_members(models, endpoints, {"temperature": 0.0}), progress)
    return _Judge(LLMJudge(member, mode="pairwise"), progress)


def _tell_gain(prior: MemberPrior, rated: int) -> None:
    """Say with numbers what the ratings are worth."""
    from blender_core.rank.rating_gain import measure_ratings

    out = console(stderr=False)
    gain = measure_ratings(prior)
    whole = len(prior.to_dict()["rated"])
    lines = [f"{rated} prompts rated now, {whole} in {prior.path}; {gain.prompts} of them tell answers apart."]
    if gain.prompts:
        lines += [
            f"A best answer was picked, each prompt with a prior that does not know its rating, of {gain.prompts}:",
            f"  the ranker alone           {gain.alone}",
            f"  with the prior             {gain.blended}",
            f"  always the strongest       {gain.strongest}",
            _verdict(gain.helped, gain.hurt, gain.p_value),
        ]
    out.print("\n".join(lines), markup=False, soft_wrap=True)


def _verdict(helped: int, hurt: int, p_value: float) -> str:
    if helped == hurt == 0:
        return "The prior changed no pick for the better or the worse; rate more prompts."
    told = f"The prior helped on {helped} and hurt on {hurt}"
    if p_value > 0.1:
        return f"{told}; that may be chance (sign test, p = {p_value:.2f}). Rate more prompts to know."
    better = "useful" if helped > hurt else "harmful: leave this prior out"
    return f"{told} (sign test, p = {p_value:.3f}): the ratings are {better}."
