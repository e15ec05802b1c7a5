"""PairRanker's id layout: ``[CLS]<|source|>…[SEP] [CLS]<|candidate1|>…[SEP] [CLS]<|candidate2|>…[SEP]``.

Each text is encoded once; a pair is put together from ids. Text of users is data: nothing in it can become
one of the special or marker ids.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from blender_core.errors import CheckpointError

__all__ = ["EncodedPair", "EncodedText", "MARKERS", "PairTokenizer"]

MARKERS = ("<|source|>", "<|candidate1|>", "<|candidate2|>", "<|candidate|>")
"""The marker tokens, in the order in which the reference adds them to the vocabulary."""


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
    """One ordered pair of candidates under a prompt.

    Attributes:
        ids: The whole sequence.
        positions: Where the three markers stand.
    """

    ids: tuple[int, ...]
    positions: tuple[int, int, int]


class PairTokenizer:
    """Encodes texts in the layout that PairRanker was trained on.

    The ids come from ``tokenizer.json`` through ``tokenizers``: the class that transformers 5 builds for
    DeBERTa drops the SentencePiece normaliser, so its ids differ on text such as ``½`` or a no-break space.

    Args:
        definition: The contents of a ``tokenizer.json``, parsed. Markers it lacks get the next free ids.
        source: Where it came from, for messages.

    Raises:
        CheckpointError: It is no tokenizer, or lacks ``[CLS]``, ``[SEP]`` or ``[PAD]``.
    """

    def __init__(self, definition: dict[str, Any], source: str = "tokenizer.json") -> None:
        # Special tokens and markers get a secret name, so that only we can write them: a user's "<|source|>"
        # or "[CLS]" stays plain text, whatever the normaliser makes of look-alikes. Renaming the added tokens
        # is not enough, for a Unigram vocabulary holds "[CLS]" as an ordinary piece too.
        special = {token["content"] for token in definition.get("added_tokens", []) if token.get("special")}
        self._secret = {name: f"<|{secrets.token_hex(16)}|>" for name in (*MARKERS, *sorted(special - {*MARKERS}))}
        try:
            tokenizer = Tokenizer.from_str(json.dumps(_renamed(definition, self._secret)))
        except Exception as error:  # the Rust side raises bare exceptions
            raise CheckpointError(f"{source} is not a tokenizer that `tokenizers` can read: {error}") from error
        tokenizer.add_tokens([self._secret[name] for name in MARKERS if not _knows(tokenizer, self._secret[name])])
        tokenizer.no_truncation()
        tokenizer.no_padding()
        self._tokenizer = tokenizer
        self._cls, self._sep, self.pad_id = (self._required_id(name, source) for name in ("[CLS]", "[SEP]", "[PAD]"))
        self.marker_ids = {marker: self._required_id(marker, source) for marker in MARKERS}

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
        try:
            definition = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise CheckpointError(f"{path} cannot be read as JSON: {error}") from error
        if not isinstance(definition, dict):
            raise CheckpointError(f"{path} holds no tokenizer, but a JSON {type(definition).__name__}")
        return cls(definition, str(path))

    @property
    def largest_id(self) -> int:
        """The largest id that can occur."""
        return self._tokenizer.get_vocab_size(with_added_tokens=True) - 1

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
        """Encode a candidate, to stand on either side of a pair.

        Args:
            text: The candidate.
            max_length: Most tokens to keep, ``[CLS]``, marker and ``[SEP]`` included.

        Returns:
            The ids; the right end is cut.
        """
        return self._encode("<|candidate|>", text, max_length)

    def pair(self, source: EncodedText, left: EncodedText, right: EncodedText) -> EncodedPair:
        """Put a pair together.

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

    def _required_id(self, name: str, source: str) -> int:
        found = self._tokenizer.token_to_id(self._secret.get(name, name))
        if found is None:
            raise CheckpointError(f"{source} has no token {name}; a PairRanker tokenizer needs [CLS], [SEP] and [PAD]")
        return int(found)

    def _encode(self, marker: str, text: str, max_length: int) -> EncodedText:
        # the reference puts one space for a literal [SEP]
        text = text.replace("[SEP]", " ")
        ids = self._tokenizer.encode(self._secret[marker] + text, add_special_tokens=False).ids
        kept = ids[: max_length - 2]
        return EncodedText((self._cls, *kept, self._sep), len(ids) - len(kept))


def _renamed(definition: dict[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """The definition with its special tokens renamed, and without the template that would add them."""
    model = dict(definition.get("model") or {})
    vocabulary = model.get("vocab")
    if isinstance(vocabulary, list):
        model["vocab"] = [[names.get(piece, piece), score] for piece, score in vocabulary]
    elif isinstance(vocabulary, dict):
        # these models find their unknown token by name
        kept = model.get("unk_token")
        model["vocab"] = {
            (piece if piece == kept else names.get(piece, piece)): token_id for piece, token_id in vocabulary.items()
        }
    added = [
        # "special" decides nothing here, but would keep a renamed marker from being found
        {**token, "content": names.get(token["content"], token["content"]), "special": False}
        for token in definition.get("added_tokens", [])
    ]
    return {**definition, "model": model, "added_tokens": added, "post_processor": None}


def _knows(tokenizer: Tokenizer, name: str) -> bool:
    return tokenizer.token_to_id(name) is not None
