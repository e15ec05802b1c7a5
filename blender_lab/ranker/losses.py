"""Losses on pairs of scores, as the paper and its code have them, and what a teacher adds."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch.nn.functional import binary_cross_entropy_with_logits

from blender_lab.ranker.config import RankerTrainingConfig
from blender_lab.ranker.sampling import Group

__all__ = ["group_loss", "label_losses"]


def label_losses(kind: str, left: torch.Tensor, right: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """The loss of each pair.

    Args:
        kind: With s and t the two scores and p the probability that the left one is better:
            ``"logistic"``: cross-entropy of sigmoid(s - t) against p, the Bradley-Terry model with soft labels.
            ``"instructgpt"``: -log sigmoid of the better score minus the other (Ouyang et al. 2022, equation 1; the
            published PairRM); a tie is cross-entropy against 1/2.
            ``"bce"``: mean of the cross-entropies of sigmoid(s) against p and of sigmoid(t) against 1 - p
            (LLM-Blender, section 3.2).
            ``"mse"``: mean of (s - p)^2 and (t - (1 - p))^2.
        left: Scores of the left candidates, shape (pairs,).
        right: Scores of the right ones.
        target: p, same shape.

    Returns:
        Losses, shape (pairs,).

    Examples:
        >>> scores = torch.tensor([2.0]), torch.tensor([0.0])
        >>> round(label_losses("instructgpt", *scores, torch.tensor([0.9])).item(), 4)
        0.1269
    """
    if kind == "bce":
        both = [
            binary_cross_entropy_with_logits(side, wanted, reduction="none")
            for side, wanted in ((left, target), (right, 1.0 - target))
        ]
        return (both[0] + both[1]) / 2
    if kind == "mse":
        return ((left - target) ** 2 + (right - (1.0 - target)) ** 2) / 2
    if kind == "instructgpt":
        target = _hard(target)
    return binary_cross_entropy_with_logits(left - right, target, reduction="none")


def group_loss(
    left: torch.Tensor, right: torch.Tensor, groups: Sequence[Group], config: RankerTrainingConfig
) -> torch.Tensor:
    """The loss of a step: the weighted mean over a group's pairs, then the mean over groups.

    If the teacher knows a pair, its cross-entropy against ``sigmoid(logit / temperature)`` takes the share
    ``teacher.weight`` of the pair's loss (Hinton et al. 2015).

    Args:
        left: Scores of the left candidate of every pair of every group, one after another.
        right: Scores of the right ones.
        groups: The groups, each with at least one pair.
        config: ``loss``, ``ties`` and ``teacher`` are read.

    Returns:
        The loss; 0 for a group whose every pair is a tie that is dropped.
    """
    place = left.device
    target = torch.tensor([pair[2] for group in groups for pair in group.pairs], device=place)
    weight = torch.tensor([pair[3] for group in groups for pair in group.pairs], device=place)
    if config.ties == "drop":
        weight = weight * (target != 0.5)
    losses = label_losses(config.loss, left, right, target)
    if config.teacher is not None:
        logit = torch.tensor(
            [value for group in groups for value in (group.teacher or (math.nan,) * len(group.pairs))], device=place
        )
        known = ~logit.isnan()
        wanted = torch.sigmoid(logit.nan_to_num() / config.teacher.temperature)
        taught = binary_cross_entropy_with_logits(left - right, wanted, reduction="none")
        share = config.teacher.weight * known
        losses = (1.0 - share) * losses + share * taught
    number = torch.tensor([n for n, group in enumerate(groups) for _ in group.pairs], device=place)
    empty = torch.zeros(len(groups), device=place)
    total = empty.index_add(0, number, losses * weight)
    return (total / empty.index_add(0, number, weight).clamp(min=1e-12)).mean()


def _hard(target: torch.Tensor) -> torch.Tensor:
    return (torch.sign(target - 0.5) + 1.0) / 2
