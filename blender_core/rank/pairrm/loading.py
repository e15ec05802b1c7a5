"""From a name or a folder to the parts of a PairRanker."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

from blender_core.errors import CheckpointError, ConfigurationError
from blender_core.models.hub import checkpoint_folder
from blender_core.rank.pairrm.settings import PairRankerSettings
from blender_core.rank.pairrm.tokens import PairTokenizer
from blender_core.runtime.extras import require

if TYPE_CHECKING:
    from blender_core.rank.pairrm.onnx_scorer import OnnxPairScorer
    from blender_core.rank.pairrm.scorer import PairScorer

__all__ = ["BACKENDS", "LoadedParts", "load_parts"]

BACKENDS = ("onnx", "torch")
"""What can run the network."""


class LoadedParts(NamedTuple):
    """What a checkpoint holds.

    Attributes:
        scorer: The network.
        tokenizer: Its tokenizer.
        settings: What its config says.
    """

    scorer: PairScorer | OnnxPairScorer
    tokenizer: PairTokenizer
    settings: PairRankerSettings


def load_parts(
    name_or_path: str | os.PathLike[str],
    *,
    revision: str | None = None,
    device: str = "auto",
    dtype: str = "auto",
    cache_dir: str | os.PathLike[str] | None = None,
    local_files_only: bool = False,
    backend: str = "torch",
    token_budget: int | None = None,
    threads: int | None = None,
) -> LoadedParts:
    """Load a checkpoint; ``PairRanker.from_pretrained`` says what each argument means.

    Raises:
        CheckpointError: Files are missing or are not a PairRanker's.
        ConfigurationError: The backend, the device or the dtype cannot work.
        DownloadError: The repository cannot be had.
        MissingExtraError: What the backend needs is not installed.
    """
    if backend not in BACKENDS:
        raise ConfigurationError(f"backend {backend!r} is unknown; choose 'torch' or 'onnx'")
    if threads is not None and (backend == "torch" or threads < 1):
        raise ConfigurationError(
            f"threads={threads} with backend={backend!r}: it is at least 1 and for 'onnx'; torch has "
            "torch.set_num_threads"
        )
    if backend == "torch":
        for module in ("torch", "safetensors"):
            require(module, feature="PairRanker.from_pretrained", extra="torch")
    folder = checkpoint_folder(
        name_or_path,
        revision=revision,
        cache_dir=cache_dir,
        local_files_only=local_files_only,
        onnx=backend == "onnx",
    )
    settings = PairRankerSettings.from_folder(folder)
    if not (folder / "tokenizer.json").is_file():
        raise CheckpointError(
            f"{folder} has no tokenizer.json; load its tokenizer once with transformers 4 and "
            "save_pretrained() it there"
        )
    tokenizer = PairTokenizer.from_file(folder / "tokenizer.json")
    scorer: PairScorer | OnnxPairScorer
    if backend == "onnx":
        from blender_core.rank.pairrm.onnx_scorer import load_onnx_scorer

        scorer = load_onnx_scorer(
            folder, tokenizer, device=device, dtype=dtype, token_budget=token_budget, threads=threads
        )
    else:
        from blender_core.rank.pairrm.scorer import load_scorer

        scorer = load_scorer(folder, settings, tokenizer, device=device, dtype=dtype, token_budget=token_budget)
    return LoadedParts(scorer, tokenizer, settings)
