"""A one-pass ranker as the files that ship, and back: int8 ONNX with tokenizer and settings."""

from __future__ import annotations

import hashlib
import importlib.resources
import json
import logging
import re
import shutil
import tempfile
import warnings
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from blender_core.errors import CheckpointError
from blender_core.models.hub import checkpoint_folder
from blender_core.models.segments import SegmentLayout
from blender_core.rank.answer_features import FeatureNetwork
from blender_core.runtime.extras import require
from blender_core.runtime.outside import read_json
from blender_lab.ranker.config import RankerTrainingConfig
from blender_lab.ranker.one_pass import SegmentPooledScorer, load_encoder

__all__ = [
    "EMBEDDED",
    "HEAD_FILE",
    "WIDENED",
    "drop_softmax_guards",
    "encoder_folder",
    "export_onnx",
    "load_scorer",
    "quantize_onnx",
    "unpack_ranker",
    "write_ranker",
]

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
    drop_softmax_guards(target)


def drop_softmax_guards(path: str | Path) -> None:
    """Remove the check for ``nan`` that the exporter puts behind each softmax, in place.

    A softmax gives ``nan`` only in a row that is masked as a whole, and a text masks none. So no output changes. The
    checks take a tenth to a quarter of a pass.

    Args:
        path: An ONNX model of one text in a pass, or of texts with at least one token each.

    Raises:
        MissingExtraError: ``onnx`` is not installed.
    """
    onnx = require("onnx", feature="quantize_onnx", extra="train")
    model = onnx.load(str(path))
    graph = model.graph
    checked = {node.output[0]: node.input[0] for node in graph.node if node.op_type == "IsNaN"}
    guards = {
        node.output[0]: node.input[2]
        for node in graph.node
        if node.op_type == "Where" and checked.get(node.input[0]) == node.input[2]
    }
    left = [node for node in graph.node if node.output[0] not in guards and node.op_type != "IsNaN"]
    for node in left:
        for place, name in enumerate(node.input):
            node.input[place] = guards.get(name, name)
    del graph.node[:]
    graph.node.extend(left)
    onnx.save(model, str(path))


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
        settings: Network and temperature for ``ranker.json``; left out, the scorer alone decides.

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
        "format": 2,
        "max_tokens": max_tokens,
        "network": FeatureNetwork.weighted(encoder=1.0).to_dict(),
        "temperature": 1.0,
        **settings,
        "layout": {name: getattr(layout, name) for name in layout.__slots__},
        "model_sha256": hashlib.sha256((folder / "model.int8.onnx").read_bytes()).hexdigest(),
    }
    (folder / "ranker.json").write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


EMBEDDED = "embedded"
"""The name of the ranker that ships with the package."""

HEAD_FILE = "head.safetensors"

_MODEL = "model.int8.onnx"
_MATMUL = re.compile(r"/(encoder/encoder/layer\.\d+/.+)/MatMul(?:_quant)?")
_LAYER = re.compile(r"encoder\.layer\.(\d+)\.")

Tensors = dict[str, npt.NDArray[np.float32]]


def encoder_folder(config: RankerTrainingConfig) -> Path:
    """The folder that a run's encoder is loaded from.

    Args:
        config: Settings. ``encoder`` is ``"embedded"``, the folder of an exported ranker, or what
            ``checkpoint_folder`` takes.

    Returns:
        The folder. An exported ranker is unpacked into ``encoder/`` in the run's output once.

    Raises:
        CheckpointError: There is no such folder, or the exported model cannot be read.
        DownloadError: A repository cannot be had.
        MissingExtraError: An exported ranker needs ``onnx``, which is not installed.
    """
    target = Path(config.output) / "encoder"
    if config.encoder == EMBEDDED:
        resource = importlib.resources.files("blender_core.rank") / "embedded_weights"
        with importlib.resources.as_file(resource) as weights:
            return unpack_ranker(weights, target)
    folder = checkpoint_folder(config.encoder)
    return unpack_ranker(folder, target) if (folder / _MODEL).is_file() else folder


def load_scorer(folder: Path, config: RankerTrainingConfig) -> SegmentPooledScorer:
    """Put the head of a run on its encoder.

    Args:
        folder: What :func:`encoder_folder` gave.
        config: ``head_size`` and ``dropout`` are read.

    Returns:
        The scorer. Its head is that of the exported ranker if the run starts from one, else new.

    Raises:
        CheckpointError: The folder holds no encoder of ``ENCODERS``, or a head of another size.
    """
    model = SegmentPooledScorer(load_encoder(folder), head_size=config.head_size, dropout=config.dropout)
    if (folder / HEAD_FILE).is_file():
        from safetensors.torch import load_file

        head = load_file(folder / HEAD_FILE)
        size = len(head["2.bias"])
        if size != config.head_size:
            raise CheckpointError(
                f"head_size is {config.head_size}, the ranker {config.encoder!r} has a head of {size}; "
                f"set head_size = {size}"
            )
        model.head.load_state_dict(head)
    return model


