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
    from blender_core.config.blend_config import BlendConfig, MemberConfig
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
    "blender_core.blender": "Blender",
    "blender_core.config.blend_config": "BlendConfig MemberConfig",
    "blender_core.fuse.gen_fuser": "GenFuser",
    "blender_core.fuse.guard": "FusionGuard",
    "blender_core.fuse.llm_fuser": "LLMFuser",
    "blender_core.fuse.policy": "FusePolicy",
    "blender_core.gather.policy": "Budget GatherPolicy RetryPolicy",
    "blender_core.gather.semaphore": "SharedSemaphore",
    "blender_core.members.adapters": "as_member",
    "blender_core.members.member": "FunctionMember Member",
    "blender_core.members.openai_member": "OpenAIMember",
    "blender_core.rank.member_prior": "MemberPrior",
    "blender_core.rank.pair_ranker": "PairRanker",
    "blender_core.rank.protocol": "Ranker",
    "blender_core.settings": "BlendSettings SharedSettings",
    "blender_core.types.answer": "Answer Price ToolCall Usage",
    "blender_core.types.outcome": "MemberOutcome Status",
    "blender_core.types.prompt": "Message Prompt",
    "blender_core.types.ranking": "Ranking",
    "blender_core.types.result": "BlendResult CandidateRecord",
}

__all__ = [
    "Answer",
    "BlendConfig",
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
    "MemberConfig",
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
