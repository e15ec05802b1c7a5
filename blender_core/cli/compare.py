"""`blended-llm compare`: tell which of two answers is better."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from blender_core.cli.output import RankerName, console, ranker_without_members, read_text, reported, write_json
from blender_core.errors import ConfigurationError

__all__ = ["compare"]


def compare(
    prompt: Annotated[str, typer.Option(help="The prompt that both answer.", show_default=False)],
    a: Annotated[str, typer.Option("--a", metavar="FILE", help="One answer; - is standard input.")],
    b: Annotated[str, typer.Option("--b", metavar="FILE", help="The other answer; - is standard input.")],
    ranker: RankerName = "embedded",
    as_json: Annotated[bool, typer.Option("--json", help="Write the result as JSON.")] = False,
) -> None:
    """Say which of two answers is better, and how sure the ranker is."""
    with reported():
        if a == b == "-":
            raise ConfigurationError("--a and --b are both standard input; give a file for one of them")
        if not prompt.strip():
            raise ConfigurationError("--prompt is empty; give the prompt that both answer")
        texts = [read_text(a), read_text(b)]
        ranking = ranker_without_members(ranker).rank(prompt, texts)
        tie = ranking.scores[0] == ranking.scores[1]
        better = "tie" if tie else "ab"[ranking.best]
        if as_json:
            scores = ranking.to_dict()["scores"]
            result: dict[str, Any] = {
                "better": better,
                "confidence": ranking.confidence,
                "scores": dict(zip("ab", scores, strict=True)),
                "ranker": ranking.ranker,
                "cut": {("prompt" if index < 0 else "ab"[index]): cut for index, cut in ranking.cut.items()},
            }
            write_json(result)
            return
        from rich.text import Text

        from blender_core.view.result import ranking_table

        out = console(stderr=False)
        out.print(Text("a tie" if tie else f"{better} is better", style="bold"))
        out.print(ranking_table(ranking, ["a", "b"], texts))
