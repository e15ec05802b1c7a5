"""Ranking: order the candidate answers to one prompt."""

from __future__ import annotations

from typing import TYPE_CHECKING

from blender_core.lazy_exports import lazy_exports
from blender_core.rank.distinct import DistinctCandidates, distinct_candidates
from blender_core.rank.protocol import Ranker
from blender_core.rank.ranking import Ranking

if TYPE_CHECKING:
    from blender_core.rank.bi_encoder import BiEncoderRanker
    from blender_core.rank.combination import CombinedRanker
    from blender_core.rank.cross_encoder import CrossEncoderRanker
    from blender_core.rank.embedded import EmbeddedRanker
    from blender_core.rank.embedding_consensus import EmbeddingConsensusRanker
    from blender_core.rank.length import LongestRanker
    from blender_core.rank.lexical_consensus import LexicalConsensusRanker
    from blender_core.rank.llm_judge import Judgement, LLMJudge
    from blender_core.rank.member_prior import MemberPrior, MemberStrength
    from blender_core.rank.mlm_scoring import MLMScoringRanker
    from blender_core.rank.pair_ranker import PairRanker
    from blender_core.rank.random_ranker import RandomRanker
    from blender_core.rank.reward_head import RewardHeadRanker
    from blender_core.rank.text_encoder import TextEncoder

_HOMES = {
    "BiEncoderRanker": "bi_encoder",
    "CombinedRanker": "combination",
    "CrossEncoderRanker": "cross_encoder",
    "EmbeddedRanker": "embedded",
    "EmbeddingConsensusRanker": "embedding_consensus",
    "Judgement": "llm_judge",
    "LLMJudge": "llm_judge",
    "LexicalConsensusRanker": "lexical_consensus",
    "LongestRanker": "length",
    "MLMScoringRanker": "mlm_scoring",
    "MemberPrior": "member_prior",
    "MemberStrength": "member_prior",
    "PairRanker": "pair_ranker",
    "RandomRanker": "random_ranker",
    "RewardHeadRanker": "reward_head",
    "TextEncoder": "text_encoder",
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
