"""Learn each member's strength from past rankings, and blend it into new ones.

A weak ranker learns little from one answer, but it scores every member on many prompts. Its scores estimate the
strength of each member without any label. That estimate improves the ranking of the next answers.

The model is empirical Bayes (Efron and Morris 1973). The score of member m's answer is the sum of a prompt effect, m's
strength and an effect of the answer. Strengths are normal around 0; their variance is estimated from the scores. So if
members do not differ, nothing is blended in. Only sums over pairs of members are kept: the state is small, and the
order of the prompts does not matter.

Scores alone show the ranker's opinion, right or wrong. A few prompts rated by the user show how far to trust it, and
the strength of members that it does not see (``fit_ratings``).
"""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from blender_core.errors import ConfigurationError
from blender_core.text.distinct import distinct_candidates
from blender_core.types.ranking import Ranking

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Array = npt.NDArray[np.float64]

__all__ = [
    "MemberPrior",
    "MemberStrength",
    "RatedPair",
    "RatingFit",
    "fit_ratings",
    "is_finite",
    "ranking_problem",
    "state_problem",
    "strengths_from_scores",
]

_EM_STEPS = 50
_SPREAD_STEPS = 12
_SMALLEST_TRUST = 0.05
# prior variance of the extras in squared logits, and its weight as a number of members
_SPREAD, _SPREAD_MEMBERS = 0.25, 4.0


class RatedPair(NamedTuple):
    """Two members' answers to one prompt, rated by the user.

    Attributes:
        first: Name of a member.
        second: Name of another.
        margin: The ranker's score of the first answer minus that of the second; ``None`` if unknown.
        won: Probability that the first is better, in [0, 1].
        weight: Weight of the pair in the fit.
    """

    first: str
    second: str
    margin: float | None
    won: float
    weight: float


@dataclass(frozen=True, slots=True)
class RatingFit:
    """Trust in the ranker and extras of the members, fitted to ratings.

    Attributes:
        trust: Factor of the ranker's scores; 1 takes them as they are.
        extra: Strength of each member that the scores do not show, on the ranker's scale, shape (members,).
        covariance: Of ``extra``, shape (members, members).
    """

    trust: float
    extra: Array
    covariance: Array


def fit_ratings(
    index: Mapping[str, int], rated: Sequence[RatedPair], strengths: Array, *, temperature: float, factor: float
) -> RatingFit:
    """Fit the trust in the ranker and the extras of the members to ratings.

    Args:
        index: Index by member.
        rated: At least one pair. Pairs without a margin do not affect the trust.
        strengths: Strengths estimated from the scores, shape (members,).
        temperature: The ranker's; a margin divided by it is a logit.
        factor: Weight of a strength relative to the score of a text.

    Returns:
        The posterior mode, with the covariance there.
    """
    import numpy as np

    from blender_core.rank.logistic_regression import fit_logistic

    first = np.array([index[pair.first] for pair in rated])
    second = np.array([index[pair.second] for pair in rated])
    won = np.array([pair.won for pair in rated])
    weights = np.array([pair.weight for pair in rated])
    known = np.array([pair.margin is not None for pair in rated])
    margins = np.array([pair.margin or 0.0 for pair in rated])
    ahead = strengths[first] - strengths[second]
    rows, size = np.arange(len(rated)), len(index)
    design = np.zeros((len(rated), size + 1))
    design[:, 0] = np.where(known, margins + factor * ahead, 0.0) / temperature
    design[rows, 1 + first] += 1.0
    design[rows, 1 + second] -= 1.0
    offset = np.where(known, 0.0, ahead) / temperature
    start = np.zeros(size + 1)
    start[0] = 1.0
    solution, spread = start.copy(), _SPREAD
    covariance: npt.NDArray[Any] = np.zeros((size + 1, size + 1))
    for _ in range(_SPREAD_STEPS):
        # the prior of the trust has the standard deviation 1
        precision = np.diag(np.r_[1.0, np.full(size, 1.0 / spread)])
        solution, curvature = fit_logistic(
            design, won, weights, precision, offset=offset, prior_mean=start, start=solution
        )
        covariance = np.linalg.inv(curvature)
        extra = solution[1:]
        seen = float(extra @ extra) + float(np.trace(covariance[1:, 1:]))
        spread = (seen + _SPREAD_MEMBERS * _SPREAD) / (size + _SPREAD_MEMBERS)
    return RatingFit(
        max(float(solution[0]), _SMALLEST_TRUST), temperature * solution[1:], temperature**2 * covariance[1:, 1:]
    )


