"""Where the pair form starts from: a plain encoder, or a PairRanker checkpoint."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from blender_core.errors import CheckpointError, ConfigurationError
from blender_core.models.hub import checkpoint_folder
from blender_core.rank.pairrm.checkpoint import infer_shape, load_model, read_tensors
from blender_core.rank.pairrm.model import BackboneShape, PairRankerModel
from blender_core.rank.pairrm.settings import BLENDED_FORMAT, PairRankerSettings
from blender_core.rank.pairrm.tokens import PairTokenizer

__all__ = ["load_pair_model"]

# where the models of transformers keep their encoder
_PREFIXES = ("", "bert.", "deberta.", "model.", "roberta.")
_TABLES = ("embeddings.word_embeddings.weight", "embeddings.tok_embeddings.weight")
_NO_DROPOUT = {
    "bert": ("hidden_dropout_prob", "attention_probs_dropout_prob"),
    "modernbert": ("attention_dropout", "embedding_dropout", "mlp_dropout"),
    "roberta": ("hidden_dropout_prob", "attention_probs_dropout_prob"),
}
# a config says these of its file, not of its encoder
_NOT_SHAPE = ("_name_or_path", "architectures", "dtype", "torch_dtype", "transformers_version")


def load_pair_model(
    name_or_path: str | Path, *, dropout: float = 0.1, seed: int = 0, pooling: str = "markers"
) -> tuple[PairRankerModel, PairTokenizer]:
    """Load a network to train and its tokenizer.

    A plain encoder gets a new head and, where its vocabulary lacks them, rows for the four markers. They start as
    the row of ``[CLS]`` with a little noise: all three then read the sequence as the encoder's own summary token
    does. The encoder has no dropout.

    Args:
        name_or_path: Folder or hub name of a BERT, RoBERTa, ModernBERT or DeBERTa-v2/v3 encoder with
            ``tokenizer.json``, or of a PairRanker checkpoint.
        dropout: Dropout of the head.
        seed: Seed of the new weights.
        pooling: What a new head reads of each text: the state at its ``"markers"``, or the mean state of its
            ``"segments"``, which encoders other than DeBERTa offer. A PairRanker checkpoint keeps its own.

    Returns:
        The network, float32 on the CPU, ready for training, and the tokenizer.

    Raises:
        CheckpointError: It is no such encoder; missing files or tensors are named.
        ConfigurationError: This encoder does not offer the pooling.
        DownloadError: The repository cannot be had.
    """
    folder = checkpoint_folder(name_or_path)
    config = _config(folder)
    if not (folder / "tokenizer.json").is_file():
        raise CheckpointError(
            f"{folder} has no tokenizer.json; load its tokenizer once with transformers and save_pretrained() it there"
        )
    tokenizer = PairTokenizer.from_file(folder / "tokenizer.json")
    if _is_pair_ranker(config):
        model = load_model(folder, PairRankerSettings.from_config(config, str(folder))).float()
    else:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = _from_encoder(folder, config, tokenizer, pooling)
    for module in model.head_layer:
        if isinstance(module, nn.Dropout):
            module.p = dropout
    return model.requires_grad_(True), tokenizer


def _config(folder: Path) -> dict[str, Any]:
    for name in ("config.json", "ranker_config.json"):
        try:
            config = json.loads((folder / name).read_text(encoding="utf-8"))
        except FileNotFoundError:
            continue
        except (OSError, ValueError) as error:
            raise CheckpointError(f"{folder / name} cannot be read: {error}") from error
        if isinstance(config, dict):
            return config
    raise CheckpointError(f"{folder} has no readable config.json; give the folder of an encoder")


def _is_pair_ranker(config: dict[str, Any]) -> bool:
    return (
        config.get("format") == BLENDED_FORMAT
        or "ranker_type" in config
        or "DebertaV2PairRM" in (config.get("architectures") or [])
    )


def _from_encoder(folder: Path, config: dict[str, Any], tokenizer: PairTokenizer, pooling: str) -> PairRankerModel:
    if pooling != "markers" and config.get("model_type") == "deberta-v2":
        raise ConfigurationError(
            f"pooling is {pooling!r}, and the DeBERTa encoder gives the states at markers only; set pooling = 'markers'"
        )
    tensors = _encoder_tensors(folder)
    table = next((name for name in _TABLES if name in tensors), None)
    if table is None:
        raise CheckpointError(f"{folder} has no word embeddings; first tensors: {', '.join(sorted(tensors)[:5])}")
    tensors[table] = _with_markers(tensors[table], tokenizer)
    width = tensors[table].shape[1]
    tensors = {f"pretrained_model.{name}": value for name, value in tensors.items()}
    if config.get("model_type") == "deberta-v2":
        settings = PairRankerSettings.from_config({**config, "architectures": ["DebertaV2PairRM"]}, str(folder))
        # only a head tells the number of tasks
        sized = {**tensors, "head_layer.4.weight": torch.empty(1, width)}
        model = PairRankerModel(infer_shape(sized, settings, str(folder)))
    else:
        shape = {key: value for key, value in config.items() if key not in _NOT_SHAPE}
        shape |= dict.fromkeys(_NO_DROPOUT.get(str(config.get("model_type")), ()), 0.0)
        shape["pooling"] = pooling
        shape["vocab_size"] = len(tensors[f"pretrained_model.{table}"])
        model = PairRankerModel(BackboneShape.from_config(shape, str(folder)))
    state = model.state_dict()
    missing = sorted(name for name in state if name.startswith("pretrained_model.") and name not in tensors)
    wrong = sorted(name for name in state if name in tensors and state[name].shape != tensors[name].shape)
    if missing or wrong:
        raise CheckpointError(
            f"{folder} does not hold the encoder that its config.json describes; missing: {', '.join(missing[:5])}; "
            f"of another shape: {', '.join(wrong[:5])}"
        )
    model.load_state_dict({**state, **{name: tensors[name] for name in state if name in tensors}})
    return model


def _encoder_tensors(folder: Path) -> dict[str, Tensor]:
    """The encoder's own tensors in float32, by the names they have in it."""
    stored = read_tensors(folder)
    prefix = next((p for p in _PREFIXES if any(p + table in stored for table in _TABLES)), "")
    return {
        # BERT's first checkpoints say gamma and beta
        name.removeprefix(prefix)
        .replace("LayerNorm.gamma", "LayerNorm.weight")
        .replace("LayerNorm.beta", "LayerNorm.bias"): value.float()
        for name, value in stored.items()
        if name.startswith(prefix)
    }


def _with_markers(table: Tensor, tokenizer: PairTokenizer) -> Tensor:
    rows = max(len(table), tokenizer.largest_id + 1)
    grown = torch.zeros(rows, table.shape[1])
    grown[: len(table)] = table
    start = table[tokenizer.source("", 8).ids[0]]
    noise = 0.1 * float(table.std())
    for marker_id in tokenizer.marker_ids.values():
        grown[marker_id] = start + noise * torch.randn(table.shape[1])
    return grown
