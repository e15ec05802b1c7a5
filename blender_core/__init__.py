"""Blend several LLMs into one: gather every answer, rank them with a cross-encoder, fuse the best.

Importing this package loads neither torch nor any framework.

Examples:
    >>> from blender_core import Blender
    >>> Blender([str.upper, str.lower], ranker="longest", fuser=None).blend("Hi").winner
    'upper'
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from blender_core.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from blender_core.answer import Answer, Price, ToolCall, Usage
    from blender_core.blender import Blender
    from blender_core.fuse.gen_fuser import GenFuser
    from blender_core.fuse.guard import FusionGuard
    from blender_core.fuse.llm_fuser import LLMFuser
    from blender_core.fuse.policy import FusePolicy
    from blender_core.gather.policy import Budget, GatherPolicy, RetryPolicy
    from blender_core.members.adapters import as_member
    from blender_core.members.member import FunctionMember, Member
    from blender_core.members.openai_member import OpenAIMember
    from blender_core.outcome import MemberOutcome, Status
    from blender_core.prompt import Message, Prompt
    from blender_core.rank.member_prior import MemberPrior
    from blender_core.rank.pair_ranker import PairRanker
    from blender_core.rank.protocol import Ranker
    from blender_core.rank.ranking import Ranking
    from blender_core.result import BlendResult, CandidateRecord

__version__ = "0.1.0"

_HOMES = {
    "Answer": "answer",
    "BlendResult": "result",
    "Blender": "blender",
    "Budget": "gather.policy",
    "CandidateRecord": "result",
    "FunctionMember": "members.member",
    "FusePolicy": "fuse.policy",
    "FusionGuard": "fuse.guard",
    "GatherPolicy": "gather.policy",
    "GenFuser": "fuse.gen_fuser",
    "LLMFuser": "fuse.llm_fuser",
    "Member": "members.member",
    "MemberOutcome": "outcome",
    "MemberPrior": "rank.member_prior",
    "Message": "prompt",
    "OpenAIMember": "members.openai_member",
    "PairRanker": "rank.pair_ranker",
    "Price": "answer",
    "Prompt": "prompt",
    "Ranker": "rank.protocol",
    "Ranking": "rank.ranking",
    "RetryPolicy": "gather.policy",
    "Status": "outcome",
    "ToolCall": "answer",
    "Usage": "answer",
    "as_member": "members.adapters",
}

__all__ = [
    "Answer",
    "BlendResult",
    "Blender",
    "Budget",
    "CandidateRecord",
    "FunctionMember",
    "FusePolicy",
    "FusionGuard",
    "GatherPolicy",
    "GenFuser",
    "LLMFuser",
    "Member",
    "MemberOutcome",
    "MemberPrior",
    "Message",
    "OpenAIMember",
    "PairRanker",
    "Price",
    "Prompt",
    "Ranker",
    "Ranking",
    "RetryPolicy",
    "Status",
    "ToolCall",
    "Usage",
    "__version__",
    "as_member",
]

__getattr__, __dir__ = lazy_exports(__name__, _HOMES, __all__)
