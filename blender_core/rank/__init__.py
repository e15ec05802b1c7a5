"""Rank the candidate answers to one prompt."""

from __future__ import annotations

from typing import TYPE_CHECKING

from blender_core.runtime.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from blender_core.models.loading import EncoderOptions, LoadOptions
    from blender_core.models.text_encoder import TextEncoder
    from blender_core.rank.asking import ask_llms
    from blender_core.rank.baselines import LongestRanker, RandomRanker
    from blender_core.rank.combination import CombinedRanker
    from blender_core.rank.cross_encoder import CrossEncoderRanker
    from blender_core.rank.embedded import EmbeddedRanker
    from blender_core.rank.embedding_rankers import BiEncoderRanker, EmbeddingConsensusRanker
    from blender_core.rank.http_ranker import HTTPRanker
    from blender_core.rank.lexical_consensus import LexicalConsensusRanker
    from blender_core.rank.llm_judge import Judgement, LLMJudge
    from blender_core.rank.member_strength import MemberStrength
    from blender_core.rank.mlm_scoring import MLMScoringRanker
    from blender_core.rank.pair_ranker import PairRanker
    from blender_core.rank.peers import PeerRanker
    from blender_core.rank.protocol import Ranker
    from blender_core.rank.registry import resolve_ranker
    from blender_core.rank.reward_head import ReaderSettings, RewardHeadRanker

_HOMES = {
    "blender_core.models.loading": "EncoderOptions LoadOptions",
    "blender_core.models.text_encoder": "TextEncoder",
    "blender_core.rank.asking": "ask_llms",
    "blender_core.rank.baselines": "LongestRanker RandomRanker",
    "blender_core.rank.combination": "CombinedRanker",
    "blender_core.rank.cross_encoder": "CrossEncoderRanker",
    "blender_core.rank.embedded": "EmbeddedRanker",
    "blender_core.rank.embedding_rankers": "BiEncoderRanker EmbeddingConsensusRanker",
    "blender_core.rank.http_ranker": "HTTPRanker",
    "blender_core.rank.lexical_consensus": "LexicalConsensusRanker",
    "blender_core.rank.llm_judge": "Judgement LLMJudge",
    "blender_core.rank.member_strength": "MemberStrength",
    "blender_core.rank.mlm_scoring": "MLMScoringRanker",
    "blender_core.rank.pair_ranker": "PairRanker",
    "blender_core.rank.peers": "PeerRanker",
    "blender_core.rank.protocol": "Ranker",
    "blender_core.rank.registry": "resolve_ranker",
    "blender_core.rank.reward_head": "ReaderSettings RewardHeadRanker",
}

__all__ = [
    "BiEncoderRanker",
    "CombinedRanker",
    "CrossEncoderRanker",
    "EmbeddedRanker",
    "EmbeddingConsensusRanker",
    "EncoderOptions",
    "HTTPRanker",
    "Judgement",
    "LLMJudge",
    "LexicalConsensusRanker",
    "LoadOptions",
    "LongestRanker",
    "MLMScoringRanker",
    "MemberStrength",
    "PairRanker",
    "PeerRanker",
    "RandomRanker",
    "Ranker",
    "ReaderSettings",
    "RewardHeadRanker",
    "TextEncoder",
    "ask_llms",
    "resolve_ranker",
]

__getattr__, __dir__ = lazy_exports(__name__, _HOMES, __all__)
