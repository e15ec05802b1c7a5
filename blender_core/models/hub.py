"""Find a checkpoint's folder: a local one, or a hub repository in huggingface_hub's cache."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from blender_core.errors import CheckpointError, DownloadError
from blender_core.runtime.extras import require

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["LEGACY_WEIGHTS", "ONNX_FILES", "SAFETENSORS", "cached_folder", "checkpoint_folder"]

SAFETENSORS = "model.safetensors"
SAFETENSORS_INDEX = "model.safetensors.index.json"
LEGACY_WEIGHTS = "pytorch_model.bin"

ONNX_FILES = {"float32": "model.onnx", "int8": "model.int8.onnx"}
"""ONNX files by precision of the weights, the preferred one first."""

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
            raise DownloadError(
                f"{name} (revision {revision or 'main'}) cannot be had: {type(error).__name__}: {error}. "
                "Check the name and the connection, or pass a folder that holds the checkpoint."
            ) from error

    if onnx:
        return fetch([*_SMALL_FILES, *ONNX_FILES.values()])
    folder = fetch([*_SMALL_FILES, SAFETENSORS, SAFETENSORS_INDEX, "model-*-of-*.safetensors"])
    found = any((folder / name).is_file() for name in (SAFETENSORS, SAFETENSORS_INDEX))
    return folder if found else fetch([*_SMALL_FILES, LEGACY_WEIGHTS])


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
