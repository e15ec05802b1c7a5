"""Run DeBERTa-v2 and v3 encoders, faster than transformers does.

Disentangled attention (He et al. 2021, section 3.1): a query and a key are compared by content, and each with the
bucket of their distance. The position parts are projections of one small table by fixed weights. So they are
computed once for a loaded model (``relative_projections``), not in every forward pass. Parameter names are those of
the published checkpoints.

Layout: word embeddings only (``position_biased_input`` false, no token types), one distance table for all layers
(``share_att_key``) under a LayerNorm (``norm_rel_ebd``), post-norm blocks, exact GELU. DeBERTa-v2's larger models
add a convolution next to the first block.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = [
    "Block",
    "Convolution",
    "DebertaEncoder",
    "DebertaShape",
    "DenseNorm",
    "DisentangledAttention",
    "Projections",
    "RelativeProjection",
    "all_buckets",
    "distance_buckets",
]


@dataclass(frozen=True, slots=True)
class DebertaShape:
    """Sizes of an encoder.

    Attributes:
        vocab_size: Rows of the word embeddings.
        hidden_size: Width.
        layers: Number of blocks.
        heads: Attention heads of a block.
        intermediate_size: Width of the feed-forward part.
        position_buckets: Distance buckets on each side; the distance table has twice as many rows.
        max_distance: Distance at which the logarithmic buckets end (``max_position_embeddings``).
        layer_norm_eps: Epsilon of every LayerNorm.
        convolution: Kernel width of the convolution next to the first block; 0 for none.
        convolution_groups: Its groups.
        convolution_activation: ``"gelu"`` or ``"tanh"``.
    """

    vocab_size: int
    hidden_size: int
    layers: int
    heads: int
    intermediate_size: int
    position_buckets: int = 256
    max_distance: int = 512
    layer_norm_eps: float = 1e-7
    convolution: int = 0
    convolution_groups: int = 1
    convolution_activation: str = "gelu"


class RelativeProjection(NamedTuple):
    """A layer's projected distance table.

    Attributes:
        keys: Shape [heads, 2 * buckets, head size]; multiplied with queries (content to position).
        queries: Same shape; multiplied with keys (position to content).
    """

    keys: Tensor
    queries: Tensor


Projections = Sequence[RelativeProjection]
"""One for each layer, from ``DebertaEncoder.relative_projections``."""


def distance_buckets(length: int, buckets: int, max_distance: int) -> Tensor:
    """Compute the bucket of every distance in a sequence.

    Distances below half the buckets have one each; longer ones share buckets that grow with the logarithm of
    the distance (DeBERTa-v2's ``position_buckets``). Computed in float32 on the CPU, so that every device
    uses the same buckets.

    Args:
        length: Tokens of the sequence.
        buckets: Buckets on each side.
        max_distance: Distance at which the logarithmic buckets end.

    Returns:
        Shape [2 * length - 1], rows of the distance table for distances ``1 - length`` to ``length - 1``.

    Examples:
        >>> distance_buckets(3, buckets=4, max_distance=8).tolist()
        [2, 3, 4, 5, 6]
    """
    distance = torch.arange(1 - length, length)
    middle = buckets // 2
    magnitude = distance.abs().clamp(min=middle - 1)
    ratio = torch.log(magnitude / middle) / torch.log(torch.tensor((max_distance - 1) / middle))
    logarithmic = (torch.ceil(ratio * (middle - 1)) + middle) * torch.sign(distance)
    bucket = torch.where(distance.abs() <= middle, distance.to(logarithmic.dtype), logarithmic)
    return (bucket.long() + buckets).clamp(0, 2 * buckets - 1)


def all_buckets(shape: DebertaShape) -> Tensor:
    """Compute the buckets of all distances, until both ends of the distance table are reached.

    Args:
        shape: Sizes of the encoder.

    Returns:
        Shape [2 * reach + 1]; longer distances have the buckets of its ends.
    """
    length = 2
    table = distance_buckets(length, shape.position_buckets, shape.max_distance)
    while int(table[0]) > 0 or int(table[-1]) < 2 * shape.position_buckets - 1:
        length *= 2
        table = distance_buckets(length, shape.position_buckets, shape.max_distance)
    return table


class DebertaEncoder(nn.Module):
    """Turns token ids into the hidden states of the wanted positions.

    Args:
        shape: Sizes.
    """

    def __init__(self, shape: DebertaShape) -> None:
        super().__init__()
        self.shape = shape
        self.embeddings = _Embeddings(shape)
        self.encoder = _Layers(shape)

    def relative_projections(self) -> Projections:
        """Project the distance table for each layer; constant for fixed weights."""
        table = self.encoder.LayerNorm(self.encoder.rel_embeddings.weight)
        return tuple(block.attention.self.project_table(table) for block in self.encoder.blocks)

    def forward(self, ids: Tensor, mask: Tensor, positions: Tensor, projections: Projections | None = None) -> Tensor:
        """Encode token ids.

        Args:
            ids: Token ids, shape [batch, length]; pads at the end.
            mask: True at tokens, False at pads, shape [batch, length].
            positions: Positions of the wanted hidden states, shape [batch, wanted]. The last block computes only these.
            projections: Result of ``relative_projections()``; default: computed here.

        Returns:
            Last hidden states, shape [batch, wanted, hidden].
        """
        projections = self.relative_projections() if projections is None else projections
        length = ids.shape[1]
        table = distance_buckets(length, self.shape.position_buckets, self.shape.max_distance)
        # only these rows of the distance table can occur at this length
        first, last = int(table[0]), int(table[-1])
        table = (table - first).to(ids.device)
        steps = torch.arange(length, device=ids.device)
        index = table[steps[:, None] - steps[None, :] + (length - 1)][None]
        hidden: Tensor = self.embeddings(ids, mask)
        blocked = torch.zeros(mask.shape, dtype=hidden.dtype, device=ids.device).masked_fill(~mask, -math.inf)
        rows = torch.arange(len(ids), device=ids.device)[:, None]
        blocks, convolution = self.encoder.blocks, self.encoder.conv
        embedded, narrow = hidden, False
        for number, (block, projection) in enumerate(zip(blocks, projections, strict=True)):
            queries = hidden
            # the convolution reads every position of the first block
            if block is blocks[-1] and (number or convolution is None):
                queries, index, narrow = hidden[rows, positions], index[0][positions], True
            narrowed = RelativeProjection(*(part[:, first : last + 1] for part in projection))
            hidden = block(queries, hidden, index, narrowed, blocked[:, None, None, :])
            if convolution is not None and not number:
                hidden = convolution(embedded, hidden, mask)
        return hidden if narrow else hidden[rows, positions]


class _Embeddings(nn.Module):
    def __init__(self, shape: DebertaShape) -> None:
        super().__init__()
        self.word_embeddings = nn.Embedding(shape.vocab_size, shape.hidden_size)
        self.LayerNorm = nn.LayerNorm(shape.hidden_size, shape.layer_norm_eps)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        normed: Tensor = self.LayerNorm(self.word_embeddings(ids))
        return normed * mask[..., None].to(normed.dtype)


class _Layers(nn.Module):
    def __init__(self, shape: DebertaShape) -> None:
        super().__init__()
        self.layer = nn.ModuleList(Block(shape) for _ in range(shape.layers))
        self.rel_embeddings = nn.Embedding(2 * shape.position_buckets, shape.hidden_size)
        self.LayerNorm = nn.LayerNorm(shape.hidden_size, shape.layer_norm_eps)
        self.conv = Convolution(shape) if shape.convolution else None

    @property
    def blocks(self) -> list[Block]:
        return [cast("Block", block) for block in self.layer]


class Convolution(nn.Module):
    """The convolution over neighbouring tokens next to the first block."""

    def __init__(self, shape: DebertaShape) -> None:
        super().__init__()
        self.conv = nn.Conv1d(
            shape.hidden_size,
            shape.hidden_size,
            shape.convolution,
            padding=(shape.convolution - 1) // 2,
            groups=shape.convolution_groups,
        )
        self.LayerNorm = nn.LayerNorm(shape.hidden_size, shape.layer_norm_eps)
        self.activation = functional.gelu if shape.convolution_activation == "gelu" else torch.tanh

    def forward(self, embedded: Tensor, hidden: Tensor, mask: Tensor) -> Tensor:
        """Add what the embeddings of neighbours say to the first block's states, each [batch, length, hidden]."""
        kept = mask[..., None].to(hidden.dtype)
        mixed = self.conv(embedded.transpose(1, 2)).transpose(1, 2) * kept
        normed: Tensor = self.LayerNorm(hidden + self.activation(mixed))
        return normed * kept


class Block(nn.Module):
    """One layer: attention, then a feed-forward part, each with a residual and a LayerNorm."""

    def __init__(self, shape: DebertaShape) -> None:
        super().__init__()
        self.attention = _Attention(shape)
        self.intermediate = _Dense(shape.hidden_size, shape.intermediate_size)
        self.output = DenseNorm(shape.intermediate_size, shape)

    def forward(
        self, queries: Tensor, hidden: Tensor, index: Tensor, projection: RelativeProjection, blocked: Tensor
    ) -> Tensor:
        """Compute the states of the queries; ``DebertaEncoder.forward`` says what the arguments are."""
        context = self.attention.self(queries, hidden, index, projection, blocked)
        attended = self.attention.output(context, queries)
        out: Tensor = self.output(functional.gelu(self.intermediate.dense(attended)), attended)
        return out


class _Attention(nn.Module):
    def __init__(self, shape: DebertaShape) -> None:
        super().__init__()
        self.self = DisentangledAttention(shape)
        self.output = DenseNorm(shape.hidden_size, shape)


class _Dense(nn.Module):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.dense = nn.Linear(inputs, outputs)


class DenseNorm(nn.Module):
    """A dense layer, then a residual and a LayerNorm."""

    def __init__(self, inputs: int, shape: DebertaShape) -> None:
        super().__init__()
        self.dense = nn.Linear(inputs, shape.hidden_size)
        self.LayerNorm = nn.LayerNorm(shape.hidden_size, shape.layer_norm_eps)

    def forward(self, values: Tensor, residual: Tensor) -> Tensor:
        """Compute the normed sum of the layer and the residual."""
        normed: Tensor = self.LayerNorm(self.dense(values) + residual)
        return normed


class DisentangledAttention(nn.Module):
    """Attention by content and by distance; see the module's text."""

    def __init__(self, shape: DebertaShape) -> None:
        super().__init__()
        self.heads = shape.heads
        # three score parts: content-content, content-position, position-content
        self.scale = 1.0 / math.sqrt(3 * shape.hidden_size // shape.heads)
        self.query_proj = nn.Linear(shape.hidden_size, shape.hidden_size)
        self.key_proj = nn.Linear(shape.hidden_size, shape.hidden_size)
        self.value_proj = nn.Linear(shape.hidden_size, shape.hidden_size)

    def project_table(self, table: Tensor) -> RelativeProjection:
        """Project the normed distance table, shape [2 * buckets, hidden]."""
        keys, queries = (
            self._split(projection(table)[None])[0].contiguous() for projection in (self.key_proj, self.query_proj)
        )
        return RelativeProjection(keys, queries)

    def forward(
        self, queries: Tensor, hidden: Tensor, index: Tensor, projection: RelativeProjection, blocked: Tensor
    ) -> Tensor:
        """Compute the context of the queries, shape [batch, queries, hidden]."""
        query = self._split(self.query_proj(queries))
        key = self._split(self.key_proj(hidden))
        value = self._split(self.value_proj(hidden))
        shape = (*query.shape[:3], key.shape[2])
        by_bucket = (query * self.scale) @ projection.keys.transpose(-1, -2)
        bias = by_bucket.gather(-1, index[:, None].expand(shape))
        by_bucket = (key * self.scale) @ projection.queries.transpose(-1, -2)
        turned = index.transpose(-1, -2)[:, None].expand(*shape[:2], shape[3], shape[2])
        bias = bias + by_bucket.gather(-1, turned).transpose(-1, -2) + blocked
        context = functional.scaled_dot_product_attention(query, key, value, attn_mask=bias, scale=self.scale)
        return context.transpose(1, 2).flatten(2)

    def _split(self, values: Tensor) -> Tensor:
        return values.view(*values.shape[:-1], self.heads, -1).transpose(1, 2)
