"""The recorded answers of ``gather.py``: read them, judge them by rule, hand them to the ranker."""

from __future__ import annotations

import gzip
import json
from dataclasses import dataclass
from pathlib import Path

from questions import Question, is_correct, read_questions

from blender_core.rag import GroundedCandidate, Source

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Case:
    """One question with every engine's answer."""

    question: Question
    engines: tuple[str, ...]
    candidates: tuple[GroundedCandidate, ...]

    @property
    def correct(self) -> tuple[float, ...]:
        """1 where the answer holds the fact, by engine."""
        return tuple(float(is_correct(one.answer, self.question)) for one in self.candidates)

    @property
    def retrieved(self) -> tuple[float, ...]:
        """1 where the engine's passages hold the fact: more than that no answer from them can be right."""
        return tuple(
            float(any(is_correct(source.text, self.question) for source in one.sources)) for one in self.candidates
        )


def read_cases(path: Path = HERE / "answers.jsonl.gz") -> list[Case]:
    """All questions that every engine has answered, in the file's order."""
    content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    answers: dict[str, dict[str, GroundedCandidate]] = {}
    for line in content.decode().splitlines():
        row = json.loads(line)
        sources = tuple(Source(each["text"], id=each["id"], score=each["score"]) for each in row["sources"])
        answers.setdefault(row["id"], {})[row["engine"]] = GroundedCandidate(row["answer"], sources)
    most = max(len(by_engine) for by_engine in answers.values())
    return [
        Case(question, tuple(answers[question.id]), tuple(answers[question.id].values()))
        for question in read_questions()
        if len(answers.get(question.id, ())) == most
    ]
