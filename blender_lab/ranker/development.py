"""Judging a ranker on held-out prompts while it trains."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from blender_lab.ranker.architecture import Architecture
from blender_lab.ranker.config import RankerTrainingConfig
from blender_lab.ranker.sampling import Group, PackedTexts
from blender_lab.ranker.targets import PairTarget

__all__ = ["Evaluate", "HeldOut", "PairLogit", "development_evaluation", "held_out_groups", "pair_logits"]

Evaluate = Callable[[Architecture, int], dict[str, float]]
"""Takes the form and the step, returns numbers by name; those named after a source are accuracies."""

# the pair form reads every pair, so a record of sixteen candidates would cost 120 rows
_MOST_PAIRS = 12


@dataclass(frozen=True, slots=True)
class HeldOut:
    """Held-out records of one source.

    Attributes:
        texts: Their token ids.
        targets: For each record its pairs with a known order.
    """

    texts: PackedTexts
    targets: list[list[PairTarget]]


@dataclass(frozen=True, slots=True)
class PairLogit:
    """What a form says about one held-out pair.

    Attributes:
        forward: Logit that the first is better, with the first on the left.
        backward: The same with the first on the right; equal to ``forward`` for a form that reads no order.
        target: The label: probability that the first is better.
    """

    forward: float
    backward: float
    target: float

    @property
    def logit(self) -> float:
        """The symmetrised logit."""
        return (self.forward + self.backward) / 2


def held_out_groups(held_out: HeldOut, *, most_pairs: int | None = None) -> list[Group]:
    """Groups with the decided pairs of each record.

    Args:
        held_out: The records.
        most_pairs: Most pairs of one record, spread evenly over them.

    Returns:
        A group for each record that has a decided pair.
    """
    groups = []
    for record, targets in enumerate(held_out.targets):
        decided = [pair for pair in targets if pair[2] != 0.5]
        if most_pairs is not None and len(decided) > most_pairs:
            decided = [decided[number * len(decided) // most_pairs] for number in range(most_pairs)]
        used = sorted({index for pair in decided for index in pair[:2]})
        place = {index: position for position, index in enumerate(used)}
        if decided:
            groups.append(
                Group(
                    held_out.texts.prompt(record),
                    [held_out.texts.candidate(record, index) for index in used],
                    [(place[i], place[j], p, 1.0) for i, j, p in decided],
                )
            )
    return groups


def pair_logits(form: Architecture, groups: Sequence[Group], window: int) -> list[PairLogit]:
    """Score every pair of some groups, in both orders where the form reads an order.

    Args:
        form: The form; put into evaluation mode by the caller.
        groups: The groups.
        window: Most tokens of a row.

    Returns:
        One entry for each pair, in order.
    """
    logits: list[PairLogit] = []
    with torch.no_grad():
        for group in groups:
            sides = form.sides([group], window)
            forward = (sides.left - sides.right).tolist()
            backward = forward
            if form.reads_order:
                turned = [(j, i, 1.0 - p, weight) for i, j, p, weight in group.pairs]
                sides = form.sides([Group(group.prompt, group.answers, turned)], window)
                backward = (sides.right - sides.left).tolist()
            logits += [
                PairLogit(one, other, pair[2]) for one, other, pair in zip(forward, backward, group.pairs, strict=True)
            ]
    return logits


def development_evaluation(config: RankerTrainingConfig, held_out: dict[str, HeldOut], *, pairs: bool) -> Evaluate:
    """Pair accuracy on held-out records, by source.

    Args:
        config: Its first window is used.
        held_out: Records by source.
        pairs: The form reads pairs: at most 12 a record, and the share of pairs with the same verdict in both
            orders is told as ``<source>/consistency``.

    Returns:
        The function that the loop calls.
    """
    groups = {name: held_out_groups(one, most_pairs=_MOST_PAIRS if pairs else None) for name, one in held_out.items()}

    def evaluate(form: Architecture, step: int) -> dict[str, float]:
        numbers: dict[str, float] = {}
        for name, own in groups.items():
            logits = pair_logits(form, own, config.stages[0].max_tokens)
            if logits:
                numbers[name] = sum((pair.logit > 0) == (pair.target > 0.5) for pair in logits) / len(logits)
                if form.reads_order:
                    same = sum((pair.forward > 0) == (pair.backward > 0) for pair in logits)
                    numbers[f"{name}/consistency"] = same / len(logits)
        return numbers

    return evaluate
