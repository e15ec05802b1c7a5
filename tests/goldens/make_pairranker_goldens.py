"""Run llm-blender 0.0.2 on a random-weight checkpoint and write down what it says.

    python -m venv old && old/bin/pip install -r tests/goldens/requirements.txt
    old/bin/python tests/goldens/make_pairranker_goldens.py

Writes ``pairranker.json`` (and, where it is missing, ``pairrm_tokenizer.json``) beside this file. With
``--size xsmall|small --tokenizer FILE --out FILE`` it does the same for the real DeBERTa-v3 sizes and the
real 128k tokenizer, which are too large to keep here.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

import numpy as np
import pairrm_checkpoint as checkpoint
import torch
from llm_blender.blender.blender import Blender
from llm_blender.blender.blender_utils import tokenize_pair
from llm_blender.gpt_eval.utils import get_ranks_from_scores
from llm_blender.pair_ranker.pairrm import DebertaV2PairRM
from transformers import AutoTokenizer, DebertaV2Config, DebertaV2Model, DebertaV2TokenizerFast

HERE = Path(__file__).parent
MARKERS = ["<|source|>", "<|candidate1|>", "<|candidate2|>", "<|candidate|>"]


def train_tokenizer(path: Path) -> None:
    """A SentencePiece Unigram vocabulary of 400 pieces with DeBERTa-v3's special ids."""
    import sentencepiece

    with tempfile.TemporaryDirectory() as folder:
        prefix = str(Path(folder) / "spm")
        sentencepiece.SentencePieceTrainer.train(
            input=str(HERE.parents[1] / "LICENSE"),
            model_prefix=prefix,
            vocab_size=400,
            model_type="unigram",
            normalization_rule_name="nmt_nfkc",
            pad_id=0,
            pad_piece="[PAD]",
            bos_id=1,
            bos_piece="[CLS]",
            eos_id=2,
            eos_piece="[SEP]",
            unk_id=3,
            unk_piece="[UNK]",
            minloglevel=2,
        )
        tokenizer = DebertaV2TokenizerFast(vocab_file=prefix + ".model")
        tokenizer.add_tokens(MARKERS)
        tokenizer.backend_tokenizer.save(str(path), pretty=False)


def write_base_model(folder: Path, size: dict[str, int], tokenizer_file: Path) -> None:
    """The base model that the reference insists on loading before it overwrites it."""
    config = checkpoint.transformers_config(size)
    config.pop("architectures")
    # without the markers, which the reference adds itself
    definition = json.loads(tokenizer_file.read_text())
    definition["added_tokens"] = [token for token in definition["added_tokens"] if token["content"] not in MARKERS]
    definition["truncation"] = definition["padding"] = None
    folder.mkdir()
    (folder / "tokenizer.json").write_text(json.dumps(definition))
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "DebertaV2Tokenizer", "do_lower_case": False, "vocab_type": "spm"})
    )
    torch.manual_seed(0)
    config["vocab_size"] = size["vocab"] - len(MARKERS)
    DebertaV2Model(DebertaV2Config(**config)).save_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert len(tokenizer) == size["vocab"] - len(MARKERS), (len(tokenizer), size["vocab"])


def requests() -> dict[str, dict[str, object]]:
    """Prompts and candidates that cover the rules."""
    licence = (HERE.parents[1] / "LICENSE").read_text()
    words = licence.split()
    long = " ".join(words)
    return {
        "short": {"prompt": "What is 2 + 2?", "candidates": ["4", "It is five.", "I do not know, sorry."]},
        "two": {"prompt": "hello!", "candidates": ["hi!", "Go away, you."]},
        "eleven": {
            "prompt": "Explain the licence of this work to a contributor.",
            "candidates": [
                " ".join(words[start : start + length])
                for start, length in zip(range(0, 330, 30), (3, 5, 8, 13, 21, 34, 55, 20, 10, 1, 40), strict=True)
            ],
        },
        "duplicates": {"prompt": "Say yes.", "candidates": ["yes", "no", "yes", "maybe so"]},
        "all the same": {"prompt": "Say yes.", "candidates": ["yes", "yes", "yes"]},
        "unicode": {
            "prompt": "Caf\u00e9 \u2026 na\u00efve\u00a0text \uff21\uff22\uff23",
            "candidates": ["\u00bd of it\u2122", "\ufb01ne \u65e5\u672c\u8a9e", "zero\u200bwidth m\u00b2"],
        },
        "white space": {
            "prompt": "  lines\n\n\tand   spaces  ",
            "candidates": ["\n leading", "trailing \n\n", "in\r\nside"],
        },
        "separator in text": {
            "prompt": "a[SEP]b",
            "candidates": ["one [SEP] two", "three", "[SEP]four[SEP]"],
        },
        "empty prompt": {"prompt": "", "candidates": ["something", "nothing at all"]},
        "long prompt": {"prompt": long[:6000], "candidates": ["short", long[100:4000], "other words"]},
        "long candidates": {"prompt": "Sum it up.", "candidates": [long[:8000], long[50:7000], "brief"]},
        "128/128": {
            "prompt": long[:900],
            "candidates": [long[:700], long[300:1200], "brief", long[10:500]],
            "source_max_length": 128,
            "candidate_max_length": 128,
        },
        "128/128, short prompt": {
            "prompt": "Sum it up.",
            "candidates": [long[:900], long[300:1500], "brief"],
            "source_max_length": 128,
            "candidate_max_length": 128,
        },
    }


