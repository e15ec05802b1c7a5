"""Keep the strength of each member, declared, rated or learned, and blend it into rankings.

A weak ranker learns little from one answer, but it scores every member on many prompts. Its scores estimate the
strength of each member without any label. That estimate improves the ranking of the next answers.

Scores alone show the ranker's opinion, right or wrong. A few prompts rated by the user show how far to trust it, and
the strength of members that it does not see. A declaration says it before anything was seen. The model is in
``member_strength.py``. Only sums over pairs of members and the ratings are kept: the state is small, and the order of
the prompts does not matter.
"""

from __future__ import annotations

import importlib.resources
import json
import math
import re
import uuid
import warnings
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from blender_core.errors import ConfigurationError
from blender_core.rank.member_strength import (
    MemberStrength,
    RatedPair,
    StrengthFit,
    fit_strengths,
    strengths_from_scores,
)
from blender_core.rank.prior_file import KeptState, read_state, write_json_file
from blender_core.rank.prior_state import LARGEST, PriorState, RankerRecord, RatedPrompt, is_finite, prompt_key
from blender_core.runtime.keywords import nearest
from blender_core.runtime.numbers import check_number
from blender_core.text.distinct import distinct_candidates
from blender_core.types.ranking import Ranking

__all__ = ["MemberPrior"]

_TEXT_RELIABILITY = 0.5
# of a declared order: each member is better than the next on three of four prompts, the first on at most 27 of 28
_ORDER_STEP, _ORDER_RANGE = math.log(3.0), math.log(27.0)
# how a blend names a member that is there again
_FURTHER = re.compile(r"#\d+$")


