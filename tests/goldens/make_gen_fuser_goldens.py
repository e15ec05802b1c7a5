"""Write down the token ids that llm-blender 0.0.2 feeds to GenFuser.

    old/bin/python tests/goldens/make_gen_fuser_goldens.py

Same environment as ``make_pairranker_goldens.py``. Writes ``gen_fuser.json`` and, where it is missing,
``t5_tokenizer.json``: a small tokenizer with T5's special ids.
"""

from __future__ import annotations

import copy
import json
import re
import sys
import tempfile
from pathlib import Path

import sentencepiece
from llm_blender.blender.blender_utils import GenFuserDataset
from llm_blender.gen_fuser.model_utils import EncDecModelManager
from transformers import PreTrainedTokenizerFast, T5TokenizerFast

HERE = Path(__file__).parent
TOKENIZER = HERE / "t5_tokenizer.json"
# only small letters: where it cuts, the reference writes an unknown character back as "<unk>"
LICENCE = re.sub(r"[^a-z\s]", "", (HERE.parents[1] / "LICENSE").read_text().lower())
REQUESTS = {
    "short": ("What is the licence?", ["the Apache licence", "a licence", "It is  free\nsoftware."]),
    "one": ("hello", ["hi there"]),
    "five": ("Say which.", ["one", "two", "three", "four", "five and more"]),
    "long candidates": ("Sum it up.", [LICENCE[:1500], "brief", LICENCE[300:2400]]),
    "empty": ("", ["", "something"]),
    "lines": ("Which one?\nSay it.\n\nNow.", ["the first\nline\n", "\nthe  second \n line"]),
}


def train_tokenizer(path: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        prefix = str(Path(folder) / "spm")
        sentencepiece.SentencePieceTrainer.train(
            input=str(HERE.parents[1] / "LICENSE"),
            model_prefix=prefix,
            vocab_size=400,
            model_type="unigram",
            normalization_rule_name="nmt_nfkc",
            pad_id=0,
            eos_id=1,
            unk_id=2,
            bos_id=-1,
            minloglevel=2,
        )
        T5TokenizerFast(vocab_file=prefix + ".model").backend_tokenizer.save(str(path), pretty=False)


def paper_ids(tokenizer: PreTrainedTokenizerFast, prompt: str, candidates: list[str]) -> list[int]:
    """What the paper's script feeds the model when its data file holds the same text."""
    parts = ["Instruction: ", f"Input: {prompt}"]
    parts += [f"Candidate {number}: <extra_id_{number}>:{text}" for number, text in enumerate(candidates)]
    parts.append("Summarize candidates into a better one for the given instruction:")
    (cleaned,) = EncDecModelManager("", "", "none").clean_newlines(["</s>".join(parts)])
    return tokenizer(cleaned)["input_ids"]


def main() -> None:
    if not TOKENIZER.exists():
        train_tokenizer(TOKENIZER)
    extra = [f"<extra_id_{number}>" for number in range(100)]
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_file=str(TOKENIZER),
        eos_token="</s>",
        unk_token="<unk>",
        pad_token="<pad>",
        additional_special_tokens=extra,
    )
    goldens = {}
    for title, (prompt, candidates) in REQUESTS.items():
        dataset = GenFuserDataset([prompt], [copy.copy(candidates)], tokenizer, 1024, 128)
        encoded = dataset[0]
        ids = [
            i for i, kept in zip(encoded["input_ids"].tolist(), encoded["attention_mask"].tolist(), strict=True) if kept
        ]
        goldens[title] = {"prompt": prompt, "candidates": candidates, "ids": ids}
        if title != "long candidates":
            goldens[title]["paper_ids"] = paper_ids(tokenizer, prompt, candidates)
    (HERE / "gen_fuser.json").write_text(json.dumps(goldens) + "\n")
    sys.stderr.write(f"{ {title: len(golden['ids']) for title, golden in goldens.items()} }\n")


if __name__ == "__main__":
    main()
