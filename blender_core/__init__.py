"""Blend several LLMs into one: gather every answer, rank them with a cross-encoder, fuse the best.

Importing this package loads neither torch nor any framework.

Examples:
    >>> from blender_core import Blender
    >>> Blender([str.upper, str.lower], ranker="longest", fuser=None).blend("Hi").winner
    'upper'
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from blender_core.runtime.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from blender_core.blender import Blender
    from blender_core.fuse.gen_fuser import GenFuser
    from blender_core.fuse.guard import FusionGuard
    from blender_core.fuse.llm_fuser import LLMFuser
    from blender_core.fuse.policy import FusePolicy
    from blender_core.gather.policy import Budget, GatherPolicy, RetryPolicy
    from blender_core.gather.semaphore import SharedSemaphore
    from blender_core.members.adapters import as_member
    from blender_core.members.member import FunctionMember, Member
    from blender_core.members.openai_member import OpenAIMember
    from blender_core.rank.member_prior import MemberPrior
    from blender_core.rank.pair_ranker import PairRanker
    from blender_core.rank.protocol import Ranker
    from blender_core.settings import BlendSettings, SharedSettings
    from blender_core.types.answer import Answer, Price, ToolCall, Usage
    from blender_core.types.outcome import MemberOutcome, Status
    from blender_core.types.prompt import Message, Prompt
    from blender_core.types.ranking import Ranking
    from blender_core.types.result import BlendResult, CandidateRecord

__version__ = "0.1.0"

_HOMES = {
    "Answer": "blender_core.types.answer",
    "BlendSettings": "blender_core.settings",
    "BlendResult": "blender_core.types.result",
    "Blender": "blender_core.blender",
    "Budget": "blender_core.gather.policy",
    "CandidateRecord": "blender_core.types.result",
    "FunctionMember": "blender_core.members.member",
    "FusePolicy": "blender_core.fuse.policy",
    "FusionGuard": "blender_core.fuse.guard",
    "GatherPolicy": "blender_core.gather.policy",
    "GenFuser": "blender_core.fuse.gen_fuser",
    "LLMFuser": "blender_core.fuse.llm_fuser",
    "Member": "blender_core.members.member",
    "MemberOutcome": "blender_core.types.outcome",
    "MemberPrior": "blender_core.rank.member_prior",
    "Message": "blender_core.types.prompt",
    "OpenAIMember": "blender_core.members.openai_member",
    "PairRanker": "blender_core.rank.pair_ranker",
    "Price": "blender_core.types.answer",
    "Prompt": "blender_core.types.prompt",
    "Ranker": "blender_core.rank.protocol",
    "Ranking": "blender_core.types.ranking",
    "RetryPolicy": "blender_core.gather.policy",
    "SharedSemaphore": "blender_core.gather.semaphore",
    "SharedSettings": "blender_core.settings",
    "Status": "blender_core.types.outcome",
    "ToolCall": "blender_core.types.answer",
    "Usage": "blender_core.types.answer",
    "as_member": "blender_core.members.adapters",
}

__all__ = [
    "Answer",
    "BlendResult",
    "BlendSettings",
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
    "SharedSemaphore",
    "SharedSettings",
    "Status",
    "ToolCall",
    "Usage",
    "__version__",
    "as_member",
]

__getattr__, __dir__ = lazy_exports(__name__, _HOMES, __all__)
