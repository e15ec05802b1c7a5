"""The rankers that a benchmark compares: every one of the library that runs without the hub, and those asked for."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from blender_core.errors import ConfigurationError
from blender_core.rank.protocol import Ranker
from blender_core.rank.registry import RANKER_NAMES, resolve_ranker

__all__ = ["EMBEDDING_CONSENSUS", "ENCODER_RANKERS", "MODEL_RANKERS", "benchmark_rankers"]

EMBEDDING_CONSENSUS = "embedding-consensus"
"""The ranker of agreement in meaning."""

ENCODER_RANKERS = ("bi-encoder", EMBEDDING_CONSENSUS)
"""Rankers that take another text encoder."""

# a language model that reads every answer takes minutes for a benchmark: only on request. Members judge in a blend only
_QUICK = tuple(name for name in RANKER_NAMES if name not in ("peers", "reward-head"))

# a short reason and a ranking
_VERDICT_TOKENS = 256


def _cross_encoder(model: str, max_tokens: int | None) -> Ranker:
    from blender_core.rank.cross_encoder import CrossEncoderRanker

    return CrossEncoderRanker.from_pretrained(model, max_tokens=max_tokens)


def _mlm_scoring(model: str, max_tokens: int | None) -> Ranker:
    from blender_core.rank.mlm_scoring import MLMScoringRanker

    return MLMScoringRanker.from_pretrained(model, max_tokens=max_tokens)


def _judge(model: str, max_tokens: int | None) -> Ranker:
    from blender_core.members.endpoints import Endpoint
    from blender_core.members.openai_member import OpenAIMember
    from blender_core.rank.llm_judge import LLMJudge

    address = Endpoint.parse(model, api_key=os.environ.get("OPENAI_API_KEY"))
    return LLMJudge(
        OpenAIMember(
            address.model,
            base_url=address.base_url,
            api_key=address.api_key,
            max_tokens=_VERDICT_TOKENS,
            temperature=0.0,
        )
    )


_MODEL_RANKERS: dict[str, Callable[[str, int | None], Ranker]] = {
    "cross-encoder": _cross_encoder,
    "judge": _judge,
    "mlm-scoring": _mlm_scoring,
}

MODEL_RANKERS: tuple[str, ...] = tuple(sorted(_MODEL_RANKERS))
"""Rankers that need a model of yours, named as ``"mlm-scoring:FOLDER_OR_HUB_NAME"`` or ``"judge:URL:MODEL"``."""


def benchmark_rankers(
    names: Sequence[str] | None = None, *, encoder: str | None = None, max_tokens: int | None = None
) -> dict[str, Ranker]:
    """Load rankers by name.

    Args:
        names: Names as in ``resolve_ranker``, one of `ENCODER_RANKERS`, or one of `MODEL_RANKERS` with its model
            behind a colon; ``None`` for all that run without the hub and without a language model (``"reward-head"``
            has to be named).
        encoder: Folder or hub name of the text encoder; ``None`` for the one in the package.
        max_tokens: Window in tokens of ``"cross-encoder"`` and ``"mlm-scoring"``; default is their model's.

    Returns:
        Name -> ranker.

    Raises:
        CheckpointError: A model is not of the kind that its ranker needs.
        ConfigurationError: A name is unknown, or one of `MODEL_RANKERS` has no model.
        DownloadError: An encoder or a model cannot be had.
        MissingExtraError: torch is not installed, and a ranker needs it, or ``encoder`` needs sentence-transformers.

    Examples:
        >>> sorted(benchmark_rankers(["consensus", "longest"]))
        ['consensus', 'longest']
    """
    wanted = _QUICK if names is None else tuple(dict.fromkeys(names))
    own: dict[str, Ranker] = {}
    if encoder is not None and set(wanted) & set(ENCODER_RANKERS):
        from blender_core.models.text_encoder import TextEncoder
        from blender_core.rank.embedding_rankers import BiEncoderRanker, EmbeddingConsensusRanker

        loaded = TextEncoder(encoder)
        own = {"bi-encoder": BiEncoderRanker(loaded), EMBEDDING_CONSENSUS: EmbeddingConsensusRanker(loaded)}
    return {name: own.get(name) or _named(name, max_tokens) for name in wanted}


def _named(name: str, max_tokens: int | None) -> Ranker:
    kind, colon, model = name.partition(":")
    if kind not in _MODEL_RANKERS or (not colon and Path(name).is_dir()):
        return resolve_ranker(name)
    if not colon or not model:
        form = "judge:URL:MODEL" if kind == "judge" else f"{kind}:FOLDER_OR_HUB_NAME"
        raise ConfigurationError(f"ranker {name!r} needs a model; write {form}")
    return _MODEL_RANKERS[kind](model, max_tokens)
