"""Write a PairRanker network as ONNX, with dynamic batch and length."""

from __future__ import annotations

import json
import logging
import math
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from blender_core.models.hub import ONNX_FILES
from blender_core.rank.pairrm.deberta import DebertaEncoder, RelativeProjection, all_buckets
from blender_core.rank.pairrm.model import PairRankerModel, pooled
from blender_core.rank.pairrm.onnx_scorer import ONNX_INPUTS, ONNX_METADATA
from blender_core.runtime.extras import require

__all__ = ["ExportablePairRanker", "export_network"]

_OPSET = 17


class ExportablePairRanker(nn.Module):
    """Computes the same logits as ``PairRankerModel``, and can be traced.

    Args:
        model: The network; its weights are shared, not copied.
    """

    def __init__(self, model: PairRankerModel) -> None:
        super().__init__()
        self.model = model
        encoder = model.pretrained_model
        if isinstance(encoder, DebertaEncoder):
            table = all_buckets(encoder.shape)
            self.reach = len(table) // 2
            self.register_buffer("table", table, persistent=False)
            for number, projection in enumerate(encoder.relative_projections()):
                self.register_buffer(f"keys_{number}", projection.keys, persistent=False)
                self.register_buffer(f"queries_{number}", projection.queries, persistent=False)
        self.eval()

    def forward(self, ids: Tensor, mask: Tensor, positions: Tensor) -> Tensor:
        """Compute the logit that the left candidate is better.

        Args:
            ids: Token ids, shape [batch, length].
            mask: 1 at tokens, 0 at pads, shape [batch, length].
            positions: Positions of the three markers, shape [batch, 3].

        Returns:
            Shape [batch].
        """
        encoder = self.model.pretrained_model
        if isinstance(encoder, DebertaEncoder):
            hidden = self._deberta(encoder, ids, mask, positions)
        else:
            states = encoder(input_ids=ids, attention_mask=mask).last_hidden_state
            hidden = pooled(states, mask, positions, self.model.pooling)
        source, left, right = hidden.unbind(1)
        head = self.model.head_layer
        logits: Tensor = (head(torch.cat([source, left], -1)) - head(torch.cat([source, right], -1))).mean(-1)
        return logits

    def _deberta(self, encoder: DebertaEncoder, ids: Tensor, mask: Tensor, positions: Tensor) -> Tensor:
        steps = torch.arange(ids.shape[1])
        distance = (steps[:, None] - steps[None, :]).clamp(-self.reach, self.reach) + self.reach
        index = self.get_buffer("table")[distance][None]
        hidden: Tensor = encoder.embeddings(ids, mask)
        blocked = torch.where(mask > 0, 0.0, -math.inf).to(hidden.dtype)[:, None, None, :]
        blocks, convolution = encoder.encoder.blocks, encoder.encoder.conv
        embedded, narrow = hidden, False
        for number, block in enumerate(blocks):
            queries = hidden
            if block is blocks[-1] and (number or convolution is None):
                queries, index, narrow = _at(hidden, positions), index[0][positions], True
            projection = RelativeProjection(self.get_buffer(f"keys_{number}"), self.get_buffer(f"queries_{number}"))
            hidden = block(queries, hidden, index, projection, blocked)
            if convolution is not None and not number:
                hidden = convolution(embedded, hidden, mask)
        return hidden if narrow else _at(hidden, positions)


def export_network(
    model: PairRankerModel, folder: Path, encoder_config: Mapping[str, Any], *, quantize: bool = False
) -> None:
    """Write ``model.onnx``, and ``model.int8.onnx`` if ``quantize`` is set.

    Args:
        model: The network, on the CPU in float32. It is not changed.
        folder: Target folder.
        encoder_config: The encoder's transformers config, stored in the files.
        quantize: Also write the int8 file: weights of every matrix product with one scale for each output channel,
            activations quantised while running.

    Raises:
        MissingExtraError: onnx is not installed.
    """
    onnx = require("onnx", feature="PairRanker.export_onnx", extra="train")
    path = folder / ONNX_FILES["float32"]
    # two rows of different lengths, so that the trace depends on neither
    ids = torch.arange(2 * 13).reshape(2, 13) % 5 + 3
    mask = torch.ones_like(ids)
    mask[1, -3:] = 0
    positions = torch.tensor([[1, 4, 8], [1, 3, 6]])
    with warnings.catch_warnings(), torch.no_grad():
        # the exporter warns of planned changes, the tracer of Python numbers that depend only on the weights
        warnings.simplefilter("ignore")
        torch.onnx.export(
            ExportablePairRanker(model),
            (ids, mask, positions),
            str(path),
            input_names=list(ONNX_INPUTS),
            output_names=["logits"],
            dynamic_axes={
                "ids": {0: "batch", 1: "length"},
                "mask": {0: "batch", 1: "length"},
                "positions": {0: "batch"},
                "logits": {0: "batch"},
            },
            opset_version=_OPSET,
            dynamo=False,
        )
    metadata = json.dumps(dict(encoder_config))
    _write_metadata(onnx, path, metadata)
    if quantize:
        target = folder / ONNX_FILES["int8"]
        _quantize(path, target)
        _write_metadata(onnx, target, metadata)


def _at(hidden: Tensor, positions: Tensor) -> Tensor:
    return hidden.gather(1, positions[..., None].expand(-1, -1, hidden.shape[-1]))


def _write_metadata(onnx: Any, path: Path, metadata: str) -> None:
    model = onnx.load(str(path))
    onnx.helper.set_model_props(model, {ONNX_METADATA: metadata})
    onnx.save(model, str(path))


def _quantize(source: Path, target: Path) -> None:
    quantization = require("onnxruntime.quantization", feature="PairRanker.export_onnx", extra="train")
    root = logging.getLogger()
    level = root.level
    try:
        # the quantiser logs advice to the root logger
        root.setLevel(logging.ERROR)
        quantization.quantize_dynamic(
            str(source), str(target), weight_type=quantization.QuantType.QInt8, per_channel=True
        )
    finally:
        root.setLevel(level)
