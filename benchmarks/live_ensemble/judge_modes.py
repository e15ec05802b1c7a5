"""Ways to judge with small local models: calls, tokens, seconds and right picks on recorded answers.

    python benchmarks/live_ensemble/judge_modes.py --prompts 16

Takes development prompts to which some of the four recorded answers are right and some wrong. The members replay their
answers and judge live, one thread each. A pick by chance is right as often as a member.
"""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Mapping
from statistics import fmean

from report import HERE, right
from rich.console import Console

from blender_core import Answer, Blender, Member, OpenAIMember, Prompt
from blender_core.local import MODELS, local_ensemble
from blender_core.rank import LLMJudge, PeerRanker, Ranker
from blender_lab.data.mixinstruct import MixRecord, joined_prompt, read_mix
from blender_lab.evaluate.statistics import bootstrap_mean


class Recorded(Member):
    """Answers as it was recorded, and judges live."""

    def __init__(self, name: str, texts: Mapping[str, str], live: Member) -> None:
        super().__init__(name)
        self._texts = texts
        self._live = live

    def generate(self, prompt: Prompt) -> Answer:
        """Replay the answer, or judge."""
        return self._live.generate(prompt) if prompt.purpose == "judge" else Answer(self._texts[prompt.text])


def chosen(count: int) -> list[MixRecord]:
    """Every n-th development prompt that tells the members apart."""
    records = [
        record
        for record in read_mix(HERE / "answers.jsonl.gz")
        if record.extra["split"] == "development"
        and 0.0 < fmean(right(record, i) for i in range(len(record.candidates))) < 1.0
        and len({candidate.text for candidate in record.candidates}) == len(record.candidates)
    ]
    return records[:: max(1, len(records) // count)][:count]


def main() -> None:
    """Run the ways that are asked for, and print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--prompts", type=int, default=16)
    parser.add_argument("--judge", default="qwen2.5-coder-1.5b")
    parser.add_argument("--ways", nargs="+", default=["consensus", "embedded", "listwise", "pointwise", "peers"])
    asked = parser.parse_args()
    records = chosen(asked.prompts)
    names = [candidate.model for candidate in records[0].candidates]
    console = Console()
    with contextlib.ExitStack() as stack:
        wanted = names if "peers" in asked.ways else [asked.judge]
        servers = stack.enter_context(
            local_ensemble([MODELS[name] for name in wanted], threads=1, context=4096, parallel=1)
        )
        live = {
            name: OpenAIMember(
                server.model, base_url=server.base_url, api_key=server.api_key, temperature=0.0, max_tokens=160
            )
            for name, server in zip(wanted, servers, strict=True)
        }
        members = [
            Recorded(
                name,
                {joined_prompt(record.instruction, record.input): record.candidates[i].text for record in records},
                live.get(name, live[asked.judge]),
            )
            for i, name in enumerate(names)
        ]
        for way in asked.ways:
            ranker: Ranker | str = way
            if way in ("listwise", "pointwise", "pairwise"):
                ranker = LLMJudge(live[asked.judge], mode=way, concurrency=1)
            elif way == "borda":
                ranker = PeerRanker(votes="borda")
            blender = Blender(members, ranker=ranker, fuser=None, timeout=None)
            results = [blender.blend(joined_prompt(record.instruction, record.input)) for record in records]
            picks = [right(record, result.winner_index) for record, result in zip(records, results, strict=True)]
            interval = bootstrap_mean(picks)
            tokens = [0 if result.ranker_usage is None else result.ranker_usage.total_tokens for result in results]
            seconds = [result.timings.rank for result in results]
            console.print(
                f"{way}: {fmean(tokens):.0f} tokens and {fmean(seconds):.2f} s a prompt, "
                f"{sum(result.is_degraded for result in results)} degraded, "
                f"right {interval.mean:.3f} ({interval.low:.3f} to {interval.high:.3f})"
            )
            for result in results:
                for reason in result.degraded:
                    console.print("  ", reason, style="dim")
    chance = fmean(right(record, i) for record in records for i in range(len(names)))
    console.print(f"{len(records)} prompts; by chance {chance:.3f}")


if __name__ == "__main__":
    main()
