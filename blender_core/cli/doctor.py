"""`blended-llm doctor`: ask every member of a file a word, and tell what is wrong."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from blender_core.cli.described import connect
from blender_core.cli.output import ExitCode, console, reported, write_json
from blender_core.errors import BlendError, ConfigurationError

if TYPE_CHECKING:
    from blender_core.config import BlendConfig, Diagnosis
    from blender_core.members.member import Member

__all__ = ["doctor"]


def doctor(
    file: Annotated[Path, typer.Argument(help="A file that describes a blend (.toml, .yaml, .json).")],
    timeout: Annotated[float, typer.Option(help="Seconds for each question.")] = 30.0,
    quick: Annotated[
        bool, typer.Option("--quick", help="Ask for one word only, not for a tool call or an image.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Write the findings as JSON.")] = False,
) -> None:
    """Check a blend's file: keys, latency, windows, tools, images, prices, and what is wrong.

    Every member is asked for one word, for a call of a tool, and for the colour of a small picture. The ranker, the
    fuser and the prior are loaded. Exit code 1 says that something is wrong.
    """
    with reported():
        from blender_core.config import BlendConfig, diagnose

        if not 0.0 < timeout < float("inf"):
            raise ConfigurationError(f"--timeout is {timeout}; give seconds above 0")
        config = BlendConfig.load(file)
        progress = console(stderr=True)
        members, problems = _connected(config, progress)
        findings = asyncio.run(diagnose(list(members.values()), timeout=timeout, only_answers=quick))
        found = {one.member: one for one in findings}
        problems |= {name: one.problem for name, one in found.items() if one.problem}
        parts = _parts(config)
        rows = [_row(config, place, found.get(name), problems.get(name, "")) for place, name in enumerate(config.names)]
        wrong = len(problems) + sum(bool(problem) for problem in parts.values())
        if as_json:
            write_json({"members": rows, "parts": parts, "problems": wrong})
        else:
            _show(rows, parts, wrong)
        if wrong:
            raise typer.Exit(ExitCode.FAILED)


def _connected(config: BlendConfig, progress: Any) -> tuple[dict[str, Member], dict[str, str]]:
    """Connect one member after the other, so that a missing key hides no other problem."""
    from blender_core.config import connect_members

    members, problems = {}, {}
    apis = [place for place, member in enumerate(config.all_members) if member.local is None]
    for place in apis:
        try:
            members[config.names[place]] = connect_members(config, only=[place])[0]
        except BlendError as error:
            problems[config.names[place]] = str(error)
    local = [place for place, member in enumerate(config.all_members) if member.local is not None]
    if local:
        try:
            opened = connect(config, progress, only=local)
            members |= {config.names[place]: member for place, member in zip(local, opened, strict=True)}
        except BlendError as error:
            problems |= {config.names[place]: str(error) for place in local}
    return {name: members[name] for name in config.names if name in members}, problems


def _parts(config: BlendConfig) -> dict[str, str]:
    """Load ranker, fuser and prior; say what is wrong with each, or nothing."""
    from blender_core.blender import Blender
    from blender_core.config import fuser_of
    from blender_core.members.member import FunctionMember

    # no member is asked here, so that what is wrong with one hides nothing
    silent = [FunctionMember(lambda _: "", name=name) for name in config.names]
    checks: dict[str, Callable[[], object]] = {
        "ranker": lambda: Blender(silent, fuser=None, ranker=config.beside(config.ranker)).warm_up(),
        "fuser": lambda: Blender(silent, fuser=fuser_of(config), ranker="longest"),
        "prior": config.settings,
    }
    found = {}
    for name, check in checks.items():
        try:
            check()
            found[name] = ""
        except BlendError as error:
            found[name] = str(error)
    return found


def _row(config: BlendConfig, place: int, found: Diagnosis | None, problem: str) -> dict[str, Any]:
    member = config.all_members[place]
    known = {} if found is None else asdict(found)
    return {
        "member": config.names[place],
        "reserve": place >= len(config.members),
        "model": member.local or member.model,
        "local": member.local is not None,
        "base_url": member.base_url,
        "seconds": known.get("seconds"),
        "context_window": known.get("context_window"),
        "tools": known.get("tools"),
        "images": known.get("images"),
        "usage_reported": known.get("usage_reported", False),
        "price": None if member.price is None else {"input": member.price.input, "output": member.price.output},
        "problem": problem,
    }


def _show(rows: Sequence[dict[str, Any]], parts: dict[str, str], wrong: int) -> None:
    from rich.text import Text

    from blender_core.view.table import Cell, Column, Table
    from blender_core.view.wording import one_line

    columns = [
        Column("member", name=True),
        Column("answers in", number=True),
        Column("window", number=True),
        Column("tools"),
        Column("images"),
        Column("usage"),
        Column("price in, out", number=True),
        Column("problem", wide=True),
    ]
    cells = [
        [
            f"{row['member']} (reserve)" if row["reserve"] else row["member"],
            "-" if row["seconds"] is None else f"{row['seconds']:.2f} s",
            "-" if row["context_window"] is None else f"{row['context_window']:,}",
            _ability(row["tools"]),
            _ability(row["images"]),
            "yes" if row["usage_reported"] else "no" if row["seconds"] is not None else "-",
            "free"
            if row["local"]
            else "-"
            if row["price"] is None
            else f"{row['price']['input']:g}, {row['price']['output']:g}",
            Cell(one_line(row["problem"], 60), "error" if row["problem"] else ""),
        ]
        for row in rows
    ]
    out = console(stderr=False)
    out.print(Table(columns, cells))
    for row in rows:
        if row["problem"]:
            out.print(Text(f"{row['member']}: {one_line(row['problem'], 500)}"), soft_wrap=True)
        for ability in ("tools", "images"):
            if row[ability] not in (None, "yes", "no"):
                out.print(
                    Text(f"{row['member']}, {ability}: {one_line(row[ability], 300)}", style="dim"), soft_wrap=True
                )
    for name, problem in parts.items():
        out.print(Text(f"{name}: {one_line(problem, 500) if problem else 'fine'}"), soft_wrap=True)
    out.print(Text("nothing is wrong" if not wrong else f"{wrong} problem{'s' if wrong > 1 else ''}"))


def _ability(said: str | None) -> str:
    return "-" if said is None else said if said in ("yes", "no") else "refused"
