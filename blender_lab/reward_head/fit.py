"""Fitting a linear reward head on the frozen states of a pretrained model: few labels, no gradient through the model.

A logistic regression on differences of vectors (Bradley and Terry): ``p(i better than j) = sigmoid((v_i - v_j) @ w)``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from blender_core.errors import ConfigurationError
from blender_core.rank.calibration import calibration_error
from blender_core.rank.reward_head import AnswerFeatures, FeatureExtractor, RewardHead, RewardHeadRanker, VectorCache
from blender_core.text.distinct import distinct_candidates
from blender_lab.data.preferences import PreferenceRecord, split_development
from blender_lab.ranker.targets import PairTarget
from blender_lab.ranker.train import source_targets
from blender_lab.reward_head.config import RewardHeadConfig
from blender_lab.training.sources import read_source

__all__ = ["JudgedVectors", "fit_reward_head", "judged_vectors", "pair_accuracy", "train_reward_head"]

Array = npt.NDArray[np.float64]
Judged = Mapping[str, Sequence["JudgedVectors"]]

_FOLDS = 4
_STEPS = 80


@dataclass(frozen=True, slots=True)
class JudgedVectors:
    """One prompt.

    Attributes:
        vectors: Its distinct answers, shape (answers, size).
        pairs: Pairs of them with a known order.
    """

    vectors: npt.NDArray[np.float32]
    pairs: list[PairTarget]


def judged_vectors(
    record: PreferenceRecord, pairs: Sequence[PairTarget], reader: AnswerFeatures
) -> JudgedVectors | None:
    """Read a record's answers.

    Args:
        record: The record.
        pairs: Its pairs with a known order.
        reader: Turns answers into vectors.

    Returns:
        The prompt, or ``None`` where no pair of distinct answers is left.
    """
    distinct = distinct_candidates(record.candidates)
    known: list[PairTarget] = []
    for i, j, p in pairs:
        first, second = distinct.positions[i], distinct.positions[j]
        if first is not None and second is not None and first != second and p != 0.5:
            known.append((first, second, p))
    return JudgedVectors(reader.vectors(record.prompt, distinct.texts), known) if known else None


def fit_reward_head(judged: Judged, shares: Mapping[str, float], decay: float) -> RewardHead:
    """Fit the head.

    Every source weighs as its share says, every prompt of it the same, and so does every pair of a prompt.

    Args:
        judged: Prompts by source.
        shares: Weight by source.
        decay: Penalty on the squared weights.

    Returns:
        The head.

    Raises:
        ConfigurationError: There is no pair to learn from.
    """
    prompts = [(name, prompt) for name, items in judged.items() for prompt in items]
    if not prompts:
        raise ConfigurationError("no source has a pair of different answers with a known order; give judged prompts")
    every = np.concatenate([prompt.vectors for _, prompt in prompts]).astype(np.float64)
    mean, deviation = every.mean(0), every.std(0) + 1e-6
    scaled = torch.tensor((every - mean) / deviation, dtype=torch.float32)
    left, right, targets, importance = _flat(prompts, judged, shares)
    weights = torch.zeros(scaled.shape[1], requires_grad=True)
    optimiser = torch.optim.LBFGS([weights], max_iter=_STEPS, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimiser.zero_grad()
        scores = scaled @ weights
        wrong = torch.nn.functional.binary_cross_entropy_with_logits(
            scores[left] - scores[right], targets, weight=importance, reduction="sum"
        )
        value: torch.Tensor = wrong + decay * weights.square().sum()
        value.backward()  # type: ignore[no-untyped-call]
        return value

    optimiser.step(loss)  # type: ignore[no-untyped-call]
    return RewardHead(mean, deviation, weights.detach().double().numpy())


def _flat(
    prompts: Sequence[tuple[str, JudgedVectors]], judged: Judged, shares: Mapping[str, float]
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Pairs of all prompts as rows of the joined answers, with their labels and weights."""
    total = sum(shares[name] for name, items in judged.items() if items)
    left, right, targets, importance, start = [], [], [], [], 0
    for name, prompt in prompts:
        weight = shares[name] / total / len(judged[name]) / len(prompt.pairs)
        for i, j, p in prompt.pairs:
            left.append(start + i)
            right.append(start + j)
            targets.append(p)
            importance.append(weight)
        start += len(prompt.vectors)
    return torch.tensor(left), torch.tensor(right), torch.tensor(targets), torch.tensor(importance)


