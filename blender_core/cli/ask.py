"""`blended-llm ask`: ask every member, rank the answers, fuse the best."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from blender_core.cli.output import (
    Endpoints,
    ExitCode,
    LocalModels,
    RankerName,
    console,
    open_prior,
    read_text,
    reported,
    write_json,
    write_text,
)
from blender_core.errors import ConfigurationError
from blender_core.members.endpoints import MAX_TOKENS, Endpoint, endpoints_from_environment, endpoints_of

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import TaskID

    from blender_core.blender import Blender
    from blender_core.local import LocalModel
    from blender_core.local.download import Progress, Stage
    from blender_core.members.member import Member
    from blender_core.rank.member_prior import MemberPrior
    from blender_core.types.prompt import Prompt
    from blender_core.types.result import BlendResult

__all__ = [
    "ask",
    "open_members",
]


@contextmanager
def open_members(
    models: Sequence[str],
    endpoints: Sequence[str],
    *,
    max_tokens: int | None,
    temperature: float | None,
    console: Console,
) -> Iterator[list[Member]]:
    """Start local models and connect endpoints; stop the local models at the end.

    Args:
        models: Names of local models; a name that is given again adds a further, sampled answer. Without models and
            endpoints the default ones.
        endpoints: Each ``URL:MODEL``; without models and endpoints those of ``BLENDED_LLM_ENDPOINTS``, if any.
        max_tokens: Longest answer in tokens.
        temperature: Sampling temperature; default is 0 for local models and the server's for endpoints.
        console: Shows the progress of downloads.

    Yields:
        The members, local ones first.

    Raises:
        ConfigurationError: An unknown model or a malformed endpoint.
        MissingExtraError: The ``demo`` extra is not installed.
        DownloadError: A model's file cannot be downloaded.
    """
    key = os.environ.get("OPENAI_API_KEY")
    addresses = [Endpoint.parse(endpoint, api_key=key) for endpoint in endpoints]
    if not models and not addresses:
        addresses = list(endpoints_from_environment())
    with ExitStack() as stack:
        members: list[Member] = []
        if models or not addresses:
            from blender_core.local import DEFAULT_MODELS, find_model, local_ensemble

            chosen = [find_model(name) for name in models] or list(DEFAULT_MODELS)
            with _progress(console) as progress:
                servers = stack.enter_context(local_ensemble(chosen, progress=progress))
            for local in endpoints_of(servers):
                members.append(local.member(max_tokens=max_tokens, temperature=temperature))
        members += [address.member(max_tokens=max_tokens, temperature=temperature) for address in addresses]
        yield members


@contextmanager
def _progress(console: Console) -> Iterator[Progress]:
    """Yield a function that shows downloads: bars on a terminal, else a line per model."""
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn
    from rich.text import Text

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    seen: dict[str, TaskID] = {}
    announced: set[str] = set()
    words = {"verify": "checking", "hub": "fetching", "packages": "fetching"}
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bars:

        def report(model: LocalModel, stage: Stage, done: int, total: int) -> None:
            if stage == "ready":
                if model.name in seen:
                    bars.update(seen[model.name], completed=total, total=total)
                return
            if model.name not in seen:
                seen[model.name] = bars.add_task(model.name, total=total)
            if stage != "verify" and model.name not in announced:
                announced.add(model.name)
                line = f"{model.name}: {model.size / 1e6:.0f} MB, licence {model.licence}. {model.licence_note}"
                console.print(Text(line.rstrip()), soft_wrap=True)
            bars.update(seen[model.name], description=f"{words[stage]} {model.name}", completed=done, total=total)

        yield report


def ask(
    prompt: Annotated[str, typer.Argument(help="The question; - reads it from standard input.")],
    model: LocalModels = None,
    endpoint: Endpoints = None,
    system: Annotated[str | None, typer.Option(help="A system message.", show_default=False)] = None,
    ranker: RankerName = "embedded",
    prior: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Strength of the members, made by `rate`; none: without.",
            show_default="the catalogue's, if local models alone answer",
        ),
    ] = None,
    fuser: Annotated[
        str, typer.Option(help="llm: the strongest member fuses; none: only pick; or a member's name.")
    ] = "llm",
    fuse_when: Annotated[str, typer.Option(help="auto, always or never.")] = "auto",
    top_k: Annotated[int, typer.Option(help="How many of the best answers are fused.")] = 3,
    timeout: Annotated[float, typer.Option(help="Seconds each member gets.")] = 120.0,
    deadline: Annotated[
        float | None, typer.Option(help="Seconds for the whole call, without downloads.", show_default="none")
    ] = None,
    quorum: Annotated[int, typer.Option(help="Answers needed.")] = 1,
    max_tokens: Annotated[int, typer.Option(help="Longest answer of a member, in tokens.")] = MAX_TOKENS,
    temperature: Annotated[
        float | None,
        typer.Option(help="Sampling temperature.", show_default="0 for local models, else the server's"),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Write the whole result as JSON.")] = False,
    fail_if_degraded: Annotated[
        bool, typer.Option("--fail-if-degraded", help="Exit with 3 if something went wrong on the way.")
    ] = False,
) -> None:
    """Ask several LLMs, rank their answers, fuse the best.

    Without --model and --endpoint the default local models answer; they are fetched once. The answer goes to
    standard output, everything else to standard error.
    """
    with reported():
        from blender_core.blender import Blender
        from blender_core.gather.policy import GatherPolicy
        from blender_core.rank.registry import resolve_ranker
        from blender_core.settings import DEFAULTS

        if max_tokens < 1:
            raise ConfigurationError(f"--max-tokens is {max_tokens}; it must be at least 1")
        asked = _prompt(prompt, system)
        policy = GatherPolicy(timeout=timeout, quorum=quorum)
        # the default loads while the members answer; another loads first, so that a wrong one costs no download
        chosen_ranker = ranker if ranker == DEFAULTS["ranker"] else resolve_ranker(ranker)
        progress = console(stderr=True)
        member_prior = _prior(
            prior, progress, local_only=not endpoint and (bool(model) or not endpoints_from_environment())
        )
        with open_members(
            model or [], endpoint or [], max_tokens=max_tokens, temperature=temperature, console=progress
        ) as members:
            blender = Blender(
                members,
                ranker=chosen_ranker,
                fuser=_fuser(fuser, members),
                top_k=top_k,
                fuse_when=fuse_when,
                deadline=deadline,
                policy=policy,
                member_prior=member_prior,
            )
            result = asyncio.run(_watch(blender, asked, progress))
        _show(result, progress, as_json=as_json)
        if fail_if_degraded and result.is_degraded:
            raise typer.Exit(ExitCode.DEGRADED)


def _fuser(name: str, members: Sequence[Member]) -> Member | str | None:
    if name in ("llm", "none"):
        return None if name == "none" else name
    for member in members:
        if member.name == name:
            return member
    known = ", ".join(member.name for member in members)
    raise ConfigurationError(f"--fuser is {name!r}; use llm, none, or one of the members: {known}")


def _prior(path: str | None, progress: Console, *, local_only: bool) -> MemberPrior | None:
    from blender_core.rank.member_prior import MemberPrior

    if path == "none":
        return MemberPrior()
    if path is None and local_only:
        rated = len(MemberPrior.of_catalogue().to_dict()["rated"])
        note = f"member prior: the catalogue's, from {rated} checked prompts; --prior none leaves it out"
        progress.print(note, style="dim")
    return open_prior(path)


def _prompt(question: str, system: str | None) -> Prompt:
    from blender_core.types.prompt import Prompt

    text = read_text("-") if question == "-" else question
    if not text.strip():
        raise ConfigurationError("the question is empty; write one, or pipe one in with -")
    turns = [("user", text.strip())]
    return Prompt.of([("system", system), *turns] if system else turns)


async def _watch(blender: Blender, prompt: Prompt, progress: Console) -> BlendResult:
    from contextlib import aclosing, nullcontext

    from blender_core.events import Finished
    from blender_core.view.live import LiveBlend, watch_in_lines

    view = LiveBlend([name for name, _ in blender.members])
    on_terminal = progress.is_terminal
    take = view.take if on_terminal else watch_in_lines(progress)
    events = blender.astream(prompt)
    with view.live(progress) if on_terminal else nullcontext():
        async with aclosing(events):  # type: ignore[type-var]
            async for event in events:
                if isinstance(event, Finished):
                    return event.result
                take(event)
    raise AssertionError("the stream of events ends with Finished")


def _show(result: BlendResult, progress: Console, *, as_json: bool) -> None:
    from blender_core.view.result import answer_panel, candidate_table, summary

    if as_json:
        write_json(result.to_dict())
        return
    answers = console(stderr=False)
    progress.print(candidate_table(result))
    if answers.is_terminal:
        answers.print(answer_panel(result))
    else:
        write_text(result.text)
    progress.print(summary(result))