class MemberPrior:
    """Knows the strength of each member: declared by you, rated by you, or learned from rankings.

    Safe to use from several threads.

    - **Declared**: ``MemberPrior.declared({"gpt": 0.8, "llama": 0.5})``, before anything was seen.
    - **Rated**: ``judge`` and ``judge_answers``, or the command ``blended-llm rate``.
    - **Learned**: a blend applies the prior to every ranking and then adds that ranking (``observe``).

    A further answer of a member, named ``"a#2"``, counts as that of ``"a"`` until it is known by its own name.

    Declarations and ratings count with every ranker. A rating's margin counts with the ranker that made it; with
    another one only who was better counts. What was learned from the scores of a ranker counts with that ranker alone.

    You own the object: pass it to each new ``Blender``. Discard it if the models behind the names change. With
    ``path`` it keeps itself in a file that several processes may share: ratings are saved at once, learned rankings
    some seconds later or at the end of the program.

    Args:
        path: JSON file that is read if it is there, and then kept up to date. Default: the prior is in memory only.
        text_reliability: Weight of the ranker's score of one answer against the member's strength, in (0, 1]; 1 ignores
            the strengths. Default: the file's, else 0.5, which was chosen on held-out training prompts for the embedded
            ranker (``research/ranker.md``).

    Raises:
        ConfigurationError: ``text_reliability`` is outside (0, 1], or the file cannot be read.

    Examples:
        >>> prior = MemberPrior(text_reliability=0.2)
        >>> for noise in (0.1, -0.1, 0.2, -0.2):
        ...     prior.observe(["strong", "weak"], Ranking.from_scores([1.0 + noise, -1.0], ranker="example"))
        >>> prior.blend(["weak", "strong"], Ranking.from_scores([0.2, 0.0], ranker="example")).best
        1
    """

    # logits that a further answer, not known by its own name, counts less
    _sampled = 0.0

    def __init__(self, *, path: str | Path | None = None, text_reliability: float | None = None) -> None:
        check_number("text_reliability", text_reliability, above=0, most=1, none="the default")
        start = PriorState(text_reliability=text_reliability)
        self._kept = KeptState(start, None if path is None else Path(path).expanduser())
        # by ranker: the version of the state, and what was fitted to it
        self._fits: dict[str, tuple[int, StrengthFit | None]] = {}
        if path is not None:
            # also at the end of the program
            weakref.finalize(self, self._kept.close)

    @classmethod
    def declared(
        cls,
        strengths: Mapping[str, float] | Sequence[str],
        *,
        path: str | Path | None = None,
        text_reliability: float | None = None,
    ) -> MemberPrior:
        """Make a prior from what you know of the members.

        Shares of 0.8 and 0.5 say that the first member is better on four of five prompts on which one of two is
        right. That lets it win unless the ranker is surer of the other answer. A declaration counts like about 20
        ratings of each pair: odds of 3 to 1 are turned round by about 11 ratings that all say the opposite. What is
        learned from rankings counts half beside it. Members that are not declared count as average.

        Args:
            strengths: Share of prompts that each member answers well, in (0, 1), by name. Or names, best first: each
                is better than the next on three of four prompts; in long lists less, so that the first is better
                than the last on at most 27 of 28.
            path: As in ``MemberPrior``; replaces what the file declares and keeps its ratings.
            text_reliability: As in ``MemberPrior``.

        Returns:
            The prior.

        Raises:
            ConfigurationError: A share is outside (0, 1), a name is there twice, or fewer than two are given.

        Examples:
            >>> prior = MemberPrior.declared(["gpt", "llama"])
            >>> prior.strongest_first(["llama", "gpt"]), round(prior.preference("gpt", "llama"), 2)
            (('gpt', 'llama'), 0.74)
        """
        prior = cls(path=path, text_reliability=text_reliability)
        prior._kept.add(PriorState(declared=_declared_logits(strengths)), at_once=True)
        return prior

    @classmethod
    def of_catalogue(cls, members: Sequence[str] | None = None) -> MemberPrior:
        """Make the prior of the local models, from checked answers to prompts that no test uses.

        A blend of local models alone takes it if you give no prior. A model that it does not know counts as average.

        Args:
            members: Names of the members that will be blended. How far the ranker can be trusted depends on whom it
                compares, so the ratings are those of its scores among these models alone. Default, and if a model is
                not known: of its scores among all local models.

        Returns:
            The prior. It is in memory only, and learns from ratings, not from rankings.
        """
        file = importlib.resources.files("blender_core.local") / "catalogue_prior.json"
        state = json.loads(file.read_text(encoding="utf-8"))
        sets = {frozenset(rated["members"]) for rated in state["rated"].values()}
        models = frozenset(map(_model, members or ()))
        wanted = models if models in sets else max(sets, key=len)
        state["rated"] = {key: rated for key, rated in state["rated"].items() if wanted == frozenset(rated["members"])}
        return _CataloguePrior.from_dict(state)

    @property
    def path(self) -> Path | None:
        """File that the prior keeps itself in; ``None`` if it is in memory only."""
        return self._kept.path

    @property
    def ranker(self) -> str:
        """Name of the ranker seen last; empty before the first."""
        return self._kept.state.ranker

    @property
    def prompts(self) -> int:
        """Rankings learned from, of all rankers."""
        return sum(record.prompts for record in self._kept.copy().rankers.values())

    def observe(self, members: Sequence[str], ranking: Ranking) -> None:
        """Learn from a ranking, before any blending.

        Args:
            members: Name of the member of each candidate.
            ranking: Scores that are not finite are ignored; with fewer than two finite ones nothing is learned.

        Raises:
            ConfigurationError: Names and scores differ in number, or the scores are too large to learn from. Or it was
                learned, but could not be saved; it is then saved later.
        """
        _check(members, ranking)
        logits = _logits(ranking)
        known = [(name, score) for name, score in zip(members, logits, strict=True) if math.isfinite(score)]
        change = PriorState(ranker=ranking.ranker, rankers={ranking.ranker: RankerRecord.of(known)})
        self._kept.add(change, at_once=False)

    def judge(self, better: str, worse: str, probability: float = 1.0) -> None:
        """Add a rating of two members' answers to one prompt.

        Args:
            better: Name of the member whose answer was better.
            worse: Name of the other.
            probability: Probability that it is better, in [0, 1]; 0.5 is a tie.

        Raises:
            ConfigurationError: The same name twice, or a probability outside [0, 1]. Or it could not be saved.
        """
        if better == worse or not 0.0 <= probability <= 1.0:
            raise ConfigurationError(
                f"a rating needs two different members and a probability in [0, 1], not {better!r}, {worse!r}, "
                f"{probability}"
            )
        pair, won = ((better, worse), probability) if better < worse else ((worse, better), 1.0 - probability)
        self._kept.add(PriorState(judged={pair: (1.0, won)}), at_once=True)

    def judge_answers(
        self,
        members: Sequence[str],
        ranking: Ranking,
        ratings: Sequence[float],
        *,
        smallest_gap: float = 0.0,
        prompt: str = "",
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
            prompt: The prompt. If it is given, a later rating of the same prompt and members replaces this one, and
                :meth:`is_rated` knows it. Only a hash is kept.

        Raises:
            ConfigurationError: Names, scores and ratings differ in number, a rating is not finite, or the scores are
                too large to learn from. Or it could not be saved.

        Examples:
            >>> prior = MemberPrior()
            >>> ranking = Ranking.from_scores([0.1, 0.0], ranker="example")
            >>> for _ in range(5):
            ...     prior.judge_answers(["small", "large"], ranking, [0, 1])
            >>> prior.blend(["small", "large"], ranking).best
            1
        """
        _check(members, ranking)
        if len(ratings) != len(members) or not all(map(is_finite, ratings)) or not 0.0 <= smallest_gap < math.inf:
            raise ConfigurationError(
                f"ratings are {list(ratings)}; give a finite number for each of {len(members)} answers"
            )
        rows = [row for row in zip(members, _logits(ranking), ratings, strict=True) if math.isfinite(row[1])]
        rated = RatedPrompt(
            ranker=ranking.ranker,
            members=tuple(name for name, _, _ in rows),
            scores=tuple(score for _, score, _ in rows),
            ratings=tuple(float(rating) for _, _, rating in rows),
            gap=float(smallest_gap),
            weight=2.0 / max(2, len(rows)),
        )
        key = prompt_key(prompt, members) if prompt else uuid.uuid4().hex
        self._kept.add(PriorState(ranker=ranking.ranker, rated={key: rated}), at_once=True)

    def is_rated(self, prompt: str, members: Sequence[str]) -> bool:
        """Whether :meth:`judge_answers` was told of this prompt's answers by these members.

        Args:
            prompt: The prompt.
            members: Names of the members, in any order.
        """
        return self._kept.state.rated.get(prompt_key(prompt, members)) is not None

    def forget(self, prompt: str, members: Sequence[str]) -> None:
        """Take a rating of :meth:`judge_answers` back.

        Args:
            prompt: The prompt.
            members: Names of the members, in any order.

        Raises:
            ConfigurationError: There is no such rating, or it could not be saved.
        """
        if not self.is_rated(prompt, members):
            raise ConfigurationError(f"no rating of {prompt[:80]!r} with answers of {list(members)} is known")
        self._kept.add(PriorState(rated={prompt_key(prompt, members): None}), at_once=True)

    def strengths(self) -> dict[str, MemberStrength]:
        """Return the estimated strength of each member by name, with the ranker seen last."""
        fit = self._fit(self.ranker)
        if fit is None:
            return {}
        record = self._kept.copy().rankers.get(self.ranker, RankerRecord())
        return {
            name: MemberStrength(
                float(fit.seen[place] + fit.extra[place]),
                math.sqrt(max(0.0, float(fit.covariance[place, place]))),
                record.answers.get(name, 0),
            )
            for name, place in fit.index.items()
        }

    def strongest_first(self, members: Sequence[str]) -> tuple[str, ...]:
        """Order members by strength; equal ones keep the given order, unknown ones count as average.

        Args:
            members: Names of members.

        Returns:
            The same names, strongest first.

        Examples:
            >>> MemberPrior.declared({"gpt": 0.8, "llama": 0.5}).strongest_first(["llama", "other", "gpt"])
            ('gpt', 'other', 'llama')
        """
        fit = self._fit(self.ranker)
        if fit is None:
            return tuple(members)
        # rounded, so that equal members are equal whatever the order of summing
        strength = {name: round(float(fit.seen[place] + fit.extra[place]), 9) for name, place in fit.index.items()}
        return tuple(sorted(members, key=lambda name: -strength.get(name, strength.get(_model(name), 0.0))))

    def preference(self, first: str, second: str) -> float:
        """Return the probability that a member's answer to some prompt is better than another's.

        An uncertain strength draws it towards 0.5.

        Args:
            first: Name of a member.
            second: Name of another.

        Returns:
            In (0, 1); 0.5 if nothing is known of one of them.
        """
        fit = self._fit(self.ranker)
        one, other = (None, None) if fit is None else (_place(fit, first), _place(fit, second))
        if fit is None or one is None or other is None:
            return 0.5
        strength, covariance = fit.seen + fit.extra, fit.covariance
        variance = float(covariance[one, one] + covariance[other, other] - 2.0 * covariance[one, other])
        # the mean of a sigmoid over a normal logit (MacKay 1992)
        logit = float(strength[one] - strength[other]) / math.sqrt(1.0 + math.pi / 8.0 * max(0.0, variance))
        return 0.5 * (1.0 + math.tanh(0.5 * logit))

    def check_names(self, members: Sequence[str]) -> None:
        """Tell which names that it knows no member has; a blend asks this when it is made.

        Args:
            members: Names of the members.

        Raises:
            ConfigurationError: Members are declared, and none of them is a member of the blend.

        Warns:
            UserWarning: A declared member is not in the blend, or nothing is known of any of its members.

        Examples:
            >>> MemberPrior.declared(["gpt", "llama"]).check_names(["a", "b"])
            Traceback (most recent call last):
            ...
            blender_core.errors.ConfigurationError: the member prior declares gpt, llama, and the members are a, b; \
declare them by these names
        """
        state = self._kept.copy()
        there = {*members, *map(_model, members)}
        known = {name for record in state.rankers.values() for name in record.answers}
        known |= {name for pair in state.judged for name in pair}
        known |= {name for rated in state.rated_prompts().values() for name in rated.members}
        lost = [name for name in state.declared if name not in there]
        if lost and len(lost) == len(state.declared):
            raise ConfigurationError(
                f"the member prior declares {', '.join(lost)}, and the members are {', '.join(members)}; declare them "
                "by these names"
            )
        if lost:
            told = ", ".join(f"{name}{nearest(name, members)}" for name in lost)
            warnings.warn(f"the member prior declares members that are not in this blend: {told}", stacklevel=2)
        elif known and not state.declared and not known & there:
            warnings.warn(
                f"the member prior knows {', '.join(sorted(known))}, and none of the members {', '.join(members)}; "
                "they count as equal until it has learned more",
                stacklevel=2,
            )

    def _fit(self, ranker: str) -> StrengthFit | None:
        """Fit the strengths for a ranker, or take the fit that is still good; ``None`` if nothing is known."""
        version = self._kept.version
        held = self._fits.get(ranker)
        if held is None or held[0] != version:
            held = (version, _fitted(self._kept.copy(), ranker, self._factor))
            self._fits[ranker] = held
        return held[1]

    def blend(self, members: Sequence[str], ranking: Ranking, texts: Sequence[str] | None = None) -> Ranking:
        """Blend the strengths into a ranking.

        The posterior mean of a candidate's quality is ``r * score + (1 - r) * strength`` with r the reliability of the
        text's score. It is divided by r, so that scores and comparisons stay on the ranker's scale. After
        :meth:`judge_answers` the ranker's scores are multiplied by the trust fitted to your ratings. Declared and
        rated strengths are added as they are. Members of which nothing is known count as average.

        Args:
            members: Name of the member of each candidate.
            ranking: The ranker's, before any blending.
            texts: The candidates, so that copies of one text still share a score: that of their strongest member.

        Returns:
            A new ranking; the same one if nothing is known.

        Raises:
            ConfigurationError: Names and scores differ in number, or the scores have no usable scale.
        """
        _check(members, ranking)
        fit, factor = self._fit(ranking.ranker), self._factor
        if fit is None or not factor:
            return ranking
        strength = factor * fit.seen + fit.extra
        places = [_place(fit, name) for name in members]
        shifts = [
            0.0 if place is None else float(strength[place]) - (self._sampled if name not in fit.index else 0.0)
            for name, place in zip(members, places, strict=True)
        ]
        if not any(shifts):
            return ranking
        if texts is not None:
            positions = distinct_candidates(texts).positions
            shifts = [
                max(other for other, same in zip(shifts, positions, strict=True) if same == own) for own in positions
            ]
        unit = _unit(ranking)
        scores = [
            round(fit.trust * score + unit * shift, 6) if math.isfinite(score) else score
            for score, shift in zip(ranking.scores, shifts, strict=True)
        ]
        comparisons = ranking.comparisons
        if comparisons is not None:
            moved = [
                after - fit.trust * before if math.isfinite(before) else 0.0
                for before, after in zip(ranking.scores, scores, strict=True)
            ]
            comparisons = tuple(
                tuple(fit.trust * value + moved[i] - moved[j] for j, value in enumerate(row))
                for i, row in enumerate(comparisons)
            )
        evidence = {name: [fit.trust * value for value in values] for name, values in ranking.evidence.items()}
        return ranking.rescored(
            scores, comparisons=comparisons, temperature=unit, evidence={**evidence, "prior": shifts}
        )

    def to_dict(self) -> dict[str, Any]:
        """Turn the state into plain JSON types; :meth:`from_dict` reads it back."""
        return {**self._kept.copy().to_dict(), "text_reliability": self._text_reliability}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> MemberPrior:
        """Build from the result of :meth:`to_dict`, of this or an earlier format.

        Raises:
            ConfigurationError: A field is missing, of the wrong type or out of range; load an older copy.
        """
        return cls._of(PriorState.from_dict(data))

    @classmethod
    def _of(cls, state: PriorState) -> MemberPrior:
        prior = cls()
        prior._kept.add(state, at_once=False)
        return prior

    def save(self, path: str | Path | None = None) -> None:
        """Write the state as JSON; the file is replaced in one step.

        Args:
            path: The file. Default: the prior's own, to which other processes' changes stay added.

        Raises:
            ConfigurationError: The file cannot be written, or there is no path at all.
        """
        if path is None:
            if self.path is None:
                raise ConfigurationError("this prior has no file; give save(path), or make MemberPrior(path=...)")
            self._kept.save()
            return
        try:
            write_json_file(Path(path), self.to_dict())
        except OSError as error:
            raise ConfigurationError(f"the member prior cannot be written to {path}: {error}") from error

    @classmethod
    def load(cls, path: str | Path) -> MemberPrior:
        """Read a file that :meth:`save` wrote; later changes stay in memory.

        Raises:
            ConfigurationError: The file cannot be read, or is no saved prior.
        """
        return cls._of(read_state(Path(path)))

    def __reduce__(self) -> tuple[Any, ...]:
        # a lock cannot be pickled; a copy learns independently and leaves the file alone
        return type(self).from_dict, (self.to_dict(),)

    @property
    def _text_reliability(self) -> float:
        held = self._kept.state.text_reliability
        return _TEXT_RELIABILITY if held is None else held

    @property
    def _factor(self) -> float:
        """Weight of a member's strength relative to the score of a text."""
        return (1.0 - self._text_reliability) / self._text_reliability

    def __repr__(self) -> str:
        state = self._kept.copy()
        rated = len(state.rated_prompts()) + round(sum(count for count, _ in state.judged.values()))
        place = "" if self.path is None else f", path={str(self.path)!r}"
        return f"MemberPrior({len(state.declared)} declared, {rated} ratings, {self.prompts} rankings{place})"


class _CataloguePrior(MemberPrior):
    """Knows the local models from checked answers, which say more than the scores of a few prompts."""

    # further answers of a local model are sampled, the first is greedy; chosen on the development half
    _sampled = 0.4

    def observe(self, members: Sequence[str], ranking: Ranking) -> None:
        """Check the names; nothing is learned."""
        _check(members, ranking)


def _model(name: str) -> str:
    """Name the model of a further answer: ``"a#2"`` is by ``"a"``."""
    return _FURTHER.sub("", name)


def _place(fit: StrengthFit, name: str) -> int | None:
    return fit.index.get(name, fit.index.get(_model(name)))


def _fitted(state: PriorState, ranker: str, factor: float) -> StrengthFit | None:
    record = state.rankers.get(ranker, RankerRecord())
    rated = [pair for prompt in state.rated_prompts().values() for pair in prompt.pairs(ranker)]
    for (first, second), (count, wins) in state.judged.items():
        rated += [RatedPair(first, second, None, won, part) for won, part in ((1.0, wins), (0.0, count - wins)) if part]
    names = sorted({*record.answers, *state.declared, *(name for pair in rated for name in pair[:2])})
    if not names:
        return None
    index = {name: place for place, name in enumerate(names)}
    scores = strengths_from_scores(index, record.margins, record.freedom)
    return fit_strengths(index, rated, scores, state.declared, factor=factor)


def _declared_logits(strengths: Mapping[str, float] | Sequence[str]) -> dict[str, float]:
    if isinstance(strengths, Mapping):
        for name, share in strengths.items():
            if not is_finite(share) or not 0.0 < share < 1.0:
                raise ConfigurationError(f"{name!r} is declared with {share!r}; give a share above 0 and below 1")
        logits = {str(name): math.log(share / (1.0 - share)) for name, share in strengths.items()}
    else:
        names = [] if isinstance(strengths, str) else list(strengths)
        step = min(_ORDER_STEP, _ORDER_RANGE / max(1, len(names) - 1))
        logits = {str(name): -step * place for place, name in enumerate(names)}
    if len(logits) < 2 or len(logits) != len(strengths):
        raise ConfigurationError(
            f"declared strengths are {strengths!r}; give at least two different members, as shares by name or best "
            "first"
        )
    return logits


def _unit(ranking: Ranking) -> float:
    """Return how many points of a ranking's scores make one logit.

    Raises:
        ConfigurationError: The temperature or the scores cannot be used; the message says the limit.
    """
    known = [score for score in ranking.scores if math.isfinite(score)]
    unit = ranking.logit_scale
    if not 1.0 / LARGEST <= unit <= LARGEST:
        raise ConfigurationError(f"the ranking's temperature is {unit}; it must be finite and above 0")
    largest = max(map(abs, known), default=0.0)
    if not largest <= LARGEST * min(1.0, unit):
        raise ConfigurationError(
            f"scores of {ranking.ranker!r} reach {largest:g} at temperature {unit:g}, too far to learn from; scale "
            f"them below {LARGEST:g}, as a score and divided by the temperature"
        )
    return unit


def _logits(ranking: Ranking) -> list[float]:
    unit = _unit(ranking)
    return [score / unit for score in ranking.scores]


def _check(members: Sequence[str], ranking: Ranking) -> None:
    if len(members) != len(ranking.scores):
        raise ConfigurationError(f"{len(members)} member names for {len(ranking.scores)} candidates; give one each")