def strengths_from_scores(
    index: Mapping[str, int], margins: Mapping[tuple[str, str], tuple[float, float, float]], freedom: int
) -> tuple[Array, Array]:
    """Estimate strengths from scores without labels, by expectation maximisation.

    Args:
        index: Index by member.
        margins: Weight, weighted margin and weighted squared margin, by pair of members.
        freedom: Degrees of freedom of the squared margins.

    Returns:
        Posterior mean, shape (members,), and covariance, shape (members, members); zeros if nothing is known.
    """
    import numpy as np

    size = len(index)
    laplacian, right, squares = np.zeros((size, size)), np.zeros(size), 0.0
    for (first, second), (weight, linear, square) in margins.items():
        i, j = index[first], index[second]
        laplacian[[i, j], [i, j]] += weight
        laplacian[[i, j], [j, i]] -= weight
        right[i] += linear
        right[j] -= linear
        squares += square
    if freedom == 0 or squares <= 0.0:
        return np.zeros(size), np.zeros((size, size))
    within = between = squares / freedom
    mean: npt.NDArray[Any] = np.zeros(size)
    covariance: npt.NDArray[Any] = np.zeros((size, size))
    for _ in range(_EM_STEPS):
        covariance = np.linalg.inv(laplacian / within + np.eye(size) / between)
        mean = covariance @ right / within
        residual = squares - 2.0 * float(mean @ right) + float(mean @ laplacian @ mean)
        within = max((residual + float(np.trace(laplacian @ covariance))) / freedom, 1e-9 * squares / freedom)
        between = max((float(mean @ mean) + float(np.trace(covariance))) / size, 1e-9 * squares / freedom)
    return mean, covariance


Pair = tuple[str, str]

# limit of scores, also in temperatures, and of counts: squares of larger ones lose precision
_LARGEST = 1e9
# a margin is the difference of two scores
_LARGEST_MARGIN = 2.001 * _LARGEST


def is_finite(value: Any) -> bool:
    """Check if a value is a finite number."""
    try:
        return math.isfinite(value)
    except (OverflowError, TypeError, ValueError):
        return False


def ranking_problem(ranking: Ranking) -> str | None:
    """Describe why a prior cannot learn from a ranking.

    Args:
        ranking: The ranker's, before any blending.

    Returns:
        The problem with its remedy, or ``None``.
    """
    if not 1.0 / _LARGEST <= ranking.temperature <= _LARGEST:
        return f"the ranking's temperature is {ranking.temperature}; it must be finite and above 0"
    known = [score for score in ranking.scores if math.isfinite(score)]
    largest = max(map(abs, known), default=0.0)
    if not largest <= _LARGEST * min(1.0, ranking.temperature):
        return (
            f"scores of {ranking.ranker!r} reach {largest:g} at temperature {ranking.temperature:g}, too far to learn "
            f"from; scale them below {_LARGEST:g}, as a score and divided by the temperature"
        )
    return None


def state_problem(
    *,
    temperature: float,
    counts: Mapping[str, int],
    answers: Mapping[str, int],
    margins: Mapping[Pair, tuple[float, float, float]],
    judged: Mapping[Pair, tuple[float, float]],
    rated: Sequence[RatedPair],
) -> str | None:
    """Describe why the saved state of a prior cannot be used.

    Args:
        temperature: The ranker's.
        counts: Counts such as that of prompts, by name of the field.
        answers: Answers seen, by member.
        margins: Weight, weighted margin and weighted squared margin, by pair of members.
        judged: Number of ratings and wins of the first, by pair of members.
        rated: Rated pairs, each with a margin.

    Returns:
        The first problem, or ``None``.
    """
    if not 1.0 / _LARGEST <= temperature <= _LARGEST:
        return f"temperature is {temperature}; it must be finite and above 0"
    for name, count in (*answers.items(), *counts.items()):
        if not 0 <= count <= _LARGEST:
            return f"the count of {name!r} is {count}"
    problems = (_margin_problems(answers, margins), _judged_problems(judged), _rated_problems(rated, temperature))
    return next((problem for found in problems for problem in found), None)


