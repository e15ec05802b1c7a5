"""Run the list methods of llm-blender 0.0.2's Blender and write down what they say.

    old/bin/python tests/goldens/make_compat_goldens.py

In the environment of ``make_pairranker_goldens.py``, on the same checkpoint. Writes ``compat.json`` beside this
file. Every call has ``batch_size=1``, because the reference cuts candidates by what stands in the batch.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import numpy as np
import pairrm_checkpoint as checkpoint
import torch
from llm_blender import Blender
from make_pairranker_goldens import write_base_model

HERE = Path(__file__).parent
WORDS = (HERE.parents[1] / "LICENSE").read_text().split()
INPUTS = ["What is the licence?", "say hello", "Sum it up.", ""]
INSTRUCTIONS = ["Answer in a word. ", "", "Be brief.", "Write something."]
CANDIDATES = [
    ["the work", "A licence for the work.", "I do not know, sorry.", "the work"],
    ["hello", "hi there, how are you?", "no", "any terms"],
    [" ".join(WORDS[:300]), " ".join(WORDS[100:220]), "brief", ""],
    ["a", "bb", "ccc", "dddd"],
]
CONVERSATIONS = [
    [["hello", "and now?"], ["hi", "the terms"], ["go away", "a licence of the work"]],
    [["What is the work?"], ["a work"], ["I do not know"]],
]


def turns(asked: list[str], answered: list[str]) -> list[dict[str, str]]:
    return [
        {"role": role, "content": content}
        for question, answer in zip(asked, answered, strict=True)
        for role, content in (("USER", question), ("ASSISTANT", answer))
    ]


def say(value: object) -> object:
    return {"dtype": str(value.dtype), "values": value.tolist()} if isinstance(value, np.ndarray) else value


def best_of(blender: Blender, name: str, seed: int, **options: object) -> dict[str, object]:
    """A bubble run, with the permutation that it draws."""
    drawn: list[list[int]] = []
    randperm = torch.randperm

    def record(size: int) -> torch.Tensor:
        drawn.append(randperm(size).tolist())
        return torch.tensor(drawn[-1])

    torch.manual_seed(seed)
    torch.randperm = record
    try:
        picked = getattr(blender, name)(INPUTS[:1], CANDIDATES[:1], INSTRUCTIONS[:1], batch_size=1, **options)
    finally:
        torch.randperm = randperm
    (permutation,) = drawn
    return {"permutation": permutation, "picked": picked}


def main() -> None:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        write_base_model(root / "base", checkpoint.TINY, checkpoint.TOKENIZER)
        checkpoint.write_checkpoint(root / "PairRM", checkpoint.ranker_config(model_name=str(root / "base")))
        blender = Blender()
        blender.loadranker(str(root / "PairRM"), device="cpu", cache_dir=str(root / "cache"))
        both = {"instructions": INSTRUCTIONS, "batch_size": 1}
        lengths = {"source_max_length": 24, "candidate_max_length": 40}
        first, second = [texts[0] for texts in CANDIDATES], [texts[1] for texts in CANDIDATES]
        says: dict[str, object] = {
            "rank": {
                "ranks": blender.rank(INPUTS, CANDIDATES, **both),
                "scores": blender.rank(INPUTS, CANDIDATES, return_scores=True, **both),
                "plain": blender.rank(INPUTS, CANDIDATES, return_scores=True, batch_size=1),
                "cut": blender.rank(INPUTS, CANDIDATES, return_scores=True, **both, **lengths),
            },
            "compare": {
                mode: {
                    "logits": blender.compare(INPUTS, first, second, return_logits=True, mode=mode, **both),
                    "better": blender.compare(INPUTS, first, second, mode=mode, **both),
                }
                for mode in ("[A,B]+[B,A]", "[A,B]", "[B,A]")
            },
            "rank_with_ref": {
                mode: {
                    "ranks": blender.rank_with_ref(INPUTS, CANDIDATES, ref_mode=mode, **both),
                    "scores": blender.rank_with_ref(INPUTS, CANDIDATES, return_scores=True, ref_mode=mode, **both),
                }
                for mode in ("longest", "shortest", "median_length", "first", "last")
            },
            "own references": {
                "references": second,
                "scores": blender.rank_with_ref(INPUTS, CANDIDATES, return_scores=True, ref_candidates=second, **both),
            },
            "compare_conversations": {
                mode: blender.compare_conversations(
                    [turns(asked, a) for asked, a, _ in CONVERSATIONS],
                    [turns(asked, b) for asked, _, b in CONVERSATIONS],
                    batch_size=1,
                    return_logits=True,
                    mode=mode,
                )
                for mode in ("[A,B]+[B,A]", "[A,B]", "[B,A]")
            },
            "bubble": [
                {"method": method, "return_all": return_all, **best_of(blender, method, seed, return_all=return_all)}
                for method in ("get_best_of_n", "get_worst_of_n")
                for return_all in (False, True)
                for seed in (1, 2)
            ],
            "full": {
                "best": blender.get_best_of_n(INPUTS, CANDIDATES, pairrm_cmp_type="full", **both),
                "all": blender.get_best_of_n(INPUTS, CANDIDATES, pairrm_cmp_type="full", return_all=True, **both),
                "worst": blender.get_worst_of_n(INPUTS, CANDIDATES, pairrm_cmp_type="full", **both),
            },
        }
    given = {
        "inputs": INPUTS,
        "instructions": INSTRUCTIONS,
        "candidates": CANDIDATES,
        "conversations": [
            [turns(asked, a) for asked, a, _ in CONVERSATIONS],
            [turns(asked, b) for asked, _, b in CONVERSATIONS],
        ],
        "lengths": lengths,
    }
    (HERE / "compat.json").write_text(json.dumps({"given": given, "says": says}, indent=1, default=say) + "\n")


if __name__ == "__main__":
    main()
