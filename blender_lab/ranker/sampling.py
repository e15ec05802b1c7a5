"""Drawing groups of candidates: texts packed as token ids, source by share, a few candidates and a worsened one."""

from __future__ import annotations

import hashlib
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from blender_core.data.preferences import PreferenceRecord
from blender_core.errors import ConfigurationError
from blender_lab.ranker.corruption import CORRUPTIONS, KnownTokens
from blender_lab.ranker.targets import PairTarget

__all__ = [
    "Group",
    "GroupSampler",
    "PackedSource",
    "PackedTexts",
    "draw_pairs",
    "length_weights",
    "order_by_wins",
    "pack_texts",
    "swap_pairs",
]

TokenArray = npt.NDArray[np.int32]


class PackedTexts:
    """The token ids of records' prompts and candidates.

    Args:
        token_ids: All ids, one text after another.
        offsets: Start of each text, and the end of the last; one more than there are texts.
        first_text: For each record the index of its prompt; its candidates follow.
    """

    def __init__(
        self, token_ids: TokenArray, offsets: npt.NDArray[np.int64], first_text: npt.NDArray[np.int64]
    ) -> None:
        self._token_ids = token_ids
        self._offsets = offsets
        self._first_text = first_text

    def prompt(self, record: int) -> list[int]:
        """Token ids of a record's prompt."""
        return self._text(int(self._first_text[record]))

    def candidate(self, record: int, index: int) -> list[int]:
        """Token ids of a record's candidate."""
        return self._text(int(self._first_text[record]) + 1 + index)

    def length(self, record: int, index: int) -> int:
        """Tokens of a record's candidate."""
        text = int(self._first_text[record]) + 1 + index
        return int(self._offsets[text + 1] - self._offsets[text])

    def _text(self, text: int) -> list[int]:
        ids: list[int] = self._token_ids[self._offsets[text] : self._offsets[text + 1]].tolist()
        return ids


def pack_texts(
    records: Sequence[PreferenceRecord],
    encode_batch: Callable[[list[str]], list[list[int]]],
    *,
    tokenizer_digest: str = "",
    cache: Path | None = None,
) -> PackedTexts:
    """Tokenise every text once.

    Args:
        records: The records; record n of the result is ``records[n]``.
        encode_batch: Token ids for a batch of texts, without special tokens.
        tokenizer_digest: Digest of the tokenizer; part of the cache's fingerprint.
        cache: File to read from, where its fingerprint fits, or to write. ``None`` keeps nothing.

    Returns:
        The packed ids.
    """
    texts = [text for record in records for text in (record.prompt, *record.candidates)]
    first_text = np.cumsum([0, *(1 + len(record.candidates) for record in records)])[:-1]
    digest = hashlib.sha256(tokenizer_digest.encode())
    for text in texts:
        digest.update(f"{len(text)}:".encode())
        digest.update(text.encode("utf-8", "surrogatepass"))
    fingerprint = digest.hexdigest()
    if cache is not None and cache.is_file():
        with np.load(cache) as stored:
            if str(stored["fingerprint"]) == fingerprint:
                return PackedTexts(stored["token_ids"], stored["offsets"], first_text)
    rows: list[TokenArray] = []
    for start in range(0, len(texts), 512):
        rows.extend(np.asarray(ids, dtype=np.int32) for ids in encode_batch(texts[start : start + 512]))
    offsets = np.cumsum([0, *(len(row) for row in rows)], dtype=np.int64)
    token_ids = np.concatenate(rows) if rows else np.zeros(0, dtype=np.int32)
    if cache is not None:
        cache.parent.mkdir(parents=True, exist_ok=True)
        np.savez(cache, fingerprint=np.array(fingerprint), token_ids=token_ids, offsets=offsets)
    return PackedTexts(token_ids, offsets, first_text)


def order_by_wins(pairs: Sequence[PairTarget]) -> list[int]:
    """Candidates from best to worst by the mean of their expected wins.

    Args:
        pairs: Pairs with a known order.

    Returns:
        Indices; equal candidates by index.

    Examples:
        >>> order_by_wins([(0, 1, 0.2), (1, 2, 0.9)])
        [1, 0, 2]
    """
    wins: dict[int, list[float]] = {}
    for i, j, p in pairs:
        wins.setdefault(i, []).append(p)
        wins.setdefault(j, []).append(1.0 - p)
    return sorted(wins, key=lambda index: (-sum(wins[index]) / len(wins[index]), index))


