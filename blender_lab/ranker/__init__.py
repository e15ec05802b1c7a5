"""Training of a ranker, as the embedded one was trained; needs the ``train`` extra.

``train_ranker``, ``finish_ranker`` and ``train_reward_head`` load torch when they are first used, not before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from blender_core.data.preferences import PreferenceRecord, read_records, split_development
from blender_core.runtime.lazy_exports import lazy_exports
from blender_lab.ranker.config import RankerTrainingConfig, SourceConfig, Stage, TeacherConfig
from blender_lab.reward_head.config import RewardHeadConfig

if TYPE_CHECKING:
    from blender_lab.ranker.finish import finish_ranker
    from blender_lab.ranker.train import train_ranker
    from blender_lab.reward_head.fit import train_reward_head

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

_HOMES = {
    "finish_ranker": "blender_lab.ranker.finish",
    "train_ranker": "blender_lab.ranker.train",
    "train_reward_head": "blender_lab.reward_head.fit",
}

__getattr__, __dir__ = lazy_exports(__name__, _HOMES, __all__)
