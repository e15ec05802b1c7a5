"""What the comparisons so far say of each member, and how it is blended with the score of a new answer.

A weak ranker sees little in one answer, but it sees every member on many prompts. Its own scores, without any label,
tell how strong each member is; that knowledge helps to judge the member's next answer.

The model is that of empirical Bayes (Efron and Morris 1973). On one prompt the ranker's score of member m's answer is
``prompt effect + strength of m + what is special about this answer``. Strengths are normal around 0 with a variance
that is estimated from the scores themselves, so where members do not differ, nothing is blended in. Only sums over
pairs of members are kept: the state is small, and the order of the prompts does not matter.
"""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from blender_core.errors import ConfigurationError
from blender_core.rank.distinct import distinct_candidates
from blender_core.rank.ranking import Ranking

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Array = npt.NDArray[np.float64]

__all__ = ["MemberPrior", "MemberStrength"]

_FORMAT = 1
_EM_STEPS = 50
_NEWTON_STEPS = 25


@dataclass(frozen=True, slots=True)
class MemberStrength:
    """What is known of one member.

    Attributes:
        mean: Expected score above the average member, on the ranker's scale.
        deviation: Standard deviation of that estimate.
        answers: Answers seen.
    """

    mean: float
    deviation: float
    answers: int


class MemberPrior:
    """The strength of each member, learned from a ranker's scores without labels. Safe to use from several threads.

    You hold it: give the same object to a ``Blender`` from start to start, save it, load it, or throw it away when the
    members change their nature. A blender uses it for every ranking and then adds that ranking to it.

    Args:
        text_reliability: In (0, 1]: how far the ranker's view of one answer is to be trusted against the member's
            strength; 1 ignores the strengths. The default was chosen on held-out training prompts for the embedded
            ranker (``docs/ranker.md``).

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
        # by pair of names in sorted order: how often judged, how often the first was the better one
        self._judged: dict[tuple[str, str], tuple[float, float]] = {}

    @property
    def ranker(self) -> str:
        """Name of the ranker whose scores are kept; empty before the first."""
        return self._ranker

    @property
    def prompts(self) -> int:
        """Rankings seen."""
        return self._prompts

    def observe(self, members: Sequence[str], ranking: Ranking) -> None:
        """Add a ranking, as the ranker gave it, before any blending.

        Args:
            members: Name of the member of each candidate.
            ranking: Scores that are not finite are left out; with fewer than two others nothing is learned.

        Raises:
            ConfigurationError: Names and scores differ in number, or another ranker was observed before.
        """
        self._check(members, ranking)
        known = [(name, score) for name, score in zip(members, ranking.scores, strict=True) if math.isfinite(score)]
        with self._lock:
            if self._ranker and ranking.ranker != self._ranker:
                raise ConfigurationError(
                    f"this prior holds scores of the ranker {self._ranker!r} and was given one of {ranking.ranker!r}, "
                    "whose scale is another; use one MemberPrior for each ranker"
                )
            self._ranker, self._temperature = ranking.ranker, ranking.temperature
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
        """Add a verdict of your own on a prompt that both members answered.

        Args:
            better: Name of the member whose answer was better.
            worse: Name of the other.
            probability: How sure the verdict is, in [0, 1]; 0.5 is a tie.

        Raises:
            ConfigurationError: The same name twice, or a probability outside [0, 1].
        """
        if better == worse or not 0.0 <= probability <= 1.0:
            raise ConfigurationError(
                f"a verdict needs two different members and a probability in [0, 1], not {better!r}, {worse!r}, "
                f"{probability}"
            )
        pair, won = ((better, worse), probability) if better < worse else ((worse, better), 1.0 - probability)
        with self._lock:
            count, wins = self._judged.get(pair, (0.0, 0.0))
            self._judged[pair] = (count + 1.0, wins + won)

    def strengths(self) -> dict[str, MemberStrength]:
        """What is known of each member, by name."""
        with self._lock:
            answers, margins, judged = dict(self._answers), dict(self._margins), dict(self._judged)
            freedom, temperature = self._freedom, self._temperature
        import numpy as np

        names = sorted({*answers, *(name for pair in judged for name in pair)})
        if not names:
            return {}
        index = {name: position for position, name in enumerate(names)}
        mean, covariance, between = _empirical_bayes(index, margins, freedom)
        if judged:
            mean, covariance = _with_verdicts(index, judged, mean, covariance, between, temperature)
        # scores tell members apart, not their common level: that part of the doubt is left out
        centre = np.eye(len(names)) - 1.0 / len(names)
        mean, covariance = centre @ mean, centre @ covariance @ centre
        deviations = np.sqrt(np.maximum(np.diag(covariance), 0.0))
        return {
            name: MemberStrength(float(mean[i]), float(deviations[i]), answers.get(name, 0))
            for name, i in index.items()
        }

    def blend(self, members: Sequence[str], ranking: Ranking, texts: Sequence[str] | None = None) -> Ranking:
        """Blend the strengths into a ranking.

        The posterior mean of a candidate's quality is ``r * score + (1 - r) * strength`` with r the reliability of the
        text's score. It is divided by r, so that scores and comparisons stay on the ranker's scale. Members that were
        never seen count as average.

        Args:
            members: Name of the member of each candidate.
            ranking: As the ranker gave it.
            texts: The candidates, so that copies of one text still share a score: the strongest of their members
                speaks for all.

        Returns:
            A new ranking; the same one while nothing is known.

        Raises:
            ConfigurationError: Names and scores differ in number.
        """
        self._check(members, ranking)
        strengths = self.strengths()
        factor = (1.0 - self._text_reliability) / self._text_reliability
        shifts = [factor * strengths[name].mean if name in strengths else 0.0 for name in members]
        if not any(shifts):
            return ranking
        if texts is not None:
            positions = distinct_candidates(texts).positions
            shifts = [
                max(other for other, same in zip(shifts, positions, strict=True) if same == own) for own in positions
            ]
        scores = [
            round(score + shift, 6) if math.isfinite(score) else score
            for score, shift in zip(ranking.scores, shifts, strict=True)
        ]
        comparisons = ranking.comparisons
        if comparisons is not None:
            moved = [
                after - before if math.isfinite(before) else 0.0
                for before, after in zip(ranking.scores, scores, strict=True)
            ]
            comparisons = tuple(
                tuple(value + moved[i] - moved[j] for j, value in enumerate(row)) for i, row in enumerate(comparisons)
            )
        return Ranking.from_scores(
            scores,
            ranker=ranking.ranker,
            comparisons=comparisons,
            temperature=ranking.temperature,
            cut=ranking.cut,
        )

    def to_dict(self) -> dict[str, Any]:
        """The state as plain JSON types; :meth:`from_dict` reads it back."""
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
            }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> MemberPrior:
        """Build from the result of :meth:`to_dict`.

        Raises:
            ConfigurationError: A field is missing or of the wrong kind.
        """
        try:
            if data["format"] != _FORMAT:
                raise ConfigurationError(f"format {data['format']!r} of a member prior is not known; this one is 1")
            prior = cls(text_reliability=float(data["text_reliability"]))
            prior._ranker = str(data["ranker"])
            prior._temperature = float(data["temperature"])
            prior._prompts, prior._freedom = int(data["prompts"]), int(data["freedom"])
            prior._answers = {str(name): int(count) for name, count in data["answers"].items()}
            prior._margins = {(str(a), str(b)): (float(w), float(m), float(s)) for a, b, w, m, s in data["margins"]}
            prior._judged = {(str(a), str(b)): (float(n), float(w)) for a, b, n, w in data["judged"]}
        except (KeyError, TypeError, ValueError) as error:
            raise ConfigurationError(f"this is no saved member prior ({type(error).__name__}: {error})") from error
        return prior

    def save(self, path: str | Path) -> None:
        """Write the state as JSON."""
        Path(path).write_text(json.dumps(self.to_dict(), indent=1) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: str | Path) -> MemberPrior:
        """Read what :meth:`save` wrote.

        Raises:
            ConfigurationError: The file cannot be read, or holds something else.
        """
        try:
            return cls.from_dict(json.loads(Path(path).read_text(encoding="utf-8")))
        except (OSError, ValueError) as error:
            raise ConfigurationError(f"the member prior in {path} cannot be read: {error}") from error

    def __reduce__(self) -> tuple[Any, ...]:
        # a lock cannot be pickled; a copy learns for itself
        return MemberPrior.from_dict, (self.to_dict(),)

    def _check(self, members: Sequence[str], ranking: Ranking) -> None:
        if len(members) != len(ranking.scores):
            raise ConfigurationError(f"{len(members)} member names for {len(ranking.scores)} candidates; give one each")

    def __repr__(self) -> str:
        return f"MemberPrior({len(self._answers)} members, {self._prompts} prompts, ranker={self._ranker!r})"


def _empirical_bayes(
    index: Mapping[str, int], margins: Mapping[tuple[str, str], tuple[float, float, float]], freedom: int
) -> tuple[Array, Array, float]:
    """Posterior mean and covariance of the strengths, and the variance between members, by EM."""
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
        return np.zeros(size), np.zeros((size, size)), 0.0
    within = between = squares / freedom
    mean: npt.NDArray[Any] = np.zeros(size)
    covariance: npt.NDArray[Any] = np.zeros((size, size))
    for _ in range(_EM_STEPS):
        covariance = np.linalg.inv(laplacian / within + np.eye(size) / between)
        mean = covariance @ right / within
        residual = squares - 2.0 * float(mean @ right) + float(mean @ laplacian @ mean)
        within = max((residual + float(np.trace(laplacian @ covariance))) / freedom, 1e-9 * squares / freedom)
        between = max((float(mean @ mean) + float(np.trace(covariance))) / size, 1e-9 * squares / freedom)
    return mean, covariance, between


def _with_verdicts(
    index: Mapping[str, int],
    judged: Mapping[tuple[str, str], tuple[float, float]],
    mean: Array,
    covariance: Array,
    between: float,
    temperature: float,
) -> tuple[Array, Array]:
    """Posterior mode and curvature after verdicts: logistic likelihood, normal prior from the ranker's scores.

    However many scores there are, the ranker may be wrong about a member. Half the spread of the members is allowed
    for that (all of it, on the scale of one logit, while there are no scores), so that enough verdicts outvote it.
    """
    import numpy as np

    size = len(index)
    doubt = between / 4.0 if between > 0.0 else temperature * temperature
    precision = np.linalg.inv(covariance + doubt * np.eye(size))
    strengths = mean.copy()
    curvature = precision
    for _ in range(_NEWTON_STEPS):
        gradient, curvature = precision @ (mean - strengths), precision.copy()
        for (first, second), (count, wins) in judged.items():
            i, j = index[first], index[second]
            chance = 1.0 / (1.0 + math.exp(-max(-60.0, min(60.0, (strengths[i] - strengths[j]) / temperature))))
            pull = (wins - count * chance) / temperature
            gradient[i] += pull
            gradient[j] -= pull
            bend = count * chance * (1.0 - chance) / temperature**2
            curvature[[i, j], [i, j]] += bend
            curvature[[i, j], [j, i]] -= bend
        step = np.linalg.solve(curvature, gradient)
        strengths = strengths + step
        if float(np.abs(step).max()) < 1e-9:
            break
    return strengths, np.linalg.inv(curvature)
