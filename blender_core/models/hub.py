"""Find a checkpoint's folder: a local one, or a hub repository in huggingface_hub's cache."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from blender_core.errors import CheckpointError, DownloadError
from blender_core.runtime.extras import require
from blender_core.runtime.outside import read_json

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

__all__ = [
    "LEGACY_WEIGHTS",
    "ONNX_FILES",
    "SAFETENSORS",
    "cached_folder",
    "checkpoint_config",
    "checkpoint_folder",
    "is_repository",
    "may_pass",
]

SAFETENSORS = "model.safetensors"
SAFETENSORS_INDEX = "model.safetensors.index.json"
LEGACY_WEIGHTS = "pytorch_model.bin"

ONNX_FILES = {"float32": "model.onnx", "int8": "model.int8.onnx"}
"""ONNX files by precision of the weights, the preferred one first."""

_CONFIGS = ("config.json", "ranker_config.json")
_SMALL_FILES = ("config.json", "ranker_config.json", "tokenizer.json", "added_tokens.json")
_REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")
_REPOSITORY_OR_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?")


def checkpoint_folder(
    name_or_path: str | os.PathLike[str],
    *,
    revision: str | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    local_files_only: bool = False,
    onnx: bool = False,
) -> Path:
    """Find or fetch a checkpoint.

    Args:
        name_or_path: A folder, or a repository such as ``"llm-blender/PairRM"``.
        revision: Branch, tag or commit of the repository.
        cache_dir: Cache folder; default huggingface_hub's.
        local_files_only: Use the cache only. ``HF_HUB_OFFLINE=1`` means the same.
        onnx: Fetch the ONNX files instead of torch's weights.

    Returns:
        A folder with the config, the tokenizer and one weights file. Legacy weights are fetched only if
        the repository has no safetensors.

    Raises:
        CheckpointError: It is neither a folder nor a repository name.
        DownloadError: The repository cannot be downloaded; check its name and the connection, or pass a folder.
        MissingExtraError: ``huggingface_hub`` is not installed.
    """
    folder = Path(name_or_path)
    if folder.is_dir():
        return folder
    name = os.fspath(name_or_path)
    if not _REPOSITORY.fullmatch(name):
        raise CheckpointError(f"{name!r} is neither a folder nor a hub repository such as 'llm-blender/PairRM'")

    def fetch(patterns: Sequence[str]) -> Path:
        hub = require("huggingface_hub", feature="loading a checkpoint from the hub", extra="torch")
        try:
            return Path(
                hub.snapshot_download(
                    name,
                    revision=revision,
                    cache_dir=cache_dir,
                    local_files_only=local_files_only,
                    allow_patterns=list(patterns),
                )
            )
        except Exception as error:  # the hub raises its own, httpx's and OS errors
            raise _not_had(name, revision, error) from error

    if onnx:
        return fetch([*_SMALL_FILES, *ONNX_FILES.values()])
    folder = fetch([*_SMALL_FILES, SAFETENSORS, SAFETENSORS_INDEX, "model-*-of-*.safetensors"])
    found = any((folder / name).is_file() for name in (SAFETENSORS, SAFETENSORS_INDEX))
    return folder if found else fetch([*_SMALL_FILES, LEGACY_WEIGHTS])


def is_repository(name: str) -> bool:
    """Tell if a string has the form of a repository with its owner, such as ``"llm-blender/PairRM"``."""
    return _REPOSITORY.fullmatch(name) is not None and not name.startswith((".", "-"))


def checkpoint_config(
    name_or_path: str | os.PathLike[str],
    *,
    revision: str | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    local_files_only: bool = False,
) -> dict[str, Any]:
    """Read what kind of model a checkpoint holds, without its weights.

    Args:
        name_or_path: A folder or a hub repository.
        revision: Branch, tag or commit of the repository.
        cache_dir: Cache folder; default huggingface_hub's.
        local_files_only: Use the cache only.

    Returns:
        The contents of ``config.json``, else of ``ranker_config.json``.

    Raises:
        CheckpointError: It is neither a folder nor a repository name, or has no readable config.
        DownloadError: The repository cannot be downloaded.
        MissingExtraError: ``huggingface_hub`` is not installed.
    """
    name, folder = os.fspath(name_or_path), Path(name_or_path)
    source = {"revision": revision, "cache_dir": cache_dir, "local_files_only": local_files_only}
    found = [folder / one for one in _CONFIGS] if folder.is_dir() else _fetched_configs(name, source)
    path = next((one for one in found if one.is_file()), None)
    if path is None:
        raise CheckpointError(f"{name} cannot be loaded: it has no config.json; pass the place of a whole checkpoint")
    try:
        config = read_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} is not JSON: {error}") from error
    if not isinstance(config, dict):
        raise CheckpointError(f"{path} holds no object, but a JSON {type(config).__name__}")
    return config


def _fetched_configs(name: str, source: dict[str, Any]) -> Iterator[Path]:
    if not _REPOSITORY_OR_NAME.fullmatch(name):
        raise CheckpointError(f"{name!r} is neither a folder nor a hub repository such as 'llm-blender/PairRM'")
    hub = require("huggingface_hub", feature="loading a checkpoint from the hub", extra="torch")
    errors = require("huggingface_hub.errors", feature="loading a checkpoint from the hub", extra="torch")
    for filename in _CONFIGS:
        try:
            yield Path(hub.hf_hub_download(name, filename, **source))
        except errors.LocalEntryNotFoundError as error:
            raise _not_had(name, source["revision"], error) from error
        except errors.EntryNotFoundError:
            continue
        except Exception as error:  # the hub raises its own, httpx's and OS errors
            raise _not_had(name, source["revision"], error) from error


def _not_had(name: str, revision: str | None, error: Exception) -> DownloadError:
    return DownloadError(
        f"{name} (revision {revision or 'main'}) cannot be had: {type(error).__name__}: {str(error).rstrip('.')}. "
        "Check the name and the connection, or pass a folder that holds the checkpoint.",
        may_pass=may_pass(error),
    )


def may_pass(error: BaseException) -> bool:
    """Tell if a failed download may succeed later.

    Args:
        error: What huggingface_hub or transformers raised.

    Returns:
        ``False`` if the hub may not be asked. Also if it answered that there is no such repository, revision or file,
        or that it may not be read.
    """
    from huggingface_hub import constants, errors

    if constants.HF_HUB_OFFLINE:
        return False
    final = (errors.RepositoryNotFoundError, errors.RevisionNotFoundError, errors.EntryNotFoundError)
    cause: BaseException | None = error
    while cause is not None:
        # a file that the cache lacks because the hub could not be reached
        if isinstance(cause, final) and not isinstance(cause, errors.LocalEntryNotFoundError):
            return False
        cause = cause.__cause__ or cause.__context__
    return not isinstance(error, errors.HFValidationError)


def cached_folder(path: str, source: Mapping[str, Any]) -> str:
    """Find the cached folder of a repository if only the cache may be read.

    Given a repository, transformers searches the network for an adapter even with ``local_files_only=True``.

    Args:
        path: A folder, or a hub repository.
        source: ``revision``, ``cache_dir`` and ``local_files_only``, as transformers takes them.

    Returns:
        The cached folder if ``local_files_only`` is true and ``path`` is a repository, else ``path``.

    Raises:
        OSError: The repository is not in the cache.
    """
    if not source["local_files_only"] or Path(path).is_dir() or not _REPOSITORY_OR_NAME.fullmatch(path):
        return path
    import huggingface_hub

    return str(huggingface_hub.snapshot_download(path, **source))