def blender_says(blender: Blender, request: dict[str, object]) -> dict[str, object]:
    """Scores, ranks, compare's three modes and the raw matrix for one request at a time."""
    prompt, candidates = request["prompt"], request["candidates"]
    lengths = {key: request[key] for key in ("source_max_length", "candidate_max_length") if key in request}
    scores = blender.rank([prompt], [candidates], return_scores=True, batch_size=1, **lengths)[0]
    ranks = blender.rank([prompt], [candidates], return_scores=False, batch_size=1, **lengths)[0]
    assert (get_ranks_from_scores(scores) == ranks).all()
    # the matrix from which rank makes its scores
    collate = blender.ranker_collator
    collate.source_maxlength = request.get("source_max_length", 1224)
    collate.candidate_maxlength = request.get("candidate_max_length", 412)
    batch = collate([{"index": 0, "source": prompt, "candidates": candidates}])
    with torch.no_grad():
        matrix = blender.ranker._full_predict(**batch)["logits"][0].numpy()
        # the bubble run draws its own permutation, so draw the same one first
        torch.manual_seed(3)
        permutation = torch.randperm(len(candidates)).tolist()
        torch.manual_seed(3)
        best = blender.ranker._bubble_predict(**batch)["select_process"][0, 2, -1].item()
    kept = {
        "source": batch["source_attention_mask"].sum().item(),
        "candidates": batch["candidate_attention_mask"][0].sum(-1).tolist(),
    }
    collate.source_maxlength, collate.candidate_maxlength = 1224, 412
    says = {"scores": scores.tolist(), "ranks": ranks.tolist(), "ordered": matrix.tolist(), "kept": kept}
    says["bubble"] = {"permutation": permutation, "best": best}
    if not lengths:
        says["compare"] = {
            mode: blender.compare(
                [prompt], [candidates[0]], [candidates[1]], batch_size=1, return_logits=True, mode=mode
            )[0].item()
            for mode in ("[A,B]+[B,A]", "[A,B]", "[B,A]")
        }
    return says


def hf_class_says(model: DebertaV2PairRM, tokenizer: object, request: dict[str, object]) -> float:
    """Logit of the first two candidates from the class behind PairRM-hf."""
    left, right = request["candidates"][:2]
    encodings = tokenize_pair(tokenizer, [request["prompt"]], [left], [right])
    with torch.no_grad():
        return model(**encodings).logits[0].item()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", choices=["tiny", "xsmall", "small"], default="tiny")
    parser.add_argument("--tokenizer", type=Path, default=checkpoint.TOKENIZER)
    parser.add_argument("--out", type=Path, default=HERE / "pairranker.json")
    options = parser.parse_args()
    size = {"tiny": checkpoint.TINY, "xsmall": checkpoint.XSMALL, "small": checkpoint.SMALL}[options.size]
    if not options.tokenizer.exists():
        train_tokenizer(options.tokenizer)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        write_base_model(root / "base", size, options.tokenizer)
        checkpoint.write_checkpoint(
            root / "PairRM",
            checkpoint.ranker_config(model_name=str(root / "base")),
            size,
            tokenizer=options.tokenizer,
        )
        checkpoint.write_checkpoint(
            root / "PairRM-hf", checkpoint.transformers_config(size), size, tokenizer=options.tokenizer
        )
        blender = Blender()
        blender.loadranker(str(root / "PairRM"), device="cpu", cache_dir=str(root / "cache"))
        config = DebertaV2Config.from_pretrained(root / "PairRM-hf")
        config.sep_token_id = 2  # not in the published config, and the class asks for it
        model = DebertaV2PairRM.from_pretrained(root / "PairRM-hf", config=config).eval()
        goldens = {}
        for title, request in requests().items():
            goldens[title] = {"request": request, "blender": blender_says(blender, request)}
            if "source_max_length" not in request and title != "separator in text":
                goldens[title]["hf"] = hf_class_says(model, blender.ranker_tokenizer, request)
    options.out.write_text(json.dumps(goldens, indent=1, ensure_ascii=True) + "\n")
    spread = np.concatenate([np.ravel(golden["blender"]["ordered"]) for golden in goldens.values()])
    sys.stderr.write(f"{options.out}: {len(goldens)} requests, logits {spread.min():.3f} to {spread.max():.3f}\n")


if __name__ == "__main__":
    main()
