"""The rankers that a benchmark compares: every one of the library that runs without the hub, and those asked for."""

from __future__ import annotations

from collections.abc import Sequence

from blender_core.rank.protocol import Ranker
from blender_core.rank.registry import RANKER_NAMES, resolve_ranker

__all__ = ["ENCODER_RANKERS", "benchmark_rankers"]

ENCODER_RANKERS = ("bi-encoder", "embedding-consensus")
"""Rankers that need a text encoder."""

# a language model that reads every answer takes minutes for a benchmark: only where it is asked for
_QUICK = tuple(name for name in RANKER_NAMES if name != "reward-head")


def benchmark_rankers(names: Sequence[str] | None = None, *, encoder: str | None = None) -> dict[str, Ranker]:
    """Load rankers by name.

    Args:
        names: Names as in ``resolve_ranker``, or one of `ENCODER_RANKERS`; ``None`` for all that run without the hub
                and without a language model (``"reward-head"`` has to be named).
        encoder: Folder or hub name of the text encoder; ``None`` for all-MiniLM-L6-v2, fetched once (91 MB).

    Returns:
        Name -> ranker.

    Raises:
        ConfigurationError: A name is unknown.
        DownloadError: The encoder cannot be had.
        MissingExtraError: torch is not installed, and a ranker needs it.

    Examples:
        >>> sorted(benchmark_rankers(["consensus", "longest"]))
        ['consensus', 'longest']
    """
    wanted = [*_QUICK, *ENCODER_RANKERS] if names is None else list(dict.fromkeys(names))
    found: dict[str, Ranker] = {name: resolve_ranker(name) for name in wanted if name not in ENCODER_RANKERS}
    if set(wanted) & set(ENCODER_RANKERS):
        from blender_core.evaluate.local_encoder import local_encoder
        from blender_core.rank.bi_encoder import BiEncoderRanker
        from blender_core.rank.embedding_consensus import EmbeddingConsensusRanker
        from blender_core.rank.text_encoder import TextEncoder

        encode = TextEncoder.from_pretrained(encoder or local_encoder(), device="cpu" if encoder is None else "auto")
        if "bi-encoder" in wanted:
            found["bi-encoder"] = BiEncoderRanker(encode)
        if "embedding-consensus" in wanted:
            found["embedding-consensus"] = EmbeddingConsensusRanker(encode)
    return {name: found[name] for name in wanted}
