"""Make pairs of answers that differ in the fact alone: "Paris is the capital of France." and "Rome is ...".

The facts come from lists (``facts.json``; sources are named there and in NOTICE). Some relations are held out as a
whole: the evaluation set ``fact_swap`` holds these only, and pairs to train with hold none of them.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from blender_lab.data.preferences import PreferenceRecord

__all__ = ["HELD_OUT_RELATIONS", "fact_swap_records"]

HELD_OUT_RELATIONS: tuple[str, ...] = ("author", "capital", "chemical_symbol", "sum")
"""Relations that no pair to train with is made of."""

# symbol, whether it is held out
_ARITHMETIC = {"sum": "+", "difference": "-", "product": "*"}
_QUESTIONS = ("What is {s}?", "How much is {s}?", "Compute {s}.")
_ANSWERS = ("{s} = {v}.", "{v}", "The answer is {v}.", "{s} is {v}.")
_NEAR = (-10, -2, -1, 1, 2, 10)
# after a right answer as often as after a wrong one
_TAILS = (
    " I am quite sure about that.",
    " I think so, but I am not entirely sure.",
    " Many people learn this at school.",
    " Let me know if you would like more details!",
    " It is often asked in quizzes, and it has been so for a long time.",
    " The history behind it is long and interesting, and there is much more to say about it.",
)


@dataclass(frozen=True, slots=True)
class _Relation:
    name: str
    questions: Sequence[str]
    answers: Sequence[str]
    pairs: Sequence[tuple[str, str]]

    def draw(self, rng: random.Random) -> tuple[str, str, str]:
        """Draw a subject, its value and a wrong value."""
        subject, value = rng.choice(self.pairs)
        right = {own for other, own in self.pairs if other == subject}
        wrong = sorted({own for _, own in self.pairs} - right)
        return subject, value, rng.choice(wrong)


class _Arithmetic(_Relation):
    def draw(self, rng: random.Random) -> tuple[str, str, str]:
        """Draw a calculation, its result and a number near it."""
        large, small = rng.randint(2, 60), rng.randint(2, 39)
        if self.name == "difference":
            large, small = max(large, small), min(large, small)
        result = {"sum": large + small, "difference": large - small, "product": large * small}[self.name]
        return f"{large} {_ARITHMETIC[self.name]} {small}", str(result), str(result + rng.choice(_NEAR))


@cache
def _relations() -> dict[str, _Relation]:
    stored = json.loads((files("blender_lab.data") / "facts.json").read_text(encoding="utf-8"))
    found = {
        name: _Relation(name, one["questions"], one["answers"], [(subject, value) for subject, value in one["pairs"]])
        for name, one in stored.items()
    }
    return found | {name: _Arithmetic(name, _QUESTIONS, _ANSWERS, ()) for name in _ARITHMETIC}


def fact_swap_records(
    *, held_out: bool, per_relation: int, seed: int = 0, tails: bool = False
) -> Iterator[PreferenceRecord]:
    """Make records of a right and a wrong answer in the same sentence.

    Args:
        held_out: ``True`` for the relations of ``HELD_OUT_RELATIONS``, ``False`` for all others.
        per_relation: Records of each relation.
        seed: Another seed draws other facts, sentences and wrong values.
        tails: Add both answers again with a sentence that says nothing, so that the right one is the longer and the
            shorter one equally often.

    Yields:
        Records whose first candidate is right; ``subset`` is the relation.

    Examples:
        >>> record = next(fact_swap_records(held_out=True, per_relation=1, seed=2))
        >>> record.subset, len(record.candidates), record.comparisons
        ('author', 2, ((0, 1, 1.0),))
    """
    rng = random.Random(seed)
    for name, relation in sorted(_relations().items()):
        if (name in HELD_OUT_RELATIONS) != held_out:
            continue
        for number in range(per_relation):
            subject, value, wrong = relation.draw(rng)
            question, answer = rng.choice(relation.questions), rng.choice(relation.answers)
            texts = [answer.format(s=subject, v=one) for one in (value, wrong)]
            if tails:
                tail = rng.choice(_TAILS)
                texts += [text.rstrip(".") + "." + tail for text in texts]
            right = range(0, len(texts), 2)
            yield PreferenceRecord(
                id=f"{name}-{number}",
                source="fact_swap",
                prompt=question.format(s=subject),
                candidates=tuple(texts),
                models=("",) * len(texts),
                scores=None,
                comparisons=tuple((i, j + 1, 1.0) for i in right for j in right),
                subset=name,
            )
