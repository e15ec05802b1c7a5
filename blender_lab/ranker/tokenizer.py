"""The tokenizer as training and the shipped ranker use it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from blender_core.errors import CheckpointError
from blender_core.models.segments import SegmentLayout
from blender_core.models.tokenizers import read_tokenizer
from blender_lab.ranker.corruption import KnownTokens
from blender_lab.ranker.opposites import opposite_tokens

if TYPE_CHECKING:
    from tokenizers import Tokenizer

__all__ = ["known_tokens", "load_tokenizer", "number_tokens", "segment_layout"]

_CUT_MARKER = "…"
# BERT's frame, and that of RoBERTa and MPNet
_FRAMES = (("[CLS]", "[SEP]"), ("<s>", "</s>"))


def load_tokenizer(path: str | Path) -> Tokenizer:
    """Load ``tokenizer.json`` so that it neither cuts, pads nor reads special tokens in texts.

    Args:
        path: The file.

    Returns:
        The tokenizer; ``"[SEP]"`` inside a text is encoded as the ordinary characters it is.

    Raises:
        CheckpointError: The file cannot be read.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"no tokenizer file {path}")
    tokenizer = read_tokenizer(path.read_text(encoding="utf-8", errors="replace"), str(path))
    tokenizer.encode_special_tokens = True
    return tokenizer


def segment_layout(tokenizer: Tokenizer) -> SegmentLayout:
    """The layout with this tokenizer's ids.

    Raises:
        CheckpointError: The tokenizer has neither ``[CLS]`` and ``[SEP]`` nor ``<s>`` and ``</s>``.
    """
    for first, last in _FRAMES:
        cls_token, sep_token = tokenizer.token_to_id(first), tokenizer.token_to_id(last)
        if cls_token is not None and sep_token is not None:
            break
    else:
        raise CheckpointError("the tokenizer has neither [CLS] and [SEP] nor <s> and </s>; an encoder's is needed")
    marker = tokenizer.token_to_id(_CUT_MARKER)
    return SegmentLayout(cls_token=cls_token, sep_token=sep_token, cut_marker=sep_token if marker is None else marker)


def number_tokens(tokenizer: Tokenizer) -> list[int]:
    """Ids of whole-word tokens that are numbers of one to three digits."""
    # SentencePiece and byte-level vocabularies mark the start of a word
    words = ((token.removeprefix("▁").removeprefix("Ġ"), index) for token, index in tokenizer.get_vocab().items())
    return sorted(index for word, index in words if word.isascii() and word.isdigit() and len(word) < 4)


def known_tokens(tokenizer: Tokenizer) -> KnownTokens:
    """The tokens that corruptions work with."""
    return KnownTokens(number_tokens(tokenizer), opposite_tokens(tokenizer.get_vocab()))
