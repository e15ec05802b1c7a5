"""Serve local models over the OpenAI API on loopback, one process of llama.cpp for each.

Separate processes have three reasons. Loading a model holds Python's interpreter lock for seconds: in one process
models would load one after the other, and Ctrl-C would wait. A failed assertion in llama.cpp aborts its process. Its
log is written straight to stderr. A server ends at `close`, at the end of the ``with`` block, when the object is
deleted, or when the caller's process ends.
"""

from __future__ import annotations

import contextlib
import json
import secrets
import subprocess
import sys
import tempfile
import threading
import weakref
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Literal, Self

from blender_core.errors import CheckpointError, ConfigurationError
from blender_core.local.catalog import DEFAULT_MODELS, LocalModel
from blender_core.local.control_tokens import control_tokens_of, served_here
from blender_core.local.download import Progress, fetch
from blender_core.runtime.extras import require_installed

__all__ = ["LocalEnsemble", "LocalServer", "local_ensemble"]

_PROGRAM = Path(__file__).with_name("serve.py")
_GRACE = 2.0  # seconds a server gets to end by itself


class LocalServer:
    """Serves one local model over the OpenAI API.

    The process starts at once. `wait` and the ``with`` statement return when the model is loaded. After that all
    attributes are fixed, so that several threads can share a server.

    Args:
        model: The catalogue's entry.
        path: The model's file.
        threads: Threads of llama.cpp. If another process is busy on the same cores, two threads wait for each other,
            which costs most of the speed.
        context: Most tokens of prompt and answer together in one request.
        parallel: Requests answered at the same time; more wait in a queue.
        api_key: The key that requests must send; default a random one.

    Raises:
        ConfigurationError: A number is out of range.
        MissingExtraError: xllamacpp is not installed.
    """

    def __init__(
        self,
        model: LocalModel,
        path: Path,
        *,
        threads: int = 1,
        context: int = 4096,
        parallel: int = 2,
        api_key: str | None = None,
    ) -> None:
        _check("threads", threads, 1)
        _check("context", context, 256)
        _check("parallel", parallel, 1)
        _require_engine()
        self._entry = model
        self._context = min(context, model.context)
        self._path = path
        self._api_key = api_key or _new_key()
        settings = {
            "api_key": self._api_key,
            "chat_template": model.chat_template,
            "context": self._context,
            "name": model.name,
            "parallel": parallel,
            "path": str(path),
            "stop": list(model.stop),
            "threads": threads,
        }
        self._log: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed by the finalizer
        self._process = subprocess.Popen(
            [sys.executable, "-P", str(_PROGRAM)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
        )
        self._report: dict[str, str] = {}
        self._close = weakref.finalize(self, _end, self._process, self._log, self._report)
        self._reader = threading.Thread(
            target=_converse, args=(self._process, settings, self._report, path), daemon=True
        )
        self._reader.start()

    def wait(self, timeout: float = 300.0) -> Self:
        """Wait until the model is loaded.

        Args:
            timeout: Seconds to wait.

        Returns:
            The server itself.

        Raises:
            CheckpointError: llama.cpp cannot load the file, or it took longer than ``timeout``. The server is closed.
        """
        self._reader.join(timeout)
        if "address" in self._report:
            return self
        if self._reader.is_alive():
            reason = f"it was not loaded after {timeout:g} s; give it more time, or a smaller model"
        elif not Path(self._path).is_file():
            # llama.cpp says so, too, but may end before its log is written
            reason = "No such file; fetch it again"
        else:
            self._process.wait(_GRACE)
            reason = f"{self._last_words()}. Remove the file to have it fetched again, or lower the context"
        self.close()
        raise CheckpointError(f"{self.model} cannot be served from {self._path}: {reason}")

    def _last_words(self) -> str:
        self._log.seek(0)
        lines = self._log.read().decode("utf-8", "replace").split("\n")
        said = [line.strip() for line in lines if line.strip()][:3]  # llama.cpp names the cause first
        return "; ".join(said) or self._report.get("error") or f"it ended with status {self._process.returncode}"

    @property
    def base_url(self) -> str:
        """Address of the OpenAI API, for example ``"http://127.0.0.1:43210/v1"``."""
        if "address" not in self._report:
            self.wait()
        return f"{self._report['address']}/v1"

    @property
    def api_key(self) -> str:
        """Key of the API; it keeps out web pages in the user's browser, which reach loopback too."""
        return self._api_key

    @property
    def model(self) -> str:
        """The model's name, in the catalogue and in the API."""
        return self._entry.name

    @property
    def kind(self) -> Literal["chat", "base"]:
        """``"chat"`` or ``"base"``; both answer chat requests, see `LocalModel`."""
        return self._entry.kind

    @property
    def context(self) -> int:
        """Most tokens of prompt and answer together in one request."""
        return self._context

    @property
    def entry(self) -> LocalModel:
        """The catalogue's entry."""
        return self._entry

    @property
    def pid(self) -> int:
        """Process id of the server."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the process is running."""
        return self._close.alive and self._process.poll() is None

    def close(self) -> None:
        """End the server, even during a request. A second call does nothing."""
        self._close()

    def __enter__(self) -> Self:
        return self.wait()

    def __exit__(self, *error: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"LocalServer({self.model!r}, {'running' if self.running else 'closed'})"


class LocalEnsemble(Sequence[LocalServer]):
    """Holds servers that end together; a sequence and a context manager.

    Args:
        servers: The servers, which the ensemble closes.
    """

    def __init__(self, servers: Sequence[LocalServer]) -> None:
        self._servers = tuple(servers)

    def __getitem__(self, index: int) -> LocalServer:  # type: ignore[override]
        return self._servers[index]

    def __len__(self) -> int:
        return len(self._servers)

    def __iter__(self) -> Iterator[LocalServer]:
        return iter(self._servers)

    def close(self) -> None:
        """End every server."""
        for server in self._servers:
            server.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"LocalEnsemble({list(self._servers)!r})"


def local_ensemble(
    models: Sequence[LocalModel] = DEFAULT_MODELS,
    *,
    threads: int = 1,
    context: int = 4096,
    parallel: int = 2,
    cache_dir: Path | None = None,
    progress: Progress | None = None,
) -> LocalEnsemble:
    """Download missing files, start a server for each model, and wait until all are loaded.

    A model that is named again is not loaded again: its server stands at both places. The servers share one random
    key, so that ``OPENAI_API_KEY`` can pass it to another process.

    Args:
        models: The models; default `DEFAULT_MODELS`.
        threads: Threads of llama.cpp for each model.
        context: Most tokens of prompt and answer together in one request.
        parallel: Requests that one model answers at the same time; at least one for each time that it is named.
        cache_dir: Folder for model files; default `blender_core.local.cache_directory`.
        progress: Called as a file arrives.

    Returns:
        The servers in the order of ``models``. Use it in a ``with`` statement, or call ``close``.

    Raises:
        ConfigurationError: No model is given, or a number is out of range.
        MissingExtraError: The ``demo`` extra is not installed.
        DownloadError: A model's file cannot be downloaded.
        CheckpointError: A model cannot be loaded. No server is left running.
    """
    if not models:
        raise ConfigurationError("a local ensemble needs at least one model; see blender_core.local.MODELS")
    _require_engine()  # before much is fetched for nothing
    servers: dict[LocalModel, LocalServer] = {}
    settings = {"threads": threads, "context": context}
    key = _new_key()
    ensemble = None
    try:
        for model in dict.fromkeys(models):
            path = fetch(model, cache_dir=cache_dir, progress=progress)
            at_once = max(parallel, models.count(model))
            servers[model] = LocalServer(model, path, **settings, parallel=at_once, api_key=key)
        for server in servers.values():
            server.wait()
        ensemble = LocalEnsemble([servers[model] for model in models])
    finally:
        if ensemble is None:
            for server in servers.values():
                server.close()
    return ensemble


def _new_key() -> str:
    return secrets.token_urlsafe(24)


def _check(name: str, value: int, least: int) -> None:
    if value < least:
        raise ConfigurationError(f"{name} is {value}; it must be {least} or more")


def _require_engine() -> None:
    # the server's process imports it, this one need not
    require_installed("xllamacpp", feature="serving a local model", extra="demo")


def _converse(
    process: subprocess.Popen[bytes], settings: dict[str, object], report: dict[str, str], path: Path
) -> None:
    """Send the settings to the new process, and read its reply into ``report``."""
    if process.stdin is None or process.stdout is None:
        return
    try:
        process.stdin.write(json.dumps(settings).encode() + b"\n")
        process.stdin.flush()
        with contextlib.suppress(CheckpointError, OSError):
            # read while the other process loads the model, and kept; who asks later is on an event loop
            control_tokens_of(path)
        report.update(json.loads(process.stdout.readline() or b"{}"))
        if "address" in report:
            served_here[f"{report['address']}/v1"] = path
    except (OSError, ValueError) as error:  # it died, or `close` came first
        report["error"] = str(error)


def _end(process: subprocess.Popen[bytes], log: IO[bytes], report: dict[str, str]) -> None:
    """End a server's process by closing its stdin; kill it if it is still loading."""
    if process.stdin is not None:
        with contextlib.suppress(OSError):  # it has died already
            process.stdin.close()
    served_here.pop(f"{report.get('address')}/v1", None)
    if "address" not in report:
        process.kill()
    try:
        process.wait(_GRACE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdout is not None:
        process.stdout.close()
    log.close()
