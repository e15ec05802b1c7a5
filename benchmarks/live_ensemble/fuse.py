"""Blend the recorded answers with the real models behind them, and keep what came out; a killed run goes on.

    python benchmarks/live_ensemble/fuse.py --when auto
    python benchmarks/live_ensemble/fuse.py --members qwen2.5-coder-1.5b,qwen2.5-coder-0.5b

Each member gives its recorded answer. The strongest on the development half, which is given first, fuses for real: the
default blend of ``BlendedLLM``.
``auto+short`` also fuses where the best answer is short. Writes ``blended-RANKER-WHEN.jsonl``, which ``report.py``
reads. One thread a model (1.9 GB of models).

``--members`` blends another set of the recorded members, with all defaults of a blend of local models. It writes to
``default-blends.jsonl``, which ``members.py`` reads.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path

from members import BLENDS, load
from report import HERE, member, scores_of

from blender_core import Answer, Blender, FusePolicy, Member, OpenAIMember, Prompt
from blender_core.fuse import Fuser
from blender_core.fuse.gen_fuser import GenFuser
from blender_core.fuse.policy import FuseWhen
from blender_core.local import MODELS, local_ensemble
from blender_lab.data.mixinstruct import joined_prompt


class RecordedMember(Member):
    """Answers from the record; fuses with the model itself."""

    def __init__(self, live: OpenAIMember, answers: Mapping[str, str]) -> None:
        super().__init__(live.name)
        self._live, self._answers = live, answers
        self.follows_instructions = live.follows_instructions

    def generate(self, prompt: Prompt) -> Answer:
        """The recorded answer, or a real fusion."""
        return Answer(self._answers[prompt.text]) if prompt.purpose == "answer" else self._live.generate(prompt)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ranker", default="embedded")
    parser.add_argument("--when", choices=("auto", "auto+short", "always"), default="auto")
    parser.add_argument(
        "--fuser", default=None, help="member, or folder of a GenFuser, that always fuses; default the strongest"
    )
    parser.add_argument("--top-k", type=int, default=3)
    parser.add_argument("--members", default=None, help="names with commas between, strongest first")
    parser.add_argument("--out", type=Path, default=None)
    options = parser.parse_args()
    folder = None if options.fuser is None or options.fuser in MODELS else Path(options.fuser)
    by = "" if options.fuser is None else "@GenFuser" if folder else f"@{options.fuser}"
    name = f"blended-{options.ranker}-{options.when}{by}.jsonl" if options.members is None else BLENDS
    target = options.out or HERE / name
    gathered = load()
    development = [record for record in gathered if record.extra["split"] == "development"]
    records = [record for record in gathered if record.extra["split"] == "test"]
    if options.members is None:
        names = [candidate.model for candidate in records[0].candidates if "#" not in candidate.model]
        names.sort(key=lambda name: -sum(scores_of(development, member(name))))
    else:
        names = options.members.split(",")
    done = set()
    if target.exists():
        rows = [json.loads(line) for line in target.read_text(encoding="utf-8").splitlines()]
        done = {row["id"] for row in rows if row.get("members", names) == names}
    answers: dict[str, dict[str, str]] = {name: {} for name in names}
    for record in records:
        for candidate in record.candidates:
            if candidate.model in names:
                answers[candidate.model][joined_prompt(record.instruction, record.input)] = candidate.text
    with (
        local_ensemble(
            [MODELS[name] for name in names if "#" not in name], threads=1, context=2048, parallel=1
        ) as servers,
        target.open("a", encoding="utf-8") as out,
    ):
        running = {server.model: server for server in servers}
        members = []
        for name in names:
            server = running[name.partition("#")[0]]
            live = OpenAIMember(
                server.model, base_url=server.base_url, api_key=server.api_key, max_tokens=96, temperature=0
            )
            # a base model continues text, it cannot be asked to fuse
            live.follows_instructions = server.kind == "chat"
            members.append(RecordedMember(live, answers[name]))
        fuser: Fuser | Member | str = next((member for member in members if member.name == options.fuser), "llm")
        if folder is not None:
            fuser = GenFuser.from_pretrained(folder, device="cpu")
        when: FuseWhen = FusePolicy(fuse_short=True) if options.when == "auto+short" else options.when
        blender = Blender(members, ranker=options.ranker, fuser=fuser, fuse_when=when, top_k=options.top_k, timeout=300)
        for record in records:
            if record.id in done:
                continue
            result = blender.blend(joined_prompt(record.instruction, record.input))
            row = {
                "id": record.id,
                **({} if options.members is None else {"members": names}),
                "text": result.text,
                "winner": result.winner,
                "fused": list(result.fused),
                "decision": result.decision,
                "degraded": list(result.degraded),
                "fusion_refused": result.fusion_refused,
                "seconds": round(result.timings.fuse, 2),
            }
            out.write(json.dumps(row, ensure_ascii=False) + "\n")
            out.flush()


if __name__ == "__main__":
    main()
