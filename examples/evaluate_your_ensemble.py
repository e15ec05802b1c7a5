"""Measure an ensemble on your own prompts: is the blend's pick better than its best member?

Gathers every member's answer once, checks them, prints the table (members, chance, rankers, oracle) and writes the
figures. Needs no key; ``BLENDED_LLM_ENDPOINTS="URL:MODEL URL:MODEL"`` measures hosted models instead:

    python examples/evaluate_your_ensemble.py FOLDER
"""

import sys
from pathlib import Path

from rich.console import Console

from blender_core.members import as_members
from blender_core.view import Column, Table
from blender_lab import (
    GatherSettings,
    Journal,
    MixRecord,
    benchmark_rankers,
    gather_answers,
    gathered_records,
    run_benchmark,
    save_figures,
    scored_by_check,
)
from langchain_blender import open_chat_models

# what is asked, and the word or number that a right answer contains
QUESTIONS = {
    "What is the capital of Portugal?": "Lisbon",
    "Which planet is closest to the sun?": "Mercury",
    "What is the chemical symbol of gold?": "Au",
    "Who wrote the play Hamlet?": "Shakespeare",
    "How many days are there in a leap year?": "366",
    "What is 9 times 7?": "63",
    "What is 45 plus 38?": "83",
    "What is the plural of 'mouse', the animal?": "mice",
    "Which gas do plants take in to make sugar?": "carbon dioxide",
    "On which continent is Kenya?": "Africa",
    "What is the opposite of 'ancient'?": "modern",
    "How many sides does a hexagon have?": "six|6",
}


def main() -> None:
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "evaluation")
    folder.mkdir(parents=True, exist_ok=True)
    prompts = [
        MixRecord(
            id=str(number),
            instruction=question,
            output=answer,
            candidates=(),
            check={"kind": "contains", "any": answer.split("|")},
        )
        for number, (question, answer) in enumerate(QUESTIONS.items(), start=1)
    ]
    settings = GatherSettings(system="Answer in one short sentence.")
    # answers are kept in the journal: a second run asks only what is missing
    with open_chat_models(max_tokens=32) as chat_models, Journal(folder / "answers.journal", {}) as journal:
        members = [(member.name, member) for member in as_members(chat_models)]
        gather_answers(prompts, members, journal, settings)
        records = [
            scored_by_check(one) for one in gathered_records(prompts, [name for name, _ in members], journal, settings)
        ]
    rankers = benchmark_rankers(["embedded", "consensus", "longest"])
    report = run_benchmark(records, rankers, name="my questions")
    (folder / "table.md").write_text(report.table().markdown() + "\n", encoding="utf-8")
    shares = [row.columns[report.primary].mean for row in report.rows]
    rows = [
        [row.kind, row.name, f"{'█' * round(20 * share):20} {share:.2f}"]
        for row, share in zip(report.rows, shares, strict=True)
    ]
    console = Console()
    console.print(Table([Column(), Column("picks"), Column("share right")], rows, title=f"{report.prompts} questions"))
    best = max((row for row in report.rows if row.kind != "oracle"), key=lambda row: row.columns[report.primary].mean)
    console.print(f"won: {best.name}; table and figures are in {folder}", markup=False)
    save_figures(report, folder)


if __name__ == "__main__":
    main()