def unpack_ranker(folder: str | Path, target: str | Path) -> Path:
    """Write an exported ranker as an encoder's folder with a head.

    The weights are those that int8 leaves, in float32.

    Args:
        folder: Folder that ``EmbeddedRanker.load`` reads.
        target: Folder to write; one that was written from the same model stays as it is.

    Returns:
        ``target``, with ``config.json``, ``model.safetensors``, ``tokenizer.json`` and ``head.safetensors``.

    Raises:
        CheckpointError: A file is missing, or the graph is not one that this package exports.
        MissingExtraError: ``onnx`` is not installed.
    """
    folder, target = Path(folder), Path(target)
    try:
        digest = read_json((folder / "ranker.json").read_text(encoding="utf-8"))["model_sha256"]
        done = target / "unpacked.json"
        if done.is_file() and read_json(done.read_text(encoding="utf-8")) == {"model_sha256": digest}:
            return target
        target.mkdir(parents=True, exist_ok=True)
        shutil.copy(folder / "tokenizer.json", target / "tokenizer.json")
    except (OSError, ValueError, KeyError) as error:
        raise CheckpointError(f"{folder} is no exported ranker ({error!r}); export it again") from error
    tensors, shape = _read_graph(folder / _MODEL)
    from safetensors.torch import save_file

    for prefix, name in (("encoder.", "model.safetensors"), ("head.", HEAD_FILE)):
        own = {
            key.removeprefix(prefix): torch.from_numpy(np.array(value, order="C"))
            for key, value in tensors.items()
            if key.startswith(prefix)
        }
        save_file(own, target / name, metadata={"format": "pt"})
    (target / "config.json").write_text(json.dumps(shape, indent=2) + "\n", encoding="utf-8")
    # last, so that a killed run starts it again
    done.write_text(json.dumps({"model_sha256": digest}), encoding="utf-8")
    return target


def _read_graph(path: Path) -> tuple[Tensors, dict[str, Any]]:
    """Weights by torch's names, and the encoder's config."""
    onnx = require("onnx", feature="training from an exported ranker", extra="train")
    try:
        graph = onnx.load(str(path)).graph
    except Exception as error:  # protobuf raises its own kinds
        raise CheckpointError(f"{path} is no ONNX model: {error}") from error
    try:
        stored = {item.name: onnx.numpy_helper.to_array(item) for item in graph.initializer}
        tensors = {name: value for name, value in stored.items() if _is_parameter(name)}
        for name in (name.removesuffix("_quantized") for name in stored if name.endswith("_quantized")):
            if _is_parameter(name):
                own = name.removesuffix("_Transposed")
                tensors[own] = _exact(stored, name).T if own != name else _exact(stored, name)
        # the exporter gives the weights of a layer names that say nothing; the nodes that use them tell
        for node in graph.node:
            found = _MATMUL.fullmatch(node.name)
            if found and node.op_type in ("MatMul", "MatMulInteger"):
                weight = node.input[1].removesuffix("_quantized").removesuffix(WIDENED)
                if weight in stored or f"{weight}_quantized" in stored:
                    tensors[f"{found[1].replace('/', '.')}.weight"] = _exact(stored, weight).T
            # the exporter keeps equal tensors once, and copies them
            elif node.op_type == "Identity" and node.input[0] in tensors and _is_parameter(node.output[0]):
                tensors[node.output[0]] = tensors[node.input[0]]
        width = len(tensors["encoder.embeddings.LayerNorm.weight"])
        shape = {
            "model_type": "bert",
            "architectures": ["BertModel"],
            "hidden_size": width,
            "vocab_size": len(tensors["encoder.embeddings.word_embeddings.weight"]),
            "max_position_embeddings": len(tensors["encoder.embeddings.position_embeddings.weight"]),
            "type_vocab_size": len(tensors["encoder.embeddings.token_type_embeddings.weight"]),
            "num_hidden_layers": 1 + max(int(found[1]) for name in tensors if (found := _LAYER.search(name))),
            "num_attention_heads": width // _head_width(graph, onnx),
            "intermediate_size": len(tensors["encoder.encoder.layer.0.intermediate.dense.bias"]),
            "layer_norm_eps": _epsilon(graph),
            "hidden_act": "gelu",
        }
    except (AttributeError, IndexError, KeyError, StopIteration, ValueError) as error:
        raise CheckpointError(f"{path} is not a model that this package exported ({error!r})") from error
    return tensors, shape


def _is_parameter(name: str) -> bool:
    return name.startswith(("encoder.", "head.")) and name.endswith((".weight", ".bias", ".weight_Transposed"))


def _exact(stored: Mapping[str, npt.NDArray[Any]], name: str) -> npt.NDArray[np.float32]:
    """A tensor in float32; one scale for all of it, or one for each column."""
    if name in stored:
        return stored[name].astype(np.float32)
    whole = stored[f"{name}_quantized"].astype(np.float32) - stored[f"{name}_zero_point"].astype(np.float32)
    exact: npt.NDArray[np.float32] = (whole * stored[f"{name}_scale"]).astype(np.float32)
    return exact


def _head_width(graph: Any, onnx: Any) -> int:
    """Width of an attention head: the last constant of the shape that queries are brought into."""
    constants = {node.output[0]: node for node in graph.node if node.op_type == "Constant"}
    shape = next(
        node
        for node in graph.node
        if node.op_type == "Concat" and "/layer.0/attention/self/" in node.name and len(node.input) == 4
    )
    return int(onnx.numpy_helper.to_array(constants[shape.input[3]].attribute[0].t).item())


def _epsilon(graph: Any) -> float:
    node = next(node for node in graph.node if node.op_type == "LayerNormalization")
    return next((float(item.f) for item in node.attribute if item.name == "epsilon"), 1e-5)
