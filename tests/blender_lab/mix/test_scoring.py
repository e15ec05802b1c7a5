"""Scores of candidates: by check and by metric, beside those that were there."""

from __future__ import annotations

from blender_lab.data.mixinstruct import MixCandidate, MixRecord
from blender_lab.mix.scoring import scored_by_check, scored_by_metrics


class Exact:
    name = "exact"

    def __init__(self):
        self.calls = 0

    def score(self, candidates, references):
        self.calls += 1
        return [float(candidate == reference) for candidate, reference in zip(candidates, references, strict=True)]


def record(id, *texts, **more):
    candidates = tuple(MixCandidate(str(place), text, {"old": 1.0}) for place, text in enumerate(texts))
    return MixRecord(id, "q", candidates=candidates, **more)


def test_checks():
    scored = scored_by_check(record("1", "4", "5", "", check={"kind": "number", "value": 4}))
    assert scored.scores("check") == (1.0, 0.0, 0.0)
    assert scored.scores("old") == (1.0, 1.0, 1.0)
    without = record("1", "4")
    assert scored_by_check(without) is without


def test_metrics_get_all_texts_at_once_and_need_a_reference():
    metric, told = Exact(), []
    records = [record("1", "x", "y", output="x"), record("2", "x"), record("3", "", "z", output="z")]
    scored = list(scored_by_metrics(records, [metric], on_metric=told.append))
    assert [r.scores("exact") for r in scored] == [(1.0, 0.0), (None,), (0.0, 1.0)]
    assert (metric.calls, told) == (1, ["exact"])
    assert scored[0].scores("old") == (1.0, 1.0)
    assert list(scored_by_metrics([record("2", "x")], [metric])) == [record("2", "x")]
    assert metric.calls == 1
