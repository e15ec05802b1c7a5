"""Training of a fuser; needs the ``train`` extra."""

from __future__ import annotations

from blender_lab.fuser.config import FuserTrainingConfig, LoraConfig
from blender_lab.fuser.records import FusionRecord, read_fusion_records, split_records
from blender_lab.fuser.run import FuserTrainingResult, fusion_splits, train_fuser

__all__ = [
    "FuserTrainingConfig",
    "FuserTrainingResult",
    "FusionRecord",
    "LoraConfig",
    "fusion_splits",
    "read_fusion_records",
    "split_records",
    "train_fuser",
]
