"""The one-pass form: its tokenizer, its network, and how it scores prompt and answer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from blender_core.errors import CheckpointError, ConfigurationError
from blender_core.models.batches import token_batches
from blender_core.models.loading import LoadOptions, load_model
from blender_core.models.segments import SegmentedText, SegmentLayout
from blender_core.models.tokenizers import read_tokenizer
from blender_core.runtime.outside import read_json
from blender_lab.ranker.architecture import Sides, freeze_layers, in_order
from blender_lab.ranker.config import RankerTrainingConfig
from blender_lab.ranker.corruption import KnownTokens, opposite_tokens
from blender_lab.ranker.sampling import Group
from blender_lab.training.precision import forward_precision, mixed_precision

if TYPE_CHECKING:
    from tokenizers import Tokenizer

__all__ = [
    "ENCODERS",
    "OnePassForm",
    "SegmentPooledScorer",
    "known_tokens",
    "load_encoder",
    "load_tokenizer",
    "longest_row",
    "number_tokens",
    "score_rows",
    "segment_layout",
    "tiny_encoder",
]

_CUT_MARKER = "…"
# BERT's frame, and that of RoBERTa and MPNet
_FRAMES = (("[CLS]", "[SEP]"), ("<s>", "</s>"))


def load_tokenizer(path: str | Path) -> Tokenizer:
    """Load ``tokenizer.json`` so that it neither cuts, pads nor reads special tokens in texts.

    Args:
        path: The file.

    Returns:
        The tokenizer; ``"[SEP]"`` inside a text is encoded as the ordinary characters it is.

    Raises:
        CheckpointError: The file cannot be read.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"no tokenizer file {path}")
    tokenizer = read_tokenizer(path.read_text(encoding="utf-8", errors="replace"), str(path))
    tokenizer.encode_special_tokens = True
    return tokenizer


def segment_layout(tokenizer: Tokenizer) -> SegmentLayout:
    """The layout with this tokenizer's ids.

    Raises:
        CheckpointError: The tokenizer has neither ``[CLS]`` and ``[SEP]`` nor ``<s>`` and ``</s>``.
    """
    for first, last in _FRAMES:
        cls_token, sep_token = tokenizer.token_to_id(first), tokenizer.token_to_id(last)
        if cls_token is not None and sep_token is not None:
            break
    else:
        raise CheckpointError("the tokenizer has neither [CLS] and [SEP] nor <s> and </s>; an encoder's is needed")
    marker = tokenizer.token_to_id(_CUT_MARKER)
    return SegmentLayout(cls_token=cls_token, sep_token=sep_token, cut_marker=sep_token if marker is None else marker)


def number_tokens(tokenizer: Tokenizer) -> list[int]:
    """Ids of whole-word tokens that are numbers of one to three digits."""
    # SentencePiece and byte-level vocabularies mark the start of a word
    words = ((token.removeprefix("▁").removeprefix("Ġ"), index) for token, index in tokenizer.get_vocab().items())
    return sorted(index for word, index in words if word.isascii() and word.isdigit() and len(word) < 4)


def known_tokens(tokenizer: Tokenizer) -> KnownTokens:
    """The tokens that corruptions work with."""
    return KnownTokens(number_tokens(tokenizer), opposite_tokens(tokenizer.get_vocab()))


ENCODERS = ("bert", "mpnet", "roberta")
"""Kinds of encoders that take the head; only ``"bert"`` knows segments by an embedding of their own."""


def load_encoder(folder: str | Path) -> nn.Module:
    """Load an encoder without its pooler and with every dropout at 0.

    Args:
        folder: Folder with ``config.json`` and ``model.safetensors``; the model is one of ``ENCODERS``.

    Returns:
        The encoder, weights in float32.

    Raises:
        CheckpointError: The folder holds no such model, or weights are missing.
    """
    from transformers import AutoConfig

    folder = Path(folder)
    try:
        kind = read_json((folder / "config.json").read_text(encoding="utf-8"))["model_type"]
    except (OSError, ValueError, KeyError) as error:
        raise CheckpointError(f"{folder} holds no readable config.json: {error}; give an encoder's folder") from error
    if kind not in ENCODERS:
        raise CheckpointError(f"{folder} holds a {kind!r} model; give one of {', '.join(ENCODERS)}")
    config = AutoConfig.from_pretrained(folder, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    load: LoadOptions = {"device": "cpu", "dtype": "float32"}
    purpose = "as an encoder to train"
    options = {"config": config, "add_pooling_layer": False, "use_safetensors": True}
    encoder: nn.Module = load_model("AutoModel", str(folder), load, purpose=purpose, **options)
    return encoder


def longest_row(encoder: nn.Module) -> int:
    """Most tokens of a row that an encoder has positions for."""
    config: Any = encoder.config
    # these count positions from the one after the padding's
    before = {"mpnet": 2, "roberta": int(config.pad_token_id or 0) + 1}.get(config.model_type, 0)
    return int(config.max_position_embeddings) - before


def tiny_encoder(*, vocabulary: int = 200, width: int = 32, layers: int = 1, positions: int = 64) -> nn.Module:
    """A random BERT encoder for trials and tests.

    Args:
        vocabulary: Number of token ids.
        width: Hidden size; a multiple of 4.
        layers: Number of layers.
        positions: Longest row in tokens.

    Returns:
        The encoder.
    """
    from transformers import BertConfig, BertModel

    config = BertConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=4,
        intermediate_size=2 * width,
        max_position_embeddings=positions,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    encoder: nn.Module = BertModel(config, add_pooling_layer=False)
    return encoder


class SegmentPooledScorer(nn.Module):
    """Scores one answer to one prompt.

    With q and a the mean of the last hidden states over the prompt's and the answer's tokens, the score is
    ``head([q, a, q * a, |q - a|])``. The logit that answer 1 is better than answer 2 is the difference of
    their scores, so swapping the two negates it.

    Args:
        encoder: An encoder as ``load_encoder`` gives; its config gives ``hidden_size``, and ``type_vocab_size`` where
            it embeds segments.
        head_size: Width of the head's hidden layer.
        dropout: Dropout on the pooled features.
    """

    def __init__(self, encoder: nn.Module, *, head_size: int = 384, dropout: float = 0.1) -> None:
        super().__init__()
        self.encoder = encoder
        config: Any = encoder.config
        width = int(config.hidden_size)
        self._embeds_segments = int(getattr(config, "type_vocab_size", 1)) > 1
        self.head = nn.Sequential(
            nn.LayerNorm(4 * width),
            nn.Dropout(dropout),
            nn.Linear(4 * width, head_size),
            nn.GELU(),
            nn.Linear(head_size, 1),
        )

    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor, token_type_ids: torch.Tensor
    ) -> torch.Tensor:
        """Score a batch.

        Args:
            input_ids: Token ids, shape (batch, tokens).
            attention_mask: 1 for tokens, 0 for padding, same shape.
            token_type_ids: 0 for the prompt, 1 for the answer, same shape.

        Returns:
            Scores, shape (batch,).
        """
        segments = {"token_type_ids": token_type_ids} if self._embeds_segments else {}
        hidden = self.encoder(input_ids=input_ids, attention_mask=attention_mask, **segments).last_hidden_state.float()
        answer_mask = (token_type_ids * attention_mask).unsqueeze(-1).float()
        prompt_mask = attention_mask.unsqueeze(-1).float() - answer_mask
        q = (hidden * prompt_mask).sum(1) / prompt_mask.sum(1).clamp(min=1.0)
        a = (hidden * answer_mask).sum(1) / answer_mask.sum(1).clamp(min=1.0)
        features = torch.cat([q, a, q * a, (q - a).abs()], dim=-1)
        scores: torch.Tensor = self.head(features).squeeze(-1)
        return scores


