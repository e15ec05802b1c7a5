"""The questions: read them, check them by rule, and tell whether an answer holds the fact.

    python benchmarks/rag/questions.py

checks that every fact stands in its document and in no question.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Question:
    """One question; ``gold`` holds the spellings of the fact, any of which is right."""

    id: str
    split: str
    question: str
    gold: tuple[str, ...]
    document: str


def read_questions(path: Path = HERE / "questions.jsonl") -> list[Question]:
    """All questions, in the file's order."""
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [Question(**{**row, "gold": tuple(row["gold"])}) for row in rows]


def holds(text: str, fact: str) -> bool:
    """Whether the fact stands in the text as words of its own; a version number is no part of a longer one."""
    before = r"(?<!\d\.)v?" if fact[0].isdigit() else ""
    pattern = rf"(?<!\w){before}{re.escape(fact.lower())}(?!\w)(?!\.\d)"
    return re.search(pattern, " ".join(text.lower().split())) is not None


def is_correct(answer: str, question: Question) -> bool:
    """Whether an answer contains the fact in any of its spellings."""
    return any(holds(answer, fact) for fact in question.gold)


def main() -> None:
    questions = read_questions()
    problems = []
    for question in questions:
        document = (HERE / "corpus" / f"{question.document}.md").read_text(encoding="utf-8")
        if not is_correct(document, question):
            problems.append(f"{question.id}: {question.gold} is not in {question.document}")
        if is_correct(question.question, question):
            problems.append(f"{question.id}: the question holds its answer")
    if len({question.question for question in questions}) < len(questions):
        problems.append("a question is there twice")
    print("\n".join(problems) or f"{len(questions)} questions, all facts found")
    raise SystemExit(bool(problems))


if __name__ == "__main__":
    main()