def _margin_problems(answers: Mapping[str, int], margins: Mapping[Pair, tuple[float, float, float]]) -> Iterator[str]:
    for pair, (weight, linear, square) in margins.items():
        if pair[0] == pair[1] or not answers.keys() >= set(pair):
            yield f"margins speak of {pair}, which are not two of the members in answers"
        sound = 0.0 < weight <= _LARGEST and 0.0 <= square <= weight * _LARGEST_MARGIN**2
        if not (sound and abs(linear) <= weight * _LARGEST_MARGIN):
            yield f"margins of {pair} are {weight}, {linear}, {square}"


def _judged_problems(judged: Mapping[Pair, tuple[float, float]]) -> Iterator[str]:
    for pair, (count, wins) in judged.items():
        if pair[0] == pair[1] or not 0.0 <= wins <= count <= _LARGEST:
            yield f"{pair} were judged {count} times with {wins} wins of the first"


def _rated_problems(rated: Sequence[RatedPair], temperature: float) -> Iterator[str]:
    largest = _LARGEST_MARGIN * min(1.0, temperature)
    for pair in rated:
        sound = pair.margin is not None and abs(pair.margin) <= largest
        if pair.first == pair.second or not (sound and 0.0 <= pair.won <= 1.0 and 0.0 < pair.weight <= 1.0):
            yield f"rated holds {tuple(pair)}"


_FORMAT = 2
_READ_FORMATS = (1, 2)


@dataclass(frozen=True, slots=True)
class MemberStrength:
    """The estimated strength of one member.

    Attributes:
        mean: Expected score above the average member, on the ranker's scale; higher is better.
        deviation: Standard deviation of that estimate.
        answers: Answers seen.
    """

    mean: float
    deviation: float
    answers: int


class _Known(NamedTuple):
    strengths: dict[str, MemberStrength]
    trust: float


