"""Training of a ranker, as the embedded one was trained; needs the ``train`` extra.

``train_ranker``, ``finish_ranker`` and ``train_reward_head`` load torch when they are first used, not before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from blender_core.lazy_exports import lazy_exports
from blender_core.train.config import RankerTrainingConfig, SourceConfig, Stage, TeacherConfig
from blender_core.train.records import PreferenceRecord, read_records, split_development
from blender_core.train.reward_head_config import RewardHeadConfig

if TYPE_CHECKING:
    from blender_core.train.finish import finish_ranker
    from blender_core.train.ranker import train_ranker
    from blender_core.train.reward_head import train_reward_head

__all__ = [
    "PreferenceRecord",
    "RankerTrainingConfig",
    "RewardHeadConfig",
    "SourceConfig",
    "Stage",
    "TeacherConfig",
    "finish_ranker",
    "read_records",
    "split_development",
    "train_ranker",
    "train_reward_head",
]

_HOMES = {"finish_ranker": "finish", "train_ranker": "ranker", "train_reward_head": "reward_head"}

__getattr__, __dir__ = lazy_exports(__name__, _HOMES, __all__)
