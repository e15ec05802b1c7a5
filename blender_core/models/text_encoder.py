"""Turn texts into vectors, with a pretrained encoder or your own function."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Unpack

from blender_core.errors import ConfigurationError, RankerError
from blender_core.models.loading import EncoderOptions, load_encoder, takes_load_options

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from blender_core.models.encoder import EncoderModel

    Vectors = npt.NDArray[np.float64]

__all__ = ["Encode", "TextEncoder", "local_text_encoder", "unit_vectors", "vectors_of"]

Encode = Callable[[list[str]], Any]
"""Takes n texts, returns an array ``[n, size]``; ``SentenceTransformer.encode`` is one."""

_POOLINGS = ("cls", "mean")


def unit_vectors(encode: Encode, texts: Sequence[str]) -> Vectors:
    """Encode texts as vectors of length one, so that a dot product is a cosine similarity.

    Args:
        encode: The encoder.
        texts: n texts, at least one.

    Returns:
        Array ``[n, size]``, float64. A zero vector stays zero: its similarity to any text is 0.

    Raises:
        RankerError: The encoder gave another shape, or numbers that are not finite.

    Examples:
        >>> unit_vectors(lambda texts: [[3.0, 4.0] for _ in texts], ["a"]).tolist()
        [[0.6, 0.8]]
    """
    import numpy as np

    vectors = np.asarray(encode(list(texts)), dtype=np.float64)
    if vectors.ndim != 2 or len(vectors) != len(texts):
        raise RankerError(f"the encoder gave an array of shape {vectors.shape} for {len(texts)} texts; give [n, size]")
    if not np.isfinite(vectors).all():
        raise RankerError("the encoder gave numbers that are not finite; load it with dtype='float32'")
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    normed: Vectors = vectors / np.where(lengths > 0, lengths, 1.0)
    return normed


class TextEncoder:
    """Encodes texts with a pretrained encoder and pooling.

    Create one with ``from_pretrained``. Safe to call from several threads.

    Args:
        model: The loaded encoder.
        pooling: ``"mean"`` over a text's tokens (Reimers and Gurevych 2019, section 3), or ``"cls"``, the first.
        prefix: Put before every text, for example ``"query: "``, if the model was trained with one.

    Raises:
        ConfigurationError: The pooling is unknown.
    """

    def __init__(self, model: EncoderModel, *, pooling: str = "mean", prefix: str = "") -> None:
        if pooling not in _POOLINGS:
            raise ConfigurationError(f"pooling {pooling!r} is unknown; choose one of {', '.join(_POOLINGS)}")
        self._model = model
        self._pooling = pooling
        self._prefix = prefix

    @classmethod
    @takes_load_options(EncoderOptions)
    def from_pretrained(
        cls,
        name_or_path: str | os.PathLike[str],
        *,
        pooling: str = "mean",
        prefix: str = "",
        **load: Unpack[EncoderOptions],
    ) -> TextEncoder:
        """Load an encoder such as ``sentence-transformers/all-MiniLM-L6-v2``.

        Args:
            name_or_path: A folder or a hub repository.
            pooling: ``"mean"`` or ``"cls"``; the one the model was trained with.
            prefix: Put before every text.
            **load: Load options; see ``blender_core.models.loading.EncoderOptions``.

        Returns:
            The encoder.

        Raises:
            CheckpointError: The checkpoint holds no encoder.
            BlendError: It cannot be downloaded or loaded; see ``blender_core.models.loading.load_encoder``.
        """
        model = load_encoder(
            "AutoModel", name_or_path, load, feature="TextEncoder.from_pretrained", unused=("pooler.",)
        )
        return cls(model, pooling=pooling, prefix=prefix)

    def __call__(self, texts: list[str]) -> Vectors:
        """Encode texts.

        Args:
            texts: n texts.

        Returns:
            Array ``[n, hidden size]``, float64, each row of length one.

        Raises:
            RankerError: The model failed.
        """
        import numpy as np

        rows = [self._model.tokenizer.single(self._prefix + text, self._model.max_tokens) for text in texts]
        vectors = np.zeros((len(texts), self._model.config.hidden_size))
        for batch, output, mask in self._model.run(rows):
            hidden = output.last_hidden_state.float()
            if self._pooling == "cls":
                pooled = hidden[:, 0]
            else:
                pooled = (hidden * mask.unsqueeze(-1)).sum(1) / mask.sum(1, keepdim=True)
            vectors[batch] = pooled.cpu().numpy()
        return unit_vectors(lambda _: vectors, texts) if texts else vectors


def vectors_of(encode: Encode, texts: list[str]) -> list[list[float]]:
    """Embed texts as plain lists, the type that frameworks expect.

    Args:
        encode: Takes n texts, returns an array ``[n, size]``.
        texts: The texts.

    Returns:
        One vector for each text. ``encode`` is not called if there are no texts.
    """
    return [[float(value) for value in row] for row in encode(texts)] if texts else []


def local_text_encoder(load: Callable[..., TextEncoder] = TextEncoder.from_pretrained) -> TextEncoder:
    """Load all-MiniLM-L6-v2 on the CPU; downloaded once (91 MB) and checked by hash.

    Args:
        load: Loads the encoder's folder.

    Returns:
        The encoder.

    Raises:
        DownloadError: The weights cannot be downloaded.
        MissingExtraError: The ``demo`` or the ``torch`` extra is not installed.
    """
    from blender_core.local.encoder import local_encoder

    return load(local_encoder(), device="cpu", local_files_only=True)
