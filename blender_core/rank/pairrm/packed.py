"""Run a DeBERTa encoder on a CPU: no padding, no gathering of distances, few large buffers.

Three things make it faster than ``DebertaEncoder.forward``, with equal results:

- Pairs are packed one behind the other. Dense layers run over all tokens at once, attention within each pair. So there
  is no padding, and a pair does not depend on its neighbours.
- The projected distance table has one row for each distance. Scores of a query and all distances are then shifted by
  one position from row to row, so the score of a key is read in place, as a view, and not gathered.
- The last block computes the wanted positions only, and buffers are reused from block to block. Fresh memory costs a
  page fault for each 4 kB.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from blender_core.rank.pairrm.deberta import (
    Block,
    Convolution,
    DebertaEncoder,
    DenseNorm,
    DisentangledAttention,
    all_buckets,
)

__all__ = ["PackedDeberta"]

# rows of scores with all distances that are computed at once: more rows need more distances in common
_LEAST_ROWS, _MOST_ROWS = 64, 128


class PackedDeberta:
    """Computes the hidden states of wanted positions, as ``DebertaEncoder`` does. Safe to use from several threads.

    Args:
        encoder: The encoder, on the CPU. Its weights are shared; they must not change afterwards.
    """

    def __init__(self, encoder: DebertaEncoder) -> None:
        self._encoder = encoder
        table = all_buckets(encoder.shape)
        with torch.inference_mode():
            layers = []
            for block, (keys, queries) in zip(encoder.encoder.blocks, encoder.relative_projections(), strict=True):
                scale = block.attention.self.scale
                # by the offset of a column from its row: a query's columns are keys, a key's columns are queries
                turned = ((keys[:, table.flip(0)] * scale), (queries[:, table] * scale))
                layers.append(_Distances(*(part.transpose(1, 2).contiguous() for part in turned)))
        self._distances = tuple(layers)

    def __call__(self, ids: Sequence[Sequence[int]], positions: Sequence[Sequence[int]]) -> Tensor:
        """Encode token ids.

        Args:
            ids: Token ids of each text.
            positions: Wanted positions in each text, equally many.

        Returns:
            Last hidden states, shape [texts, wanted, hidden].
        """
        encoder = self._encoder
        lengths = [len(text) for text in ids]
        blocks, convolution = encoder.encoder.blocks, encoder.encoder.conv
        with torch.inference_mode():
            tokens = torch.tensor([token for text in ids for token in text])
            embeddings = encoder.embeddings
            hidden: Tensor = embeddings.LayerNorm(embeddings.word_embeddings(tokens))
            space = _Space(encoder, sum(lengths), max(lengths), hidden.dtype)
            wanted = torch.tensor(
                [sum(lengths[:text]) + place for text, places in enumerate(positions) for place in places]
            )
            embedded, narrow = hidden, False
            for number, (block, distances) in enumerate(zip(blocks, self._distances, strict=True)):
                places = None
                # the convolution reads every position of the first block
                if block is blocks[-1] and (number or convolution is None):
                    places, narrow = positions, True
                context = _attend(block.attention.self, hidden, lengths, distances, space, places)
                hidden = _feed_forward(block, context, hidden[wanted] if narrow else hidden, space)
                if convolution is not None and not number:
                    hidden = _convolved(convolution, embedded, hidden, lengths)
            states = hidden if narrow else hidden[wanted]
            return states.view(len(lengths), -1, encoder.shape.hidden_size)


class _Distances(NamedTuple):
    """A layer's distance table, scaled; the middle row is distance 0.

    Attributes:
        keys: Shape [heads, head size, distances]; multiplied with queries.
        queries: Same shape; multiplied with keys.
    """

    keys: Tensor
    queries: Tensor


class _Space:
    """Buffers of one call."""

    def __init__(self, encoder: DebertaEncoder, tokens: int, longest: int, dtype: torch.dtype) -> None:
        shape = encoder.shape
        rows = _rows(longest)
        self.projected = torch.empty(tokens, 3 * shape.hidden_size, dtype=dtype)
        self.context = torch.empty(tokens, shape.hidden_size, dtype=dtype)
        self.wide = torch.empty(tokens, shape.intermediate_size, dtype=dtype)
        self.dense = torch.empty(tokens, shape.hidden_size, dtype=dtype)
        self.scores = torch.empty(shape.heads * longest * longest, dtype=dtype)
        self.shifted = torch.empty(shape.heads * rows * (rows + longest - 1), dtype=dtype)


def _rows(length: int) -> int:
    return min(_MOST_ROWS, max(_LEAST_ROWS, -(-length // 4)))


def _attend(
    attention: DisentangledAttention,
    hidden: Tensor,
    lengths: Sequence[int],
    distances: _Distances,
    space: _Space,
    wanted: Sequence[Sequence[int]] | None,
) -> Tensor:
    """Compute the attention's context of all positions, or of the wanted ones."""
    width, heads = hidden.shape[1], attention.heads
    for number, projection in enumerate((attention.key_proj, attention.value_proj, attention.query_proj)):
        if wanted is None or projection is not attention.query_proj:
            _dense(projection, hidden, space.projected[:, number * width : (number + 1) * width])
    contexts, start = [], 0
    for text, length in enumerate(lengths):
        rows = space.projected[start : start + length].view(length, 3, heads, -1).permute(1, 2, 0, 3)
        key, value, query = rows.unbind(0)
        if wanted is None:
            context = _context(attention, query, key, value, distances, space)
            space.context[start : start + length].view(length, heads, -1).copy_(context.transpose(0, 1))
        else:
            places = list(wanted[text])
            query = attention.query_proj(hidden[start : start + length][places]).view(len(places), heads, -1)
            bias = torch.stack([_bias_of(query[n], key, distances, place) for n, place in enumerate(places)], 1)
            scores = torch.baddbmm(bias, query.transpose(0, 1), key.transpose(1, 2), alpha=attention.scale)
            contexts.append((torch.softmax(scores, -1) @ value).transpose(0, 1).flatten(1))
        start += length
    return space.context if wanted is None else torch.cat(contexts)


