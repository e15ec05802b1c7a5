"""A linear reward head on the frozen states of a pretrained language model.

With few judged prompts a linear head on a larger model's middle layers orders answers better than one on a small
encoder (``docs/ranker.md`` has the curves). It is a ranker of its own, and a teacher for smaller ones.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from blender_core.errors import CheckpointError, RankerError
from blender_core.rank.answer_reader import AnswerReader, ReaderSettings
from blender_core.rank.kept_vectors import KeptVectors, ReadsAnswers
from blender_core.text.distinct import distinct_candidates
from blender_core.types.ranking import Ranking

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Array = npt.NDArray[np.float64]

__all__ = ["SETTINGS_FILE", "RewardHead", "RewardHeadRanker"]

SETTINGS_FILE = "reward_head.json"
_HEAD_FILE = "head.safetensors"
_FORMAT = 1
_PACKAGED = Path(__file__).with_name("reward_head_weights")


@dataclass(frozen=True, slots=True)
class RewardHead:
    """The head: ``score = ((vector - mean) / deviation) @ weights``.

    Attributes:
        mean: Shape (size,).
        deviation: Shape (size,), above 0.
        weights: Shape (size,). A difference of scores is the logit that one answer is better.
    """

    mean: Array
    deviation: Array
    weights: Array

    def scores(self, vectors: npt.NDArray[Any]) -> Array:
        """Scores of answers.

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

    def __init__(self, reader: ReadsAnswers, head: RewardHead, *, name: str = "reward-head") -> None:
        self._reader = reader
        self._head = head
        self.name = name

    @classmethod
    def load(cls, folder: str | Path | None = None, *, device: str = "auto") -> RewardHeadRanker:
        """Load the head in the package, or what ``blended-llm train reward-head`` wrote.

        The language model is loaded when the first answer is read. The head in the package belongs to
        ``qwen2.5-coder-0.5b`` of the catalogue of local models, which is fetched once.

        Args:
            folder: A run's output; ``None`` for the head in the package. Answers whose vectors lie in its ``vectors``
                folder are not read again.
            device: ``"auto"`` (CUDA, else MPS, else CPU) or a torch device.

        Returns:
            The ranker; its name is ``"reward-head"``, with the folder's name where it is one of your own.

        Raises:
            CheckpointError: A file is missing or damaged.
            MissingExtraError: safetensors is not installed.
        """
        name = "reward-head" if folder is None else f"reward-head-{Path(folder).name}"
        folder = _PACKAGED if folder is None else Path(folder)
        try:
            stored = json.loads((folder / SETTINGS_FILE).read_text(encoding="utf-8"))
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
        reader = KeptVectors(
            settings, folder / "vectors", lambda: AnswerReader.load(settings, device=device), write=False
        )
        return cls(reader, head, name=name)

    def save(self, folder: str | Path) -> None:
        """Write what :meth:`load` reads; the language model itself is not copied.

        Args:
            folder: The folder; made where it is missing.
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

        Args:
            prompt: The prompt.
            candidates: At least one answer; blanks come last, duplicates share a score.

        Returns:
            The ranking. ``comparisons[i][j]`` is the score of i minus the score of j.

        Raises:
            ConfigurationError: No candidates, or one that is not a string.
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
    except Exception as error:  # safetensors raises a kind of its own
        raise CheckpointError(
            f"{path} holds no reward head ({type(error).__name__}: {error}); train it again"
        ) from error
