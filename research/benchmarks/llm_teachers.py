"""A local LLM as a teacher without training: how likely it finds an answer, and whether it says A or B.

    python research/benchmarks/llm_teachers.py --data DIR --out FOLDER [--model qwen2.5-coder-0.5b] [--prompts 40]

On the first of the prompts that choices between runs are made on (``choices.py``), five answers each:

* ``likelihood``: the mean log-probability of an answer's tokens after the question,
* ``verdict``: the model reads the question and two answers and is asked which is better; the difference of the logits
  of ``A`` and ``B``, averaged over the other four answers: the mean of both orders, or one order, that of the records.
  ``first A`` is the share of comparisons in which the answer on the left wins, whichever it is.

What was measured is kept in FOLDER; the same command goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from choices import row
from reward_heads import Judged, judged_sets
from transformers import AutoModelForCausalLM, AutoTokenizer

from blender_core.models.bfloat16 import computes_bfloat16
from blender_core.models.gguf import gguf_file
from blender_core.rank.registry import resolve_ranker

QUESTION_TOKENS, ANSWER_TOKENS, PAIR_ANSWER_TOKENS = 96, 224, 128
VERDICT = (
    "Question:\n{question}\n\nAnswer A:\n{a}\n\nAnswer B:\n{b}\n\nWhich answer is better, A or B? Say one letter only."
)


class Reader:
    """A causal model that says how likely a text is."""

    def __init__(self, model: str) -> None:
        file = gguf_file(model, feature="this benchmark")
        source: dict[str, Any] = {} if file is None else {"gguf_file": file.name}
        where = model if file is None else str(file.parent)
        self._tokenizer = AutoTokenizer.from_pretrained(where, **source)
        self.dtype = "bfloat16" if computes_bfloat16(torch.device("cpu")) else "float32"
        model = AutoModelForCausalLM.from_pretrained(where, dtype=getattr(torch, self.dtype), **source).eval()
        self._states = model.get_decoder()
        # in float32: two letters differ by less than bfloat16 can tell
        self._output = model.get_output_embeddings().weight.detach().float()
        self._letters = [self._ids(letter)[0] for letter in "AB"]

    def likelihood(self, prompt: Judged) -> list[float]:
        """Mean log-probability a token of every answer."""
        start = self._ids(f"Question:\n{self._cut(prompt.prompt, QUESTION_TOKENS)}\n\nAnswer:\n")
        found = []
        for answer in prompt.answers:
            body = self._ids(answer)[:ANSWER_TOKENS] or self._ids("-")
            with torch.inference_mode():
                states = self._states(torch.tensor([start + body])).last_hidden_state[0, -len(body) - 1 : -1]
                logits = states.float() @ self._output.T
            own = logits.log_softmax(-1)[torch.arange(len(body)), torch.tensor(body)]
            found.append(float(own.mean()))
        return found

    def verdicts(self, prompt: Judged) -> list[list[float]]:
        """Logit that the answer of the row, on the left, beats that of the column."""
        question = self._cut(prompt.prompt, QUESTION_TOKENS)
        texts = [self._cut(answer, PAIR_ANSWER_TOKENS) for answer in prompt.answers]
        return [
            [0.0 if i == j else self._verdict(question, a, b) for j, b in enumerate(texts)] for i, a in enumerate(texts)
        ]

    def _verdict(self, question: str, a: str, b: str) -> float:
        asked = [{"role": "user", "content": VERDICT.format(question=question, a=a, b=b)}]
        text = self._tokenizer.apply_chat_template(asked, tokenize=False, add_generation_prompt=True)
        with torch.inference_mode():
            state = self._states(torch.tensor([self._ids(text)])).last_hidden_state[0, -1].float()
        first, second = (self._output[letter] @ state for letter in self._letters)
        return float(first - second)

    def _cut(self, text: str, tokens: int) -> str:
        ids = self._ids(text)
        tail = tokens // 2
        if len(ids) <= tokens:
            return text
        return str(self._tokenizer.decode(ids[: tokens - tail] + ids[len(ids) - tail :]))

    def _ids(self, text: str) -> list[int]:
        return list(self._tokenizer(text, add_special_tokens=False)["input_ids"])


def kept(path: Path, prompts: list[Judged], measure: Callable[[Judged], Any]) -> list[Any]:
    """One result a prompt, from the file where it is there."""
    found = [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []
    with path.open("a", encoding="utf-8") as file:
        for prompt in prompts[len(found) :]:
            found.append(measure(prompt))
            file.write(json.dumps(found[-1]) + "\n")
            file.flush()
    return found[: len(prompts)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--model", default="qwen2.5-coder-0.5b")
    parser.add_argument("--prompts", type=int, default=40)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    options.out.mkdir(parents=True, exist_ok=True)
    prompts = judged_sets(options.data)["judged"][: options.prompts]
    reader = Reader(options.model)
    name = f"{Path(options.model).name}-{reader.dtype}"
    likelihood = kept(options.out / f"likelihood-{name}.jsonl", prompts, reader.likelihood)
    print("| | pair accuracy | where the shorter is better | where the longer is | pick |\n|---|---|---|---|---|")
    print(f"| likelihood | {row(prompts, likelihood)} |", flush=True)
    verdicts = kept(options.out / f"verdicts-{name}.jsonl", prompts, reader.verdicts)
    scores = [
        [fmean((one[i][j] - one[j][i]) / 2 for j in range(len(one)) if j != i) for i in range(len(one))]
        for one in verdicts
    ]
    print(f"| verdict, both orders | {row(prompts, scores)} |")
    one_order = [
        [fmean(one[i][j] if i < j else -one[j][i] for j in range(len(one)) if j != i) for i in range(len(one))]
        for one in verdicts
    ]
    print(f"| verdict, one order | {row(prompts, one_order)} |", flush=True)
    for other in ("reward-head", "longest"):
        ranker = resolve_ranker(other)
        print(
            f"| {other} | {row(prompts, [ranker.rank(one.prompt, one.answers).scores for one in prompts])} |",
            flush=True,
        )
    every = [value for one in verdicts for i, line in enumerate(one) for j, value in enumerate(line) if i != j]
    print(f"\nverdicts: {len(every)}; first A: {100 * fmean(value > 0 for value in every):.1f}%")


if __name__ == "__main__":
    main()
