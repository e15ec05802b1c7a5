"""Ask every engine every question, and keep the answers: a run that is killed goes on where it was.

    nice -n 10 python benchmarks/rag/gather.py --out benchmarks/rag/answers.jsonl

The models are fetched once (1.7 GB). One thread a model.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

from engines import ENGINES, make_engines
from member_llm import MemberLLM
from questions import read_questions

from blender_core import OpenAIMember
from blender_core.local import MODELS, local_ensemble
from llamaindex_blender.rag.encoder_embedding import EncoderEmbedding


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--questions", type=int, default=None, help="only the first so many")
    options = parser.parse_args()
    done = set()
    if options.out.exists():
        done = {(row["id"], row["engine"]) for row in map(json.loads, options.out.read_text().splitlines())}
    models = list(dict.fromkeys(model for *_, model in ENGINES.values()))
    with local_ensemble([MODELS[name] for name in models], threads=1, context=2048, parallel=1) as servers:
        llms = {
            server.model: MemberLLM(
                OpenAIMember(
                    server.model, base_url=server.base_url, api_key=server.api_key, max_tokens=48, temperature=0
                )
            )
            for server in servers
        }
        engines = make_engines(llms, EncoderEmbedding())
        with options.out.open("a", encoding="utf-8") as out:
            for question in read_questions()[: options.questions]:
                for name, engine in engines.items():
                    if (question.id, name) in done:
                        continue
                    began = time.monotonic()
                    response = engine.query(question.question)
                    row = {
                        "id": question.id,
                        "engine": name,
                        "answer": str(response).strip(),
                        "sources": [
                            {"id": node.node_id, "text": node.node.get_content(), "score": node.score}
                            for node in response.source_nodes
                        ],
                        "seconds": round(time.monotonic() - began, 2),
                    }
                    out.write(json.dumps(row, ensure_ascii=False) + "\n")
                    out.flush()


if __name__ == "__main__":
    main()
