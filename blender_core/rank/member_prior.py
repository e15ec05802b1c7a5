"""What the comparisons so far say of each member, and how it is blended with the score of a new answer.

A weak ranker sees little in one answer, but it sees every member on many prompts. Its own scores, without any label,
tell how strong each member is; that knowledge helps to judge the member's next answer.

The model is that of empirical Bayes (Efron and Morris 1973). On one prompt the ranker's score of member m's answer is
``prompt effect + strength of m + what is special about this answer``. Strengths are normal around 0 with a variance
that is estimated from the scores themselves, so where members do not differ, nothing is blended in. Only sums over
pairs of members are kept: the state is small, and the order of the prompts does not matter.

Scores alone say what the ranker believes, right or wrong. A few prompts that the user judged say how far it is to be
trusted, and what it does not see of a member (``member_strengths``).
"""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from blender_core.errors import ConfigurationError
from blender_core.rank.member_prior_checks import is_finite, ranking_problem, state_problem
from blender_core.rank.member_strengths import Verdict, fit_verdicts, strengths_from_scores
from blender_core.text.distinct import distinct_candidates
from blender_core.types.ranking import Ranking

__all__ = ["MemberPrior", "MemberStrength"]

_FORMAT = 2
_READ_FORMATS = (1, 2)


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


class _Known(NamedTuple):
    strengths: dict[str, MemberStrength]
    trust: float


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
        self._rated: list[Verdict] = []

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

    def judge_answers(
        self, members: Sequence[str], ranking: Ranking, ratings: Sequence[float], *, smallest_gap: float = 0.0
    ) -> None:
        """Add your own ratings of the answers to one prompt, with what the ranker said of them.

        This tells more than :meth:`judge`: it also shows how far the ranker is to be trusted on a text. All verdicts of
        a prompt with k answers weigh as k - 1 independent ones.

        Args:
            members: Name of the member of each candidate.
            ranking: As the ranker gave it, before any blending.
            ratings: Of each candidate, higher is better: right or wrong, stars, a judge's score. They are compared
                within this prompt alone.
            smallest_gap: Ratings that differ by this much or less are no verdict.

        Raises:
            ConfigurationError: Names, scores and ratings differ in number, a rating is not finite, the ranking is of
                another ranker than those before, or its scores are too large to learn from.

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
                    found.append(Verdict(first, second, score - other, float(rating > below), weight))
        with self._lock:
            self._belongs(ranking)
            self._rated.extend(found)

    def strengths(self) -> dict[str, MemberStrength]:
        """What is known of each member, by name."""
        return self._known().strengths

    def _known(self) -> _Known:
        """The strengths, and how far the ranker's scores are to be trusted."""
        with self._lock:
            answers, margins, judged = dict(self._answers), dict(self._margins), dict(self._judged)
            freedom, temperature, rated = self._freedom, self._temperature, list(self._rated)
        import numpy as np

        for (first, second), (count, wins) in judged.items():
            rated += [
                Verdict(first, second, None, won, part) for won, part in ((1.0, wins), (0.0, count - wins)) if part
            ]
        names = sorted({*answers, *(name for verdict in rated for name in verdict[:2])})
        if not names:
            return _Known({}, 1.0)
        index = {name: position for position, name in enumerate(names)}
        mean, covariance = strengths_from_scores(index, margins, freedom)
        trust, factor = 1.0, self._factor
        if rated and factor:
            fit = fit_verdicts(index, rated, mean, temperature=temperature, factor=factor)
            trust = fit.trust
            mean = trust * mean + fit.extra / factor
            covariance = trust**2 * covariance + fit.covariance / factor**2
        # scores tell members apart, not their common level: that part of the doubt is left out
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
        :meth:`judge_answers` the ranker's scores are multiplied by the trust that your ratings gave them. Members that
        were never seen count as average.

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
                "rated": [list(verdict) for verdict in self._rated],
            }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> MemberPrior:
        """Build from the result of :meth:`to_dict`.

        Raises:
            ConfigurationError: A field is missing, of the wrong kind, or holds what no prior writes.
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
                Verdict(str(a), str(b), float(margin), float(won), float(weight))
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

    @property
    def _factor(self) -> float:
        """Weight of a member's strength against the score of a text."""
        return (1.0 - self._text_reliability) / self._text_reliability

    def _belongs(self, ranking: Ranking) -> None:
        """Refuse a ranking on another scale or without one; the lock is held."""
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