class MemberPrior:
    """Learns the strength of each member from a ranker's scores, without labels.

    Safe to use from several threads.

    You own the object: pass it to each new ``Blender``, save and load it. Discard it if the models behind the names
    change. A blender applies it to every ranking and then adds that ranking.

    Args:
        text_reliability: Weight of the ranker's score of one answer against the member's strength, in (0, 1]; 1 ignores
            the strengths. The default was chosen on held-out training prompts for the embedded ranker
            (``research/ranker.md``).

    Raises:
        ConfigurationError: ``text_reliability`` is outside (0, 1].

    Examples:
        >>> prior = MemberPrior(text_reliability=0.2)
        >>> for noise in (0.1, -0.1, 0.2, -0.2):
        ...     prior.observe(["strong", "weak"], Ranking.from_scores([1.0 + noise, -1.0], ranker="example"))
        >>> prior.blend(["weak", "strong"], Ranking.from_scores([0.2, 0.0], ranker="example")).best
        1
    """

    def __init__(self, *, text_reliability: float = 0.5) -> None:
        if not 0.0 < text_reliability <= 1.0:
            raise ConfigurationError(f"text_reliability is {text_reliability}; it must be above 0 and at most 1")
        self._text_reliability = text_reliability
        self._lock = threading.Lock()
        self._ranker = ""
        self._temperature = 1.0
        self._answers: dict[str, int] = {}
        # by pair of names in sorted order: weight, weighted margin, weighted squared margin
        self._margins: dict[tuple[str, str], tuple[float, float, float]] = {}
        self._prompts = 0
        self._freedom = 0
        # by pair of names in sorted order: number of ratings, wins of the first
        self._judged: dict[tuple[str, str], tuple[float, float]] = {}
        self._rated: list[RatedPair] = []

    @property
    def ranker(self) -> str:
        """Name of the ranker whose scores are kept; empty before the first."""
        return self._ranker

    @property
    def prompts(self) -> int:
        """Rankings seen."""
        return self._prompts

    def observe(self, members: Sequence[str], ranking: Ranking) -> None:
        """Learn from a ranking, before any blending.

        Args:
            members: Name of the member of each candidate.
            ranking: Scores that are not finite are ignored; with fewer than two finite ones nothing is learned.

        Raises:
            ConfigurationError: Names and scores differ in number, another ranker was observed before, or the scores
                are too large to learn from.
        """
        self._check(members, ranking)
        known = [(name, score) for name, score in zip(members, ranking.scores, strict=True) if math.isfinite(score)]
        with self._lock:
            self._belongs(ranking)
            self._prompts += 1
            for name, _ in known:
                self._answers[name] = self._answers.get(name, 0) + 1
            # with the weight 1/k, the sum over pairs is the sum over candidates of centred squares
            weight = 1.0 / max(1, len(known))
            self._freedom += max(0, len(known) - 1)
            for position, (first, one) in enumerate(known):
                for second, other in known[position + 1 :]:
                    if first == second:
                        continue
                    pair, margin = ((first, second), one - other) if first < second else ((second, first), other - one)
                    total, linear, square = self._margins.get(pair, (0.0, 0.0, 0.0))
                    self._margins[pair] = (
                        total + weight,
                        linear + weight * margin,
                        square + weight * margin * margin,
                    )

    def judge(self, better: str, worse: str, probability: float = 1.0) -> None:
        """Add a rating of two members' answers to one prompt.

        Args:
            better: Name of the member whose answer was better.
            worse: Name of the other.
            probability: Probability that it is better, in [0, 1]; 0.5 is a tie.

        Raises:
            ConfigurationError: The same name twice, or a probability outside [0, 1].
        """
        if better == worse or not 0.0 <= probability <= 1.0:
            raise ConfigurationError(
                f"a rating needs two different members and a probability in [0, 1], not {better!r}, {worse!r}, "
                f"{probability}"
            )
        pair, won = ((better, worse), probability) if better < worse else ((worse, better), 1.0 - probability)
        with self._lock:
            count, wins = self._judged.get(pair, (0.0, 0.0))
            self._judged[pair] = (count + 1.0, wins + won)

    def judge_answers(
        self, members: Sequence[str], ranking: Ranking, ratings: Sequence[float], *, smallest_gap: float = 0.0
    ) -> None:
        """Add ratings of the answers to one prompt, with the ranker's scores.

        Unlike :meth:`judge`, it also shows how far to trust the ranker on a text. All pairs of a prompt with k answers
        weigh as much as k - 1 independent pairs.

        Args:
            members: Name of the member of each candidate.
            ranking: The ranker's, before any blending.
            ratings: One for each candidate, higher is better: right or wrong, stars, a judge's score. They are compared
                within this prompt only.
            smallest_gap: Ratings that differ by this much or less count as equal.

        Raises:
            ConfigurationError: Names, scores and ratings differ in number, or a rating is not finite. Or the ranking is
                by another ranker than before, or its scores are too large to learn from.

        Examples:
            >>> prior = MemberPrior()
            >>> ranking = Ranking.from_scores([0.1, 0.0], ranker="example")
            >>> for _ in range(5):
            ...     prior.judge_answers(["small", "large"], ranking, [0, 1])
            >>> prior.blend(["small", "large"], ranking).best
            1
        """
        self._check(members, ranking)
        if len(ratings) != len(members) or not all(map(is_finite, ratings)):
            raise ConfigurationError(
                f"ratings are {list(ratings)}; give a finite number for each of {len(members)} answers"
            )
        known = [
            (name, score, rating)
            for name, score, rating in zip(members, ranking.scores, ratings, strict=True)
            if math.isfinite(score)
        ]
        weight = 2.0 / max(2, len(known))
        found = []
        for position, (first, score, rating) in enumerate(known):
            for second, other, below in known[position + 1 :]:
                if first != second and abs(rating - below) > smallest_gap:
                    found.append(RatedPair(first, second, score - other, float(rating > below), weight))
        with self._lock:
            self._belongs(ranking)
            self._rated.extend(found)

    def strengths(self) -> dict[str, MemberStrength]:
        """Return the estimated strength of each member, by name."""
        return self._known().strengths

    def strongest_first(self, members: Sequence[str]) -> tuple[str, ...]:
        """Order members by strength; equal ones keep the given order, unknown ones count as average.

        Args:
            members: Names of members.

        Returns:
            The same names, strongest first.
        """
        strengths = self.strengths()
        return tuple(sorted(members, key=lambda name: -round(strengths[name].mean, 9) if name in strengths else 0.0))

    def preference(self, first: str, second: str) -> float:
        """Return the probability that a member's answer to some prompt is better than another's.

        Args:
            first: Name of a member.
            second: Name of another.

        Returns:
            In (0, 1); 0.5 if nothing is known of one of them.
        """
        strengths = self.strengths()
        if first not in strengths or second not in strengths:
            return 0.5
        ahead = (strengths[first].mean - strengths[second].mean) / self._temperature
        return 0.5 * (1.0 + math.tanh(0.5 * ahead))

    def _known(self) -> _Known:
        """Fit the strengths, and the trust in the ranker's scores."""
        with self._lock:
            answers, margins, judged = dict(self._answers), dict(self._margins), dict(self._judged)
            freedom, temperature, rated = self._freedom, self._temperature, list(self._rated)
        import numpy as np

        for (first, second), (count, wins) in judged.items():
            rated += [
                RatedPair(first, second, None, won, part) for won, part in ((1.0, wins), (0.0, count - wins)) if part
            ]
        names = sorted({*answers, *(name for pair in rated for name in pair[:2])})
        if not names:
            return _Known({}, 1.0)
        index = {name: position for position, name in enumerate(names)}
        mean, covariance = strengths_from_scores(index, margins, freedom)
        trust, factor = 1.0, self._factor
        if rated and factor:
            fit = fit_ratings(index, rated, mean, temperature=temperature, factor=factor)
            trust = fit.trust
            mean = trust * mean + fit.extra / factor
            covariance = trust**2 * covariance + fit.covariance / factor**2
        # scores do not show the common level of all members, so its variance is removed
        centre = np.eye(len(names)) - 1.0 / len(names)
        mean, covariance = centre @ mean, centre @ covariance @ centre
        deviations = np.sqrt(np.maximum(np.diag(covariance), 0.0))
        strengths = {
            name: MemberStrength(float(mean[i]), float(deviations[i]), answers.get(name, 0))
            for name, i in index.items()
        }
        return _Known(strengths, trust)

    def blend(self, members: Sequence[str], ranking: Ranking, texts: Sequence[str] | None = None) -> Ranking:
        """Blend the strengths into a ranking.

        The posterior mean of a candidate's quality is ``r * score + (1 - r) * strength`` with r the reliability of the
        text's score. It is divided by r, so that scores and comparisons stay on the ranker's scale. After
        :meth:`judge_answers` the ranker's scores are multiplied by the trust fitted to your ratings. Members that
        were never seen count as average.

        Args:
            members: Name of the member of each candidate.
            ranking: The ranker's, before any blending.
            texts: The candidates, so that copies of one text still share a score: that of their strongest member.

        Returns:
            A new ranking; the same one if nothing is known.

        Raises:
            ConfigurationError: Names and scores differ in number.
        """
        self._check(members, ranking)
        strengths, trust = self._known()
        factor = self._factor
        shifts = [factor * strengths[name].mean if name in strengths else 0.0 for name in members]
        if not any(shifts):
            return ranking
        if texts is not None:
            positions = distinct_candidates(texts).positions
            shifts = [
                max(other for other, same in zip(shifts, positions, strict=True) if same == own) for own in positions
            ]
        scores = [
            round(trust * score + shift, 6) if math.isfinite(score) else score
            for score, shift in zip(ranking.scores, shifts, strict=True)
        ]
        comparisons = ranking.comparisons
        if comparisons is not None:
            moved = [
                after - trust * before if math.isfinite(before) else 0.0
                for before, after in zip(ranking.scores, scores, strict=True)
            ]
            comparisons = tuple(
                tuple(trust * value + moved[i] - moved[j] for j, value in enumerate(row))
                for i, row in enumerate(comparisons)
            )
        return Ranking.from_scores(
            scores,
            ranker=ranking.ranker,
            comparisons=comparisons,
            temperature=ranking.temperature,
            cut=ranking.cut,
        )

    def to_dict(self) -> dict[str, Any]:
        """Turn the state into plain JSON types; :meth:`from_dict` reads it back."""
        with self._lock:
            return {
                "format": _FORMAT,
                "text_reliability": self._text_reliability,
                "ranker": self._ranker,
                "temperature": self._temperature,
                "prompts": self._prompts,
                "freedom": self._freedom,
                "answers": dict(sorted(self._answers.items())),
                "margins": [[*pair, *sums] for pair, sums in sorted(self._margins.items())],
                "judged": [[*pair, *sums] for pair, sums in sorted(self._judged.items())],
                "rated": [list(pair) for pair in self._rated],
            }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> MemberPrior:
        """Build from the result of :meth:`to_dict`.

        Raises:
            ConfigurationError: A field is missing, of the wrong type or out of range; load an older copy.
        """
        try:
            if data["format"] not in _READ_FORMATS:
                raise ConfigurationError(
                    f"format {data['format']!r} of a member prior is not known; this version reads {_READ_FORMATS}"
                )
            prior = cls(text_reliability=float(data["text_reliability"]))
            prior._ranker = str(data["ranker"])
            prior._temperature = float(data["temperature"])
            prior._prompts, prior._freedom = int(data["prompts"]), int(data["freedom"])
            prior._answers = {str(name): int(count) for name, count in data["answers"].items()}
            prior._margins = {(str(a), str(b)): (float(w), float(m), float(s)) for a, b, w, m, s in data["margins"]}
            prior._judged = {(str(a), str(b)): (float(n), float(w)) for a, b, n, w in data["judged"]}
            prior._rated = [
                RatedPair(str(a), str(b), float(margin), float(won), float(weight))
                for a, b, margin, won, weight in data.get("rated", ())
            ]
        except (AttributeError, KeyError, OverflowError, TypeError, ValueError) as error:
            raise ConfigurationError(f"this is no saved member prior ({type(error).__name__}: {error})") from error
        problem = state_problem(
            temperature=prior._temperature,
            counts={"prompts": prior._prompts, "freedom": prior._freedom},
            answers=prior._answers,
            margins=prior._margins,
            judged=prior._judged,
            rated=prior._rated,
        )
        if problem is not None:
            raise ConfigurationError(
                f"this saved member prior is damaged: {problem}; load an older copy, or begin with MemberPrior()"
            )
        return prior

    def save(self, path: str | Path) -> None:
        """Write the state as JSON."""
        Path(path).write_text(json.dumps(self.to_dict(), indent=1) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: str | Path) -> MemberPrior:
        """Read a file that :meth:`save` wrote.

        Raises:
            ConfigurationError: The file cannot be read, or is no saved prior.
        """
        try:
            return cls.from_dict(json.loads(Path(path).read_text(encoding="utf-8")))
        except (OSError, ValueError) as error:
            raise ConfigurationError(f"the member prior in {path} cannot be read: {error}") from error

    def __reduce__(self) -> tuple[Any, ...]:
        # a lock cannot be pickled; a copy learns independently
        return MemberPrior.from_dict, (self.to_dict(),)

    @property
    def _factor(self) -> float:
        """Weight of a member's strength relative to the score of a text."""
        return (1.0 - self._text_reliability) / self._text_reliability

    def _belongs(self, ranking: Ranking) -> None:
        """Reject a ranking by another ranker or with unusable scores; the lock is held."""
        if self._ranker and ranking.ranker != self._ranker:
            raise ConfigurationError(
                f"this prior holds scores of the ranker {self._ranker!r} and was given one of {ranking.ranker!r}, "
                "whose scale is another; use one MemberPrior for each ranker"
            )
        problem = ranking_problem(ranking)
        if problem is not None:
            raise ConfigurationError(problem)
        self._ranker, self._temperature = ranking.ranker, ranking.temperature

    def _check(self, members: Sequence[str], ranking: Ranking) -> None:
        if len(members) != len(ranking.scores):
            raise ConfigurationError(f"{len(members)} member names for {len(ranking.scores)} candidates; give one each")

    def __repr__(self) -> str:
        return f"MemberPrior({len(self._answers)} members, {self._prompts} prompts, ranker={self._ranker!r})"