def draw_pairs(
    pairs: Sequence[PairTarget],
    mode: str,
    count: int,
    rng: np.random.Generator,
    weights: Sequence[float] | None = None,
) -> list[PairTarget]:
    """Draw pairs of one record.

    Args:
        pairs: At least one pair with a known order.
        mode: ``"all_pair"``: any pairs, each at most once. ``"random"``: any pairs, the same one perhaps again.
            ``"top_bottom"``: the best with the worst, the second with the second last, and so on. ``"uniform"``:
            candidates at even distances along the order, each with the next.
        count: Most pairs to draw; at least 1.
        rng: Source of randomness; ``"top_bottom"`` and ``"uniform"`` need it only where their pairs have no known
            order, and one known pair is drawn instead.
        weights: For ``"all_pair"`` and ``"random"``: how likely each pair is to be drawn, above 0.

    Returns:
        At least one pair.

    Examples:
        >>> pairs = [(i, j, 1.0) for i in range(4) for j in range(i + 1, 4)]
        >>> draw_pairs(pairs, "top_bottom", 2, np.random.default_rng(0))
        [(0, 3, 1.0), (1, 2, 1.0)]
        >>> draw_pairs(pairs, "uniform", 3, np.random.default_rng(0))
        [(0, 1, 1.0), (1, 2, 1.0), (2, 3, 1.0)]
    """
    if mode in ("all_pair", "random"):
        again = mode == "random"
        if not again and count >= len(pairs):
            return list(pairs)
        chances = None if weights is None else np.asarray(weights) / np.sum(weights)
        drawn = rng.choice(len(pairs), size=count if again else min(count, len(pairs)), replace=again, p=chances)
        return [pairs[int(index)] for index in drawn]
    order = order_by_wins(pairs)
    if mode == "top_bottom":
        wanted = list(zip(order[: len(order) // 2], reversed(order), strict=False))[:count]
    else:
        places = np.unique(np.linspace(0, len(order) - 1, min(count, len(order) - 1) + 1).round().astype(int))
        wanted = [(order[a], order[b]) for a, b in itertools.pairwise(places)]
    known = {frozenset(pair[:2]): pair for pair in pairs}
    found = [known[frozenset(pair)] for pair in wanted if frozenset(pair) in known]
    return found or [pairs[int(rng.integers(len(pairs)))]]


_CORRUPTED = 0.96
_OFF_TOPIC = 0.97
_REFUSAL = 0.95
_NO_TOKENS = KnownTokens()


@dataclass(frozen=True, slots=True)
class Group:
    """Candidates of one prompt that are judged together.

    Attributes:
        prompt: Token ids of the prompt.
        answers: Token ids of each candidate.
        pairs: ``(i, j, p, weight)``: p is the probability that i is better than j.
        teacher: For each pair the teacher's logit that i is better, ``nan`` where it says nothing; empty without
            a teacher.
    """

    prompt: list[int]
    answers: list[list[int]]
    pairs: list[tuple[int, int, float, float]]
    teacher: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class PackedSource:
    """One source, ready to draw from.

    Attributes:
        name: Name of the source.
        share: Weight when prompts are drawn.
        group: Candidates drawn for one prompt.
        texts: Token ids.
        targets: For each record all pairs with a known order.
        weights: Weight of a pair whose longer, and whose shorter, candidate is better.
        refusals: A refusal may serve as a bad answer.
        teacher: For each record the teacher's logits by pair; ``None`` without a teacher.
    """

    name: str
    share: float
    group: int
    texts: PackedTexts
    targets: list[list[PairTarget]]
    weights: tuple[float, float] = (1.0, 1.0)
    refusals: bool = False
    teacher: Sequence[Mapping[tuple[int, int], float]] | None = None


def length_weights(texts: PackedTexts, targets: Sequence[Sequence[PairTarget]], strength: float) -> tuple[float, float]:
    """Weights that take the advantage of length out of a source.

    Args:
        texts: Token ids.
        targets: Pairs by record.
        strength: 0 gives weights of 1; 1 makes longer and shorter winners weigh the same in total.

    Returns:
        Weight where the longer is better, weight where the shorter is better.
    """
    longer = shorter = 0.0
    for record, pairs in enumerate(targets):
        lengths: dict[int, int] = {}
        for i, j, p in pairs:
            for index in (i, j):
                if index not in lengths:
                    lengths[index] = texts.length(record, index)
            if lengths[i] == lengths[j]:
                continue
            p_longer = p if lengths[i] > lengths[j] else 1.0 - p
            longer += p_longer
            shorter += 1.0 - p_longer
    if longer == 0.0 or shorter == 0.0:
        return 1.0, 1.0
    share = longer / (longer + shorter)
    return (0.5 / share) ** strength, (0.5 / (1.0 - share)) ** strength


def swap_pairs(groups: Sequence[Group], how: str, rng: np.random.Generator) -> list[Group]:
    """Turn pairs round, for a ranker that reads the two candidates in an order.

    Args:
        groups: The groups.
        how: ``"random"`` turns each pair with probability 1/2, ``"both"`` takes each in both orders, ``"none"``
            leaves them.
        rng: Source of randomness.

    Returns:
        New groups; labels and the teacher's logits are turned with their pairs.
    """
    if how == "none":
        return list(groups)
    swapped = []
    for group in groups:
        teacher = group.teacher or (math.nan,) * len(group.pairs)
        pairs, logits = [], []
        for (i, j, p, weight), logit in zip(group.pairs, teacher, strict=True):
            turned = how == "both" or bool(rng.random() < 0.5)
            if how == "both" or not turned:
                pairs.append((i, j, p, weight))
                logits.append(logit)
            if turned:
                pairs.append((j, i, 1.0 - p, weight))
                logits.append(-logit)
        swapped.append(replace(group, pairs=pairs, teacher=tuple(logits) if group.teacher else ()))
    return swapped


class GroupSampler:
    """Draws the groups of a step; the same seed and step give the same groups, so that a run can resume.

    Args:
        sources: Where to draw from.
        records_per_step: Groups in a step.
        corruption: Probability that one worsened answer joins a group.
        corruptions: Names of the corruptions to draw from; empty for all.
        known: The tokens that they work with.
        refusals: Token ids of refusals.
        seed: Seed.
        pair_sampling: Which pairs of a record are drawn, see ``pair_sampling.draw_pairs``. ``"all_pair"`` draws
            ``group`` candidates first and takes the pairs among them.
        pairs_per_record: Most pairs for one prompt; 0 for all of the group's.
        draw_by_length: A source's ``weights`` decide how often pairs are drawn, and no longer what they weigh.
        off_topic_draws: Prompts drawn for an off-topic answer; the one most like the real one is taken.
        off_topic_longest: Probability that the off-topic answer is the longest to its prompt, so that off-topic does
            not go with short.
    """

    def __init__(
        self,
        sources: Sequence[PackedSource],
        *,
        records_per_step: int,
        corruption: float = 0.0,
        corruptions: Sequence[str] = (),
        known: KnownTokens = _NO_TOKENS,
        refusals: Sequence[Sequence[int]] = (),
        seed: int = 0,
        pair_sampling: str = "all_pair",
        pairs_per_record: int = 0,
        draw_by_length: bool = False,
        off_topic_draws: int = 1,
        off_topic_longest: float = 0.0,
    ) -> None:
        self._off_topic_longest = off_topic_longest
        self._off_topic_draws = off_topic_draws
        self._mode = pair_sampling
        self._pairs = pairs_per_record
        self._draw_by_length = draw_by_length
        self._sources = [source for source in sources if source.share > 0 and any(source.targets)]
        if not self._sources:
            raise ConfigurationError("no source with a share above 0 has a pair with a known order")
        self._usable = [[r for r, pairs in enumerate(source.targets) if pairs] for source in self._sources]
        shares = np.array([source.share for source in self._sources])
        self._shares = shares / shares.sum()
        self._records_per_step = records_per_step
        self._corruption = corruption
        self._corruptions = sorted(corruptions or CORRUPTIONS)
        self._known = known
        self._refusals = [list(refusal) for refusal in refusals]
        self._seed = seed

    def step(self, step: int) -> list[Group]:
        """The groups of a step."""
        rng = np.random.default_rng([self._seed, step])
        return [self._draw(rng) for _ in range(self._records_per_step)]

    def _draw(self, rng: np.random.Generator) -> Group:
        number = int(rng.choice(len(self._sources), p=self._shares))
        source = self._sources[number]
        record = self._usable[number][int(rng.integers(len(self._usable[number])))]
        known = source.targets[record]

        def length_weight(pair: PairTarget) -> float:
            return _length_weight(source, record, pair)

        def draw(pairs: Sequence[PairTarget], count: int) -> list[PairTarget]:
            chances = [length_weight(pair) for pair in pairs] if self._draw_by_length else None
            return draw_pairs(pairs, self._mode, count, rng, chances)

        if self._mode == "all_pair":
            chosen = _choose(known, source.group, rng)
            pairs = [pair for pair in known if pair[0] in chosen and pair[1] in chosen]
            pairs = draw(pairs, self._pairs) if self._pairs else pairs
        else:
            pairs = draw(known, self._pairs or max(1, source.group // 2))
            chosen = sorted({index for pair in pairs for index in pair[:2]})
        place = {index: position for position, index in enumerate(chosen)}
        answers = [source.texts.candidate(record, index) for index in chosen]
        weights = [1.0 if self._draw_by_length else length_weight(pair) for pair in pairs]
        weighted = [(place[i], place[j], p, weight) for (i, j, p), weight in zip(pairs, weights, strict=True)]
        logits = () if source.teacher is None else [source.teacher[record].get(pair[:2], math.nan) for pair in pairs]
        if rng.random() < self._corruption:
            self._add_worse(source, number, record, answers, weighted, rng)
        teacher = (*logits, *[math.nan] * (len(weighted) - len(logits))) if logits else ()
        return Group(source.texts.prompt(record), answers, weighted, teacher)

    def _add_worse(
        self,
        source: PackedSource,
        number: int,
        record: int,
        answers: list[list[int]],
        pairs: list[tuple[int, int, float, float]],
        rng: np.random.Generator,
    ) -> None:
        count = len(answers)
        kind = rng.random()
        if kind < 0.4 and len(self._usable[number]) > 1:
            other = self._other_record(number, record, rng)
            answers.append(source.texts.candidate(other, self._off_topic_candidate(source, other, rng)))
            pairs.extend((index, count, _OFF_TOPIC, 1.0) for index in range(count))
            return
        # worsen the answer that wins most, so that the label is sure
        wins = np.zeros(count)
        for i, j, p, _ in pairs:
            wins[i] += p
            wins[j] += 1.0 - p
        best = int(wins.argmax())
        if kind < 0.5 and source.refusals and self._refusals:
            answers.append(self._refusals[int(rng.integers(len(self._refusals)))])
            pairs.append((best, count, _REFUSAL, 1.0))
            return
        if len(answers[best]) < 12:
            return
        name = self._corruptions[int(rng.integers(len(self._corruptions)))]
        answers.append(CORRUPTIONS[name](answers[best], rng, self._known))
        pairs.append((best, count, _CORRUPTED, 1.0))

    def _off_topic_candidate(self, source: PackedSource, other: int, rng: np.random.Generator) -> int:
        # no draw at 0, so that runs without the setting stay as they were
        if self._off_topic_longest == 0.0 or rng.random() >= self._off_topic_longest:
            return 0
        judged = sorted({index for pair in source.targets[other] for index in pair[:2]})
        return max(judged, key=lambda index: source.texts.length(other, index))

    def _other_record(self, number: int, record: int, rng: np.random.Generator) -> int:
        """A record whose answer is off-topic here, yet near enough to be hard to tell."""
        usable, texts = self._usable[number], self._sources[number].texts
        drawn: list[int] = []
        while len(drawn) < self._off_topic_draws:
            other = usable[int(rng.integers(len(usable)))]
            if other != record:
                drawn.append(other)
        if len(drawn) == 1:
            return drawn[0]
        words = set(texts.prompt(record))
        return max(drawn, key=lambda other: _likeness(words, set(texts.prompt(other))))


def _likeness(first: set[int], second: set[int]) -> float:
    return len(first & second) / max(1, len(first | second))


def _choose(pairs: Sequence[PairTarget], size: int, rng: np.random.Generator) -> list[int]:
    """Candidates of a group: one judged pair first, so that no group is without a pair."""
    i, j, _ = pairs[int(rng.integers(len(pairs)))]
    rest = sorted({index for pair in pairs for index in pair[:2]} - {i, j})
    extra = rng.permutation(len(rest))[: max(size - 2, 0)]
    return [i, j, *(rest[int(index)] for index in extra)]


def _length_weight(source: PackedSource, record: int, pair: PairTarget) -> float:
    i, j, p = pair
    longer_weight, shorter_weight = source.weights
    p_longer = p if source.texts.length(record, i) >= source.texts.length(record, j) else 1.0 - p
    return p_longer * longer_weight + (1.0 - p_longer) * shorter_weight
