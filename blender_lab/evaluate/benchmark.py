"""LLM-Blender's Table 2 on any records: members, chance, oracles, rankers and fused answers, side by side."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from blender_core.errors import ConfigurationError
from blender_core.rank.protocol import Ranker
from blender_core.types.ranking import Ranking
from blender_lab.data.mixinstruct import MixRecord
from blender_lab.evaluate.metrics.registry import Metric
from blender_lab.evaluate.oracle import Against, Oracle, ScoreOracle, TieConvention, gpt_ranks, resolve_oracle, tally
from blender_lab.evaluate.records import ScoredRecord, score_records, weighted
from blender_lab.evaluate.report import BenchmarkReport, Kind, Row
from blender_lab.evaluate.statistics import (
    ComparisonCurve,
    PairedTest,
    RankCorrelation,
    bootstrap_mean,
    comparison_curve,
    holm,
    mean_of_known,
    paired_test,
    rank_correlation,
)

__all__ = [
    "GPT_RANK",
    "TOP_3",
    "Selection",
    "chance",
    "member",
    "oracle_pick",
    "run_benchmark",
    "run_ranker",
]

GPT_RANK = "gpt_rank"
TOP_3 = "top_3"

_SHARE_OF_PROMPTS = 0.9  # a member must have answered that many to count as the best one


def run_benchmark(
    records: Sequence[MixRecord],
    rankers: Mapping[str, Ranker],
    *,
    name: str = "",
    oracle: str | Oracle = "auto",
    ties: TieConvention | str = TieConvention.CANCEL,
    shared: str = "min",
    metrics: Sequence[Metric] = (),
    against: Sequence[str] | None = None,
    systems: Sequence[str] = (),
    exclude: Sequence[str] = (),
    resamples: int = 2000,
    seed: int = 0,
    clock: Callable[[], float] = time.perf_counter,
    progress: Callable[[str], None] | None = None,
) -> BenchmarkReport:
    """Measure every way to pick an answer.

    Args:
        records: The records, at least one.
        rankers: Name -> ranker. Each ranks the members' candidates of every record.
        name: Name of the benchmark, shown in tables.
        oracle: Who says what is better: ``"verdicts"``, the name of a score, ``"auto"`` (see ``resolve_oracle``), or
            an oracle.
        ties: What ties among verdicts are worth.
        shared: What equal candidates get as GPT-Rank: the ``"min"`` of their ranks or the ``"average"``.
        metrics: Metrics to compute against references, besides the scores that the records hold.
        against: Members to compare every row with; default the best two.
        systems: Models whose answers are finished blends, no members.
        exclude: Models to leave out.
        resamples: Bootstrap samples behind each interval.
        seed: Seed of bootstrap and permutation tests.
        clock: Seconds, for the time that rankers take; injectable.
        progress: Called with what is being done.

    Returns:
        The report.

    Raises:
        ConfigurationError: An argument cannot work, or the records hold no such oracle or model.
        MissingExtraError: scipy is not installed.
        RankerError: A ranker or a metric failed.
    """
    say = progress or (lambda _: None)
    judge = (
        resolve_oracle(oracle, records, ties=ties, metrics=[one.name for one in metrics])
        if isinstance(oracle, str)
        else oracle
    )
    scored = score_records(
        records, judge, metrics=metrics, systems=systems, exclude=exclude, shared=shared, progress=progress
    )
    names = sorted({one.record.models[index] for one in scored for index in one.pool})
    present = {model for one in scored for model in one.record.models}
    if missing := sorted({*systems, *(against or ())} - present):
        raise ConfigurationError(f"no record holds the models {missing}; the members are {', '.join(names)}")
    selections = [*(member(scored, model) for model in names), *_oracles(scored, judge), chance(scored)]
    for label, ranker in rankers.items():
        say(f"ranking: {label}")
        selections.append(run_ranker(scored, label, ranker, clock=clock))
    selections += [member(scored, model, Kind.SYSTEM) for model in systems]
    say("statistics")
    primary = judge.name if isinstance(judge, ScoreOracle) else GPT_RANK
    values = {(s.kind, s.name): _values(s, scored) for s in selections}
    means = {key: mean_of_known(columns[primary]) for key, columns in values.items()}
    lower_is_better = primary == GPT_RANK
    steady = [
        model
        for model in names
        if sum(not math.isnan(value) for value in values[Kind.MEMBER, model][primary])
        >= _SHARE_OF_PROMPTS * len(scored)
    ] or names
    best = sorted(
        steady, key=lambda model: means[Kind.MEMBER, model] if lower_is_better else -means[Kind.MEMBER, model]
    )
    opponents = tuple(best[:2] if against is None else against)
    tests = _tests(selections, values, primary, best[0], seed)
    rows = tuple(
        Row(
            name=one.name,
            kind=one.kind,
            prompts=sum(weights is not None for weights in one.weights),
            columns={
                column: bootstrap_mean(row, resamples=resamples, seed=seed)
                for column, row in values[one.kind, one.name].items()
            },
            against={
                model: _against(one, scored, judge, model)
                for model in opponents
                if not (one.kind is Kind.MEMBER and one.name == model)
            },
            by_task=_by_task(scored, values[one.kind, one.name][primary]),
            tests=tests.get((one.kind, one.name), ()),
            picks=_picks(one, scored),
            seconds=mean_of_known(one.seconds) if one.seconds else None,
            **_effort(one, scored),
        )
        for one in selections
    )
    return BenchmarkReport(
        name=name,
        prompts=len(scored),
        members=tuple(names),
        oracle=judge.name,
        primary=primary,
        lower_is_better=lower_is_better,
        best_member=best[0],
        against=opponents,
        rows=rows,
        correlations=_correlations(selections, scored, names, judge, shared),
        rank_shares=_rank_shares(scored, names),
        curves=_curves(selections, scored, primary, seed),
    )


def _oracles(scored: Sequence[ScoredRecord], judge: Oracle) -> list[Selection]:
    metrics = sorted({name for one in scored for name in one.columns} - {judge.name})
    picks = [oracle_pick(scored, judge.name, lambda one: one.oracle_scores)]
    for metric in metrics:
        picks.append(oracle_pick(scored, metric, lambda one, metric=metric: one.columns.get(metric)))  # type: ignore[misc]
    return picks


def _values(selection: Selection, scored: Sequence[ScoredRecord]) -> dict[str, list[float]]:
    """Column -> one value a record."""
    metrics = sorted({name for one in scored for name in one.columns})
    pairs = list(zip(selection.weights, scored, strict=True))
    columns = {name: [weighted(weights, one.columns.get(name)) for weights, one in pairs] for name in metrics}
    columns[GPT_RANK] = [weighted(weights, one.ranks) for weights, one in pairs]
    columns[TOP_3] = [
        weighted(weights, None if one.ranks is None else [_within(rank, 3) for rank in one.ranks])
        for weights, one in pairs
    ]
    return columns


def _within(rank: float, limit: int) -> float:
    return rank if math.isnan(rank) else float(rank <= limit)


def _against(selection: Selection, scored: Sequence[ScoredRecord], judge: Oracle, model: str) -> Against:
    outcomes = []
    for weights, one in zip(selection.weights, scored, strict=True):
        if weights is None or one.ranks is None or model not in one.record.models:
            continue
        other = one.record.models.index(model)
        for index, weight in weights.items():
            verdict = None if index == other else judge.verdict(one.record, index, other)
            # an unjudged member is no evidence, not even as the pick
            judged = not math.isnan(one.ranks[other]) if index == other else verdict is not None
            if judged:
                outcomes.append((weight, verdict))
    return tally(model, outcomes)


def _by_task(scored: Sequence[ScoredRecord], values: Sequence[float]) -> dict[str, float]:
    tasks = sorted({one.record.task for one in scored})
    return {
        task: mean_of_known([value for one, value in zip(scored, values, strict=True) if one.record.task == task])
        for task in (tasks if len(tasks) > 1 else ())
    }


def _picks(selection: Selection, scored: Sequence[ScoredRecord]) -> dict[str, float]:
    """Model -> share of the prompts on which it is picked."""
    if selection.kind in (Kind.MEMBER, Kind.SYSTEM):
        return {}
    shares: dict[str, float] = {}
    picked = [(weights, one) for weights, one in zip(selection.weights, scored, strict=True) if weights is not None]
    for weights, one in picked:
        for index, weight in weights.items():
            model = one.record.models[index]
            shares[model] = shares.get(model, 0.0) + weight / len(picked)
    return dict(sorted(shares.items()))


def _effort(selection: Selection, scored: Sequence[ScoredRecord]) -> dict[str, float | None]:
    """Latency, cost and tokens of an answer, if known; a pick among members waits and pays for all."""
    keys = ("latency_s", "cost", "output_tokens")
    if selection.kind in (Kind.ORACLE, Kind.CHANCE):
        return dict.fromkeys(keys)
    rows: dict[str, list[float]] = {key: [] for key in keys}
    for place, (weights, one) in enumerate(zip(selection.weights, scored, strict=True)):
        used = one.pool if selection.kind is Kind.RANKER else tuple(weights or ())
        calls = [one.record.candidates[index].gathered for index in used]
        for key in keys:
            known = [getattr(call, key) for call in calls if call is not None and getattr(call, key) is not None]
            if not known or len(known) < len(calls):
                continue
            if key == "latency_s":
                rows[key].append(max(known) + (selection.seconds[place] if selection.seconds else 0.0))
            else:
                rows[key].append(float(sum(known)))
    return {key: mean_of_known(values) if values else None for key, values in rows.items()}


def _tests(
    selections: Sequence[Selection],
    values: Mapping[tuple[Kind, str], Mapping[str, Sequence[float]]],
    primary: str,
    best: str,
    seed: int,
) -> dict[tuple[Kind, str], tuple[PairedTest, ...]]:
    """Each ranker and system against the best member and against chance, corrected for their number."""
    tested = [(one.kind, one.name) for one in selections if one.kind in (Kind.RANKER, Kind.SYSTEM)]
    found: dict[tuple[Kind, str], list[PairedTest]] = {key: [] for key in tested}
    for other, label in (((Kind.MEMBER, best), best), ((Kind.CHANCE, "chance"), "chance")):
        tests = [paired_test(values[key][primary], values[other][primary], against=label, seed=seed) for key in tested]
        corrected = holm([test.p for test in tests])
        for key, test, p in zip(tested, tests, corrected, strict=True):
            found[key].append(PairedTest(test.against, test.difference, test.p, p))
    return {key: tuple(tests) for key, tests in found.items()}


def _correlations(
    selections: Sequence[Selection],
    scored: Sequence[ScoredRecord],
    names: Sequence[str],
    judge: Oracle,
    shared: str,
) -> dict[str, RankCorrelation]:
    """Ranks of every ranker and metric against the oracle's, over the records that it ranked."""
    judged = [place for place, one in enumerate(scored) if one.ranks is not None]
    if not judged:
        return {}
    oracle = [_spread(scored[place], names, lambda one: one.ranks) for place in judged]
    found = {}
    for one in selections:
        if one.rankings:
            ranks = [
                _spread_pool(scored[place], names, gpt_ranks(one.rankings[place].scores, shared=shared))
                for place in judged
            ]
            found[one.name] = rank_correlation(ranks, oracle)
    for metric in sorted({name for one in scored for name in one.columns} - {judge.name}):
        ranks = [_spread(scored[place], names, lambda one, m=metric: _ranked(one, m, shared)) for place in judged]  # type: ignore[misc]
        found[metric] = rank_correlation(ranks, oracle)
    return found