def _context(
    attention: DisentangledAttention, query: Tensor, key: Tensor, value: Tensor, distances: _Distances, space: _Space
) -> Tensor:
    """Compute the context of all positions of one text; every tensor has the shape [heads, length, head size]."""
    heads, length, _ = query.shape
    scores = space.scores[: heads * length * length].view(heads, length, length)
    for part in _shifted(query, distances.keys, space.shifted):
        scores[:, part.first : part.last] = part.scores
    for part in _shifted(key, distances.queries, space.shifted):
        scores[..., part.first : part.last] += part.scores.transpose(1, 2)
    if scores.dtype != torch.float32:
        # it keeps sums in float32
        return functional.scaled_dot_product_attention(
            query[None], key[None], value[None], attn_mask=scores[None], scale=attention.scale
        )[0]
    # in float32 it is slower than its parts
    scores.baddbmm_(query, key.transpose(1, 2), alpha=attention.scale)
    return torch.bmm(torch.softmax(scores, -1), value)


class _Rows(NamedTuple):
    """Scores of some rows with every column, shape [heads, rows, columns]."""

    first: int
    last: int
    scores: Tensor


def _shifted(vectors: Tensor, table: Tensor, buffer: Tensor) -> Iterator[_Rows]:
    """Multiply the vector of each row with that of its distance to each column.

    Args:
        vectors: Shape [heads, length, head size].
        table: Shape [heads, head size, distances], by column minus row.
        buffer: Space for the products; each result is a view of it, until the next one.
    """
    heads, length, _ = vectors.shape
    step = _rows(length)
    for first in range(0, length, step):
        last = min(length, first + step)
        rows, columns = last - first, last - first + length - 1
        products = buffer[: heads * rows * columns].view(heads, rows, columns)
        # offsets from column 0 of the last row to the last column of the first row
        offsets = _offsets(table, 1 - last, length - 1 - first)
        torch.bmm(vectors[:, first:last], offsets, out=products)
        # from a row to the next one a column's offset falls by one
        view = products.as_strided((heads, rows, length), (rows * columns, columns - 1, 1), rows - 1)
        yield _Rows(first, last, view)


def _bias_of(query: Tensor, key: Tensor, distances: _Distances, position: int) -> Tensor:
    """Compute one row of the bias.

    Args:
        query: Vector at the position, shape [heads, head size].
        key: Vectors of all positions, shape [heads, length, head size].
        distances: The layer's.
        position: The row.

    Returns:
        Shape [heads, length].
    """
    length = key.shape[1]
    by_query = query[:, None] @ _offsets(distances.keys, -position, length - 1 - position)
    by_key = _offsets(distances.queries, position - length + 1, position).flip(2) * key.transpose(1, 2)
    return by_query[:, 0] + by_key.sum(1)


def _offsets(table: Tensor, least: int, most: int) -> Tensor:
    """Return the columns of the offsets from ``least`` to ``most``; those off the table's ends are like its ends."""
    reach = table.shape[2] // 2
    if least >= -reach and most <= reach:
        return table[..., least + reach : most + reach + 1]
    return table[..., torch.arange(least, most + 1).clamp(-reach, reach) + reach]


def _feed_forward(block: Block, context: Tensor, residual: Tensor, space: _Space) -> Tensor:
    rows = len(context)
    attended = _added(block.attention.output, context, residual, space.dense[:rows])
    wide = _dense(block.intermediate.dense, attended, space.wide[:rows])
    return _added(block.output, torch.ops.aten.gelu_(wide), attended, space.dense[:rows])


def _added(layer: DenseNorm, values: Tensor, residual: Tensor, buffer: Tensor) -> Tensor:
    normed: Tensor = layer.LayerNorm(_dense(layer.dense, values, buffer).add_(residual))
    return normed


def _dense(layer: nn.Linear, values: Tensor, buffer: Tensor) -> Tensor:
    return torch.addmm(layer.bias, values, layer.weight.t(), out=buffer)


def _convolved(convolution: Convolution, embedded: Tensor, hidden: Tensor, lengths: Sequence[int]) -> Tensor:
    whole = [torch.ones(1, length, dtype=torch.bool) for length in lengths]
    parts = zip(torch.split(embedded, list(lengths)), torch.split(hidden, list(lengths)), whole, strict=True)
    return torch.cat([convolution(*(part[None] for part in (one, other)), mask)[0] for one, other, mask in parts])
