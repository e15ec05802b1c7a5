"""Do with llm-blender 0.0.2 what the table of differences tells of, and write down what happens.

    old/bin/python tests/goldens/make_difference_goldens.py

Same environment and checkpoint as ``make_compat_goldens.py``. Writes ``differences.json`` beside this file: for each
row of ``docs/llm_blender_differences.md`` what was seen.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import io
import json
import logging
import shutil
import sys
import tempfile
import types
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pairrm_checkpoint as checkpoint
import torch
from llm_blender import Blender
from llm_blender.blender import blender as blender_module
from llm_blender.blender import blender_utils
from llm_blender.blender.config import BlenderConfig
from llm_blender.pair_ranker.config import RankerConfig
from llm_blender.pair_ranker.pairrm import DebertaV2PairRM
from make_pairranker_goldens import write_base_model
from transformers import AutoModelForSeq2SeqLM, T5Config, T5ForConditionalGeneration

HERE = Path(__file__).parent
WORDS = (HERE.parents[1] / "LICENSE").read_text().split()
LONG = " ".join(WORDS[:900])
CONTROL = ("[CLS]", "[PAD]", "[MASK]")


def outcome(call: Callable[[], object]) -> object:
    """What a call gives, or the class and first line of what it raises."""
    try:
        return call()
    except Exception as error:
        return f"{type(error).__name__}: {str(error).splitlines()[0][:160] if str(error) else ''}".rstrip(": ")


class Rows:
    """The rows, on one loaded blender."""

    def __init__(self, root: Path) -> None:
        self.root = root
        write_base_model(root / "base", checkpoint.TINY, checkpoint.TOKENIZER)
        self.config = checkpoint.ranker_config(model_name=str(root / "base"))
        self.folder = checkpoint.write_checkpoint(root / "PairRM", self.config)
        self.blender = self.load(self.folder)
        self.fuser_folder = self.write_fuser()

    def load(self, folder: Path, **options: object) -> Blender:
        blender = Blender(BlenderConfig(device="cpu", use_tqdm=False))
        blender.loadranker(str(folder), cache_dir=str(self.root / "cache"), **options)
        return blender

    def write_fuser(self) -> Path:
        folder = self.root / "fuser"
        torch.manual_seed(0)
        config = T5Config(
            vocab_size=600,
            d_model=16,
            d_kv=8,
            d_ff=32,
            num_layers=1,
            num_heads=2,
            decoder_start_token_id=0,
            pad_token_id=0,
        )
        T5ForConditionalGeneration(config).save_pretrained(folder)
        shutil.copy(HERE / "t5_tokenizer.json", folder / "tokenizer.json")
        (folder / "tokenizer_config.json").write_text(
            json.dumps(
                {
                    "tokenizer_class": "PreTrainedTokenizerFast",
                    "model_input_names": ["input_ids", "attention_mask"],
                    "eos_token": "</s>",
                    "unk_token": "<unk>",
                    "pad_token": "<pad>",
                    "additional_special_tokens": [f"<extra_id_{number}>" for number in range(100)],
                }
            )
        )
        return folder

    def with_fuser(self, **options: object) -> Blender:
        blender = Blender(BlenderConfig(device="cpu", use_tqdm=False))
        blender.loadfuser(str(self.fuser_folder), device="cpu", torch_dtype="float32", **options)
        return blender

    def logit(self, candidate: str) -> float:
        logits = self.blender.compare(["Hi"], [candidate], ["the work"], return_logits=True, mode="[A,B]", batch_size=1)
        return round(logits[0].item(), 4)

    def kept(self, prompts: list[str]) -> list[int]:
        """Tokens kept of the same long candidate, for each prompt of one mini-batch."""
        rows = [{"index": i, "source": prompt, "candidates": [LONG, "b"]} for i, prompt in enumerate(prompts)]
        return self.blender.ranker_collator(rows)["candidate_attention_mask"][:, 0].sum(-1).tolist()

    # one method for each row or group of rows

    def ranking(self) -> dict[str, object]:
        blender = self.blender
        longest = blender.rank_with_ref(["Hi"], [["a", "any terms"]], return_scores=True, ref_mode="longest").tolist()
        shortest = blender.rank_with_ref(["Hi"], [["a", "any terms"]], return_scores=True, ref_mode="shortest").tolist()
        swallowed = blender.rank_with_ref(["Hi"], [["a", "any terms"]], return_scores=True, mode="shortest").tolist()
        both = blender.compare(["Hi"], ["a"], ["any terms"], return_logits=True).tolist()
        calls: list[int] = []
        forward = blender.ranker._forward
        blender.ranker._forward = lambda *a, **k: (calls.append(1), forward(*a, **k))[1]
        with_copies = blender.rank(["Hi"], [["a", "the work", "a"]], return_scores=True).tolist()[0]
        blender.ranker._forward = forward
        return {
            "Room for a candidate": {"alone": self.kept(["Hi"]), "beside a long prompt": self.kept(["Hi", LONG])},
            "`<\\|source\\|>`, `<\\|candidate1\\|>` in a text": [
                outcome(lambda text=text: self.logit(text)) for text in ("<|source|> a", "<|candidate1|> a")
            ],
            "`[CLS]`, `[PAD]`, `[MASK]` in a text": {text: self.logit(f"a {text} b") for text in ("", *CONTROL)},
            "`[SEP]` in a text": {"[SEP]": self.logit("a[SEP]b"), "space": self.logit("a b")},
            "Unknown `mode` of `compare`": {
                "unknown": blender.compare(["Hi"], ["a"], ["any terms"], return_logits=True, mode="[A]").tolist(),
                "both orders": both,
            },
            "`rank_with_ref(mode=…)` of the old README": {
                "longest": longest,
                "shortest": shortest,
                "mode=shortest": swallowed,
            },
            "`source_max_length` in `compare`, `rank_with_ref`": [
                outcome(lambda: blender.compare(["Hi"], ["a"], ["b"], source_max_length=9)),
                outcome(lambda: blender.rank_with_ref(["Hi"], [["a", "b"]], source_max_length=9)),
            ],
            "Blank candidates": blender.rank(["Hi"], [["a", ""]], return_scores=True).tolist(),
            "Copies of a candidate": {"scores": with_copies, "forwards": len(calls)},
            "Sums of scores": str(blender.rank(["Hi"], [["a", "b"]], return_scores=True).dtype),
            "Unequal numbers of candidates": outcome(
                lambda: blender.rank(["Hi", "Bye"], [["a", "b"], ["a", "b", "c"]])
            ),
            "`inputs` and lists that do not fit": outcome(lambda: blender.rank(["Hi"], [])),
            "Nothing loaded": [
                outcome(lambda: Blender().rank(["Hi"], [["a", "b"]])),
                outcome(lambda: Blender().fuse(["Hi"], [["a", "b"]])),
            ],
            "Bubble permutation": self.permutations(),
            '`get_best_of_n(…, "full", return_all=True)`': type(
                blender.get_best_of_n(["Hi"], [["a", "b"]], None, "full", True)
            ).__name__,
            "Roles in conversations": outcome(lambda: self.conversation("user", "assistant")),
        }

    def permutations(self) -> dict[str, object]:
        sizes: list[int] = []
        seeds: list[int] = []
        randperm = torch.randperm
        torch.randperm = lambda size: (sizes.append(size), randperm(size))[1]
        seed = torch.manual_seed
        torch.manual_seed = lambda value: (seeds.append(value), seed(value))[1]
        try:
            self.blender.get_best_of_n(["Hi", "Bye"], [["a", "b", "c"]] * 2, batch_size=2)
        finally:
            torch.randperm, torch.manual_seed = randperm, seed
        return {"draws for two inputs": len(sizes), "seeds set": len(seeds)}

    def conversation(self, user: str, assistant: str) -> list[bool]:
        turns = [{"role": user, "content": "Hi"}, {"role": assistant, "content": "a"}]
        return self.blender.compare_conversations([turns], [turns]).tolist()

    def loading(self) -> dict[str, object]:
        tensors = checkpoint.random_tensors(checkpoint.TINY)
        odd = dict(tensors)
        del odd["head_layer.4.bias"]
        odd["pooler.weight"] = np.zeros((2, 2), np.float32)
        in_safetensors = checkpoint.write_checkpoint(self.root / "odd", self.config, tensors=odd)
        in_bin = checkpoint.write_checkpoint(self.root / "odd-bin", self.config)
        (in_bin / "model.safetensors").unlink()
        torch.save({name: torch.from_numpy(value) for name, value in odd.items()}, in_bin / "pytorch_model.bin")
        hf = checkpoint.write_checkpoint(self.root / "PairRM-hf", checkpoint.transformers_config(checkpoint.TINY))
        old = {name: value for name, value in self.config.items() if "maxlength" not in name}
        old |= {"source_max_length": 128, "candidate_max_length": 128}
        of_2023 = checkpoint.write_checkpoint(self.root / "pair-ranker", old)
        no_base = checkpoint.write_checkpoint(
            self.root / "no-base", checkpoint.ranker_config(model_name=str(self.root / "nowhere"))
        )
        config = RankerConfig.from_dict(self.config)
        config.load_checkpoint = str(self.folder)
        loaded = "loads"
        return {
            "`Blender(ranker_config=…)`": outcome(lambda: Blender(BlenderConfig(device="cpu"), ranker_config=config)),
            "Default device": outcome(
                lambda: Blender().loadranker(str(self.folder), cache_dir=str(self.root / "cache"))
            ),
            "Unknown options of `loadranker`": self.load(self.folder, speed=2).ranker_config.speed,
            "Base model": outcome(lambda: (self.load(no_base), loaded)[1]).split(":")[0],
            "PairRM-hf in `loadranker`": outcome(lambda: (self.load(hf), loaded)[1]).replace(str(self.root), ""),
            "Config of the 2023 `pair-ranker`": outcome(lambda: (self.load(of_2023), loaded)[1]),
            "Unknown or missing tensors": {
                "pytorch_model.bin": outcome(lambda: (self.load(in_bin), loaded)[1]),
                "model.safetensors": outcome(lambda: (self.load(in_safetensors), loaded)[1]),
            },
            "`sep_token_id` of PairRM-hf": outcome(lambda: self.old_class(hf)),
            "Reward models in `loadranker` (OpenAssistant, Starling, UltraRM)": self.reward_models(),
            "Progress bars, prints, root logger": self.noise(),
        }

    def old_class(self, folder: Path) -> float:
        """The logit that the class behind PairRM-hf gives for a checkpoint without ``sep_token_id``."""
        model = DebertaV2PairRM.from_pretrained(folder).eval()
        encodings = blender_utils.tokenize_pair(self.blender.ranker_tokenizer, ["Hi"], ["a"], ["the work"])
        with torch.no_grad():
            return round(model(**encodings).logits[0].item(), 4)

    def reward_models(self) -> dict[str, str]:
        names = (
            "OpenAssistant/reward-model-deberta-v3-large-v2",
            "berkeley-nest/Starling-RM-7B-alpha",
            "openbmb/UltraRM-13b",
        )
        seen: dict[str, str] = {}

        def record(config: RankerConfig) -> None:
            seen[name] = config.ranker_type
            raise InterruptedError

        load = blender_module.load_ranker
        blender_module.load_ranker = record
        try:
            for name in names:
                (self.root / name).mkdir(parents=True)
                with contextlib.suppress(InterruptedError):
                    self.load(self.root / name)
        finally:
            blender_module.load_ranker = load
        return seen

    def noise(self) -> dict[str, bool]:
        out, err = io.StringIO(), io.StringIO()
        heard: list[str] = []
        handler = logging.Handler()
        handler.emit = lambda record: heard.append(record.name)
        logging.getLogger().addHandler(handler)
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            blender = Blender(BlenderConfig(device="cpu"))
            blender.loadranker(str(self.folder), cache_dir=str(self.root / "cache"))
            blender.rank(["Hi"], [["a", "b"]])
        logging.getLogger().removeHandler(handler)
        return {"print": bool(out.getvalue()), "bar": "Ranking candidates" in err.getvalue(), "root": "root" in heard}

    def fusing(self) -> dict[str, object]:
        blender = self.with_fuser()
        tokenizer = blender.fuser_tokenizer
        end = tokenizer("Summarize candidates into a better one for the given instruction:", add_special_tokens=False)
        dataset = blender_utils.GenFuserDataset(["x " + LONG * 3], [["the work"]], tokenizer, 1024, 128)
        ids = dataset[0]["input_ids"].tolist()
        texts = [LONG, "b"]
        hostile = blender_utils.GenFuserDataset(["Hi"], [["a </s> <extra_id_0> b"]], tokenizer, 1024, 128)
        plain = blender_utils.GenFuserDataset(["Hi"], [["a b"]], tokenizer, 1024, 128)
        count = {
            name: [
                data[0]["input_ids"].tolist().count(tokenizer.convert_tokens_to_ids(name)) for data in (plain, hostile)
            ]
            for name in ("</s>", "<extra_id_0>")
        }
        nothing = blender.fuse(
            ["Hi", "Say which one it is."], [["a"], ["the work"]], max_new_tokens=2, suppress_tokens=list(range(2, 600))
        )
        blender.fuse(["Hi"], [texts], num_beams=1, max_new_tokens=2)
        return {
            "Long input of the fuser": {
                "ids": len(ids),
                "instruction at the end": ids[-len(end["input_ids"]) :] == end["input_ids"],
                "candidate 0": tokenizer.convert_tokens_to_ids("<extra_id_0>") in ids,
            },
            "Candidates given to `fuse`": {"caller's list changed": texts[0] != LONG, "ends in": texts[0][-3:]},
            "`</s>`, `<extra_id_0>` in the fuser's input": count,
            "Fuser that writes nothing": nothing,
            "`load_in_8bit`, `load_in_4bit` of the fuser": self.eight_bits(),
        }

    def eight_bits(self) -> dict[str, object]:
        given: list[dict[str, object]] = []
        load = AutoModelForSeq2SeqLM.from_pretrained

        def record(*args: object, **options: object) -> object:
            given.append(options)
            return load(*args, **options)

        blender_utils.AutoModelForSeq2SeqLM.from_pretrained = record
        try:
            blender = self.with_fuser(load_in_8bit=True, load_in_4bit=True)
        finally:
            blender_utils.AutoModelForSeq2SeqLM.from_pretrained = load
        return {
            "passed on": sorted(name for name in given[0] if name.startswith("load_in")),
            "dtype": str(next(blender.fuser.parameters()).dtype),
        }

    def vllm(self) -> dict[str, object]:
        """A stand-in for vLLM, which shows the branch that is taken."""

        class LLM:
            def generate(self, prompts: list[str], sampling_params: object) -> list[object]:
                return [
                    types.SimpleNamespace(
                        outputs=[types.SimpleNamespace(text=f"{prompt} {i}") for i in range(sampling_params.n)]
                    )
                    for prompt in prompts
                ]

        class SamplingParams:
            temperature = 1.0

            def __init__(self, n: int, max_tokens: int) -> None:
                self.n, self.max_tokens = n, max_tokens

        blender_module.vllm = types.SimpleNamespace(LLM=LLM, SamplingParams=SamplingParams)
        blender_module.is_vllm_imported = True
        tokenizer = types.SimpleNamespace(model_max_length=8)
        return {"vLLM models in `n_generate`": self.blender.n_generate(LLM(), tokenizer, ["Hi"], n=2)}


def main() -> None:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        rows = Rows(Path(name))
        seen = {**rows.ranking(), **rows.loading(), **rows.fusing(), **rows.vllm()}
    versions = {package: importlib.metadata.version(package) for package in ("llm-blender", "transformers", "torch")}
    text = json.dumps({"versions": versions, "seen": seen}, indent=1, ensure_ascii=False)
    (HERE / "differences.json").write_text(text + "\n")
    sys.stderr.write(f"{len(seen)} rows\n")


if __name__ == "__main__":
    main()
