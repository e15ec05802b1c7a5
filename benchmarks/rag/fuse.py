"""Fuse the recorded answers with a local LLM, and keep what came out: a run that is killed goes on where it was.

    python benchmarks/rag/fuse.py --model qwen2.5-coder-1.5b --when always

Writes ``fused-MODEL-WHEN.jsonl``, which ``measure.py`` reads. One thread.
"""

from __future__ import annotations

import argparse
import json
from functools import partial
from pathlib import Path

from recorded import HERE, Case, read_cases

from blender_core import OpenAIMember, Prompt
from blender_core.local import MODELS, local_ensemble
from blender_core.rag import GroundedBlender, GroundedCandidate, SourcedMember


def again(candidate: GroundedCandidate, prompt: Prompt) -> GroundedCandidate:
    """A recorded engine."""
    return candidate


def members(case: Case) -> list[SourcedMember]:
    """The engines of a question, each with the answer it gave."""
    pairs = zip(case.engines, case.candidates, strict=True)
    return [SourcedMember(name, partial(again, candidate)) for name, candidate in pairs]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--answers", type=Path, default=HERE / "answers.jsonl.gz")
    parser.add_argument("--model", default="qwen2.5-coder-1.5b")
    parser.add_argument("--when", choices=("auto", "always"), default="always")
    parser.add_argument("--split", choices=("development", "test", "all"), default="all")
    parser.add_argument("--out", type=Path, default=None)
    options = parser.parse_args()
    target = options.out or HERE / f"fused-{options.model}-{options.when}.jsonl"
    done = set()
    if target.exists():
        done = {json.loads(line)["id"] for line in target.read_text(encoding="utf-8").splitlines()}
    with (
        local_ensemble([MODELS[options.model]], threads=1, context=2048, parallel=1) as (server,),
        target.open("a", encoding="utf-8") as out,
    ):
        fuser = OpenAIMember(
            server.model, base_url=server.base_url, api_key=server.api_key, max_tokens=64, temperature=0
        )
        for case in read_cases(options.answers):
            question = case.question
            if question.id in done or options.split not in ("all", question.split):
                continue
            blender = GroundedBlender(members(case), fuser=fuser, fuse_when=options.when)
            result = blender.blend(question.question)
            row = {
                "id": question.id,
                "text": result.text,
                "fused": list(result.fused),
                "winner": result.winner,
                "degraded": list(result.degraded),
                "fusion_refused": result.fusion_refused,
                "seconds": round(result.timings.fuse, 2),
            }
            out.write(json.dumps(row, ensure_ascii=False) + "\n")
            out.flush()


if __name__ == "__main__":
    main()
