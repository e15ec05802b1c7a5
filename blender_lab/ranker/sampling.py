"""Drawing groups of candidates: texts packed as token ids, source by share, a few candidates and a worsened one."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from blender_core.errors import ConfigurationError
from blender_lab.data.preferences import PreferenceRecord
from blender_lab.ranker.corruption import CORRUPTIONS, KnownTokens
from blender_lab.ranker.targets import PairTarget

__all__ = [
    "Group",
    "GroupSampler",
    "PackedSource",
    "PackedTexts",
    "length_weights",
    "pack_texts",
    "swap_pairs",
]

_CORRUPTED = 0.96
_OFF_TOPIC = 0.97
_REFUSAL = 0.95
_NO_TOKENS = KnownTokens()

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


def swap_pairs(groups: Sequence[Group], rng: np.random.Generator) -> list[Group]:
    """Turn each pair with probability 1/2, for a ranker that reads the two candidates in an order.

    Args:
        groups: The groups.
        rng: Source of randomness.

    Returns:
        New groups; labels and the teacher's logits are turned with their pairs.
    """
    swapped = []
    for group in groups:
        pairs, logits = list(group.pairs), list(group.teacher)
        for number, (i, j, p, weight) in enumerate(group.pairs):
            if rng.random() < 0.5:
                pairs[number] = (j, i, 1.0 - p, weight)
                if logits:
                    logits[number] = -logits[number]
        swapped.append(replace(group, pairs=pairs, teacher=tuple(logits)))
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
        pairs_per_record: Most pairs for one prompt; 0 for all of the group's.
        off_topic_draws: Prompts drawn for an off-topic answer; the one most like the real one is taken.
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
        pairs_per_record: int = 0,
        off_topic_draws: int = 1,
    ) -> None:
        self._off_topic_draws = off_topic_draws
        self._pairs = pairs_per_record
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

        chosen = _choose(known, source.group, rng)
        pairs = [pair for pair in known if pair[0] in chosen and pair[1] in chosen]
        if 0 < self._pairs < len(pairs):
            pairs = [pairs[int(index)] for index in rng.choice(len(pairs), size=self._pairs, replace=False)]
        place = {index: position for position, index in enumerate(chosen)}
        answers = [source.texts.candidate(record, index) for index in chosen]
        weighted = [(place[i], place[j], p, _length_weight(source, record, (i, j, p))) for i, j, p in pairs]
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
        # without a prompt no answer is off-topic
        if kind < 0.4 and len(self._usable[number]) > 1 and source.texts.prompt(record):
            other = self._other_record(number, record, rng)
            answers.append(source.texts.candidate(other, 0))
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
