"""From a checkpoint to the files that ship: ONNX with int8 weights, tokenizer and settings."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import tempfile
import warnings
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
import torch

from blender_core.models.segments import SegmentLayout
from blender_core.runtime.extras import require
from blender_lab.ranker.model import SegmentPooledScorer

__all__ = ["WIDENED", "export_onnx", "quantize_onnx", "write_ranker"]

_FEED_FORWARD = ("/intermediate/dense/MatMul", "/output/dense/MatMul")
WIDENED = "_float32"
"""What the name of a weight ends in where it was stored as float16."""

_INPUTS = ("input_ids", "attention_mask", "token_type_ids")


def export_onnx(model: SegmentPooledScorer, path: str | Path) -> None:
    """Write the scorer as float32 ONNX.

    Args:
        model: The scorer; put into evaluation mode.
        path: File to write. Inputs ``input_ids``, ``attention_mask``, ``token_type_ids``, int64, shape
            (batch, tokens); output ``scores``, float32, shape (batch,).

    Raises:
        MissingExtraError: ``onnx`` is not installed.
    """
    require("onnx", feature="export_onnx", extra="train")
    model.eval()
    ids = torch.arange(2 * 12).reshape(2, 12) % 100
    mask = torch.ones_like(ids)
    mask[1, -2:] = 0
    kinds = torch.zeros_like(ids)
    kinds[:, 5:] = 1
    axes = {name: {0: "batch", 1: "tokens"} for name in _INPUTS}
    with warnings.catch_warnings(), torch.no_grad():
        # the exporter warns of its own plans; nothing here can act on it
        warnings.simplefilter("ignore")
        torch.onnx.export(
            model,
            (ids, mask, kinds),
            str(path),
            input_names=list(_INPUTS),
            output_names=["scores"],
            dynamic_axes={**axes, "scores": {0: "batch"}},
            opset_version=17,
            dynamo=False,
        )


def quantize_onnx(source: str | Path, target: str | Path) -> None:
    """Quantise weights to int8, one scale for each output channel; activations are quantised while running.

    The feed-forward blocks compute in float32, from weights stored as float16: their inputs have outliers that one
    scale for all activations cannot hold.

    Args:
        source: Float32 model.
        target: File to write.

    Raises:
        MissingExtraError: ``onnx`` or ``onnxruntime`` is not installed.
    """
    quantization = require("onnxruntime.quantization", feature="quantize_onnx", extra="train")
    onnx = require("onnx", feature="quantize_onnx", extra="train")
    kept = [
        node.name
        for node in onnx.load(str(source)).graph.node
        if node.op_type == "MatMul" and node.name.endswith(_FEED_FORWARD) and "/attention/" not in node.name
    ]
    root = logging.getLogger()
    level = root.level
    try:
        # the quantiser advises through the root logger
        root.setLevel(logging.ERROR)
        quantization.quantize_dynamic(
            str(source),
            str(target),
            weight_type=quantization.QuantType.QInt8,
            per_channel=True,
            nodes_to_exclude=kept,
        )
    finally:
        root.setLevel(level)
    _store_in_half(onnx, target, kept)


def _store_in_half(onnx: Any, path: str | Path, names: Collection[str]) -> None:
    """Store the weights of the named nodes as float16; onnxruntime widens them once, while loading."""
    model = onnx.load(str(path))
    graph = model.graph
    places = {item.name: place for place, item in enumerate(graph.initializer)}
    casts = []
    for node in graph.node:
        if node.name in names and (weight := node.input[1]) in places:
            half = onnx.numpy_helper.to_array(graph.initializer[places[weight]]).astype(np.float16)
            graph.initializer[places[weight]].CopyFrom(onnx.numpy_helper.from_array(half, weight))
            node.input[1] = f"{weight}{WIDENED}"
            casts.append(onnx.helper.make_node("Cast", [weight], [node.input[1]], to=onnx.TensorProto.FLOAT))
    for cast in casts:
        graph.node.insert(0, cast)
    onnx.save(model, str(path))


def write_ranker(
    model: SegmentPooledScorer,
    tokenizer_file: str | Path,
    layout: SegmentLayout,
    folder: str | Path,
    *,
    max_tokens: int,
    settings: dict[str, Any] | None = None,
) -> Path:
    """Write the folder that ``EmbeddedRanker.load`` reads.

    Args:
        model: The trained scorer.
        tokenizer_file: Its ``tokenizer.json``.
        layout: How prompt and answer share the window.
        folder: Where to write; existing files of the same names are replaced.
        max_tokens: Window in tokens.
        settings: Weights and temperature for ``ranker.json``; left out, the scorer alone decides.

    Returns:
        The float32 model, ``model.float32.onnx`` in the folder: to compare with, not to ship.

    Raises:
        MissingExtraError: ``onnx`` or ``onnxruntime`` is not installed.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    exact = folder / "model.float32.onnx"
    with tempfile.TemporaryDirectory() as temporary:
        export_onnx(model, Path(temporary) / "model.onnx")
        quantize_onnx(Path(temporary) / "model.onnx", folder / "model.int8.onnx")
        shutil.copy(Path(temporary) / "model.onnx", exact)
    shutil.copy(tokenizer_file, folder / "tokenizer.json")
    write_settings(folder, layout, max_tokens=max_tokens, settings=settings or {})
    return exact


def write_settings(folder: Path, layout: SegmentLayout, *, max_tokens: int, settings: dict[str, Any]) -> None:
    """Write ``ranker.json`` for the model in a folder."""
    values = {
        "format": 1,
        "max_tokens": max_tokens,
        "model_weight": 1.0,
        "overlap_weight": 0.0,
        "final_answer_weight": 0.0,
        "temperature": 1.0,
        **settings,
        "layout": {name: getattr(layout, name) for name in layout.__slots__},
        "model_sha256": hashlib.sha256((folder / "model.int8.onnx").read_bytes()).hexdigest(),
    }
    (folder / "ranker.json").write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
