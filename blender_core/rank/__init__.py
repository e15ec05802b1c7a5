"""Ranking: order the candidate answers to one prompt."""

from __future__ import annotations

from typing import TYPE_CHECKING

from blender_core.rank.protocol import Ranker
from blender_core.runtime.lazy_exports import lazy_exports
from blender_core.text.distinct import DistinctCandidates, distinct_candidates
from blender_core.types.ranking import Ranking

if TYPE_CHECKING:
    from blender_core.models.text_encoder import TextEncoder
    from blender_core.rank.baselines import LongestRanker, RandomRanker
    from blender_core.rank.combination import CombinedRanker
    from blender_core.rank.cross_encoder import CrossEncoderRanker
    from blender_core.rank.embedded import EmbeddedRanker
    from blender_core.rank.embedding_rankers import BiEncoderRanker, EmbeddingConsensusRanker
    from blender_core.rank.lexical_consensus import LexicalConsensusRanker
    from blender_core.rank.llm_judge import Judgement, LLMJudge
    from blender_core.rank.member_prior import MemberPrior, MemberStrength
    from blender_core.rank.mlm_scoring import MLMScoringRanker
    from blender_core.rank.pair_ranker import PairRanker
    from blender_core.rank.reward_head import RewardHeadRanker

_HOMES = {
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
    "MemberPrior": "blender_core.rank.member_prior",
    "MemberStrength": "blender_core.rank.member_prior",
    "PairRanker": "blender_core.rank.pair_ranker",
    "RandomRanker": "blender_core.rank.baselines",
    "RewardHeadRanker": "blender_core.rank.reward_head",
    "TextEncoder": "blender_core.models.text_encoder",
}

__all__ = [
    "BiEncoderRanker",
    "CombinedRanker",
    "CrossEncoderRanker",
    "DistinctCandidates",
    "EmbeddedRanker",
    "EmbeddingConsensusRanker",
    "Judgement",
    "LLMJudge",
    "LexicalConsensusRanker",
    "LongestRanker",
    "MLMScoringRanker",
    "MemberPrior",
    "MemberStrength",
    "PairRanker",
    "RandomRanker",
    "Ranker",
    "Ranking",
    "RewardHeadRanker",
    "TextEncoder",
    "distinct_candidates",
]

__getattr__, __dir__ = lazy_exports(__name__, _HOMES, __all__)