def score_rows(
    model: SegmentPooledScorer, rows: Sequence[SegmentedText], *, tokens_per_batch: int, precision: str = "float32"
) -> torch.Tensor:
    """Score rows in batches of similar length, so that little is padding.

    Args:
        model: The scorer.
        rows: Encoded prompt and answer pairs.
        tokens_per_batch: Padded tokens in one forward pass.
        precision: ``"float32"``, or the mixed precision ``"bfloat16"`` or ``"float16"``.

    Returns:
        Scores, shape (rows,), in the order of ``rows``.
    """
    device = next(model.parameters()).device
    order: list[int] = []
    scores: list[torch.Tensor] = []
    for part in token_batches([len(row.token_ids) for row in rows], tokens_per_batch):
        order += part
        width = len(rows[part[0]].token_ids)
        ids = torch.zeros(len(part), width, dtype=torch.long)
        mask, kinds = torch.zeros_like(ids), torch.zeros_like(ids)
        for line, index in enumerate(part):
            row = rows[index]
            ids[line, : len(row.token_ids)] = torch.tensor(row.token_ids)
            mask[line, : len(row.token_ids)] = 1
            kinds[line, row.answer_start : len(row.token_ids)] = 1
        with mixed_precision(device, precision):
            scores.append(model(ids.to(device), mask.to(device), kinds.to(device)).float())
    return in_order(scores, order)


class OnePassForm:
    """Scores a pair as the scores of its two candidates, each from a pass of its own.

    A candidate of many pairs is read once, and swapping a pair swaps its scores.

    Args:
        model: The scorer, on its device.
        layout: How prompt and answer are joined.
        config: Learning rates, batches and precision are read.

    Raises:
        ConfigurationError: A window of the run is longer than the encoder's.
    """

    reads_order = False

    def __init__(self, model: SegmentPooledScorer, layout: SegmentLayout, config: RankerTrainingConfig) -> None:
        longest = longest_row(model.encoder)
        if config.largest_window > longest:
            raise ConfigurationError(f"max_tokens is {config.largest_window}; the encoder reads at most {longest}")
        self.model = model
        self.layout = layout
        self._config = config
        self._precision = forward_precision(config.precision, next(model.parameters()).device)

    @property
    def module(self) -> nn.Module:
        """The scorer."""
        return self.model

    def sides(self, groups: Sequence[Group], window: int) -> Sides:
        """Score both sides of every pair; see ``Architecture.sides``."""
        rows = [self.layout.join(group.prompt, answer, window) for group in groups for answer in group.answers]
        scores = score_rows(self.model, rows, tokens_per_batch=self._config.tokens_per_batch, precision=self._precision)
        left: list[int] = []
        right: list[int] = []
        start = 0
        for group in groups:
            left += [start + pair[0] for pair in group.pairs]
            right += [start + pair[1] for pair in group.pairs]
            start += len(group.answers)
        return Sides(scores[left], scores[right], len(rows))

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Encoder and head, each with its rate."""
        config = self._config
        if config.freeze_embeddings:
            for name, parameter in self.model.encoder.named_parameters():
                parameter.requires_grad_(not name.startswith("embeddings."))
        freeze_layers(self.model.encoder, config.freeze_layers)
        encoder = [parameter for parameter in self.model.encoder.parameters() if parameter.requires_grad]
        head = list(self.model.head.parameters())
        return [
            {"params": encoder, "lr": config.learning_rate, "peak": config.learning_rate},
            {"params": head, "lr": config.head_learning_rate, "peak": config.head_learning_rate},
        ]
