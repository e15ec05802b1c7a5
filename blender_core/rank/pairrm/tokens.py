"""Encode texts and pairs in PairRanker's id layout.

A pair is ``[CLS]<|source|>…[SEP] [CLS]<|candidate1|>…[SEP] [CLS]<|candidate2|>…[SEP]``. Each text is encoded once;
a pair is joined from ids. User text is data: it cannot produce special or marker ids.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from blender_core.errors import CheckpointError, RankerError
from blender_core.models.batches import token_batches
from blender_core.models.tokenizers import SealedTokenizer

__all__ = [
    "MARKERS",
    "EncodedPair",
    "EncodedText",
    "PairBatch",
    "PairTokenizer",
    "batched_logits",
    "check_vocabulary",
    "pad",
]

MARKERS = ("<|source|>", "<|candidate1|>", "<|candidate2|>", "<|candidate|>")
"""The marker tokens, in the order in which the reference adds them to the vocabulary."""

# DeBERTa, BERT and ModernBERT; RoBERTa
_SPECIAL = (("[CLS]", "[SEP]", "[PAD]"), ("<s>", "</s>", "<pad>"))


@dataclass(frozen=True, slots=True)
class EncodedText:
    """One text as ids.

    Attributes:
        ids: ``[CLS]``, a marker, the text, ``[SEP]``.
        cut: Tokens that did not fit.
    """

    ids: tuple[int, ...]
    cut: int = 0


@dataclass(frozen=True, slots=True)
class EncodedPair:
    """One ordered pair of candidates with its prompt.

    Attributes:
        ids: The whole sequence.
        positions: Positions of the three markers.
    """

    ids: tuple[int, ...]
    positions: tuple[int, int, int]


class PairTokenizer:
    """Encodes texts in the layout that PairRanker was trained on.

    The ids come from ``tokenizer.json`` through ``tokenizers``. The class of transformers 5 for DeBERTa drops the
    SentencePiece normaliser. So its ids differ on text such as ``½`` or a no-break space.

    Args:
        tokenizer: With ``MARKERS`` among its control tokens.
        definition: The file it was read from, for ``saved_definition``.

    Raises:
        CheckpointError: It lacks ``[CLS]``, ``[SEP]`` or ``[PAD]`` (RoBERTa: ``<s>``, ``</s>``, ``<pad>``).
    """

    def __init__(self, tokenizer: SealedTokenizer, definition: str | None = None) -> None:
        self._tokenizer = tokenizer
        self._definition = definition
        self.special_names = _special_names(tokenizer)
        self._cls, self._sep, self.pad_id = (tokenizer.control_id(name) for name in self.special_names)
        self.marker_ids = {marker: tokenizer.control_id(marker) for marker in MARKERS}

    @classmethod
    def from_file(cls, path: Path) -> PairTokenizer:
        """Read a ``tokenizer.json``.

        Args:
            path: The file.

        Returns:
            The tokenizer.

        Raises:
            CheckpointError: The file cannot be read as a tokenizer.
        """
        sealed = SealedTokenizer.from_file(path, extra=MARKERS)
        return cls(sealed, path.read_text(encoding="utf-8"))

    def saved_definition(self) -> str:
        """Build the contents of a ``tokenizer.json`` that holds the markers.

        Returns:
            JSON.

        Raises:
            CheckpointError: The tokenizer was not read from a file.
        """
        if self._definition is None:
            raise CheckpointError("this tokenizer was not read from a file, so it cannot be saved")
        definition = json.loads(self._definition)
        added = definition.setdefault("added_tokens", [])
        known = {token["content"] for token in added}
        flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": True, "special": False}
        added += [
            {"id": token_id, "content": marker, **flags}
            for marker, token_id in self.marker_ids.items()
            if marker not in known
        ]
        definition["truncation"] = definition["padding"] = None
        return json.dumps(definition, ensure_ascii=False)

    @property
    def sep_id(self) -> int:
        """Id of the separator."""
        return self._sep

    @property
    def largest_id(self) -> int:
        """The largest id that can occur."""
        return self._tokenizer.largest_id

    def source(self, text: str, max_length: int) -> EncodedText:
        """Encode the prompt.

        Args:
            text: The prompt.
            max_length: Most tokens to keep, ``[CLS]``, marker and ``[SEP]`` included.

        Returns:
            The ids; the right end is cut.
        """
        return self._encode("<|source|>", text, max_length)

    def candidate(self, text: str, max_length: int) -> EncodedText:
        """Encode a candidate for either side of a pair; arguments and result as in ``source``."""
        return self._encode("<|candidate|>", text, max_length)

    def pair(self, source: EncodedText, left: EncodedText, right: EncodedText) -> EncodedPair:
        """Join a prompt and two candidates.

        Args:
            source: From ``source``.
            left: From ``candidate``.
            right: From ``candidate``.

        Returns:
            The sequence of the ordered pair.
        """
        first = len(source.ids) + 1
        second = first + len(left.ids)
        ids = [*source.ids, *left.ids, *right.ids]
        ids[first], ids[second] = self.marker_ids["<|candidate1|>"], self.marker_ids["<|candidate2|>"]
        return EncodedPair(tuple(ids), (1, first, second))

    def _encode(self, marker: str, text: str, max_length: int) -> EncodedText:
        # the reference replaces a literal [SEP] by one space
        ids = self._tokenizer.encode(self._tokenizer.spelling(marker) + text.replace(self.special_names[1], " "))
        kept = ids[: max_length - 2]
        return EncodedText((self._cls, *kept, self._sep), len(ids) - len(kept))


def _special_names(tokenizer: SealedTokenizer) -> tuple[str, str, str]:
    problem = None
    for names in _SPECIAL:
        try:
            for name in names:
                tokenizer.control_id(name)
        except CheckpointError as error:
            problem = problem or error
        else:
            return names
    raise problem or CheckpointError(f"{tokenizer.source} has no special tokens")


Ints = npt.NDArray[np.int64]


class PairBatch(NamedTuple):
    """Padded pairs.

    Attributes:
        ids: Token ids, shape [batch, length].
        mask: 1 at tokens, 0 at pads, shape [batch, length].
        positions: Positions of the three markers, shape [batch, 3].
    """

    ids: Ints
    mask: Ints
    positions: Ints


def pad(pairs: Sequence[EncodedPair], pad_id: int) -> PairBatch:
    """Pad pairs at their ends, and put them into arrays.

    Args:
        pairs: At least one.
        pad_id: Id that fills short sequences.

    Returns:
        The arrays.
    """
    shape = (len(pairs), max(len(pair.ids) for pair in pairs))
    ids, mask = np.full(shape, pad_id, dtype=np.int64), np.zeros(shape, dtype=np.int64)
    for row, pair in enumerate(pairs):
        ids[row, : len(pair.ids)] = pair.ids
        mask[row, : len(pair.ids)] = 1
    return PairBatch(ids, mask, np.array([pair.positions for pair in pairs], dtype=np.int64))


def batched_logits(
    pairs: Sequence[EncodedPair],
    token_budget: int,
    run: Callable[[Sequence[EncodedPair]], Sequence[float]],
    precision: str,
) -> list[float]:
    """Run pairs in batches, and check that all logits are finite.

    Args:
        pairs: Any number of pairs.
        token_budget: Most tokens in a batch, padding included.
        run: Returns the logits of one batch.
        precision: Precision of the network, for the message.

    Returns:
        One finite float for each pair, in the order of ``pairs``.

    Raises:
        RankerError: The network gave ``nan`` or an infinity.
    """
    logits = [math.nan] * len(pairs)
    for batch in token_batches([len(pair.ids) for pair in pairs], token_budget):
        for index, logit in zip(batch, run([pairs[index] for index in batch]), strict=True):
            logits[index] = float(logit)
    wrong = [logit for logit in logits if not math.isfinite(logit)]
    if wrong:
        raise RankerError(
            f"{len(wrong)} of {len(pairs)} comparisons are not finite ({wrong[0]} in {precision}); "
            "load the checkpoint with dtype='float32'"
        )
    return logits


def check_vocabulary(tokenizer: PairTokenizer, rows: int, source: str) -> None:
    """Reject a tokenizer with ids that have no embedding in the network.

    Args:
        tokenizer: The tokenizer.
        rows: Rows of the network's word embeddings.
        source: Where both came from, for the message.

    Raises:
        CheckpointError: There is such an id; use the checkpoint's own ``tokenizer.json``.
    """
    if tokenizer.largest_id >= rows:
        raise CheckpointError(
            f"{source}: the tokenizer has ids up to {tokenizer.largest_id}, the network {rows} embeddings; "
            "tokenizer.json belongs to another checkpoint"
        )
