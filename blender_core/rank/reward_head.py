"""Rank with a linear reward head on the frozen states of a language model.

With few labelled prompts, a head on a larger model's middle layers orders answers better than one on a small encoder.
``research/ranker.md`` has the curves. It ranks by itself, and is a teacher for smaller rankers.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from blender_core.errors import CheckpointError, ConfigurationError, RankerError
from blender_core.models.batches import token_batches
from blender_core.models.bfloat16 import computes_bfloat16
from blender_core.models.gguf import gguf_file
from blender_core.models.loading import LoadOptions, load_model, load_tokenizer, loading, require_transformers
from blender_core.runtime.numbers import check_number
from blender_core.runtime.outside import read_json
from blender_core.text.distinct import distinct_candidates
from blender_core.text.unicode import without_surrogates
from blender_core.types.ranking import Ranking

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Vectors = npt.NDArray[np.float32]
    Array = npt.NDArray[np.float64]

__all__ = [
    "SETTINGS_FILE",
    "AnswerFeatures",
    "FeatureExtractor",
    "ReaderSettings",
    "RewardHead",
    "RewardHeadRanker",
    "VectorCache",
]

_PRECISIONS = ("bfloat16", "float16", "float32")


@dataclass(frozen=True, slots=True)
class ReaderSettings:
    """Settings that determine the vectors of a feature extractor.

    Attributes:
        model: A name in the catalogue of local models, a GGUF file, or an encoder's or decoder's folder or hub name.
        layers: Number of lowest layers to use; 0 uses all. Fewer are faster, and middle layers are often better.
        prompt_tokens: Most tokens of a prompt; a longer one is cut in its middle.
        answer_tokens: The same for an answer.
        precision: Of the forward pass: ``"bfloat16"``, ``"float16"`` or ``"float32"``. A CPU without bfloat16
            instructions uses float32, which is faster there and differs by rounding.
    """

    model: str
    layers: int = 0
    prompt_tokens: int = 96
    answer_tokens: int = 224
    precision: str = "bfloat16"

    def __post_init__(self) -> None:
        check_number("layers", self.layers, least=0, whole=True)
        check_number("prompt_tokens", self.prompt_tokens, least=8, whole=True)
        check_number("answer_tokens", self.answer_tokens, least=8, whole=True)
        if self.precision not in _PRECISIONS:
            raise ConfigurationError(f"precision {self.precision!r} is unknown; use one of {', '.join(_PRECISIONS)}")


class FeatureExtractor:
    """Turns answers into vectors with a frozen model.

    Create one with :meth:`load`. Safe to call from several threads.

    Args:
        network: A transformers model without a head, in evaluation mode.
        tokenizer: Its tokenizer, which splits special tokens in texts.
        settings: Settings that it was loaded with.
        tokens_per_batch: Most padded tokens in one forward pass; bounds the memory.
    """

    def __init__(self, network: Any, tokenizer: Any, settings: ReaderSettings, *, tokens_per_batch: int = 2048) -> None:
        self._network = network
        self._tokenizer = tokenizer
        self._settings = settings
        self._tokens_per_batch = tokens_per_batch
        # only the last token of a decoder has seen the whole text
        self._decoder = tokenizer.cls_token_id is None or tokenizer.sep_token_id is None

    @classmethod
    def load(cls, settings: ReaderSettings, *, device: str = "auto", tokens_per_batch: int = 2048) -> FeatureExtractor:
        """Load the model.

        Args:
            settings: Which model, and how it reads.
            device: ``"auto"`` (CUDA, else MPS, else CPU) or a torch device.
            tokens_per_batch: Most padded tokens in one forward pass; bounds the memory.

        Returns:
            The feature extractor.

        Raises:
            CheckpointError: The model cannot be loaded.
            ConfigurationError: It has fewer layers than requested, or the device is unavailable.
            DownloadError: It cannot be downloaded.
            MissingExtraError: torch, transformers or gguf is not installed.
        """
        require_transformers("FeatureExtractor.load")
        import torch

        from blender_core.models.devices import resolve_device

        place = resolve_device(device)
        file = gguf_file(settings.model, feature="FeatureExtractor.load")
        where = str(file.parent) if file is not None else os.fspath(Path(settings.model).expanduser())
        if file is None and not Path(where).is_dir():
            where = settings.model
        source: dict[str, Any] = {} if file is None else {"gguf_file": file.name}
        # on the CPU first, so that unused layers never reach the device
        load: LoadOptions = {"device": "cpu", "dtype": "float32"}
        purpose = "as a model that reads answers"
        with loading(settings.model, purpose):
            tokenizer = load_tokenizer(where, load, split_special_tokens=True, **source)
            network = load_model("AutoModel", where, load, purpose=purpose, unused=("pooler.",), **source)
        _keep_layers(network, settings)
        network.requires_grad_(False)
        imitated = settings.precision == "bfloat16" and not computes_bfloat16(place)
        network.to(place, torch.float32 if imitated else getattr(torch, settings.precision))
        return cls(network, tokenizer, settings, tokens_per_batch=tokens_per_batch)

    @property
    def settings(self) -> ReaderSettings:
        """Settings that it was loaded with."""
        return self._settings

    def vectors(self, prompt: str, answers: Sequence[str]) -> Vectors:
        """Compute the vectors of answers to one prompt.

        Args:
            prompt: The prompt.
            answers: The answers.

        Returns:
            One row for each answer: float32, shape (answers, 2 * hidden size).

        Raises:
            RankerError: The model gave a number that is not finite.
        """
        import numpy as np
        import torch

        from blender_core.models.shared_prefix import read_prefix

        start, end = self._frame(prompt)
        bodies = [self._body(answer) for answer in answers]
        read = read_prefix(self._network, start) if self._decoder and len(bodies) > 1 else {}
        before = [] if read else start
        rows = [[*before, *body, *end] for body in bodies]
        found: list[Any] = [None] * len(rows)
        for batch in token_batches([len(row) for row in rows], self._tokens_per_batch):
            states = self._states([rows[index] for index in batch], read)
            for line, index in enumerate(batch):
                own = states[line, : len(rows[index])].float()
                summary = own[-1] if self._decoder else own[0]
                mean = own[len(before) : len(before) + len(bodies[index])].mean(0)
                found[index] = torch.cat([mean, summary]).cpu().numpy()
        vectors: Vectors = np.stack(found) if found else np.zeros((0, 0), np.float32)
        if not np.isfinite(vectors).all():
            raise RankerError(f"{self._settings.model} gave states that are not finite; use precision = 'float32'")
        return vectors

    def _states(self, rows: Sequence[list[int]], read: Mapping[str, Any]) -> Any:
        """Compute the states of the top layer, shape [rows, longest row, hidden size]."""
        from blender_core.models.shared_prefix import forward_rows

        options = {"use_cache": bool(read)} if self._decoder else {}
        return forward_rows(self._network, rows, read=read, **options).last_hidden_state

    def _frame(self, prompt: str) -> tuple[list[int], list[int]]:
        """Build the token ids before and after an answer."""
        question = _without_middle(self._ids(prompt), self._settings.prompt_tokens)
        if self._decoder:
            return [*self._ids("Question:\n"), *question, *self._ids("\n\nAnswer:\n")], []
        separator = int(self._tokenizer.sep_token_id)
        return [int(self._tokenizer.cls_token_id), *question, separator], [separator]

    def _body(self, answer: str) -> list[int]:
        return _without_middle(self._ids(answer), self._settings.answer_tokens) or self._ids("-")

    def _ids(self, text: str) -> list[int]:
        return list(self._tokenizer(without_surrogates(text), add_special_tokens=False)["input_ids"])


def _without_middle(ids: list[int], room: int) -> list[int]:
    tail = room // 2
    return ids if len(ids) <= room else ids[: room - tail] + ids[len(ids) - tail :]


def _keep_layers(network: Any, settings: ReaderSettings) -> None:
    """Remove the unused upper layers."""
    import torch

    stack = max(
        (module for module in network.modules() if isinstance(module, torch.nn.ModuleList)),
        key=len,
        default=torch.nn.ModuleList(),
    )
    if settings.layers > len(stack):
        raise ConfigurationError(f"layers is {settings.layers}; {settings.model} has {len(stack)} layers")
    if settings.layers:
        del stack[settings.layers :]
        for name in ("num_hidden_layers", "n_layer"):
            if hasattr(network.config, name):
                setattr(network.config, name, settings.layers)


class AnswerFeatures(Protocol):
    """Turns answers into vectors, as `FeatureExtractor` and `VectorCache` do."""

    @property
    def settings(self) -> ReaderSettings:
        """Settings that determine the vectors."""

    def vectors(self, prompt: str, answers: Sequence[str]) -> Vectors:
        """Return one row for each answer; see ``FeatureExtractor.vectors``."""


class VectorCache:
    """Caches the vectors of answers in a folder; a feature extractor computes missing ones.

    A file holds the vectors of one prompt's answers as float16. Its name is a digest of the settings and the texts, so
    it is never used for another model or text. A killed run loses at most the prompt in progress.

    Args:
        settings: Settings that determine the vectors.
        folder: Folder of the cache.
        reader: Returns the feature extractor; called at most once.
        write: Save new vectors.
    """

    def __init__(
        self, settings: ReaderSettings, folder: str | Path, reader: Callable[[], AnswerFeatures], *, write: bool = True
    ) -> None:
        self._settings = settings
        self._folder = Path(folder)
        self._make = reader
        self._reader: AnswerFeatures | None = None
        self._write = write

    @property
    def settings(self) -> ReaderSettings:
        """Settings that determine the vectors."""
        return self._settings

    def vectors(self, prompt: str, answers: Sequence[str]) -> Vectors:
        """Return one row for each answer, float32; see ``FeatureExtractor.vectors``.

        Raises:
            CheckpointError: A file is damaged; delete it.
        """
        import numpy as np

        path = self._folder / f"{self._digest(prompt, answers)}.npy"
        if path.is_file():
            try:
                kept: Vectors = np.load(path, allow_pickle=False).astype(np.float32)
            except (OSError, ValueError) as error:
                raise CheckpointError(f"{path} cannot be read: {error}; remove it, it is made again") from error
            return kept
        if self._reader is None:
            self._reader = self._make()
        # rounded as on disk, so that new and cached vectors are equal
        found: Vectors = self._reader.vectors(prompt, answers).astype(np.float16).astype(np.float32)
        if self._write:
            self._folder.mkdir(parents=True, exist_ok=True)
            half = path.with_suffix(f".{os.getpid()}.part")
            with half.open("wb") as file:
                np.save(file, found.astype(np.float16))
            half.replace(path)
        return found

    def _digest(self, prompt: str, answers: Sequence[str]) -> str:
        settings = self._settings
        name = Path(settings.model).name
        digest = hashlib.sha256(
            f"{name} {settings.layers} {settings.prompt_tokens} {settings.answer_tokens} {settings.precision}".encode()
        )
        for text in (prompt, *answers):
            digest.update(f"\n{len(text)}:".encode())
            digest.update(text.encode("utf-8", "surrogatepass"))
        return digest.hexdigest()[:32]


SETTINGS_FILE = "reward_head.json"
_HEAD_FILE = "head.safetensors"
_FORMAT = 1
_PACKAGED = Path(__file__).with_name("reward_head_weights")


@dataclass(frozen=True, slots=True)
class RewardHead:
    """A linear head: ``score = ((vector - mean) / deviation) @ weights``.

    Attributes:
        mean: Shape (size,).
        deviation: Shape (size,), above 0.
        weights: Shape (size,). A difference of scores is the logit that one answer is better.
    """

    mean: Array
    deviation: Array
    weights: Array

    def scores(self, vectors: npt.NDArray[Any]) -> Array:
        """Score answers.

        Args:
            vectors: Shape (answers, size).

        Returns:
            Shape (answers,).
        """
        scores: Array = ((vectors - self.mean) / self.deviation) @ self.weights
        return scores


class RewardHeadRanker:
    """Ranks by a linear head on frozen states. Safe to call from several threads.

    Args:
        reader: Turns answers into vectors.
        head: The head that was fitted on such vectors.
        name: Shown in results.

    Examples:
        >>> import numpy as np
        >>> class Lengths:
        ...     settings = ReaderSettings("lengths")
        ...     def vectors(self, prompt, answers):
        ...         return np.array([[float(len(answer))] for answer in answers])
        >>> head = RewardHead(mean=np.array([5.0]), deviation=np.array([2.0]), weights=np.array([1.0]))
        >>> RewardHeadRanker(Lengths(), head).rank("?", ["no", "because"]).scores
        (-1.5, 1.0)
    """

    def __init__(self, reader: AnswerFeatures, head: RewardHead, *, name: str = "reward-head") -> None:
        self._reader = reader
        self._head = head
        self.name = name

    @classmethod
    def load(cls, folder: str | Path | None = None, *, device: str = "auto") -> RewardHeadRanker:
        """Load the head in the package, or the output of ``blended-llm train reward-head``.

        The language model is loaded when the first answer is read. The head in the package belongs to
        ``qwen2.5-coder-0.5b`` of the catalogue of local models, which is fetched once.

        Args:
            folder: A run's output; ``None`` for the head in the package. Vectors in its ``vectors`` folder are reused.
            device: ``"auto"`` (CUDA, else MPS, else CPU) or a torch device.

        Returns:
            The ranker. Its name is ``"reward-head"``; with ``folder``, the folder's name follows.

        Raises:
            CheckpointError: A file is missing or damaged.
            MissingExtraError: safetensors is not installed.
        """
        name = "reward-head" if folder is None else f"reward-head-{Path(folder).name}"
        folder = _PACKAGED if folder is None else Path(folder)
        try:
            stored = read_json((folder / SETTINGS_FILE).read_text(encoding="utf-8"))
            if stored["format"] != _FORMAT:
                raise CheckpointError(
                    f"{folder / SETTINGS_FILE} has format {stored['format']!r}; this one reads {_FORMAT}"
                )
            settings = ReaderSettings(**stored["reader"])
            head = _read_head(folder / _HEAD_FILE)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise CheckpointError(
                f"no usable reward head in {folder} ({type(error).__name__}: {error}); train it again"
            ) from error
        reader = VectorCache(
            settings, folder / "vectors", lambda: FeatureExtractor.load(settings, device=device), write=False
        )
        return cls(reader, head, name=name)

    def save(self, folder: str | Path) -> None:
        """Write the files that :meth:`load` reads; the language model itself is not copied.

        Args:
            folder: Created if it is missing.
        """
        import numpy as np
        from safetensors.numpy import save_file

        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        tensors = {name: values.astype(np.float32) for name, values in asdict(self._head).items()}
        save_file(tensors, folder / _HEAD_FILE)
        text = json.dumps({"format": _FORMAT, "reader": asdict(self._reader.settings)}, indent=2)
        (folder / SETTINGS_FILE).write_text(text + "\n", encoding="utf-8")

    def rank(self, prompt: str, candidates: Sequence[str]) -> Ranking:
        """Rank the candidates; see ``Ranker.rank``.

        ``comparisons[i][j]`` is the score of i minus that of j, in logits; positive: i is better.

        Raises:
            RankerError: The head and the model do not fit, or a number is not finite.
        """
        distinct = distinct_candidates(candidates)
        scores: list[float] = []
        if distinct.texts:
            vectors = self._reader.vectors(prompt, distinct.texts)
            if vectors.shape[1] != len(self._head.weights):
                raise RankerError(
                    f"the head was fitted on vectors of {len(self._head.weights)} numbers, "
                    f"{self._reader.settings.model} gives {vectors.shape[1]}; load the model that it was fitted on"
                )
            scores = [round(float(score), 6) for score in self._head.scores(vectors)]
        matrix = [[first - second for second in scores] for first in scores]
        return Ranking.from_scores(
            distinct.spread_scores(scores), ranker=self.name, comparisons=distinct.spread_matrix(matrix)
        )


def _read_head(path: Path) -> RewardHead:
    from blender_core.runtime.extras import require

    safetensors = require("safetensors.numpy", feature="RewardHeadRanker.load", extra="torch")
    try:
        tensors = safetensors.load_file(path)
        return RewardHead(**{name: tensors[name] for name in ("mean", "deviation", "weights")})
    except Exception as error:  # safetensors raises its own exceptions
        raise CheckpointError(
            f"{path} holds no reward head ({type(error).__name__}: {error}); train it again"
        ) from error
