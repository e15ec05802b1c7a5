"""Run pairs with onnxruntime, without torch."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import onnxruntime

from blender_core.errors import CheckpointError, ConfigurationError
from blender_core.models.batches import CPU_TOKEN_BUDGET, GPU_TOKEN_BUDGET
from blender_core.models.hub import ONNX_FILES
from blender_core.models.onnx import open_session
from blender_core.rank.pairrm.settings import BACKBONES, BackboneShape
from blender_core.rank.pairrm.tokens import EncodedPair, PairTokenizer, batched_logits, check_vocabulary, pad

__all__ = ["ONNX_INPUTS", "ONNX_METADATA", "OnnxPairScorer", "load_onnx_scorer"]

ONNX_INPUTS = ("ids", "mask", "positions")
"""Inputs of an exported network, int64: [batch, length] twice, and [batch, 3]."""

ONNX_METADATA = "blended-llm/pair-ranker"
"""Key of the file's metadata that holds the encoder's config as JSON."""


class OnnxPairScorer:
    """Runs an exported network. Safe to use from several threads.

    Args:
        session: An ``onnxruntime.InferenceSession``.
        path: The file it was made from.
        pad_id: Id that fills short sequences.
        token_budget: Most tokens in a batch, padding included; default 512 on a CPU, 16,384 elsewhere.

    Raises:
        CheckpointError: The file is not a PairRanker's; write it with ``PairRanker.export_onnx``.
    """

    def __init__(self, session: Any, path: Path, pad_id: int, token_budget: int | None = None) -> None:
        names = tuple(sorted(value.name for value in session.get_inputs()))
        written = session.get_modelmeta().custom_metadata_map.get(ONNX_METADATA)
        if names != ONNX_INPUTS or written is None:
            raise CheckpointError(
                f"{path} is not a PairRanker's (inputs {', '.join(names)}); write it with PairRanker.export_onnx"
            )
        self.path = path
        self.encoder_config: Mapping[str, Any] = json.loads(written)
        self._session = session
        self._pad_id = pad_id
        on_cpu = session.get_providers()[0] == "CPUExecutionProvider"
        self._token_budget = token_budget or (CPU_TOKEN_BUDGET if on_cpu else GPU_TOKEN_BUDGET)

    @property
    def window(self) -> int | None:
        """Most tokens of a pair; ``None`` if positions are relative and there is no limit."""
        known = self.encoder_config.get("model_type") in BACKBONES
        return BackboneShape.from_config(self.encoder_config, str(self.path)).window if known else None

    def logits(self, pairs: Sequence[EncodedPair]) -> list[float]:
        """Compute the logit of each ordered pair; see ``PairScorer.logits``."""
        return batched_logits(pairs, self._token_budget, self._run, self.path.name)

    def _run(self, pairs: Sequence[EncodedPair]) -> list[float]:
        (logits,) = self._session.run(None, pad(pairs, self._pad_id)._asdict())
        return [float(logit) for logit in logits]


def load_onnx_scorer(
    folder: Path,
    tokenizer: PairTokenizer,
    *,
    device: str = "auto",
    dtype: str = "auto",
    token_budget: int | None = None,
    threads: int | None = None,
) -> OnnxPairScorer:
    """Load an exported network.

    Args:
        folder: Holds ``model.onnx``, ``model.int8.onnx`` or both.
        tokenizer: Its tokenizer.
        device: ``"auto"`` (CUDA if onnxruntime offers it, else the CPU), ``"cpu"``, ``"cuda"`` or ``"cuda:1"``.
        dtype: ``"float32"``, ``"int8"``, or ``"auto"`` for the first of the two that exists.
        token_budget: Most tokens in a batch.
        threads: CPU threads of one forward pass; default onnxruntime's choice.

    Returns:
        The scorer.

    Raises:
        CheckpointError: There is no such file, it cannot be read, or the tokenizer knows more ids than the network.
        ConfigurationError: The device or dtype is unknown or unavailable.
    """
    providers = _providers(device)
    if dtype not in ("auto", *ONNX_FILES):
        raise ConfigurationError(
            f"dtype {dtype!r} is unknown to backend 'onnx'; choose 'auto' or one of {', '.join(ONNX_FILES)}"
        )
    wanted = list(ONNX_FILES.values()) if dtype == "auto" else [ONNX_FILES[dtype]]
    path = next((folder / name for name in wanted if (folder / name).is_file()), None)
    if path is None:
        quantize = ", quantize=True" if dtype == "int8" else ""
        raise CheckpointError(
            f"{folder} has no {' or '.join(wanted)}; if torch is installed, write it once with "
            f"PairRanker.from_pretrained(...).export_onnx(folder{quantize})"
        )
    session = open_session(str(path), source=str(path), threads=threads, providers=providers)
    scorer = OnnxPairScorer(session, path, tokenizer.pad_id, token_budget)
    check_vocabulary(tokenizer, int(scorer.encoder_config["vocab_size"]), str(path))
    return scorer


def _providers(device: str) -> list[Any]:
    cuda = "CUDAExecutionProvider" in onnxruntime.get_available_providers()
    asked = re.fullmatch(r"cuda(?::(\d+))?", "cuda" if device == "auto" and cuda else device)
    if asked and not cuda:
        raise ConfigurationError(
            f"device {device!r} is not offered by this onnxruntime; install onnxruntime-gpu or use device='cpu'"
        )
    if asked:
        return [("CUDAExecutionProvider", {"device_id": int(asked[1] or 0)}), "CPUExecutionProvider"]
    if device not in ("auto", "cpu"):
        raise ConfigurationError(f"device {device!r} is unknown to backend 'onnx'; choose 'auto', 'cpu' or 'cuda'")
    return ["CPUExecutionProvider"]
