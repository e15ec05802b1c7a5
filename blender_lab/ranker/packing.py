"""Token ids of all texts in one flat array, made once and kept beside the run."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from blender_core.data.preferences import PreferenceRecord

__all__ = ["PackedTexts", "pack_texts"]

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
