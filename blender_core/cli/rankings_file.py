"""Keep the rankings of a file of prompts, so that a run that was stopped goes on where it ended."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from blender_core.cli.output import finite
from blender_core.cli.prompt_rows import PromptRow
from blender_core.errors import ConfigurationError
from blender_core.runtime.outside import read_json

__all__ = ["RankingsFile"]


class RankingsFile:
    """Appends rankings to a JSONL file, and knows those that are in it; a context manager.

    Args:
        path: The file; made if it is missing. A last line that was cut is removed.
        ranker: Name of the ranker; the file may hold no rankings of another one.
        source: The file that is ranked; it cannot be the output.

    Raises:
        ConfigurationError: The file cannot be written, is the source, or holds something else.
    """

    def __init__(self, path: str, *, ranker: str, source: str) -> None:
        self._path = Path(path).expanduser()
        self._ranker = ranker
        self._done: set[bytes] = set()
        try:
            if self._path.exists() and Path(source).exists() and self._path.samefile(source):
                raise ConfigurationError(f"{self._path} holds the rows; give another --out")
            self._file = self._path.open("a+b")
        except OSError as error:
            raise ConfigurationError(f"cannot write {self._path}: {error}; give another --out") from error
        try:
            self._read()
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def holds(self, row: PromptRow) -> bool:
        """Whether the file has the ranking of a row with the same line, prompt and candidates."""
        return _digest(row.label, row.prompt, row.names, row.texts) in self._done

    def add(self, record: dict[str, Any]) -> None:
        """Append a ranking; a process that is killed afterwards leaves it whole.

        Raises:
            ConfigurationError: The disk is full, for example; the same command goes on from there.
        """
        try:
            self._file.write(json.dumps(finite(record), allow_nan=False).encode() + b"\n")
            self._file.flush()
        except OSError as error:
            raise ConfigurationError(
                f"cannot write {self._path}: {error}; make room and run the same command again"
            ) from error

    def _read(self) -> None:
        self._file.seek(0)
        end = 0
        for number, line in enumerate(self._file, 1):
            if not line.endswith(b"\n"):
                self._file.truncate(end)
                return
            end += len(line)
            try:
                ranker = self._take(read_json(line.decode()))
            except (KeyError, TypeError, ValueError) as error:
                raise ConfigurationError(
                    f"{self._path}, line {number} is no ranking of this command ({type(error).__name__}); "
                    "give another --out"
                ) from error
            if ranker != self._ranker:
                raise ConfigurationError(
                    f"{self._path} holds rankings of {ranker}, not {self._ranker}; give another --out"
                )

    def _take(self, record: Any) -> str:
        candidates = record["candidates"]
        names, texts = [one["model"] for one in candidates], [one["text"] for one in candidates]
        label = {name: record[name] for name in ("line", "id") if name in record}
        self._done.add(_digest(label, record["instruction"], names, texts))
        return str(record["ranker"])


def _digest(label: dict[str, Any], prompt: str, names: Any, texts: Any) -> bytes:
    return hashlib.sha256(json.dumps([label, prompt, list(names), list(texts)]).encode()).digest()
