"""Encode texts as vectors with the sentence encoder that ships in the package, by onnxruntime without torch.

It is all-MiniLM-L6-v2 as published, int8: the encoder that the embedded ranker was trained from.
"""

from __future__ import annotations

import hashlib
import importlib.resources
import threading
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from blender_core.errors import CheckpointError, RankerError
from blender_core.models.onnx import open_session
from blender_core.models.segments import cut_middle
from blender_core.models.tokenizers import read_tokenizer, word_ids
from blender_core.runtime.threads import stop_if_given_up

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from tokenizers import Tokenizer

    Vectors = npt.NDArray[np.float64]

__all__ = ["SentenceEncoder"]

_SHA256 = "3383f1b3e9e2cc2f9329268587c9e7b5e4f45bb7f9496af6f28338b2a9d86027"
_CLS, _SEP, _CUT_MARKER = 101, 102, 1529
# the window it was trained with, special tokens included
_MAX_TOKENS = 256
_HEAD_SHARE = 0.65


class SentenceEncoder:
    """Turns texts into vectors of length one. Safe to call from several threads.

    Create one with :meth:`load`.

    Args:
        session: An ``onnxruntime.InferenceSession``.
        tokenizer: The tokenizer that belongs to it.

    Examples:
        >>> question, right, wrong = SentenceEncoder.load()(["Capital of France?", "Paris", "Rome"])
        >>> bool(question @ right > question @ wrong)
        True
    """

    def __init__(self, session: Any, tokenizer: Tokenizer) -> None:
        self._session = session
        self._tokenizer = tokenizer

    @property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer; one for all encoders that `load` gives."""
        return self._tokenizer

    @classmethod
    def load(cls, *, threads: int = 1) -> SentenceEncoder:
        """Load the weights in the package.

        Args:
            threads: Threads for one forward pass.

        Returns:
            The encoder; the same one for every call with the same number of threads.

        Raises:
            CheckpointError: The file is missing or damaged; install the package again.
        """
        with _LOCK:
            if threads not in _LOADED:
                _LOADED[threads] = cls._read(threads)
            return _LOADED[threads]

    @classmethod
    def _read(cls, threads: int) -> SentenceEncoder:
        folder = importlib.resources.files("blender_core.models") / "sentence_encoder_weights"
        # the embedded ranker was trained from this encoder and has its tokenizer
        words = importlib.resources.files("blender_core.rank") / "embedded_weights" / "tokenizer.json"
        try:
            model = (folder / "model.int8.onnx").read_bytes()
            definition = words.read_text(encoding="utf-8")
        except OSError as error:
            raise CheckpointError(
                f"the sentence encoder in {folder} cannot be read: {error}; install the package again"
            ) from error
        digest = hashlib.sha256(model).hexdigest()
        if digest != _SHA256:
            raise CheckpointError(
                f"{folder}/model.int8.onnx has sha256 {digest}, not {_SHA256}; install the package again"
            )
        tokenizer = read_tokenizer(definition, str(words))
        # "[SEP]" in a text stays plain text
        tokenizer.encode_special_tokens = True
        return cls(open_session(model, source=f"{folder}/model.int8.onnx", threads=threads), tokenizer)

    def __call__(self, texts: Sequence[str]) -> Vectors:
        """Encode texts, one in a pass, so that a vector does not depend on the other texts.

        Args:
            texts: n texts. The middle of a text of more than 254 tokens is left out.

        Returns:
            Shape (n, 384), each row of length one.

        Raises:
            RankerError: The model gave numbers that are not finite.
        """
        return self._vectors((word_ids(self._tokenizer, text), text) for text in texts)

    def encode_ids(self, ids: Sequence[Sequence[int]], texts: Sequence[str]) -> Vectors:
        """Encode texts whose tokens are known.

        Args:
            ids: Ids of each text by `tokenizer`, without special tokens.
            texts: The texts, for messages.

        Returns:
            What a call with the texts gives.

        Raises:
            RankerError: The model gave numbers that are not finite.
        """
        return self._vectors(zip(ids, texts, strict=True))

    def _vectors(self, encoded: Iterable[tuple[Sequence[int], str]]) -> Vectors:
        import numpy as np

        vectors = []
        for all_ids, text in encoded:
            stop_if_given_up()
            ids, _ = cut_middle(all_ids, _MAX_TOKENS - 2, _CUT_MARKER, _HEAD_SHARE)
            vector = self._session.run(None, {"input_ids": np.array([[_CLS, *ids, _SEP]], dtype=np.int64)})[0][0]
            if not np.isfinite(vector).all():
                raise RankerError(f"the sentence encoder gave numbers that are not finite for {text[:80]!r}")
            vectors.append(vector)
        return np.array(vectors, dtype=np.float64).reshape(-1, 384)


_LOCK = threading.Lock()
_LOADED: dict[int, SentenceEncoder] = {}
