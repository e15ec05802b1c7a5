"""Training of a ranker, as the embedded one was trained; needs the ``train`` extra.

``train_ranker`` and ``finish_ranker`` load torch when they are first used, not before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from blender_core.lazy_exports import lazy_exports
from blender_core.train.config import RankerTrainingConfig, SourceConfig, Stage, TeacherConfig
from blender_core.train.records import PreferenceRecord, read_records, split_development

if TYPE_CHECKING:
    from blender_core.train.finish import finish_ranker
    from blender_core.train.ranker import train_ranker

__all__ = [
    "PreferenceRecord",
    "RankerTrainingConfig",
    "SourceConfig",
    "Stage",
    "TeacherConfig",
    "finish_ranker",
    "read_records",
    "split_development",
    "train_ranker",
]

_HOMES = {"finish_ranker": "finish", "train_ranker": "ranker"}

__getattr__, __dir__ = lazy_exports(__name__, _HOMES, __all__)
