"""A script in the manner of llm-blender's README, for the old package and for ``blender_core.compat``.

    old/bin/python tests/goldens/old_script.py

writes what the old package answers into ``old_script.json``; the tests run the same lines with one import changed.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).parent


def script(llm_blender: Any, get_topk_candidates_from_ranks: Any, ranker: str, fuser: str) -> dict[str, Any]:
    """The calls of the README; only the names of checkpoints and the device are others."""
    inputs = ["What may I do with the work?", "hello!"]
    candidates = [
        ["Any use under the terms of the licence.", "no", "You may copy and distribute it."],
        ["hi there, how are you?", "Go away.", "the work"],
    ]
    blender = llm_blender.Blender()
    blender.loadranker(ranker, device="cpu")
    ranks = blender.rank(inputs, candidates, return_scores=False, batch_size=1)
    first, second = [texts[0] for texts in candidates], [texts[1] for texts in candidates]
    better = blender.compare(inputs, first, second)
    blender.loadfuser(fuser, device="cpu", torch_dtype="float32")
    best = get_topk_candidates_from_ranks(ranks, candidates, top_k=2)
    fused = blender.fuse(inputs, best, batch_size=2)
    at_once, again = blender.rank_and_fuse(inputs, candidates, return_scores=False, batch_size=2, top_k=2)
    rewards = blender.rank_with_ref(inputs, candidates, return_scores=True, batch_size=1, mode="longest")
    own = blender.rank_with_ref(inputs, candidates, return_scores=True, batch_size=1, ref_candidates=first)
    talks = [[{"role": "USER", "content": "hello"}, {"role": "ASSISTANT", "content": text}] for text in ("hi", "no")]
    logits = blender.compare_conversations(talks[:1], talks[1:], return_logits=True)
    return {
        "ranks": ranks.tolist(),
        "better": better.tolist(),
        "best": [list(map(str, texts)) for texts in best],
        "fused": fused,
        "at once": [at_once, again.tolist()],
        "rewards": rewards.tolist(),
        "own references": own.tolist(),
        "conversations": logits.tolist(),
    }


def write_fuser(folder: Path) -> Path:
    """A small T5, the same bits everywhere, that writes no control tokens."""
    import torch
    from transformers import T5Config, T5ForConditionalGeneration

    config = T5Config(
        vocab_size=600, d_model=16, d_kv=8, d_ff=32, num_layers=1, num_heads=2, decoder_start_token_id=0, pad_token_id=0
    )
    model = T5ForConditionalGeneration(config)
    draw = np.random.RandomState(11)
    with torch.no_grad():
        for _, weights in sorted(model.named_parameters()):
            weights.copy_(torch.from_numpy(draw.standard_normal(tuple(weights.shape))))
    # the end of the text stays possible
    model.generation_config.suppress_tokens = [0, 2, *range(400, 600)]
    model.save_pretrained(folder)
    (folder / "tokenizer.json").write_text((HERE / "t5_tokenizer.json").read_text())
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_input_names": ["input_ids", "attention_mask"],
        "eos_token": "</s>",
        "unk_token": "<unk>",
        "pad_token": "<pad>",
        "additional_special_tokens": [f"<extra_id_{number}>" for number in range(100)],
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return folder


def main() -> None:
    import llm_blender
    import pairrm_checkpoint as checkpoint
    import torch
    from llm_blender.blender.blender_utils import get_topk_candidates_from_ranks
    from make_pairranker_goldens import write_base_model

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        write_base_model(root / "base", checkpoint.TINY, checkpoint.TOKENIZER)
        ranker = checkpoint.write_checkpoint(root / "PairRM", checkpoint.ranker_config(model_name=str(root / "base")))
        fuser = write_fuser(root / "fuser")
        said = script(llm_blender, get_topk_candidates_from_ranks, str(ranker), str(fuser))
    (HERE / "old_script.json").write_text(json.dumps(said, indent=1) + "\n")


if __name__ == "__main__":
    main()
