"""The laboratory: train rankers and fusers, evaluate blends, gather one's own data.

Importing this package loads neither torch nor any framework.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from blender_core.runtime.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from blender_lab.evaluate.benchmark import run_benchmark
    from blender_lab.evaluate.benchmark_rankers import benchmark_rankers
    from blender_lab.evaluate.figures import quality_by_effort, save_figures, win_pie
    from blender_lab.evaluate.metrics import resolve_metric
    from blender_lab.evaluate.ranker import RankerNumbers, evaluate_ranker
    from blender_lab.evaluate.records import load_records
    from blender_lab.evaluate.report import BenchmarkReport
    from blender_lab.evaluate.statistics import bootstrap_mean, paired_test
    from blender_lab.mix.gather import GatherSettings, gather_answers, gathered_records
    from blender_lab.mix.journal import Journal
    from blender_lab.mix.scoring import scored_by_check

_HOMES = {
    "BenchmarkReport": "blender_lab.evaluate.report",
    "GatherSettings": "blender_lab.mix.gather",
    "Journal": "blender_lab.mix.journal",
    "RankerNumbers": "blender_lab.evaluate.ranker",
    "benchmark_rankers": "blender_lab.evaluate.benchmark_rankers",
    "bootstrap_mean": "blender_lab.evaluate.statistics",
    "evaluate_ranker": "blender_lab.evaluate.ranker",
    "gather_answers": "blender_lab.mix.gather",
    "gathered_records": "blender_lab.mix.gather",
    "load_records": "blender_lab.evaluate.records",
    "paired_test": "blender_lab.evaluate.statistics",
    "quality_by_effort": "blender_lab.evaluate.figures",
    "resolve_metric": "blender_lab.evaluate.metrics",
    "run_benchmark": "blender_lab.evaluate.benchmark",
    "save_figures": "blender_lab.evaluate.figures",
    "scored_by_check": "blender_lab.mix.scoring",
    "win_pie": "blender_lab.evaluate.figures",
}

__all__ = [
    "BenchmarkReport",
    "GatherSettings",
    "Journal",
    "RankerNumbers",
    "benchmark_rankers",
    "bootstrap_mean",
    "evaluate_ranker",
    "gather_answers",
    "gathered_records",
    "load_records",
    "paired_test",
    "quality_by_effort",
    "resolve_metric",
    "run_benchmark",
    "save_figures",
    "scored_by_check",
    "win_pie",
]

__getattr__, __dir__ = lazy_exports(__name__, _HOMES, __all__)
