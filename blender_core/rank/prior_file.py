"""Keep a member prior in memory, and in a file that several processes share.

A save takes a lock, reads the file, adds this process's own changes, and replaces the file in one step. So no process
loses what another one learned, and a reader never sees half a file.
"""

from __future__ import annotations

import json
import logging
import os
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from blender_core.errors import ConfigurationError
from blender_core.rank.prior_state import PriorState
from blender_core.runtime.outside import read_json, read_regular_file

__all__ = ["KeptState", "read_state", "write_json_file"]

# learned rankings wait for each other this long; ratings do not wait
_BUNDLE_S = 5.0
_LOCK_TIMEOUT_S = 10.0
# the end of the program waits less
_LAST_TIMEOUT_S = 2.0


def read_state(path: Path) -> PriorState:
    """Read a saved prior.

    Raises:
        ConfigurationError: The file cannot be read, or is no saved prior.
    """
    try:
        return PriorState.from_dict(read_json(read_regular_file(path)))
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"the member prior in {path} cannot be read: {error}") from error


def write_json_file(path: Path, data: dict[str, Any]) -> None:
    """Write a file so that it holds either all of the new data or all of the old.

    Raises:
        OSError: It cannot be written.
    """
    # beside the target, since a file moves in one step within a file system only
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(json.dumps(data, indent=1) + "\n")
            file.flush()
            os.fsync(file.fileno())
        # mkstemp lets the owner alone read it; keep the rights of a file that is there
        os.chmod(name, path.stat().st_mode & 0o777 if path.exists() else 0o644)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


class KeptState:
    """Holds the state of a prior; with a path it saves it there. Safe to use from several threads.

    Args:
        start: What is set or declared; it is added to the file's state.
        path: The file; ``None`` keeps the state in memory only.

    Raises:
        ConfigurationError: The file is there and cannot be read, or its folder is not there.
    """

    def __init__(self, start: PriorState, path: Path | None) -> None:
        self.path = path
        self.version = 0
        self._lock = threading.Lock()
        self._saving = threading.Lock()
        self._state = PriorState()
        self._unsaved = PriorState()
        self._is_saved = True
        self._process = os.getpid()
        if path is not None:
            if not path.resolve().parent.is_dir():
                raise ConfigurationError(f"there is no folder {path.resolve().parent} for the member prior; make it")
            if path.exists():
                self._state = read_state(path)
        self._last_try = time.monotonic()
        self._state.add(start)
        self._unsaved.add(start)

    def copy(self) -> PriorState:
        """Return an independent copy of the state."""
        with self._lock:
            return self._state.copy()

    @property
    def state(self) -> PriorState:
        """The state itself; only for reading one field."""
        return self._state

    def add(self, change: PriorState, *, at_once: bool) -> None:
        """Add a change, and save it at once or together with later ones.

        Args:
            change: What is new.
            at_once: Save before returning. Else it is saved some seconds later or at the end of the program.

        Raises:
            ConfigurationError: It could not be saved. The change stays known, and the next save tries again.
        """
        with self._lock:
            self._forget_the_parent()
            self._state.add(change)
            self.version += 1
            if self.path is None:
                return
            self._unsaved.add(change)
            self._is_saved = False
        if at_once:
            self.save(_LOCK_TIMEOUT_S)
        elif time.monotonic() - self._last_try >= _BUNDLE_S:
            self.save(_LAST_TIMEOUT_S)

    def save(self, timeout_s: float = _LAST_TIMEOUT_S) -> None:
        """Add what is not saved yet to the file.

        Raises:
            ConfigurationError: The file cannot be read or written, or is locked for too long.
        """
        if self.path is None:
            return
        import filelock

        with self._saving:
            with self._lock:
                self._forget_the_parent()
                unsaved, self._unsaved = self._unsaved, PriorState()
                self._last_try = time.monotonic()
            try:
                with filelock.FileLock(f"{self.path}.lock", timeout=timeout_s):
                    state = read_state(self.path) if self.path.exists() else PriorState()
                    state.add(unsaved)
                    write_json_file(self.path, state.to_dict())
            except (OSError, ConfigurationError) as error:
                with self._lock:
                    unsaved.add(self._unsaved)
                    self._unsaved = unsaved
                raise ConfigurationError(
                    f"the member prior could not be saved in {self.path}: {type(error).__name__}: {error}; it is kept "
                    "in memory and saved with the next change, once the file can be written"
                ) from error
            with self._lock:
                state.add(self._unsaved)
                self._state = state
                self._is_saved = self._unsaved == PriorState()
                self.version += 1

    def close(self) -> None:
        """Save what is not saved yet, and log a failure: at the end of a program nobody catches it."""
        if self.path is not None and not self._is_saved and self._process == os.getpid():
            try:
                self.save()
            except ConfigurationError as error:
                logging.getLogger(__name__).error("%s", error)

    def _forget_the_parent(self) -> None:
        """Drop changes that a forked process inherited: its parent saves them; the lock is held."""
        if self._process != os.getpid():
            self._process, self._unsaved = os.getpid(), PriorState()