def _ranked(one: ScoredRecord, metric: str, shared: str) -> tuple[float, ...] | None:
    values = one.columns.get(metric)
    return None if values is None else gpt_ranks(values, one.pool, shared=shared)


def _spread(
    one: ScoredRecord, names: Sequence[str], ranks: Callable[[ScoredRecord], Sequence[float] | None]
) -> list[float]:
    row = ranks(one)
    values = [math.nan] * len(one.pool) if row is None else [row[index] for index in one.pool]
    return _spread_pool(one, names, values)


def _spread_pool(one: ScoredRecord, names: Sequence[str], values: Sequence[float]) -> list[float]:
    """Values of a pool in the order of the members' names."""
    known = {one.record.models[index]: value for index, value in zip(one.pool, values, strict=True)}
    return [known.get(model, math.nan) for model in names]


def _rank_shares(scored: Sequence[ScoredRecord], names: Sequence[str]) -> dict[str, tuple[float, ...]]:
    """Member -> share of its judged prompts on which it has rank 1, 2, ...; halves fall to the better rank."""
    width = max(len(one.pool) for one in scored)
    shares = {}
    for model in names:
        ranks = []
        for one in scored:
            if one.ranks is not None:
                ranks += [one.ranks[index] for index in one.pool if one.record.models[index] == model]
        known = [int(rank) for rank in ranks if not math.isnan(rank)]
        shares[model] = tuple(known.count(place) / len(known) if known else math.nan for place in range(1, width + 1))
    return shares


