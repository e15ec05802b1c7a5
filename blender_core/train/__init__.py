"""Training of the embedded ranker; needs the ``train`` extra."""

from __future__ import annotations

from blender_core.train.config import RankerTrainingConfig, SourceConfig, Stage
from blender_core.train.records import PreferenceRecord, read_records, split_development

__all__ = [
    "PreferenceRecord",
    "RankerTrainingConfig",
    "SourceConfig",
    "Stage",
    "read_records",
    "split_development",
]
