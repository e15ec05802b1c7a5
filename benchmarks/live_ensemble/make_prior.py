"""Make the prior of the catalogue's local models from the development half of the gathered answers.

    python benchmarks/live_ensemble/make_prior.py

Each checked prompt of the development half is a rating: right answers 1, wrong ones 0. The answers are ranked and rated
in every set of two or more models, since a score depends on the other answers. The test half is not read for anything.
Run it again after the default ranker has changed: the ratings hold its margins. No language model is run.
"""

from __future__ import annotations

import argparse
import itertools
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
        for size in range(2, len(record.candidates) + 1):
            for chosen in itertools.combinations(record.candidates, size):
                ranking = ranker.rank(prompt, [candidate.text for candidate in chosen])
                ratings = [float(candidate.scores["check"]) for candidate in chosen]
                prior.judge_answers([candidate.model for candidate in chosen], ranking, ratings, prompt=prompt)
    state = prior.to_dict()
    for rated in state["rated"].values():
        rated["scores"] = [round(score, 4) for score in rated["scores"]]
    options.out.write_text(json.dumps(state, separators=(",", ":")) + "\n", encoding="utf-8")
    print(f"{options.out}: {len(state['rated'])} rated prompts, {options.out.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