def _curves(
    selections: Sequence[Selection], scored: Sequence[ScoredRecord], primary: str, seed: int
) -> dict[str, ComparisonCurve]:
    """Quality by comparisons, for rankers that compare pairs; prompts without a quality are left out."""
    curves = {}
    for selection in selections:
        matrices, quality = [], []
        for ranking, one in zip(selection.rankings, scored, strict=bool(selection.rankings)):
            source = [-rank for rank in one.ranks or ()] if primary == GPT_RANK else one.columns.get(primary)
            row = [source[index] for index in one.pool] if source else []
            if ranking.comparisons is not None and len(row) > 1 and not any(map(math.isnan, row)):
                matrices.append(ranking.comparisons)
                quality.append(row)
        if matrices:
            curves[selection.name] = comparison_curve(matrices, quality, seed=seed)
    return curves


Weights = Mapping[int, float]


@dataclass(frozen=True, slots=True)
class Selection:
    """What a row picks.

    Attributes:
        name: The row's name.
        kind: What it is.
        weights: For each record the picked candidates with their shares, ``None`` if nothing could be picked.
        rankings: A ranker's rankings of the pools, one a record; empty for others.
        seconds: Seconds that each ranking took; empty for others.
    """

    name: str
    kind: Kind
    weights: tuple[Weights | None, ...]
    rankings: tuple[Ranking, ...] = ()
    seconds: tuple[float, ...] = ()


