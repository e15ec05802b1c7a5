"""What has been gathered so far, on disk: one line for each answer and each verdict, appended and synced.

A process that is killed loses what it was waiting for and nothing else: a line is on the disk before the next question
is asked. A line that was cut in the middle is removed when the journal is opened again. One process at a time writes.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from blender_core.errors import ConfigurationError
from blender_core.runtime.outside import read_json
from blender_lab.data.mixinstruct import MixCandidate, Verdict

__all__ = ["Journal", "changed_settings", "lock_file", "prompt_digest", "sync_folder"]

_VERSION = 1


def prompt_digest(prompt: str) -> str:
    """Hash a prompt; an answer belongs to a prompt only while this is the same.

    Args:
        prompt: The prompt.

    Returns:
        16 hexadecimal digits.
    """
    return hashlib.sha256(prompt.encode("utf-8", "surrogatepass")).hexdigest()[:16]


class Journal:
    """An append-only file of answers and verdicts; a context manager. Belongs to one thread.

    Args:
        path: The file; made if missing.
        settings: What every answer in it must have in common, such as the temperature, as JSON types.

    Raises:
        ConfigurationError: The file was made with other settings, is no journal, or another process writes it.

    Examples:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with Journal(Path(folder) / "j", {"seed": 0}) as journal:
        ...         journal.add_answer("1", "Hi?", MixCandidate("a", "Hello"))
        ...     with Journal(Path(folder) / "j", {"seed": 0}) as journal:
        ...         journal.answer("1", "Hi?", "a").text
        'Hello'
    """

    def __init__(self, path: str | os.PathLike[str], settings: Mapping[str, Any]) -> None:
        self.path = Path(path).expanduser()
        self._settings: dict[str, Any] = json.loads(json.dumps(dict(settings)))
        self._answers: dict[tuple[str, str, str], MixCandidate] = {}
        self._verdicts: dict[tuple[str, str], Verdict | None] = {}
        try:
            self._file = self.path.open("a+b")
        except OSError as error:
            raise ConfigurationError(f"cannot write {self.path}: {error}; give another --out") from error
        try:
            lock_file(self._file, self.path)
            self._load()
        except BaseException:
            self._file.close()
            raise

    def answer(self, id: str, prompt: str, model: str) -> MixCandidate | None:
        """Look up a member's answer to a prompt, or how it failed.

        Args:
            id: The record's id.
            prompt: The prompt; an answer to another text under this id does not count.
            model: The member's name.

        Returns:
            The newest one, ``None`` without one.
        """
        return self._answers.get((id, prompt_digest(prompt), model))

    def add_answer(self, id: str, prompt: str, candidate: MixCandidate) -> None:
        """Write a member's answer; it is on the disk when this returns.

        Args:
            id: The record's id.
            prompt: The prompt.
            candidate: The answer; an older one of the same member is replaced.
        """
        digest = prompt_digest(prompt)
        self._append({"answer": candidate.to_dict(), "id": id, "prompt": digest})
        self._answers[id, digest, candidate.model] = candidate

    def verdict(self, judge: str, question: str) -> tuple[bool, Verdict | None]:
        """Look up a judge's verdict.

        Args:
            judge: The judge's name.
            question: The whole text the judge was shown.

        Returns:
            Whether it was asked, and what it said; ``None`` for a reply that cannot be read.
        """
        key = judge, prompt_digest(question)
        return key in self._verdicts, self._verdicts.get(key)

    def add_verdict(self, judge: str, question: str, verdict: Verdict | None, reply: str) -> None:
        """Write a judge's verdict; it is on the disk when this returns.

        Args:
            judge: The judge's name.
            question: The whole text the judge was shown.
            verdict: What it said, ``None`` if its reply cannot be read.
            reply: Its reply.
        """
        digest = prompt_digest(question)
        named = None if verdict is None else verdict.value
        self._append({"verdict": named, "judge": judge, "question": digest, "reply": reply})
        self._verdicts[judge, digest] = verdict

    def close(self) -> None:
        """Close the file; another process may open it then."""
        self._file.close()

    def __len__(self) -> int:
        return len(self._answers) + len(self._verdicts)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _append(self, line: Mapping[str, Any]) -> None:
        # one write, so that a kill leaves at most one line cut
        self._file.write(_encoded(line))
        self._file.flush()
        os.fsync(self._file.fileno())

    def _load(self) -> None:
        header = {"journal": _VERSION, "settings": self._settings}
        lines = self._whole_lines(_encoded(header))
        first = next(lines, None)
        if first is None:
            self._append(header)
            sync_folder(self.path.parent)
            return
        if first.get("journal") != _VERSION:
            raise self._no_journal()
        before = first.get("settings")
        if not isinstance(before, dict):
            raise self._no_journal()
        if before != self._settings:
            raise changed_settings(self.path, before, self._settings)
        for number, line in enumerate(lines, 2):
            try:
                self._take(line)
            except (AttributeError, KeyError, TypeError, ValueError) as error:
                raise self._damaged(number, f"{type(error).__name__}: {error}") from error

    def _no_journal(self) -> ConfigurationError:
        return ConfigurationError(f"{self.path} is not a journal of this version; move it away or give another --out")

    def _damaged(self, number: int, problem: str) -> ConfigurationError:
        return ConfigurationError(
            f"{self.path}, line {number} is damaged: {problem[:200]}; remove the line, what it held is asked again"
        )

    def _whole_lines(self, header: bytes) -> Iterator[dict[str, Any]]:
        self._file.seek(0)
        end = 0
        for number, raw in enumerate(self._file, 1):
            if not raw.endswith(b"\n"):
                # somebody else's file must not be cut
                if number == 1 and not header.startswith(raw):
                    raise self._no_journal()
                break
            try:
                line = read_json(raw)
                if not isinstance(line, dict):
                    raise ValueError("not an object")
            except ValueError as error:
                if number == 1:
                    raise self._no_journal() from error
                raise self._damaged(number, str(error)) from error
            end += len(raw)
            yield line
        self._file.truncate(end)

    def _take(self, line: Mapping[str, Any]) -> None:
        if "answer" in line:
            candidate = MixCandidate.from_dict(line["answer"])
            self._answers[_text(line, "id"), _text(line, "prompt"), candidate.model] = candidate
        elif "verdict" in line:
            said = line["verdict"]
            self._verdicts[_text(line, "judge"), _text(line, "question")] = None if said is None else Verdict(said)


def _text(line: Mapping[str, Any], name: str) -> str:
    value = line[name]
    if not isinstance(value, str):
        raise TypeError(f"{name} is {type(value).__name__}, not text")
    return value


def _encoded(line: Mapping[str, Any]) -> bytes:
    return json.dumps(line, ensure_ascii=False, allow_nan=False).encode("utf-8", "replace") + b"\n"


def changed_settings(path: Path, before: Mapping[str, Any], now: Mapping[str, Any]) -> ConfigurationError:
    """Make the error for a journal that was begun with other settings.

    Args:
        path: The journal.
        before: Its settings.
        now: Those of this run.

    Returns:
        The error; it names what differs.
    """
    changed = sorted(name for name in {*before, *now} if before.get(name) != now.get(name))
    told = ", ".join(f"{name} {before.get(name)!r}, now {now.get(name)!r}" for name in changed)
    return ConfigurationError(f"{path} was gathered with {told}; give the same again, or another --out for a new start")


def lock_file(file: IO[bytes], path: Path, *, shared: bool = False) -> None:
    """Lock an open file until it is closed.

    Args:
        file: The file.
        path: What the user knows it by.
        shared: Several may hold it, but nobody may hold it alone meanwhile.

    Raises:
        ConfigurationError: Another process holds it.
    """
    try:
        import fcntl
    except ImportError:  # not on Windows; there the user must see to it that one process writes
        return
    try:
        fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except OSError as error:
        raise ConfigurationError(f"another process is writing {path}; wait for it, or give another --out") from error


def sync_folder(folder: Path) -> None:
    """Put the names of new files in a folder on the disk; without them a crash loses the files.

    Args:
        folder: The folder.
    """
    with suppress(OSError):  # not every system lets a folder be opened
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
