"""A local model as the judge of the recorded answers, beside what the prompts' checks say.

    python benchmarks/live_ensemble/judge.py --judge qwen2.5-coder-1.5b --prompts 40
    python benchmarks/live_ensemble/judge.py --judge qwen2.5-coder-1.5b --recorded

Every pair is shown in both orders, as the paper's oracle compares answers. Verdicts are kept in a journal beside the
output, so that a killed run goes on. Writes ``judged-JUDGE.jsonl.gz`` in MixInstruct's schema, which ``blended-llm
eval blend`` reads, and prints how often the judge agrees with itself and with the checks; ``--recorded`` prints that of
the file that is there, without any model.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from report import HERE, right

from blender_core import OpenAIMember
from blender_core.local import MODELS, local_ensemble
from blender_lab.data.mixinstruct import MixRecord, Verdict, read_mix, write_mix
from blender_lab.mix.journal import Journal
from blender_lab.mix.verdicts import judged_by_llm, verdict_agreement

BETTER = (Verdict.A_IS_BETTER, Verdict.B_IS_BETTER)


def against_checks(records: Sequence[MixRecord]) -> Counter[str]:
    """Verdicts on pairs of a right and a wrong answer, by outcome."""
    found: Counter[str] = Counter()
    for record in records:
        for i, first in enumerate(record.candidates):
            for j, second in enumerate(record.candidates):
                if right(record, i) == right(record, j):
                    continue
                verdict = (record.cmp_results or {}).get((first.model, second.model))
                truth = Verdict.A_IS_BETTER if right(record, i) > right(record, j) else Verdict.B_IS_BETTER
                found["unread" if verdict is None else "right" if verdict is truth else "tie or wrong"] += 1
                if verdict in BETTER:
                    found["names a winner"] += 1
                    found["names A"] += verdict is Verdict.A_IS_BETTER
    return found


def ask(judge_name: str, prompts: int, journal_file: Path) -> list[MixRecord]:
    """Have a local model judge every pair of some test prompts in both orders."""
    records = [record for record in read_mix(HERE / "answers.jsonl.gz") if record.extra["split"] == "test"]
    # every n-th, so that all tasks take part
    records = records[:: max(1, len(records) // prompts)][:prompts]
    judged = []
    with (
        local_ensemble([MODELS[judge_name]], threads=1, context=2048, parallel=1) as servers,
        Journal(journal_file, {"judge": judge_name}) as journal,
    ):
        server = next(iter(servers))
        judge = OpenAIMember(server.model, base_url=server.base_url, api_key=server.api_key)
        for number, record in enumerate(records, 1):
            # the checks' own verdicts must not stand in for the judge's
            judged.append(judged_by_llm(replace(record, cmp_results=None), judge, journal))
            print(number, "of", len(records), flush=True)
    return judged


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--judge", default="qwen2.5-coder-1.5b", choices=sorted(MODELS))
    parser.add_argument("--prompts", type=int, default=40)
    parser.add_argument("--recorded", action="store_true", help="ask nobody")
    options = parser.parse_args()
    target = HERE / f"judged-{options.judge}.jsonl.gz"
    if not options.recorded:
        write_mix(target, ask(options.judge, options.prompts, target.with_name(f"{target.name}.journal")))
    judged = list(read_mix(target))
    both, agree, contradict = verdict_agreement(judged)
    print(f"{both} pairs in both orders: {agree} agree, {contradict} name different winners")
    counts = against_checks(judged)
    decided = counts["right"] + counts["tie or wrong"]
    print(f"a right and a wrong answer, {decided} verdicts: {counts['right']} name the right one")
    print(f"{counts['names a winner']} name a winner, {counts['names A']} of them the one shown first")


if __name__ == "__main__":
    main()
