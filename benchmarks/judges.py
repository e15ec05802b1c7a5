"""What each judge costs and how good its pick is: calls, tokens, CPU seconds and the pick's score on blend sets.

    python benchmarks/judges.py --data DIR [--limit 20] [--answers 6] [--set NAME ...] [--judge NAME ...] [--llm MODEL]

A judge is a name as in ``blended-llm eval ranker --ranker``: one of the package, a folder or hub name of a reward
model, ``URL:MODEL`` of an endpoint that ranks, or ``listwise``, ``pointwise`` and ``pairwise`` for LLMJudge on a local
model. Calls and tokens are those of LLM judges. CPU seconds a prompt are those of this process and of the local
model's server, without loading; work on other servers is not seen. Rows are printed as soon as they are known.
"""

from __future__ import annotations

import argparse
import itertools
import os
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from blender_core import Answer, Member, Prompt, Ranking
from blender_core.errors import BlendError
from blender_core.local import LocalServer, find_model, local_ensemble
from blender_core.members.openai_member import OpenAIMember
from blender_core.rank import LexicalConsensusRanker, LLMJudge
from blender_core.rank.protocol import Ranker
from blender_lab.data.preferences import PreferenceRecord, read_records
from blender_lab.evaluate.benchmark_rankers import benchmark_rankers
from blender_lab.evaluate.ranker import BLEND_SETS, evaluate_blend

MODES = ("listwise", "pointwise", "pairwise")
JUDGES = ("longest", "consensus", "embedding-consensus", "bi-encoder", "embedded", "reward-head", *MODES)
# room for a short reason before the verdict
VERDICT_TOKENS = 200


def server_seconds(pid: int) -> float:
    """CPU seconds that a process has used; 0 where the system does not tell."""
    file = Path(f"/proc/{pid}/stat")
    if not file.is_file():
        return 0.0
    fields = file.read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class CountedMember(Member):
    """A local model, and what was asked of it."""

    def __init__(self, server: LocalServer) -> None:
        self._inner = OpenAIMember(
            server.model,
            base_url=server.base_url,
            api_key=server.api_key,
            temperature=0.0,
            max_tokens=VERDICT_TOKENS,
        )
        super().__init__(self._inner.name)
        self.pid = server.pid
        self.calls = self.tokens = 0

    def generate(self, prompt: Prompt) -> Answer:
        """Ask, and count."""
        answer = self._inner.generate(prompt)
        self.calls += 1
        self.tokens += answer.usage.total_tokens if answer.usage is not None else 0
        return answer


class Measured:
    """A ranker, its CPU seconds, and the prompts on which it failed; there words decide, as in a blend."""

    def __init__(self, ranker: Ranker, member: CountedMember | None) -> None:
        self.name = ranker.name
        self.seconds = 0.0
        self.prompts = self.failures = 0
        self._ranker = ranker
        self._member = member

    def _now(self) -> float:
        return time.process_time() + (0.0 if self._member is None else server_seconds(self._member.pid))

    def rank(self, prompt: str, candidates: Sequence[str]) -> Ranking:
        """Rank, and take the time."""
        begun = self._now()
        self.prompts += 1
        try:
            return self._ranker.rank(prompt, candidates)
        except BlendError as error:
            self.failures += 1
            print(f"<!-- {self.name}: {error} -->", flush=True)
            return LexicalConsensusRanker().rank(prompt, candidates)
        finally:
            self.seconds += self._now() - begun


def records_of(data: Path, name: str, limit: int, answers: int) -> list[PreferenceRecord]:
    """The first records of a set that have scores, each with its first answers."""
    source = BLEND_SETS[name]
    found = read_records(data / "eval" / f"{name}.jsonl.gz", sources=None if source is None else [source])
    scored = (record for record in found if record.scores is not None)
    return [
        replace(
            record,
            candidates=record.candidates[:answers],
            models=record.models[:answers],
            scores=record.scores[:answers],
        )
        for record in itertools.islice(scored, limit)
        if record.scores is not None
    ]


def row(name: str, cells: Sequence[str]) -> None:
    print(f"| {name} | " + " | ".join(cells) + " |", flush=True)


def measure(judge: str, ranker: Ranker, member: CountedMember | None, sets: dict[str, list[PreferenceRecord]]) -> None:
    if member is None:
        # the first ranking loads the model
        ranker.rank("Which is a number?", ["1", "one letter"])
    else:
        member.calls = member.tokens = 0
    measured = Measured(ranker, member)
    picked = [f"{evaluate_blend(name, records, measured).picked:.3f}" for name, records in sets.items()]
    prompts = max(1, measured.prompts)
    spent = ["0", "0"] if member is None else [f"{member.calls / prompts:.1f}", f"{member.tokens / prompts:.0f}"]
    row(judge, [*spent, f"{measured.seconds / prompts:.3f}", *picked, str(measured.failures)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=os.environ.get("BLENDER_DATA"), help="folder of the data")
    parser.add_argument("--limit", type=int, default=20, help="most prompts of each set")
    parser.add_argument("--answers", type=int, default=6, help="most answers of each prompt")
    parser.add_argument("--set", action="append", choices=tuple(BLEND_SETS), help="default all that are there")
    parser.add_argument("--judge", action="append", help=f"default {', '.join(JUDGES)}")
    parser.add_argument("--llm", default="qwen2.5-coder-1.5b", help="the local model that judges")
    options = parser.parse_args()
    if options.data is None:
        parser.error("give --data or set BLENDER_DATA")
    names = options.set or [name for name in BLEND_SETS if (options.data / "eval" / f"{name}.jsonl.gz").is_file()]
    sets = {name: records_of(options.data, name, options.limit, options.answers) for name in names}
    judges = options.judge or JUDGES
    row("judge", ["calls", "tokens", "CPU s", *names, "failures"])
    print("|---" * (len(names) + 5) + "|")
    blends = [evaluate_blend(name, records, benchmark_rankers(["random"])["random"]) for name, records in sets.items()]
    row("(chance)", ["", "", "", *(f"{one.random:.3f}" for one in blends), ""])
    row("(best answer)", ["", "", "", *(f"{one.oracle:.3f}" for one in blends), ""])
    with ExitStack() as stack:
        member = None
        if set(judges) & set(MODES):
            [server] = stack.enter_context(local_ensemble([find_model(options.llm)], context=8192, parallel=1))
            member = CountedMember(server)
        for judge in judges:
            if judge in MODES and member is not None:
                measure(f"{judge}, {options.llm}", LLMJudge(member, mode=judge, concurrency=1), member, sets)
            else:
                measure(judge, benchmark_rankers([judge])[judge], None, sets)


if __name__ == "__main__":
    main()
