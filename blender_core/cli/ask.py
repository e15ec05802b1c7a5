"""`blended-llm ask`: ask every member, rank the answers, fuse the best."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from blender_core.cli.described import (
    BlendPrior,
    ConfigFile,
    FuserName,
    FuseWhen,
    Quorum,
    Temperature,
    Timeout,
    TopK,
    connect,
    described,
)
from blender_core.cli.output import (
    Endpoints,
    ExitCode,
    LocalModels,
    RankerName,
    console,
    read_text,
    reported,
    write_json,
    write_text,
)
from blender_core.errors import ConfigurationError
from blender_core.members.endpoints import MAX_TOKENS

if TYPE_CHECKING:
    from rich.console import Console

    from blender_core.blender import Blender
    from blender_core.config import BlendConfig
    from blender_core.types.prompt import Prompt
    from blender_core.types.result import BlendResult

__all__ = ["ask"]


def ask(
    context: typer.Context,
    prompt: Annotated[str, typer.Argument(help="The question; - reads it from standard input.")],
    model: LocalModels = None,
    endpoint: Endpoints = None,
    config: ConfigFile = None,
    system: Annotated[str | None, typer.Option(help="A system message.", show_default=False)] = None,
    ranker: RankerName = "embedded",
    prior: BlendPrior = None,
    fuser: FuserName = "llm",
    fuse_when: FuseWhen = "auto",
    top_k: TopK = 3,
    timeout: Timeout = 120.0,
    deadline: Annotated[
        float | None, typer.Option(help="Seconds for the whole call, without downloads.", show_default="none")
    ] = None,
    quorum: Quorum = 1,
    max_tokens: Annotated[int, typer.Option(help="Longest answer of a member, in tokens.")] = MAX_TOKENS,
    temperature: Temperature = None,
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
        from blender_core.config import fuser_of
        from blender_core.rank.registry import resolve_ranker
        from blender_core.settings import DEFAULTS

        asked = _prompt(prompt, system)
        blend = described(context)
        settings = blend.settings()
        # the default loads while the members answer; another loads first, so that a wrong one costs no download
        if settings.get("ranker", DEFAULTS["ranker"]) != DEFAULTS["ranker"]:
            settings["ranker"] = resolve_ranker(settings["ranker"])
        progress = console(stderr=True)
        _tell_prior(blend, settings, progress)
        members = connect(blend, progress)
        number = len(blend.members)
        blender = Blender(members[:number], reserves=members[number:], fuser=fuser_of(blend), **settings)
        result = asyncio.run(_watch(blender, asked, progress))
        _show(result, progress, as_json=as_json)
        if fail_if_degraded and result.is_degraded:
            raise typer.Exit(ExitCode.DEGRADED)


def _tell_prior(blend: BlendConfig, settings: Mapping[str, Any], progress: Console) -> None:
    if not blend.is_local or "member_prior" in settings:
        return
    from blender_core.rank.member_prior import MemberPrior

    rated = len(MemberPrior.of_catalogue(blend.names).to_dict()["rated"])
    note = f"member prior: the catalogue's, from {rated} checked prompts; --prior none leaves it out"
    progress.print(note, style="dim")


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
