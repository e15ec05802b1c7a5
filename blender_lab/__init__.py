"""Train rankers, reward heads and fusers of your own; needs the ``train`` extra.

Importing this package loads neither torch nor transformers.

Examples:
    >>> from blender_lab import RankerTrainingConfig
    >>> config = RankerTrainingConfig.from_dict(
    ...     {"encoder": "embedded", "output": "runs/mine", "sources": {"mine": {"file": "log.jsonl"}}}
    ... )
    >>> config.steps
    1000
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from blender_core.runtime.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from blender_core.data.preferences import PreferenceRecord, read_records
    from blender_lab.fuser.config import FuserTrainingConfig, LoraConfig
    from blender_lab.fuser.run import FuserTrainingResult, train_fuser
    from blender_lab.ranker.config import RankerTrainingConfig, Stage, TeacherConfig
    from blender_lab.ranker.finish import finish_ranker
    from blender_lab.ranker.loop import LoopResult, StepReport
    from blender_lab.ranker.train import train_ranker
    from blender_lab.reward_head.config import RewardHeadConfig
    from blender_lab.reward_head.fit import train_reward_head
    from blender_lab.training.sources import SourceConfig

_HOMES = {
    "FuserTrainingConfig": "blender_lab.fuser.config",
    "FuserTrainingResult": "blender_lab.fuser.run",
    "LoopResult": "blender_lab.ranker.loop",
    "LoraConfig": "blender_lab.fuser.config",
    "PreferenceRecord": "blender_core.data.preferences",
    "RankerTrainingConfig": "blender_lab.ranker.config",
    "RewardHeadConfig": "blender_lab.reward_head.config",
    "SourceConfig": "blender_lab.training.sources",
    "Stage": "blender_lab.ranker.config",
    "StepReport": "blender_lab.ranker.loop",
    "TeacherConfig": "blender_lab.ranker.config",
    "finish_ranker": "blender_lab.ranker.finish",
    "read_records": "blender_core.data.preferences",
    "train_fuser": "blender_lab.fuser.run",
    "train_ranker": "blender_lab.ranker.train",
    "train_reward_head": "blender_lab.reward_head.fit",
}

__all__ = [
    "FuserTrainingConfig",
    "FuserTrainingResult",
    "LoopResult",
    "LoraConfig",
    "PreferenceRecord",
    "RankerTrainingConfig",
    "RewardHeadConfig",
    "SourceConfig",
    "Stage",
    "StepReport",
    "TeacherConfig",
    "finish_ranker",
    "read_records",
    "train_fuser",
    "train_ranker",
    "train_reward_head",
]

__getattr__, __dir__ = lazy_exports(__name__, _HOMES, __all__)
