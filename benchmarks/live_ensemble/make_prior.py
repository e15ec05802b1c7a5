"""Make the prior of the catalogue's local models from the development half of the gathered answers.

    python benchmarks/live_ensemble/make_prior.py

Each checked prompt of the development half is a rating: right answers 1, wrong ones 0. The test half is not read for
anything. Run it again after the default ranker has changed: the ratings hold its margins. No language model is run.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from blender_core import MemberPrior
from blender_core.rank.registry import resolve_ranker
from blender_lab.data.mixinstruct import joined_prompt, read_mix

HERE = Path(__file__).parent
TARGET = HERE.parents[1] / "blender_core" / "local" / "catalogue_prior.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--answers", type=Path, default=HERE / "answers.jsonl.gz")
    parser.add_argument("--ranker", default="embedded")
    parser.add_argument("--out", type=Path, default=TARGET)
    options = parser.parse_args()
    ranker, prior = resolve_ranker(options.ranker), MemberPrior()
    for record in read_mix(options.answers):
        if record.extra["split"] != "development":
            continue
        prompt = joined_prompt(record.instruction, record.input)
        texts = [candidate.text for candidate in record.candidates]
        ratings = [float(candidate.scores["check"]) for candidate in record.candidates]
        names = [candidate.model for candidate in record.candidates]
        prior.judge_answers(names, ranker.rank(prompt, texts), ratings, prompt=prompt)
    state = prior.to_dict()
    for rated in state["rated"].values():
        rated["scores"] = [round(score, 4) for score in rated["scores"]]
    options.out.write_text(json.dumps(state, separators=(",", ":")) + "\n", encoding="utf-8")
    print(f"{options.out}: {len(state['rated'])} rated prompts, {options.out.stat().st_size:,} bytes")
    for name in prior.strongest_first(sorted(prior.strengths())):
        strength = prior.strengths()[name]
        print(f"  {name}: {strength.mean:+.2f} ± {strength.deviation:.2f} logits")


if __name__ == "__main__":
    main()
