"""The pair form: prompt and both candidates in one sequence, the paper's PairRanker, and what it starts from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from blender_core.errors import CheckpointError, ConfigurationError
from blender_core.models.batches import token_batches
from blender_core.models.hub import checkpoint_config, checkpoint_folder
from blender_core.rank.pairrm.checkpoint import infer_shape, load_model, read_tensors
from blender_core.rank.pairrm.model import BackboneShape, PairRankerModel
from blender_core.rank.pairrm.settings import PairRankerSettings, is_pair_ranker
from blender_core.rank.pairrm.tokens import EncodedPair, EncodedText, PairTokenizer
from blender_lab.ranker.architecture import Sides, freeze_layers, in_order
from blender_lab.ranker.config import RankerTrainingConfig
from blender_lab.ranker.sampling import Group
from blender_lab.training.precision import forward_precision, mixed_precision

__all__ = [
    "PairForm",
    "load_pair_model",
    "pair_lengths",
]

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
    config = checkpoint_config(folder)
    if not (folder / "tokenizer.json").is_file():
        raise CheckpointError(
            f"{folder} has no tokenizer.json; load its tokenizer once with transformers and save_pretrained() it there"
        )
    tokenizer = PairTokenizer.from_file(folder / "tokenizer.json")
    if is_pair_ranker(config):
        model = load_model(folder, PairRankerSettings.from_config(config, str(folder))).float()
    else:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = _from_encoder(folder, config, tokenizer, pooling)
    for module in model.head_layer:
        if isinstance(module, nn.Dropout):
            module.p = dropout
    return model.requires_grad_(True), tokenizer


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


def pair_lengths(window: int, prompt_share: float) -> tuple[int, int]:
    """Room of prompt and candidate in a window.

    Args:
        window: Tokens of a whole pair.
        prompt_share: Share of the prompt where all three texts are too long.

    Returns:
        ``source_max_length`` and ``candidate_max_length`` of a ``PairRanker``.

    Raises:
        ConfigurationError: The window is too small for three texts.

    Examples:
        >>> pair_lengths(2048, 0.6)
        (1229, 409)
    """
    source = round(window * prompt_share)
    candidate = (window - source) // 2
    if min(source, candidate) < 4:
        raise ConfigurationError(
            f"a window of {window} tokens leaves {source} for the prompt and {candidate} for a candidate; give 4 each"
        )
    return source, candidate


class PairForm:
    """Scores a pair in one pass over prompt, left and right candidate.

    Args:
        model: The network, on its device.
        tokenizer: Its tokenizer.
        config: Learning rates, batches, precision and windows are read.

    Raises:
        ConfigurationError: A window of the run is too small, or longer than the encoder's.
    """

    reads_order = True

    def __init__(self, model: PairRankerModel, tokenizer: PairTokenizer, config: RankerTrainingConfig) -> None:
        longest = model.shape.window if isinstance(model.shape, BackboneShape) else None
        if longest is not None and config.largest_window > longest:
            raise ConfigurationError(f"max_tokens is {config.largest_window}; the encoder reads at most {longest}")
        for stage in config.stages:
            pair_lengths(stage.max_tokens, config.prompt_share)
        self.model = model
        self.tokenizer = tokenizer
        self._config = config
        self._precision = forward_precision(config.precision, next(model.parameters()).device)
        # what the tokenizer puts around any text
        self._source = tokenizer.source("", 8).ids
        self._candidate = tokenizer.candidate("", 8).ids

    @property
    def module(self) -> nn.Module:
        """The network."""
        return self.model

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """Encode texts without the tokens around them in a pair."""
        longest = 1 << 30
        return [list(self.tokenizer.candidate(text, longest).ids[2:-1]) for text in texts]

    def sides(self, groups: Sequence[Group], window: int) -> Sides:
        """Score both sides of every pair; see ``Architecture.sides``."""
        pairs = [pair for group in groups for pair in self._pairs(group, window)]
        device = next(self.model.parameters()).device
        order: list[int] = []
        results: list[Tensor] = []
        for part in token_batches([len(pair.ids) for pair in pairs], self._config.tokens_per_batch):
            order += part
            width = len(pairs[part[0]].ids)
            ids = torch.full((len(part), width), self.tokenizer.pad_id, dtype=torch.long)
            mask = torch.zeros((len(part), width), dtype=torch.bool)
            for line, index in enumerate(part):
                length = len(pairs[index].ids)
                ids[line, :length] = torch.tensor(pairs[index].ids)
                mask[line, :length] = True
            positions = torch.tensor([pairs[index].positions for index in part])
            with mixed_precision(device, self._precision):
                left, right = self.model.side_scores(ids.to(device), mask.to(device), positions.to(device))
            results.append(torch.stack([left.float().mean(-1), right.float().mean(-1)], dim=-1))
        both = in_order(results, order)
        return Sides(both[:, 0], both[:, 1], len(pairs))

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Encoder and head, each with its rate.

        With frozen embeddings the rows of the markers are trained all the same: they are new.
        """
        config = self._config
        encoder = self.model.pretrained_model
        table: nn.Parameter | None = None
        if config.freeze_embeddings:
            for name, parameter in encoder.named_parameters():
                parameter.requires_grad_(not name.startswith("embeddings."))
            table = _word_embeddings(encoder)
            table.requires_grad_(True)
            kept = torch.zeros(len(table), 1, device=table.device)
            kept[list(self.tokenizer.marker_ids.values())] = 1.0
            table.register_hook(lambda gradient: gradient * kept)  # type: ignore[no-untyped-call]
        freeze_layers(encoder, config.freeze_layers)
        trained = [p for p in encoder.parameters() if p.requires_grad and p is not table]
        head = list(self.model.head_layer.parameters())
        groups: list[dict[str, Any]] = [
            {"params": trained, "lr": config.learning_rate, "peak": config.learning_rate},
            {"params": head, "lr": config.head_learning_rate, "peak": config.head_learning_rate},
        ]
        if table is not None:
            rate = config.head_learning_rate
            # decay would move the frozen rows
            groups.append({"params": [table], "lr": rate, "peak": rate, "weight_decay": 0.0})
        return groups

    def _pairs(self, group: Group, window: int) -> list[EncodedPair]:
        source_length, candidate_length = pair_lengths(window, self._config.prompt_share)
        source = _framed(self._source, group.prompt, source_length)
        # the room that the prompt leaves, as the ranker itself shares it out
        room = candidate_length + (source_length - len(source.ids)) // 2
        answers = [_framed(self._candidate, answer, room) for answer in group.answers]
        return [self.tokenizer.pair(source, answers[i], answers[j]) for i, j, _, _ in group.pairs]


def _framed(frame: Sequence[int], ids: Sequence[int], length: int) -> EncodedText:
    """A text in its frame ``[CLS] marker ... [SEP]``, cut at its right end."""
    kept = ids[: length - len(frame)]
    return EncodedText((*frame[:2], *kept, *frame[2:]), len(ids) - len(kept))


def _word_embeddings(encoder: nn.Module) -> nn.Parameter:
    return next(
        parameter
        for name, parameter in encoder.named_parameters()
        if name in ("embeddings.word_embeddings.weight", "embeddings.tok_embeddings.weight")
    )
