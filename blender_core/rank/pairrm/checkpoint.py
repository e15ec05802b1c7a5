"""Load a model from a checkpoint folder."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from blender_core.errors import CheckpointError
from blender_core.models.hub import LEGACY_WEIGHTS, SAFETENSORS, SAFETENSORS_INDEX
from blender_core.rank.pairrm.deberta import DebertaShape
from blender_core.rank.pairrm.model import BackboneShape, PairRankerModel
from blender_core.rank.pairrm.settings import PairRankerSettings
from blender_core.runtime.outside import read_json

__all__ = ["infer_shape", "load_model", "read_tensors"]

# heads of the 2023 model class that PairRanker never uses, a buffer of old transformers versions, and the pooler
# of BERT and RoBERTa, whose output nothing reads
_IGNORED = re.compile(
    r"(single_head_layer|moe_head_layer|single_moe_head_layer|moe|towers)\..*"
    r"|pretrained_model\.embeddings\.position_ids|pretrained_model\.pooler\..*"
)
_HEAD_SIZE = 64


def load_model(folder: Path, settings: PairRankerSettings) -> PairRankerModel:
    """Build the network of a checkpoint and load its weights.

    Args:
        folder: The checkpoint.
        settings: Its config.

    Returns:
        The model in evaluation mode, on the CPU, in the checkpoint's own dtype.

    Raises:
        CheckpointError: A tensor is missing, is unknown or has the wrong shape. The message lists them.
    """
    tensors = {name: value for name, value in read_tensors(folder).items() if not _IGNORED.fullmatch(name)}
    shape: DebertaShape | BackboneShape
    if settings.encoder is None:
        shape, kind = infer_shape(tensors, settings, str(folder)), "DeBERTa-v2 or v3"
    else:
        shape, kind = BackboneShape.from_config(settings.encoder, str(folder)), str(settings.encoder["model_type"])
    head = tensors.get("head_layer.4.weight")
    if shape.layers > len(tensors):
        raise CheckpointError(f"{folder} should have {shape.layers:,} layers and holds {len(tensors):,} tensors")
    outputs = 1 if head is None else len(head)
    # the sizes that a config names are compared with the weights before they cost memory
    try:
        with torch.device("meta"):
            model = PairRankerModel(shape, outputs)
    except Exception as error:  # transformers and torch raise many types for sizes that no network can have
        raise CheckpointError(f"{folder}: no {kind} can have the sizes of its config.json: {error}") from error
    expected = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    problems = [f"missing {name} {list(size)}" for name, size in expected.items() if name not in tensors]
    problems += [f"unknown {name} {list(value.shape)}" for name, value in tensors.items() if name not in expected]
    problems += [
        f"{name} is {list(tensors[name].shape)}, should be {list(size)}"
        for name, size in expected.items()
        if name in tensors and tuple(tensors[name].shape) != size
    ]
    if problems:
        raise CheckpointError(
            f"{folder} does not hold the tensors of a PairRanker on {kind} with {shape.layers} layers of width "
            f"{shape.hidden_size}: {'; '.join(sorted(problems))}"
        )
    if settings.encoder is not None:
        # transformers modules have tables that are not saved, so they need real memory, and draw random weights
        with torch.device("cpu"), torch.random.fork_rng(devices=[]):
            model = PairRankerModel(shape, outputs)
    model.load_state_dict(tensors, assign=True)
    return model.requires_grad_(False).eval()


def read_tensors(folder: Path) -> dict[str, Tensor]:
    """Read the weights; safetensors are preferred.

    Args:
        folder: The checkpoint.

    Returns:
        Tensors by name, on the CPU.

    Raises:
        CheckpointError: There are no weights, or they cannot be read. A ``.bin`` file is unpickled with
            ``weights_only=True``: a file with anything but tensors is rejected.
    """
    path = folder / SAFETENSORS
    try:
        if path.is_file():
            return load_file(path)
        path = folder / SAFETENSORS_INDEX
        if path.is_file():
            return _read_shards(path)
        path = folder / LEGACY_WEIGHTS
        if path.is_file():
            loaded = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
            if isinstance(loaded, dict) and all(isinstance(value, Tensor) for value in loaded.values()):
                return loaded
            raise CheckpointError(f"{path} holds no plain state dict; convert it to {SAFETENSORS}")
    except CheckpointError:
        raise
    except Exception as error:  # a damaged pickle raises any type
        raise CheckpointError(f"{path} cannot be read: {type(error).__name__}: {error}") from error
    raise CheckpointError(f"{folder} has neither {SAFETENSORS} nor {LEGACY_WEIGHTS}")


def _read_shards(index: Path) -> dict[str, Tensor]:
    try:
        places = read_json(index.read_text(encoding="utf-8"))["weight_map"]
        shards = sorted(set(places.values()))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{index} is no index of safetensors shards: {error!r}") from error
    # shards are next to their index: a name with a path could read any file
    strange = [name for name in shards if Path(name).name != name or not (index.parent / name).is_file()]
    if strange:
        raise CheckpointError(f"{index} names shards that are not next to it: {', '.join(strange)}")
    tensors: dict[str, Tensor] = {}
    for name in shards:
        tensors.update(load_file(index.parent / name))
    lost = sorted(set(places) ^ set(tensors))
    if lost:
        raise CheckpointError(f"{index} and its shards disagree about {len(lost)} tensors: {', '.join(lost[:10])}")
    return tensors


def infer_shape(tensors: Mapping[str, Tensor], settings: PairRankerSettings, source: str) -> DebertaShape:
    """Infer the encoder's sizes from its tensors.

    Every DeBERTa-v3 model has attention heads of width 64; this is assumed if the config has no head count.

    Args:
        tensors: Tensors by name.
        settings: The checkpoint's config.
        source: Where they came from, for messages.

    Returns:
        The sizes.

    Raises:
        CheckpointError: A tensor that shows a size is missing, or the head count does not fit the width.
    """
    needed = {
        "words": "pretrained_model.embeddings.word_embeddings.weight",
        "distances": "pretrained_model.encoder.rel_embeddings.weight",
        "feed_forward": "pretrained_model.encoder.layer.0.intermediate.dense.weight",
        "head": "head_layer.4.weight",
    }
    missing = [name for name in needed.values() if name not in tensors or tensors[name].ndim != 2]
    if missing:
        raise CheckpointError(
            f"{source} is not a PairRanker on DeBERTa-v3: it has no matrix {', '.join(missing)}; "
            f"first keys: {', '.join(sorted(tensors)[:5])}"
        )
    vocab_size, hidden_size = tensors[needed["words"]].shape
    layers = {
        int(found[1]) for name in tensors if (found := re.match(r"pretrained_model\.encoder\.layer\.(\d+)\.", name))
    }
    heads = settings.heads or max(1, hidden_size // _HEAD_SIZE)
    if hidden_size % heads or (settings.heads is None and hidden_size % _HEAD_SIZE):
        raise CheckpointError(
            f"{source}: width {hidden_size} cannot be split into "
            f"{f'{heads} heads' if settings.heads else f'heads of {_HEAD_SIZE}'}; "
            "save it in the PairRM-hf layout, whose config.json names num_attention_heads"
        )
    convolution = tensors.get("pretrained_model.encoder.conv.conv.weight")
    return DebertaShape(
        vocab_size=vocab_size,
        hidden_size=hidden_size,
        layers=max(layers) + 1,
        heads=heads,
        intermediate_size=tensors[needed["feed_forward"]].shape[0],
        position_buckets=tensors[needed["distances"]].shape[0] // 2,
        max_distance=settings.max_distance,
        layer_norm_eps=settings.layer_norm_eps,
        convolution=0 if convolution is None else convolution.shape[2],
        convolution_groups=1 if convolution is None else hidden_size // convolution.shape[1],
        convolution_activation=settings.convolution_activation,
    )
