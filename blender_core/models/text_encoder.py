"""Turn texts into vectors: one face for every encoder that a user may have."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Unpack
from weakref import WeakKeyDictionary

from blender_core.errors import ConfigurationError, RankerError
from blender_core.members.control_tokens import special_tokens
from blender_core.models.batches import CPU_TOKEN_BUDGET, GPU_TOKEN_BUDGET, token_batches
from blender_core.models.loading import LoadOptions, takes_load_options
from blender_core.models.sentence_encoder import SentenceEncoder
from blender_core.text.control_markers import ControlTokens

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Vectors = npt.NDArray[np.float64]

__all__ = ["SHIPPED_ENCODER", "Encode", "TextEncoder", "unit_vectors"]

Encode = Callable[[list[str]], Any]
"""Takes n texts, at least one; returns an array ``[n, size]``."""

SHIPPED_ENCODER = "all-MiniLM-L6-v2-int8"
"""Name of the encoder that ships in the package."""


def unit_vectors(vectors: Vectors) -> Vectors:
    """Scale vectors to length one, so that a dot product is a cosine similarity.

    Args:
        vectors: Array ``[n, size]``.

    Returns:
        Array ``[n, size]``. A zero vector stays zero: its similarity to any text is 0.

    Examples:
        >>> import numpy as np
        >>> unit_vectors(np.array([[3.0, 4.0]])).tolist()
        [[0.6, 0.8]]
    """
    import numpy as np

    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    scaled: Vectors = vectors / np.where(lengths > 0, lengths, 1.0)
    return scaled


class TextEncoder:
    """Encodes texts with whatever encoder you have.

    Everything that takes an encoder makes one of these from what it is given. Safe to call from several threads, and
    pickles, if your own encoder is and does.

    Args:
        encoder: What encodes:

            - ``None``: all-MiniLM-L6-v2 in int8, which ships in the package; no download, no torch.
            - A folder or hub name, such as ``"Qwen/Qwen3-Embedding-0.6B"``; see `from_pretrained`.
            - A ``SentenceTransformer`` that you loaded, or another object with ``encode(texts)``.
            - An embedding model of LangChain or LlamaIndex.
            - A function that takes n texts and returns an array ``[n, size]``.
        queries: The same for questions and prompts, if they need another prefix or model. Default: what ``encoder``
            itself does with a query, else the same as with any text.

    Raises:
        ConfigurationError: ``encoder`` is none of these.
        BlendError: A name cannot be loaded; see `from_pretrained`.

    Attributes:
        name: The model's name, or that of the function or the class.

    Examples:
        >>> encoder = TextEncoder()
        >>> question, right, wrong = encoder(["Capital of France?", "Paris", "Rome"])
        >>> bool(question @ right > question @ wrong)
        True
    """

    def __init__(self, encoder: Any = None, queries: Any = None) -> None:
        self._given = encoder, queries
        self.name, self._texts, self._queries, self._documents = _read(encoder)
        if queries is not None:
            self._queries = TextEncoder(queries)._queries

    @classmethod
    @takes_load_options()
    def from_pretrained(
        cls,
        name_or_path: str | os.PathLike[str],
        *,
        prompts: Mapping[str, str] | None = None,
        max_tokens: int | None = None,
        backend: str = "torch",
        file_name: str | None = None,
        quantization: str | None = None,
        **load: Unpack[LoadOptions],
    ) -> TextEncoder:
        """Load an encoder with sentence-transformers; for other options, pass a ``SentenceTransformer`` of your own.

        Pooling, prompts and ``max_seq_length`` are the checkpoint's own. A plain encoder, such as a BERT, is averaged
        over its tokens. A checkpoint's own code is never run.

        Args:
            name_or_path: A folder or a hub repository.
            prompts: Instructions put before the texts, by name: ``"query"`` for prompts and questions, ``"document"``
                for answers and passages. Default: the checkpoint's. ``""`` takes one away.
            max_tokens: Context window in tokens; longer texts are cut. Default: the checkpoint's ``max_seq_length``.
            backend: ``"torch"``, ``"onnx"`` or ``"openvino"``. The last two need ``optimum``.
            file_name: File of an ONNX or OpenVINO backend, such as ``"onnx/model_qint8_avx512.onnx"``.
            quantization: ``"8bit"`` or ``"4bit"`` weights in torch, by bitsandbytes; ``None`` for full weights.
            **load: Load options; see ``blender_core.models.loading.LoadOptions``.

        Returns:
            The encoder.

        Raises:
            CheckpointError: It is no encoder: a classifier, a language model without pooling, or weights are missing.
            ConfigurationError: The device, the dtype, the backend or a size is unknown or too small.
            DownloadError: It cannot be downloaded.
            MissingExtraError: The ``encoders`` extra is not installed, or for quantized weights ``quantization``.
        """
        from blender_core.models.sentence_transformer import load_sentence_transformer

        model = load_sentence_transformer(
            os.fspath(name_or_path),
            load,
            prompts=prompts,
            max_tokens=max_tokens,
            backend=backend,
            file_name=file_name,
            quantization=quantization,
        )
        made = cls(model)
        made.name = os.fspath(name_or_path)
        return made

    def __call__(self, texts: Sequence[str]) -> Vectors:
        """Encode texts that are compared with each other.

        Args:
            texts: n texts.

        Returns:
            Array ``[n, size]``, as the encoder scales it.

        Raises:
            RankerError: The encoder gave something else, or numbers that are not finite.
        """
        return _vectors(self._texts, texts)

    def queries(self, texts: Sequence[str]) -> Vectors:
        """Encode questions and prompts; see `__call__`."""
        return _vectors(self._queries, texts)

    def documents(self, texts: Sequence[str]) -> Vectors:
        """Encode answers and passages that queries are compared with; see `__call__`."""
        return _vectors(self._documents, texts)

    def __reduce__(self) -> tuple[type[TextEncoder], tuple[Any, Any]]:
        return type(self), self._given

    def __repr__(self) -> str:
        return f"TextEncoder({self.name!r})"


def _vectors(encode: Encode, texts: Sequence[str]) -> Vectors:
    import numpy as np

    if not texts:
        return np.zeros((0, 0))
    # tokenizers and JSON refuse lone surrogates
    return _array(encode([text.encode("utf-8", "replace").decode("utf-8") for text in texts]), len(texts))


def _array(found: Any, count: int) -> Vectors:
    import numpy as np

    if hasattr(found, "detach"):
        found = found.detach().float().cpu()
    try:
        vectors = np.asarray(found, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise RankerError(f"the encoder gave {type(found).__name__}, which is no array of numbers: {error}") from error
    if vectors.ndim != 2 or len(vectors) != count:
        raise RankerError(f"the encoder gave an array of shape {vectors.shape} for {count} texts; give [n, size]")
    if not np.isfinite(vectors).all():
        raise RankerError("the encoder gave numbers that are not finite; load it with dtype='float32'")
    return vectors


def _read(encoder: Any) -> tuple[str, Encode, Encode, Encode]:
    """Name an encoder, and find its functions for texts of one kind, for queries and for documents."""
    if isinstance(encoder, (str, os.PathLike)):
        encoder = TextEncoder.from_pretrained(encoder)
    if isinstance(encoder, TextEncoder):
        return encoder.name, encoder._texts, encoder._queries, encoder._documents
    if encoder is None:
        shipped = SentenceEncoder.load()
        return SHIPPED_ENCODER, shipped, shipped, shipped
    name = _name(encoder)
    if not isinstance(encoder, type):
        # LlamaIndex's embedding models can be called, too, but with nodes; a SentenceTransformer with token ids
        if hasattr(encoder, "get_text_embedding_batch"):
            texts = encoder.get_text_embedding_batch
            return name, texts, _one_by_one(encoder.get_query_embedding), texts
        if hasattr(encoder, "embed_documents"):
            return name, encoder.embed_documents, _one_by_one(encoder.embed_query), encoder.embed_documents
        if hasattr(encoder, "encode"):
            kinds = (getattr(encoder, kind, encoder.encode) for kind in ("encode", "encode_query", "encode_document"))
            texts, queries, documents = (_in_batches(encode, encoder) for encode in kinds)
            return name, texts, queries, documents
        if callable(encoder):
            return name, encoder, encoder, encoder
    raise ConfigurationError(
        f"encoder is {encoder!r}; give a folder or hub name, a SentenceTransformer, an embedding model of LangChain or "
        "LlamaIndex, a function from texts to vectors, or None for the one in the package"
    )


def _name(encoder: Any) -> str:
    names = [getattr(encoder, attribute, None) for attribute in ("model_name", "model", "__qualname__")]
    # a SentenceTransformer has the config of transformers
    names.append(getattr(getattr(encoder, "config", None), "name_or_path", None))
    return next((name for name in names if name and isinstance(name, str)), type(encoder).__name__)


def _one_by_one(encode: Callable[[str], Any]) -> Encode:
    return lambda texts: [encode(text) for text in texts]


def _in_batches(encode: Encode, model: Any) -> Encode:
    """Bound the memory of a forward pass, and let a call that was given up end between two."""
    lock = _lock_of(model)
    control = _control_tokens(model)
    budget = CPU_TOKEN_BUDGET if str(getattr(model, "device", "cpu")) == "cpu" else GPU_TOKEN_BUDGET

    def run(texts: list[str]) -> Any:
        import numpy as np

        texts = [control.neutralise(text) for text in texts] if control else texts
        # at most about one token for three bytes
        lengths = [len(text.encode()) // 3 + 2 for text in texts]
        batches = list(token_batches(lengths, budget))
        places = np.argsort([index for batch in batches for index in batch])
        found = []
        for batch in batches:
            with lock:
                found.append(_array(encode([texts[index] for index in batch]), len(batch)))
        return np.concatenate(found)[places]

    return run


def _control_tokens(model: Any) -> ControlTokens:
    """The tokens with which a text could add turns, if the model renders texts with a chat template."""
    if "message" not in getattr(model, "modalities", ()):
        return ControlTokens([])
    return ControlTokens(special_tokens(model.tokenizer))


_LOCKS: WeakKeyDictionary[Any, threading.Lock] = WeakKeyDictionary()
_LOCKS_LOCK = threading.Lock()


def _lock_of(model: Any) -> threading.Lock:
    # two threads in one fast tokenizer can fail: "Already borrowed"
    with _LOCKS_LOCK:
        try:
            return _LOCKS.setdefault(model, threading.Lock())
        except TypeError:  # it cannot be a key
            return threading.Lock()
