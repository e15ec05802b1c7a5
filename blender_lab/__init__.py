"""Train rankers and fusers, evaluate blends, gather data of your own.

Importing this package loads neither torch nor any framework. Training needs the ``train`` extra.

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
    from blender_lab.data.mixinstruct import MixCandidate, MixRecord, read_mix, write_mix
    from blender_lab.data.preferences import PreferenceRecord, read_records
    from blender_lab.evaluate.benchmark import run_benchmark
    from blender_lab.evaluate.benchmark_rankers import benchmark_rankers
    from blender_lab.evaluate.figures import quality_by_effort, ranking_figure, save_figures, win_pie
    from blender_lab.evaluate.metrics.registry import resolve_metric
    from blender_lab.evaluate.ranker import RankerNumbers, evaluate_ranker
    from blender_lab.evaluate.records import load_records
    from blender_lab.evaluate.report import BenchmarkReport
    from blender_lab.evaluate.statistics import bootstrap_mean, paired_test
    from blender_lab.fuser.config import FuserTrainingConfig, LoraConfig
    from blender_lab.fuser.run import FuserTrainingResult, train_fuser
    from blender_lab.mix.gather import GatherSettings, gather_answers, gathered_records
    from blender_lab.mix.journal import Journal
    from blender_lab.mix.scoring import scored_by_check
    from blender_lab.ranker.config import RankerTrainingConfig, Stage, TeacherConfig
    from blender_lab.ranker.finish import finish_ranker
    from blender_lab.ranker.loop import LoopResult, StepReport
    from blender_lab.ranker.train import train_ranker
    from blender_lab.reward_head.config import RewardHeadConfig
    from blender_lab.reward_head.fit import train_reward_head
    from blender_lab.training.sources import SourceConfig

_HOMES = {
    "blender_lab.data.mixinstruct": "MixCandidate MixRecord read_mix write_mix",
    "blender_lab.data.preferences": "PreferenceRecord read_records",
    "blender_lab.evaluate.benchmark": "run_benchmark",
    "blender_lab.evaluate.benchmark_rankers": "benchmark_rankers",
    "blender_lab.evaluate.figures": "quality_by_effort ranking_figure save_figures win_pie",
    "blender_lab.evaluate.metrics.registry": "resolve_metric",
    "blender_lab.evaluate.ranker": "RankerNumbers evaluate_ranker",
    "blender_lab.evaluate.records": "load_records",
    "blender_lab.evaluate.report": "BenchmarkReport",
    "blender_lab.evaluate.statistics": "bootstrap_mean paired_test",
    "blender_lab.fuser.config": "FuserTrainingConfig LoraConfig",
    "blender_lab.fuser.run": "FuserTrainingResult train_fuser",
    "blender_lab.mix.gather": "GatherSettings gather_answers gathered_records",
    "blender_lab.mix.journal": "Journal",
    "blender_lab.mix.scoring": "scored_by_check",
    "blender_lab.ranker.config": "RankerTrainingConfig Stage TeacherConfig",
    "blender_lab.ranker.finish": "finish_ranker",
    "blender_lab.ranker.loop": "LoopResult StepReport",
    "blender_lab.ranker.train": "train_ranker",
    "blender_lab.reward_head.config": "RewardHeadConfig",
    "blender_lab.reward_head.fit": "train_reward_head",
    "blender_lab.training.sources": "SourceConfig",
}

__all__ = [
    "BenchmarkReport",
    "FuserTrainingConfig",
    "FuserTrainingResult",
    "GatherSettings",
    "Journal",
    "LoopResult",
    "LoraConfig",
    "MixCandidate",
    "MixRecord",
    "PreferenceRecord",
    "RankerNumbers",
    "RankerTrainingConfig",
    "RewardHeadConfig",
    "SourceConfig",
    "Stage",
    "StepReport",
    "TeacherConfig",
    "benchmark_rankers",
    "bootstrap_mean",
    "evaluate_ranker",
    "finish_ranker",
    "gather_answers",
    "gathered_records",
    "load_records",
    "paired_test",
    "quality_by_effort",
    "ranking_figure",
    "read_mix",
    "read_records",
    "resolve_metric",
    "run_benchmark",
    "save_figures",
    "scored_by_check",
    "train_fuser",
    "train_ranker",
    "train_reward_head",
    "win_pie",
    "write_mix",
]

__getattr__, __dir__ = lazy_exports(__name__, _HOMES, __all__)
