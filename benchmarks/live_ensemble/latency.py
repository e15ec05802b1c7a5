"""What a blend of local models costs in time, beside each member alone.

    python benchmarks/live_ensemble/latency.py --prompts 24

Each prompt is asked of every member alone, one after the other, and then of the blend, which asks all members at the
same time, ranks, and fuses with a model that is named. Prompt caches are off, so that no run profits from the one
before. Writes ``latency.jsonl`` (one line a prompt; a killed run goes on), which ``report.py`` reads. The figures hold
for one machine: read the ratios.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

from report import HERE

from blender_core import Blender, Member, OpenAIMember, Prompt
from blender_core.local import MODELS, local_ensemble
from blender_lab.data.mixinstruct import MixRecord, joined_prompt, read_mix

NAMES = ("smollm2-135m", "gemma-3-270m", "qwen2.5-coder-0.5b", "qwen2.5-coder-1.5b")
FUSER = "qwen2.5-coder-1.5b"


def measure(record: MixRecord, members: list[OpenAIMember], blender: Blender) -> dict[str, Any]:
    """Wall seconds of every member alone, and of the blend by stage."""
    prompt = joined_prompt(record.instruction, record.input)
    alone, tokens = {}, {}
    for member in members:
        start = time.perf_counter()
        answer = member.generate(Prompt.of(prompt))
        alone[member.name] = round(time.perf_counter() - start, 3)
        tokens[member.name] = answer.usage.output_tokens if answer.usage is not None else None
    result = blender.blend(prompt)
    stages = {stage: round(seconds, 3) for stage, seconds in result.timings.to_dict().items()}
    return {"id": record.id, "alone": alone, "output_tokens": tokens, "blend": stages, "decision": result.decision}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompts", type=int, default=24)
    parser.add_argument("--out", type=Path, default=HERE / "latency.jsonl")
    options = parser.parse_args()
    records = [record for record in read_mix(HERE / "answers.jsonl.gz") if record.extra["split"] == "test"]
    # every n-th, so that all tasks take part
    records = records[:: max(1, len(records) // options.prompts)][: options.prompts]
    done = set()
    if options.out.exists():
        done = {json.loads(line)["id"] for line in options.out.read_text(encoding="utf-8").splitlines()}
    with (
        local_ensemble([MODELS[name] for name in NAMES], threads=1, context=2048, parallel=1) as servers,
        options.out.open("a", encoding="utf-8") as out,
    ):
        members = []
        for server in servers:
            member = OpenAIMember(
                server.model,
                base_url=server.base_url,
                api_key=server.api_key,
                max_tokens=96,
                temperature=0,
                request_options={"extra_body": {"cache_prompt": False}},
            )
            # a base model continues text, it cannot be asked to fuse
            member.follows_instructions = server.kind == "chat"
            members.append(member)
        fuser: Member = next(member for member in members if member.name == FUSER)
        blender = Blender(members, ranker="embedded", fuser=fuser, fuse_when="always", timeout=300)
        warm = MixRecord(id="warm-up", instruction="Say hello.", input="", output="", candidates=())
        measure(warm, members, blender)
        for record in records:
            if record.id not in done:
                out.write(json.dumps(measure(record, members, blender)) + "\n")
                out.flush()


if __name__ == "__main__":
    main()
