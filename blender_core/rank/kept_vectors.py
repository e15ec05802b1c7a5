"""Vectors of answers on the disk: reading answers is dear, and the same ones are read again by every fit."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from blender_core.errors import CheckpointError
from blender_core.rank.answer_reader import ReaderSettings

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Vectors = npt.NDArray[np.float32]

__all__ = ["KeptVectors", "ReadsAnswers"]


class ReadsAnswers(Protocol):
    """What turns answers into vectors: an `AnswerReader`, or one whose results are kept."""

    @property
    def settings(self) -> ReaderSettings:
        """What decides the vectors."""
        ...

    def vectors(self, prompt: str, answers: Sequence[str]) -> Vectors:
        """One row an answer; see ``AnswerReader.vectors``."""
        ...


class KeptVectors:
    """Answers that were read before come from a folder, the others from a reader, which is loaded when it is needed.

    A file holds the answers to one prompt as float16; its name is the digest of the settings and the texts, so
    another model or another text is never taken for it. A killed run loses at most the prompt in flight.

    Args:
        settings: What decides the vectors.
        folder: Where they are kept.
        reader: Gives the reader; called at most once.
        write: Keep what is read anew.
    """

    def __init__(
        self, settings: ReaderSettings, folder: str | Path, reader: Callable[[], ReadsAnswers], *, write: bool = True
    ) -> None:
        self._settings = settings
        self._folder = Path(folder)
        self._make = reader
        self._reader: ReadsAnswers | None = None
        self._write = write

    @property
    def settings(self) -> ReaderSettings:
        """What decides the vectors."""
        return self._settings

    def vectors(self, prompt: str, answers: Sequence[str]) -> Vectors:
        """One row an answer, float32; see ``AnswerReader.vectors``.

        Raises:
            CheckpointError: A file is damaged.
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
        # as they come back from the disk, so that the first reading and the second are one
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
