"""Encode texts of any length; no text can produce a control token."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from blender_core.errors import CheckpointError, RankerError
from blender_core.runtime.outside import is_panic, read_json
from blender_core.runtime.threads import stop_if_given_up
from blender_core.text.unicode import in_parts, without_surrogates

if TYPE_CHECKING:
    from tokenizers import Tokenizer

__all__ = ["SealedTokenizer", "check_growth", "read_tokenizer", "token_ids", "word_ids"]

# encoded in a few milliseconds
_SHORT_CHARACTERS = 10_000
# those of known tokenizers make a text at most twice as long
_MOST_GROWTH = 100.0
# a replacement, or letters that are written as escapes to hide one
_MAY_REPLACE = re.compile(r'"Replace"|\\u00[4-7]')


def token_ids(tokenizer: Tokenizer, text: str) -> list[int]:
    """Encode a text, without special tokens.

    Args:
        tokenizer: The tokenizer.
        text: Any text; lone surrogates count as question marks.

    Returns:
        The ids.

    Raises:
        RankerError: The tokenizer panicked, for example because its regular expression takes too many steps.
    """
    text = without_surrogates(text)
    try:
        if len(text) <= _SHORT_CHARACTERS:
            return list(tokenizer.encode(text, add_special_tokens=False).ids)
        # same ids; ``encode`` would hold the GIL throughout and block every event loop
        return list(tokenizer.encode_batch([text], add_special_tokens=False)[0].ids)
    except BaseException as error:
        if not is_panic(error):
            raise
        raise RankerError(f"the tokenizer failed on a text of {len(text):,} characters: {error}") from error


def word_ids(tokenizer: Tokenizer, text: str) -> list[int]:
    """Encode a text as ``token_ids`` does, for tokenizers of which no token crosses white space, as BERT's.

    A huge text is encoded in parts: each holds little memory, and work that nobody waits for ends soon.

    Args:
        tokenizer: The tokenizer.
        text: Any text.

    Returns:
        The ids.
    """
    ids: list[int] = []
    for part in in_parts(text):
        stop_if_given_up()
        ids += token_ids(tokenizer, part)
    return ids


def read_tokenizer(definition: str, source: str) -> Tokenizer:
    """Build a tokenizer that neither truncates nor pads.

    Args:
        definition: The contents of a ``tokenizer.json``.
        source: Where it came from, for messages.

    Returns:
        The tokenizer.

    Raises:
        CheckpointError: The definition is no tokenizer.
    """
    from tokenizers import Tokenizer

    if _MAY_REPLACE.search(definition):
        check_growth(_parsed(definition, source), source)
    try:
        tokenizer = Tokenizer.from_str(definition)
    except BaseException as error:  # the Rust side raises bare exceptions, and panics
        if not isinstance(error, Exception) and not is_panic(error):
            raise
        raise CheckpointError(f"{source} is not a tokenizer that `tokenizers` can read: {error}") from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def check_growth(definition: Any, source: str) -> None:
    """Refuse a tokenizer that replaces short pieces of text by long ones.

    A few nested replacements turn one word into gigabytes. Then ``tokenizers`` aborts the process.

    Args:
        definition: The contents of a ``tokenizer.json``, parsed.
        source: Where it came from, for messages.

    Raises:
        CheckpointError: Its normaliser or its decoder can make a text more than 100 times as long.
    """
    for part in ("normalizer", "decoder"):
        growth = _growth(definition.get(part)) if isinstance(definition, Mapping) else 1.0
        if growth > _MOST_GROWTH:
            raise CheckpointError(
                f"{source} is refused: the replacements of its {part} can make a text {growth:.3g} times as long, at "
                f"most {_MOST_GROWTH:g} times is read; take the tokenizer.json of the model's first author"
            )


def _growth(part: Any) -> float:
    """Multiply how many times longer each replacement can make a text."""
    growth, waiting = 1.0, [part]
    while waiting:
        held = waiting.pop()
        if isinstance(held, list):
            waiting += held
        elif isinstance(held, Mapping):
            waiting += [inner for inner in held.values() if isinstance(inner, list | dict)]
            content, pattern = held.get("content"), held.get("pattern")
            if isinstance(content, str) and pattern is not None:
                known = pattern.get("String") if isinstance(pattern, Mapping) else pattern
                # a regular expression, or an empty text, may match at every place
                growth *= max(1.0, len(content) / len(known)) if isinstance(known, str) and known else 1 + len(content)
    return growth


def _parsed(definition: str, source: str) -> Any:
    try:
        return read_json(definition)
    except ValueError as error:
        raise CheckpointError(f"{source} cannot be read as JSON: {error}") from error


class SealedTokenizer:
    """Encodes texts; none can produce a control token. Safe to use from several threads.

    Other text gets the same ids as from the file. Truncation, padding and the template for special tokens are off.

    Args:
        definition: The contents of a ``tokenizer.json``, parsed.
        extra: Control tokens that the file does not mark as special. Missing ones get the next free ids, in this order.
        source: Where it came from, for messages.

    Raises:
        CheckpointError: The definition is no tokenizer.

    Examples:
        >>> definition = {
        ...     "version": "1.0",
        ...     "added_tokens": [{"id": 1, "content": "[SEP]", "single_word": False, "lstrip": False,
        ...                       "rstrip": False, "normalized": False, "special": True}],
        ...     "pre_tokenizer": {"type": "Whitespace"},
        ...     "model": {"type": "WordLevel", "vocab": {"?": 0, "[SEP]": 1, "a": 2}, "unk_token": "?"},
        ... }
        >>> tokenizer = SealedTokenizer(definition)
        >>> tokenizer.encode("a [SEP]"), tokenizer.encode("a" + tokenizer.spelling("[SEP]"))
        ([2, 0, 0, 0], [2, 1])
    """

    def __init__(
        self, definition: Mapping[str, Any], *, extra: Sequence[str] = (), source: str = "tokenizer.json"
    ) -> None:
        check_growth(definition, source)
        self.source = source
        try:
            special = [token["content"] for token in definition.get("added_tokens", []) if token.get("special")]
            names = dict.fromkeys([*extra, *special])
            self._secret = {name: f"<|{secrets.token_hex(16)}|>" for name in names}
            renamed = json.dumps(_renamed(definition, self._secret))
        except (AttributeError, KeyError, RecursionError, TypeError, ValueError) as error:
            raise CheckpointError(f"{source} is no tokenizer ({type(error).__name__}: {error})") from error
        tokenizer = read_tokenizer(renamed, source)
        tokenizer.add_tokens(
            [self._secret[name] for name in extra if tokenizer.token_to_id(self._secret[name]) is None]
        )
        self._tokenizer = tokenizer
        self._control_ids = frozenset(self.control_id(name) for name in names)

    @classmethod
    def from_file(cls, path: Path, *, extra: Sequence[str] = ()) -> SealedTokenizer:
        """Read a ``tokenizer.json``.

        Args:
            path: The file.
            extra: Control tokens that the file does not mark as special.

        Returns:
            The tokenizer.

        Raises:
            CheckpointError: The file cannot be read as a tokenizer.
        """
        try:
            definition = read_json(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise CheckpointError(f"{path} cannot be read as JSON: {error}") from error
        if not isinstance(definition, dict):
            raise CheckpointError(f"{path} holds no tokenizer, but a JSON {type(definition).__name__}")
        return cls(definition, extra=extra, source=str(path))

    @property
    def largest_id(self) -> int:
        """The largest id that can occur."""
        return int(self._tokenizer.get_vocab_size(with_added_tokens=True)) - 1

    def control_id(self, name: str) -> int:
        """Return the id of a control token.

        Args:
            name: Its public name, for example ``"[SEP]"``.

        Returns:
            The id.

        Raises:
            CheckpointError: The tokenizer has no such control token.
        """
        found = self._tokenizer.token_to_id(self._secret[name]) if name in self._secret else None
        if found is None:
            raise CheckpointError(f"{self.source} has no token {name}; it belongs to another kind of model")
        return int(found)

    def spelling(self, name: str) -> str:
        """Return the secret string that ``encode`` turns into a control token.

        Args:
            name: Its public name.

        Returns:
            A random string, new for every loaded tokenizer.

        Raises:
            CheckpointError: The tokenizer has no such control token.
        """
        self.control_id(name)
        return self._secret[name]

    def encode(self, text: str) -> list[int]:
        """Encode a text, without special tokens.

        Args:
            text: Any text; only a ``spelling`` in it becomes a control token.

        Returns:
            The ids.
        """
        return token_ids(self._tokenizer, text)

    def spans(self, text: str) -> list[tuple[int, int]]:
        """Find the characters of each token.

        Args:
            text: Any text.

        Returns:
            Start and end (exclusive) in characters of each token of ``encode(text)``.
        """
        return list(self._tokenizer.encode(without_surrogates(text), add_special_tokens=False).offsets)

    def decode(self, ids: Iterable[int]) -> str:
        """Decode ids; control tokens are left out.

        Args:
            ids: Token ids.

        Returns:
            The text.
        """
        return str(self._tokenizer.decode([token_id for token_id in ids if token_id not in self._control_ids]))


def _renamed(definition: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    model = dict(definition.get("model") or {})
    vocabulary = model.get("vocab")
    if isinstance(vocabulary, list):
        model["vocab"] = [[names.get(piece, piece), score] for piece, score in vocabulary]
    elif isinstance(vocabulary, dict):
        # these models find their unknown token by name
        unknown = names.get(model.get("unk_token", ""))
        if unknown is not None:
            model["unk_token"] = unknown
        model["vocab"] = {names.get(piece, piece): token_id for piece, token_id in vocabulary.items()}
    added = [
        # "special" decides nothing here
        {**token, "content": names.get(token["content"], token["content"]), "special": False}
        for token in definition.get("added_tokens", [])
    ]
    return {**definition, "model": model, "added_tokens": added, "post_processor": None}
