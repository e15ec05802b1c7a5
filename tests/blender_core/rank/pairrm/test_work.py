"""What a ranking costs, counted: comparisons, tokens, padding, tokenisations, matrix products. It must not grow."""

from __future__ import annotations

from collections import Counter

import pytest

torch = pytest.importorskip("torch")

from torch.utils._python_dispatch import TorchDispatchMode  # noqa: E402

from blender_core import PairRanker  # noqa: E402
from blender_core.models.tokenizers import SealedTokenizer  # noqa: E402
from blender_core.rank.pairrm.packed import PackedDeberta  # noqa: E402

PROMPT = "Explain the licence of this work."
CANDIDATES = ["It is free to use.", "No work without a licence, and no licence without work.", "Any.", "The work."]


@pytest.fixture
def work(monkeypatch):
    """Counts pairs, tokens and tokenisations."""
    counted: Counter[str] = Counter()
    forward, encode = PackedDeberta.__call__, SealedTokenizer.encode

    def counting_forward(packed, ids, positions):
        counted.update(pairs=len(ids), tokens=sum(map(len, ids)))
        return forward(packed, ids, positions)

    def counting_encode(tokenizer, text):
        counted["tokenisations"] += 1
        return encode(tokenizer, text)

    monkeypatch.setattr(PackedDeberta, "__call__", counting_forward)
    monkeypatch.setattr(SealedTokenizer, "encode", counting_encode)
    return counted


class Products(TorchDispatchMode):
    """Adds up the multiplications of all matrix products."""

    def __init__(self):
        super().__init__()
        self.multiplications = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function.overloadpacket._qualified_op_name
        if name == "aten::addmm":
            self.multiplications += args[1].numel() * args[2].shape[1]
        elif name in ("aten::bmm", "aten::mm", "aten::baddbmm_", "aten::baddbmm"):
            left, right = args[1:3] if "add" in name else args[:2]
            self.multiplications += left.numel() * right.shape[-1]
        return function(*args, **(kwargs or {}))


def test_each_text_is_tokenised_once_and_each_pair_runs_once(work, pairrm_folder):
    ranker = PairRanker.from_pretrained(pairrm_folder, device="cpu")
    ranker.rank(PROMPT, CANDIDATES)
    assert work["tokenisations"] == 1 + len(CANDIDATES)
    assert work["pairs"] == 4 * 3
    first = dict(work)
    # equal texts and blanks cost nothing
    work.clear()
    ranker.rank(PROMPT, [*CANDIDATES, CANDIDATES[0], "  "])
    assert dict(work) == first


def test_no_token_is_padding(work, pairrm_folder):
    ranker = PairRanker.from_pretrained(pairrm_folder, device="cpu")
    ranker.rank(PROMPT, CANDIDATES)
    alone = 0
    for left in CANDIDATES:
        for right in CANDIDATES:
            if left != right:
                work_before = work["tokens"]
                ranker.logits([(PROMPT, left, right)])
                alone += work["tokens"] - work_before
    assert work["tokens"] == 2 * alone


def test_matrix_products_are_the_least_that_the_network_needs(pairrm_folder):
    ranker = PairRanker.from_pretrained(pairrm_folder, device="cpu")
    shape, tokens = ranker._scorer.model.shape, []
    forward = PackedDeberta.__call__
    with pytest.MonkeyPatch.context() as patch, Products() as products:
        patch.setattr(
            PackedDeberta,
            "__call__",
            lambda packed, ids, positions: tokens.extend(map(len, ids)) or forward(packed, ids, positions),
        )
        ranker.logits([(PROMPT, CANDIDATES[0], CANDIDATES[1])])
    (length,) = tokens
    width, wide, blocks = shape.hidden_size, shape.intermediate_size, shape.layers
    whole = length * width * (4 * width + 2 * wide)
    # the last block: keys and values of all tokens, the rest of three
    last = length * 2 * width * width + 3 * width * (2 * width + 2 * wide) + 2 * 3 * 2 * length * width
    # queries with keys, weights with values, and each row with the distances of its block of rows, twice
    attention = 2 * length * width * length + 2 * length * width * (2 * length)
    head = 2 * (2 * width * width + width)
    assert products.multiplications <= (blocks - 1) * (whole + attention) + last + head
