"""Going on from an exported ranker: its int8 model turned back into an encoder and a head.

The model that ships with the package is int8 ONNX. Its weights are read from the graph and dequantised, so that it
can be fine-tuned on one's own records without any download.
"""

from __future__ import annotations

import importlib.resources
import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from blender_core.errors import CheckpointError
from blender_core.models.hub import checkpoint_folder
from blender_core.runtime.extras import require
from blender_lab.ranker.checkpoint import load_mean
from blender_lab.ranker.config import RankerTrainingConfig
from blender_lab.ranker.export import WIDENED
from blender_lab.ranker.model import SegmentPooledScorer, load_encoder

__all__ = ["EMBEDDED", "HEAD_FILE", "average_with_rankers", "encoder_folder", "load_scorer", "unpack_ranker"]

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
        return _unpack_embedded(target)
    folder = checkpoint_folder(config.encoder)
    return unpack_ranker(folder, target) if (folder / _MODEL).is_file() else folder


def _unpack_embedded(target: Path) -> Path:
    resource = importlib.resources.files("blender_core.rank") / "embedded_weights"
    with importlib.resources.as_file(resource) as folder:
        return unpack_ranker(folder, target)


def load_scorer(folder: Path, config: RankerTrainingConfig) -> SegmentPooledScorer:
    """Put the head of a run on its encoder.

    Args:
        folder: What :func:`encoder_folder` gave.
        config: ``head_size`` and ``dropout`` are read.

    Returns:
        The scorer. Its head is that of the exported ranker where the run goes on from one, else new.

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


def average_with_rankers(model: SegmentPooledScorer, config: RankerTrainingConfig) -> None:
    """Replace weights by their mean with those of the exported rankers in ``average_rankers``.

    The same mean as that of ``load_average``, for runs of which only the exported folder is left.

    Args:
        model: The scorer of a run.
        config: ``average_rankers``, ``output``, ``head_size`` and ``dropout`` are read.

    Raises:
        CheckpointError: There is no such ranker, or its network is another.
        MissingExtraError: ``onnx`` is not installed.
    """
    states = [{name: value.clone() for name, value in model.state_dict().items()}]
    for number, name in enumerate(config.average_rankers):
        target = Path(config.output) / "averaged" / str(number)
        folder = _unpack_embedded(target) if name == EMBEDDED else unpack_ranker(name, target)
        states.append(load_scorer(folder, config).state_dict())
        first, last = ({key: value.shape for key, value in state.items()} for state in (states[0], states[-1]))
        if first != last:
            raise CheckpointError(
                f"average_rankers: {name!r} has another network than the run in {config.output}; leave it out, or give "
                "a ranker that was trained from the same encoder"
            )
    load_mean(states, model)


def unpack_ranker(folder: str | Path, target: str | Path) -> Path:
    """Write an exported ranker as an encoder's folder with a head beside it.

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
        digest = json.loads((folder / "ranker.json").read_text(encoding="utf-8"))["model_sha256"]
        done = target / "unpacked.json"
        if done.is_file() and json.loads(done.read_text(encoding="utf-8")) == {"model_sha256": digest}:
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
