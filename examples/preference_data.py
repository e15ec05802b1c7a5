"""Preference pairs for DPO, made of several models' answers by a pairwise judge.

Writes JSON lines with ``prompt``, ``chosen`` and ``rejected`` in the conversational form that TRL's ``DPOTrainer``
takes; ``load_dataset("json", data_files=...)`` reads them. The shipped ranker judges; give a PairRanker checkpoint to
judge with that one. Needs no key; ``BLENDED_LLM_ENDPOINTS="URL:MODEL URL:MODEL"`` asks hosted models instead:

    python examples/preference_data.py preferences.jsonl llm-blender/PairRM
"""

import json
import sys
from pathlib import Path

from pairrm_judge import PairRMJudge
from rich.console import Console
from rich.table import Table

from langchain_blender import open_chat_models

PROMPTS = [
    "Name the largest planet of the solar system.",
    "How many days are there in a leap year?",
    "Write one sentence about rain.",
    "What is the past tense of 'go'?",
]


def message(role: str, content: str) -> list[dict[str, str]]:
    return [{"role": role, "content": content}]


def main() -> None:
    path = Path(sys.argv[1] if len(sys.argv) > 1 else "preferences.jsonl")
    judge = PairRMJudge(sys.argv[2] if len(sys.argv) > 2 else "embedded")
    with open_chat_models(max_tokens=64) as chat_models:
        if len(chat_models) < 2:
            raise SystemExit("a preference needs answers of at least two models; name another in BLENDED_LLM_ENDPOINTS")
        by_model = [[answer.text for answer in model.batch(PROMPTS)] for model in chat_models]
    completions = [list(answers) for answers in zip(*by_model, strict=True)]

    table = Table("prompt", "won: chosen", "rejected", "margin", show_lines=True)
    with path.open("w", encoding="utf-8") as file:
        for prompt, texts, scores in zip(
            PROMPTS, completions, judge.judge(PROMPTS, completions, return_scores=True), strict=True
        ):
            (low, rejected), *_, (high, chosen) = sorted(zip(scores, texts, strict=True))
            if low == high:  # all gave the same answer: nothing to prefer
                continue
            pair = {"chosen": message("assistant", chosen), "rejected": message("assistant", rejected)}
            file.write(json.dumps({"prompt": message("user", prompt), **pair}, ensure_ascii=False) + "\n")
            table.add_row(*(text.strip()[:160] for text in (prompt, chosen, rejected)), f"{high - low:.2f}")
    console = Console()
    console.print(table)
    console.print(
        f"{path}: {table.row_count} pairs; load_dataset('json', data_files='{path}') reads them", markup=False
    )


if __name__ == "__main__":
    main()
