"""An old llm_blender script, moved over by changing one import: rank, compare, best of n, fuse.

Without arguments it makes a ranker and a fuser with RANDOM weights, so that it runs offline: what wins then means
nothing. Give the names of published weights for real results (they need a download of some gigabytes):

    python examples/llm_blender_script.py llm-blender/PairRM llm-blender/gen_fuser_3b
"""

import json
import sys
import tempfile
from importlib.resources import files
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer
from transformers import DebertaV2Config, DebertaV2Model, T5Config, T5ForConditionalGeneration
from transformers.utils.logging import disable_progress_bar

import blender_core.compat as llm_blender  # was: import llm_blender

WORDS = str(files("blender_core.rank") / "embedded_weights" / "tokenizer.json")


def main(ranker: str, fuser: str) -> None:
    blender = llm_blender.Blender()
    blender.loadranker(ranker)
    blender.loadfuser(fuser)

    inputs = ["Where does the sun rise?", "What is 6 times 7?"]
    candidates = [["In the east.", "It rises in the west.", "Bananas."], ["I do not know.", "42", "It is 24."]]
    ranks = blender.rank(inputs, candidates, return_scores=False, batch_size=1)
    first_is_better = blender.compare(inputs, [row[0] for row in candidates], [row[1] for row in candidates])
    best = blender.get_best_of_n(inputs, candidates)
    fused, _ = blender.rank_and_fuse(inputs, candidates, top_k=2, max_new_tokens=16)
    for number, question in enumerate(inputs):
        print(question)
        for rank, text in sorted(zip(ranks[number].tolist(), candidates[number], strict=True)):
            print(f"  {rank}  {text}")
        print(f"  the first beats the second: {first_is_better[number]}")
        print(f"  won: {best[number]}")
        print(f"  fused: {fused[number]!r}")


def random_ranker(folder: Path) -> str:
    """A tiny ranker in the layout of llm-blender/PairRM-hf, which has learned nothing."""
    torch.manual_seed(0)
    sizes = {"vocab_size": 30526, "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    attention = {"relative_attention": True, "pos_att_type": ["p2c", "c2p"], "position_buckets": 256}
    form = {"share_att_key": True, "norm_rel_ebd": "layer_norm", "position_biased_input": False}
    config = DebertaV2Config(**sizes, **attention, **form, intermediate_size=64, type_vocab_size=0)
    weights = {f"pretrained_model.{name}": tensor for name, tensor in DebertaV2Model(config).state_dict().items()}
    for name, shape in {"1.weight": (32, 64), "1.bias": (32,), "4.weight": (1, 32), "4.bias": (1,)}.items():
        weights[f"head_layer.{name}"] = torch.randn(shape)
    folder.mkdir()
    save_file(weights, folder / "model.safetensors")
    markers = ("source_prefix_id", "cand1_prefix_id", "cand2_prefix_id", "cand_prefix_id")
    ids = {name: 30522 + place for place, name in enumerate(markers)}
    (folder / "config.json").write_text(json.dumps({**config.to_dict(), **ids, "architectures": ["DebertaV2PairRM"]}))
    Tokenizer.from_file(WORDS).save(str(folder / "tokenizer.json"))
    return str(folder)


def random_fuser(folder: Path) -> str:
    """A tiny T5, which has learned nothing."""
    tokenizer = Tokenizer.from_file(WORDS)
    tokenizer.add_special_tokens(["<pad>", "</s>", *(f"<extra_id_{number}>" for number in range(10))])
    sizes = {"d_model": 32, "d_kv": 16, "num_heads": 2, "d_ff": 64, "num_layers": 1, "vocab_size": 30534}
    T5ForConditionalGeneration(
        T5Config(**sizes, pad_token_id=30522, eos_token_id=30523, decoder_start_token_id=30522)
    ).save_pretrained(folder)
    tokenizer.save(str(folder / "tokenizer.json"))
    return str(folder)


if __name__ == "__main__":
    if len(sys.argv) > 2:
        main(sys.argv[1], sys.argv[2])
    else:
        print("random weights: the ranks mean nothing")
        disable_progress_bar()
        with tempfile.TemporaryDirectory() as temporary:
            main(random_ranker(Path(temporary) / "ranker"), random_fuser(Path(temporary) / "fuser"))