def member(scored: Sequence[ScoredRecord], model: str, kind: Kind = Kind.MEMBER) -> Selection:
    """Select one model's own answers.

    Args:
        scored: The records.
        model: Its name.
        kind: ``MEMBER`` or ``SYSTEM``.

    Returns:
        The selection; ``None`` if the model has no answer.
    """
    picks: list[Weights | None] = []
    for one in scored:
        models = one.record.models
        picks.append({models.index(model): 1.0} if model in models else None)
    return Selection(model, kind, tuple(picks))


def chance(scored: Sequence[ScoredRecord]) -> Selection:
    """Select every candidate with the same share: a random pick without its noise."""
    picks: list[Weights] = [dict.fromkeys(one.pool, 1.0 / len(one.pool)) for one in scored]
    return Selection("chance", Kind.CHANCE, tuple(picks))


def oracle_pick(
    scored: Sequence[ScoredRecord], name: str, values: Callable[[ScoredRecord], Sequence[float] | None]
) -> Selection:
    """Select the best candidates of the pool by some values; equal ones share the pick.

    Args:
        scored: The records.
        name: The row's name.
        values: Gives one value a candidate, greater is better, or ``None``.

    Returns:
        The selection.
    """
    picks: list[Weights | None] = []
    for one in scored:
        row = values(one)
        known = [] if row is None else [index for index in one.pool if not math.isnan(row[index])]
        if row is None or not known:
            picks.append(None)
            continue
        top = max(row[index] for index in known)
        best = [index for index in known if row[index] == top]
        picks.append(dict.fromkeys(best, 1.0 / len(best)))
    return Selection(name, Kind.ORACLE, tuple(picks))


def run_ranker(
    scored: Sequence[ScoredRecord],
    name: str,
    ranker: Ranker,
    *,
    clock: Callable[[], float] = time.perf_counter,
    progress: Callable[[int], None] | None = None,
) -> Selection:
    """Let a ranker pick from every pool.

    Args:
        scored: The records.
        name: The row's name.
        ranker: The ranker.
        clock: Seconds; injectable.
        progress: Called with the number of records done.

    Returns:
        The selection.

    Raises:
        RankerError: The ranker failed.
    """
    picks: list[Weights] = []
    rankings: list[Ranking] = []
    seconds: list[float] = []
    for done, one in enumerate(scored, 1):
        texts = [one.record.candidates[index].text for index in one.pool]
        started = clock()
        ranking = ranker.rank(one.record.prompt, texts)
        seconds.append(clock() - started)
        rankings.append(ranking)
        picks.append({one.pool[ranking.best]: 1.0})
        if progress is not None:
            progress(done)
    return Selection(name, Kind.RANKER, tuple(picks), tuple(rankings), tuple(seconds))