def pair_accuracy(head: RewardHead, prompts: Sequence[JudgedVectors]) -> float:
    """Share of pairs in the known order, prompts weighing the same.

    Args:
        head: The head.
        prompts: At least one.

    Returns:
        A share in [0, 1].
    """
    shares = []
    for prompt in prompts:
        scores = head.scores(prompt.vectors)
        shares.append(np.mean([(scores[i] > scores[j]) == (p > 0.5) for i, j, p in prompt.pairs]))
    return float(np.mean(shares))


def choose_decay(
    judged: Judged, shares: Mapping[str, float], decays: Sequence[float]
) -> tuple[float, dict[float, float]]:
    """The decay whose heads do best on the fourth of the prompts that they were not fitted on.

    Args:
        judged: Prompts by source.
        shares: Weight by source.
        decays: What is tried.

    Returns:
        The decay, and the mean accuracy over folds and sources by decay.
    """
    found = {}
    for decay in decays:
        marks = []
        for fold in range(_FOLDS):
            inner = {name: [p for n, p in enumerate(items) if n % _FOLDS != fold] for name, items in judged.items()}
            head = fit_reward_head(inner, shares, decay)
            for items in judged.values():
                outer = [p for n, p in enumerate(items) if n % _FOLDS == fold]
                if outer:
                    marks.append(pair_accuracy(head, outer))
        found[decay] = float(np.mean(marks))
    return max(found, key=lambda decay: found[decay]), found


def train_reward_head(
    config: RewardHeadConfig,
    *,
    data: str | Path | None = None,
    report: Callable[[str, int, int], None] | None = None,
    reader: AnswerFeatures | None = None,
) -> dict[str, Any]:
    """Read every answer once, fit the head, and write the folder that ``RewardHeadRanker.load`` reads.

    Vectors are kept in ``vectors`` in the output; the same command resumes after a kill.

    Args:
        config: Settings.
        data: The data folder; ``None`` for ``BLENDER_DATA``.
        report: Called with the source, the prompts read and their number.
        reader: In place of the model that ``config`` names.

    Returns:
        Accuracy and calibration error on held-out prompts by source, and the chosen decay; also written to
        ``development.json`` in the output.

    Raises:
        CheckpointError: The model cannot be loaded.
        ConfigurationError: A data file is missing or unreadable, or there is nothing to learn from.
        DownloadError: The model or a data set cannot be had.
    """
    torch.set_num_threads(config.threads)
    output = Path(config.output)
    settings = config.reader

    def load() -> AnswerFeatures:
        return reader or FeatureExtractor.load(settings, device=config.device, tokens_per_batch=config.tokens_per_batch)

    kept = VectorCache(settings if reader is None else reader.settings, output / "vectors", load)
    train: dict[str, list[JudgedVectors]] = {}
    held_out: dict[str, list[JudgedVectors]] = {}
    for name, source in config.sources.items():
        records = list(read_source(source, data, name=name))
        sides = split_development(records, config.development_share, config.seed)
        done = 0
        for part, into in zip(sides, (train, held_out), strict=True):
            into[name] = []
            for record, pairs in zip(part, source_targets(source, part), strict=True):
                prompt = judged_vectors(record, pairs, kept)
                into[name] += [] if prompt is None else [prompt]
                done += 1
                if report is not None:
                    report(name, done, len(records))
    shares = {name: source.share for name, source in config.sources.items()}
    decay, tried = choose_decay(train, shares, config.decays)
    head = fit_reward_head(train, shares, decay)
    RewardHeadRanker(kept, head).save(output)
    numbers: dict[str, Any] = {
        "decay": decay,
        "cross_validation": {str(one): accuracy for one, accuracy in tried.items()},
        "held_out": {name: _numbers(head, items) for name, items in held_out.items() if items},
        "training_prompts": {name: len(items) for name, items in train.items()},
    }
    (output / "development.json").write_text(json.dumps(numbers, indent=2) + "\n", encoding="utf-8")
    return numbers


def _numbers(head: RewardHead, prompts: Sequence[JudgedVectors]) -> dict[str, float]:
    margins, targets = [], []
    for prompt in prompts:
        scores = head.scores(prompt.vectors)
        margins += [scores[i] - scores[j] for i, j, _ in prompt.pairs]
        targets += [p for _, _, p in prompt.pairs]
    probabilities = 1.0 / (1.0 + np.exp(-np.clip(np.array(margins), -60.0, 60.0)))
    return {
        "prompts": len(prompts),
        "pairs": len(targets),
        "accuracy": pair_accuracy(head, prompts),
        "calibration_error": calibration_error(probabilities, np.array(targets)),
    }
