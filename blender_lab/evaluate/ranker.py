"""Measuring a ranker on the public evaluation sets."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import stdev
from typing import Any

from blender_core.errors import ConfigurationError
from blender_core.rank.baselines import LongestRanker
from blender_core.rank.calibration import calibration_error
from blender_core.rank.lexical_consensus import LexicalConsensusRanker
from blender_core.rank.protocol import Ranker
from blender_core.runtime.numbers import check_number
from blender_core.view.table import Column, Table, html_block
from blender_lab.data.fact_swaps import HELD_OUT_RELATIONS, fact_swap_records
from blender_lab.data.preferences import PreferenceRecord, read_records
from blender_lab.evaluate.statistics import mean_of_known, wilson_interval

__all__ = [
    "BLEND_SETS",
    "MADE_SETS",
    "PAIR_SETS",
    "PUBLISHED",
    "BlendNumbers",
    "PairNumbers",
    "RankerNumbers",
    "evaluate_blend",
    "evaluate_pairs",
    "evaluate_ranker",
]

PAIR_SETS: tuple[str, ...] = (
    "autoj",
    "hhh",
    "mtbench_human200",
    "llmbar",
    "humanevalpack",
    "hh_harmless",
    "judgebench",
    "pandalm",
    "faireval",
    "llmeval2",
    "evalbiasbench",
)
"""Pair sets, by file name below ``eval/``."""

MADE_SETS: dict[str, tuple[str, ...]] = {
    "fact_swap": tuple(name for name in HELD_OUT_RELATIONS if name != "sum"),
    "fact_swap_sums": ("sum",),
}
"""Pair sets that are made by code: name -> relations of ``blender_lab.data.fact_swaps``, none of them trained on."""

_PER_RELATION = 100
# most pairs that a ranker which reads one candidate at a time ranks again, turned round
_BOTH_ORDERS = 200

BLEND_SETS: dict[str, str | None] = {
    "blend_open11": None,
    "blend_arena_bench": None,
    "blend_alpacaeval": "alpacaeval_bon_tulu2dpo13b",
    "blend_mmlu_pro": None,
    "blend_zeroeval": None,
}
"""Blend sets, by file name below ``eval/``; if a source is named, only its records count."""


@dataclass(frozen=True, slots=True)
class RankerNumbers:
    """All numbers of one ranker.

    Attributes:
        ranker: Its name.
        pairs: Pair sets that were found.
        blends: Blend sets that were found.
    """

    ranker: str
    pairs: tuple[PairNumbers, ...]
    blends: tuple[BlendNumbers, ...]

    def pair_table(self) -> Table:
        """Make a table of the pair sets, accuracies in percent."""
        return _pair_table(self)

    def blend_table(self) -> Table:
        """Make a table of the blend sets, mean score of the picked answer."""
        return _blend_table(self)

    def _repr_html_(self) -> str:
        made = [(self.pairs, self.pair_table()), (self.blends, self.blend_table())]
        return html_block(*(table.html() for rows, table in made if rows))

    def to_dict(self) -> dict[str, Any]:
        """Convert the numbers to plain types."""
        return dataclasses.asdict(self)


def evaluate_ranker(
    ranker: Ranker,
    data: str | Path,
    *,
    sets: Sequence[str] | None = None,
    limit: int | None = None,
    progress: Callable[[str], None] | None = None,
    embedding_consensus: Callable[[], Ranker | None] | None = None,
) -> RankerNumbers:
    """Measure a ranker.

    Args:
        ranker: The ranker.
        data: The data folder, with the sets below ``eval/``.
        sets: Names of the sets; ``None`` for all that are there. Those of ``MADE_SETS`` need no folder.
        limit: Only the first records of each set, for a quick look; ``None`` for all.
        progress: Called with each set's name before it is measured.
        embedding_consensus: Makes the ranker of agreement in meaning, a baseline (``benchmark_rankers`` has one);
            called before the first blend set, if there is any. ``None``, or a function that returns it, leaves it out.

    Returns:
        The numbers.

    Raises:
        ConfigurationError: There is no ``eval`` folder and a set needs it, a named set is unknown, none was found, or
            ``limit`` is below 1.
    """
    check_number("limit", limit, least=1, whole=True, none="all")
    folder = Path(data) / "eval"
    if not folder.is_dir() and (sets is None or not set(sets) <= set(MADE_SETS)):
        raise ConfigurationError(f"no evaluation sets in {folder}; give another --data DIR or BLENDER_DATA")
    known = (*PAIR_SETS, *MADE_SETS, *BLEND_SETS)
    unknown = sorted(set(sets or ()) - set(known))
    if unknown:
        raise ConfigurationError(f"unknown evaluation sets {unknown}; known are {list(known)}")
    wanted = [
        name
        for name in known
        if (sets is None or name in sets) and (name in MADE_SETS or _file(folder, name).is_file())
    ]
    if not wanted or (sets is None and set(wanted) <= set(MADE_SETS)):
        raise ConfigurationError(
            f"none of the evaluation sets {list(sets or known)} is in {folder}; put files NAME.jsonl.gz "
            f"there, or ask for {' or '.join(MADE_SETS)}, which need none"
        )
    agreement = embedding_consensus() if embedding_consensus and not set(wanted).isdisjoint(BLEND_SETS) else None
    pairs: list[PairNumbers] = []
    blends: list[BlendNumbers] = []
    for name in wanted:
        if progress is not None:
            progress(name)
        records = itertools.islice(_records(folder, name), limit)
        if name not in BLEND_SETS:
            pairs.append(evaluate_pairs(name, records, ranker))
        else:
            blends.append(evaluate_blend(name, records, ranker, embedding_consensus=agreement))
    return RankerNumbers(ranker.name, tuple(pairs), tuple(blends))


def _file(folder: Path, name: str) -> Path:
    return folder / f"{name}.jsonl.gz"


def _records(folder: Path, name: str) -> Iterator[PreferenceRecord]:
    if name in MADE_SETS:
        made = fact_swap_records(held_out=True, per_relation=_PER_RELATION, seed=1)
        return (record for record in made if record.subset in MADE_SETS[name])
    source = BLEND_SETS.get(name)
    return read_records(_file(folder, name), sources=None if source is None else [source])


@dataclass(frozen=True, slots=True)
class PairNumbers:
    """Numbers on one pair set. Accuracies are shares in [0, 1] of pairs that are no tie.

    Attributes:
        name: Name of the set.
        pairs: Pairs that are no tie.
        ties: Pairs that judges called a tie; they are not scored.
        accuracy: The better answer has the higher score; equal scores count one half.
        low: Lower end of the 95% interval.
        high: Upper end of the 95% interval.
        longer: Accuracy of "the longer text is better".
        shorter_pairs: Pairs whose shorter answer is the better one.
        shorter_accuracy: Accuracy on those; 0 for whoever only looks at length, ``nan`` without any.
        consistency: Share of pairs with the same verdict in both orders. For a ranker that reads two candidates at
            once, of its single passes; for others, of the first 200 pairs.
        one_order_accuracy: Accuracy of a single pass in the stored order, the ranker's position bias taken off: half
            the work of the symmetrised logit; ``nan`` for a ranker that does not read pairs.
        calibration_error: Expected calibration error of the confidence over ten equal bins of [0.5, 1] (Guo et al.
            2017); ``nan`` for a ranker that gives none.
    """

    name: str
    pairs: int
    ties: int
    accuracy: float
    low: float
    high: float
    longer: float
    shorter_pairs: int
    shorter_accuracy: float
    consistency: float = math.nan
    one_order_accuracy: float = math.nan
    calibration_error: float = math.nan


def evaluate_pairs(name: str, records: Iterable[PreferenceRecord], ranker: Ranker) -> PairNumbers:
    """Judge every compared pair of the records on its own.

    Args:
        name: Name of the set.
        records: The records.
        ranker: The ranker.

    Returns:
        The numbers.
    """
    right = longer = shorter_right = 0.0
    pairs = ties = shorter_pairs = 0
    same: list[bool] = []
    single: list[float] = []
    sure: list[tuple[float, float]] = []
    ordered_logits = getattr(ranker, "ordered_logits", None)
    bias = float(getattr(ranker, "position_bias", 0.0))
    for record in records:
        for i, j, p in record.comparisons:
            if p == 0.5:
                ties += 1
                continue
            better, worse = (i, j) if p > 0.5 else (j, i)
            texts = [record.candidates[better], record.candidates[worse]]
            # the better one must not always come first
            texts_given = texts if i == better else texts[::-1]
            ranking = ranker.rank(record.prompt, texts_given)
            scores = ranking.scores
            first, second = scores if i == better else scores[::-1]
            won = 0.5 if first == second else float(first > second)
            pairs += 1
            right += won
            sure.append((ranking.confidence, won))
            if ordered_logits is not None:
                matrix = ordered_logits(record.prompt, texts_given)
                here, there = matrix[0][1], -matrix[1][0]
                single.append(0.5 if here == bias else float((here > bias) == (i == better)))
            elif pairs <= _BOTH_ORDERS:
                turned = ranker.rank(record.prompt, texts_given[::-1]).scores
                here, there = scores[0] - scores[1], turned[1] - turned[0]
            if ordered_logits is not None or pairs <= _BOTH_ORDERS:
                same.append((here > 0) == (there > 0) and (here < 0) == (there < 0))
            gap = len(texts[0]) - len(texts[1])
            longer += 0.5 if gap == 0 else float(gap > 0)
            if gap < 0:
                shorter_pairs += 1
                shorter_right += won
    accuracy = right / pairs if pairs else math.nan
    low, high = wilson_interval(accuracy, pairs) if pairs else (math.nan, math.nan)
    return PairNumbers(
        name=name,
        pairs=pairs,
        ties=ties,
        accuracy=accuracy,
        low=low,
        high=high,
        longer=longer / pairs if pairs else math.nan,
        shorter_pairs=shorter_pairs,
        shorter_accuracy=shorter_right / shorter_pairs if shorter_pairs else math.nan,
        consistency=sum(same) / len(same) if same else math.nan,
        one_order_accuracy=sum(single) / len(single) if single else math.nan,
        calibration_error=_calibration_error(sure),
    )


def _calibration_error(sure: list[tuple[float, float]]) -> float:
    if all(confidence == 0.5 for confidence, _ in sure):
        return math.nan
    confidences, won = zip(*sure, strict=True)
    return calibration_error(confidences, won, lowest=0.5)


_SHARE_OF_PROMPTS = 0.9


@dataclass(frozen=True, slots=True)
class BlendNumbers:
    """Mean scores on one blend set, on the set's own scale.

    Attributes:
        name: Name of the set.
        prompts: Number of prompts.
        candidates: Mean number of candidates.
        picked: Mean score of the ranker's first candidate.
        margin: Half the width of the 95% interval of ``picked``.
        random: Mean score of all candidates.
        longest: Mean score of the longest candidate.
        consensus: Mean score of the lexical consensus ranker's first.
        embedding_consensus: Mean score of the embedding consensus ranker's first; ``nan`` if it was not asked.
        best_single: Mean score of the best single member, among members that answered at least 90% of the
            prompts; ``nan`` without one.
        best_member: Its name.
        oracle: Mean score of the best candidate.
    """

    name: str
    prompts: int
    candidates: float
    picked: float
    margin: float
    random: float
    longest: float
    consensus: float
    best_single: float
    best_member: str
    oracle: float
    embedding_consensus: float = math.nan


def evaluate_blend(
    name: str,
    records: Iterable[PreferenceRecord],
    ranker: Ranker,
    *,
    embedding_consensus: Ranker | None = None,
) -> BlendNumbers:
    """Rank the candidates of every record and look up the score of the first.

    Args:
        name: Name of the set.
        records: Records with a score for each candidate; others are left out.
        ranker: The ranker.
        embedding_consensus: Agreement in meaning, as a baseline; ``None`` leaves it out.

    Returns:
        The numbers.
    """
    rankers: dict[str, Ranker] = {
        "picked": ranker,
        "longest": LongestRanker(),
        "consensus": LexicalConsensusRanker(),
    }
    if embedding_consensus is not None and embedding_consensus is not ranker:
        rankers["embedding_consensus"] = embedding_consensus
    picks: dict[str, list[float]] = {key: [] for key in (*rankers, "embedding_consensus")}
    means: list[float] = []
    best: list[float] = []
    sizes: list[int] = []
    members: dict[str, list[float]] = {}
    for record in records:
        if record.scores is None:
            continue
        for key, one in rankers.items():
            picks[key].append(record.scores[one.rank(record.prompt, record.candidates).best])
        means.append(mean_of_known(record.scores))
        best.append(max(record.scores))
        sizes.append(len(record.scores))
        for model, score in zip(record.models, record.scores, strict=True):
            members.setdefault(model, []).append(score)
    steady = {
        model: mean_of_known(scores)
        for model, scores in members.items()
        if model and _SHARE_OF_PROMPTS * len(means) <= len(scores) <= len(means)
    }
    best_member = max(steady, key=lambda model: steady[model], default="")
    return BlendNumbers(
        name=name,
        prompts=len(means),
        candidates=mean_of_known(sizes),
        picked=mean_of_known(picks["picked"]),
        margin=_margin(picks["picked"]),
        random=mean_of_known(means),
        longest=mean_of_known(picks["longest"]),
        consensus=mean_of_known(picks["consensus"]),
        best_single=steady.get(best_member, math.nan),
        best_member=best_member,
        oracle=mean_of_known(best),
        embedding_consensus=mean_of_known(picks["picked" if embedding_consensus is ranker else "embedding_consensus"]),
    )


def _margin(values: list[float]) -> float:
    return 1.96 * stdev(values) / math.sqrt(len(values)) if len(values) > 1 else math.nan


PUBLISHED: dict[str, str] = {
    "autoj": "PairRM 59.05, GPT-4 61.9 (ties scored)",
    "evalbiasbench": "",
    "faireval": "GPT-4 72.7",
    "hh_harmless": "PairRM 49.2, Better-PairRM 69.2",
    "hhh": "PairRM 84.6, UltraRM-13B 83.7",
    "humanevalpack": "PairRM 64.7",
    "judgebench": "Skywork-27B 64.3 (350 pairs)",
    "llmbar": "PairRM 51.1",
    "llmeval2": "GPT-4 75.5",
    "mtbench_human200": "GPT-4 81.0",
    "pandalm": "PandaLM-7B 71.0",
}
"""Published accuracy in percent by pair set, for comparison."""


def _pair_table(numbers: RankerNumbers) -> Table:
    headings = (
        "set",
        "pairs",
        "accuracy",
        "95% interval",
        "longer wins",
        "shorter is better",
        "same in both orders",
        "one order",
        "ECE",
        "published",
    )
    columns = [Column(heading, number=heading not in ("set", "published")) for heading in headings]
    title = f"Pair sets: accuracy of {numbers.ranker!r} on non-ties, percent"
    return Table(columns, [_pair_cells(row) for row in numbers.pairs], title)


def _blend_table(numbers: RankerNumbers) -> Table:
    headings = (
        "set",
        "prompts",
        "picked",
        "random",
        "longest",
        "consensus",
        "embedding consensus",
        "best single",
        "oracle",
    )
    columns = [Column(heading, number=heading != "set") for heading in headings]
    title = f"Blend sets: mean score of the answer that {numbers.ranker!r} picks"
    return Table(columns, [_blend_cells(row) for row in numbers.blends], title)


def _pair_cells(row: PairNumbers) -> list[str]:
    return [
        row.name,
        str(row.pairs),
        _percent(row.accuracy),
        f"{_percent(row.low)} to {_percent(row.high)}",
        _percent(row.longer),
        f"{_percent(row.shorter_accuracy)} of {row.shorter_pairs}",
        _percent(row.consistency),
        _percent(row.one_order_accuracy),
        _percent(row.calibration_error),
        PUBLISHED.get(row.name, ""),
    ]


def _blend_cells(row: BlendNumbers) -> list[str]:
    baselines = (row.random, row.longest, row.consensus, row.embedding_consensus)
    picked = _mean_score(row.picked) if math.isnan(row.margin) else f"{_mean_score(row.picked)} ± {row.margin:.3f}"
    best = f"{_mean_score(row.best_single)} {row.best_member}".rstrip()
    return [row.name, str(row.prompts), picked, *map(_mean_score, baselines), best, _mean_score(row.oracle)]


def _mean_score(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3f}"


def _percent(value: float) -> str:
    return "-" if math.isnan(value) else f"{100 * value:.1f}"
