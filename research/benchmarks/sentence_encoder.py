"""Make the sentence encoder that ships: all-MiniLM-L6-v2 as int8 ONNX, one scale for each output channel.

    python research/benchmarks/sentence_encoder.py --out FILE.onnx

The weights are downloaded once and checked by hash. Prints the file's sha256, which
``blender_core/models/sentence_encoder.py`` names.
"""

from __future__ import annotations

import argparse
import hashlib
import logging
import tempfile
import warnings
from pathlib import Path

import torch
from onnxruntime import quantization
from rich.console import Console
from transformers import BertModel

from blender_core.local.encoder import local_encoder
from blender_lab.ranker.export import drop_softmax_guards


class Vectors(torch.nn.Module):
    """The mean state over all tokens, of length one; for one text in a pass, so there is no padding."""

    def __init__(self, encoder: torch.nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:  # noqa: D102
        hidden = self.encoder(input_ids=input_ids, attention_mask=torch.ones_like(input_ids)).last_hidden_state
        mean = hidden.mean(1)
        return mean / mean.norm(dim=-1, keepdim=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    encoder = BertModel.from_pretrained(local_encoder(), add_pooling_layer=False).eval()
    logging.getLogger().setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        exact = Path(folder) / "model.onnx"
        torch.onnx.export(
            Vectors(encoder).eval(),
            (torch.arange(12).reshape(1, 12) + 1000,),
            str(exact),
            input_names=["input_ids"],
            output_names=["vectors"],
            dynamic_axes={"input_ids": {0: "batch", 1: "tokens"}, "vectors": {0: "batch"}},
            opset_version=17,
            dynamo=False,
        )
        quantization.quantize_dynamic(
            str(exact), str(options.out), weight_type=quantization.QuantType.QInt8, per_channel=True
        )
    drop_softmax_guards(options.out)
    Console().print(hashlib.sha256(options.out.read_bytes()).hexdigest())


if __name__ == "__main__":
    main()
