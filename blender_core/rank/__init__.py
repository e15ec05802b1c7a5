"""Ranking: order the candidate answers to one prompt."""

from __future__ import annotations

from typing import TYPE_CHECKING

from blender_core.runtime.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from blender_core.models.loading import EncoderOptions, LoadOptions
    from blender_core.models.text_encoder import TextEncoder
    from blender_core.rank.baselines import LongestRanker, RandomRanker
    from blender_core.rank.combination import CombinedRanker
    from blender_core.rank.cross_encoder import CrossEncoderRanker
    from blender_core.rank.embedded import EmbeddedRanker
    from blender_core.rank.embedding_rankers import BiEncoderRanker, EmbeddingConsensusRanker
    from blender_core.rank.lexical_consensus import LexicalConsensusRanker
    from blender_core.rank.llm_judge import Judgement, LLMJudge
    from blender_core.rank.member_prior import MemberStrength
    from blender_core.rank.mlm_scoring import MLMScoringRanker
    from blender_core.rank.pair_ranker import PairRanker
    from blender_core.rank.protocol import Ranker
    from blender_core.rank.registry import resolve_ranker
    from blender_core.rank.reward_head import ReaderSettings, RewardHeadRanker

_HOMES = {
    "EncoderOptions": "blender_core.models.loading",
    "LoadOptions": "blender_core.models.loading",
    "BiEncoderRanker": "blender_core.rank.embedding_rankers",
    "CombinedRanker": "blender_core.rank.combination",
    "CrossEncoderRanker": "blender_core.rank.cross_encoder",
    "EmbeddedRanker": "blender_core.rank.embedded",
    "EmbeddingConsensusRanker": "blender_core.rank.embedding_rankers",
    "Judgement": "blender_core.rank.llm_judge",
    "LLMJudge": "blender_core.rank.llm_judge",
    "LexicalConsensusRanker": "blender_core.rank.lexical_consensus",
    "LongestRanker": "blender_core.rank.baselines",
    "MLMScoringRanker": "blender_core.rank.mlm_scoring",
    "MemberStrength": "blender_core.rank.member_prior",
    "PairRanker": "blender_core.rank.pair_ranker",
    "RandomRanker": "blender_core.rank.baselines",
    "Ranker": "blender_core.rank.protocol",
    "ReaderSettings": "blender_core.rank.reward_head",
    "RewardHeadRanker": "blender_core.rank.reward_head",
    "TextEncoder": "blender_core.models.text_encoder",
    "resolve_ranker": "blender_core.rank.registry",
}

__all__ = [
    "BiEncoderRanker",
    "CombinedRanker",
    "CrossEncoderRanker",
    "EmbeddedRanker",
    "EmbeddingConsensusRanker",
    "EncoderOptions",
    "Judgement",
    "LLMJudge",
    "LexicalConsensusRanker",
    "LoadOptions",
    "LongestRanker",
    "MLMScoringRanker",
    "MemberStrength",
    "PairRanker",
    "RandomRanker",
    "Ranker",
    "ReaderSettings",
    "RewardHeadRanker",
    "TextEncoder",
    "resolve_ranker",
]

__getattr__, __dir__ = lazy_exports(__name__, _HOMES, __all__)
