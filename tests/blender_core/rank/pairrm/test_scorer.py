"""What can go wrong on a device."""

from __future__ import annotations

import math

import pytest

torch = pytest.importorskip("torch")

from blender_core.errors import ConfigurationError, RankerError  # noqa: E402
from blender_core.models.devices import resolve_device, resolve_dtype  # noqa: E402
from blender_core.rank.pairrm.checkpoint import load_model  # noqa: E402
from blender_core.rank.pairrm.scorer import PairScorer  # noqa: E402
from blender_core.rank.pairrm.settings import PairRankerSettings  # noqa: E402
from blender_core.rank.pairrm.tokens import EncodedPair  # noqa: E402

PAIRS = [EncodedPair(tuple(range(1, 10 + n)), (1, 3, 6)) for n in range(7)]


class SmallMemory(torch.nn.Module):
    """The network on a device with room for few pairs."""

    def __init__(self, model, room):
        super().__init__()
        self.model, self.room = model, room
        self.batches = []

    def relative_projections(self):
        return self.model.relative_projections()

    def forward(self, ids, *rest):
        if len(ids) > self.room:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        self.batches.append(len(ids))
        return self.model(ids, *rest)


@pytest.fixture(scope="module")
def model(pairrm_folder):
    return load_model(pairrm_folder, PairRankerSettings.from_folder(pairrm_folder))


def test_a_batch_that_does_not_fit_is_halved(model):
    small = SmallMemory(model, room=2)
    logits = PairScorer(small, 0, token_budget=10_000).logits(PAIRS)
    assert logits == pytest.approx(PairScorer(model, 0, token_budget=10_000).logits(PAIRS), abs=1e-5)
    assert sum(small.batches) == 7
    assert max(small.batches) == 2


def test_a_pair_that_does_not_fit_is_an_error(model):
    with pytest.raises(RankerError, match="a pair of 15 tokens does not fit"):
        PairScorer(SmallMemory(model, room=0), 0).logits(PAIRS)


def test_no_pairs(model):
    assert PairScorer(model, 0).logits([]) == []


def test_logits_are_finite_floats(model):
    logits = PairScorer(model, 0).logits(PAIRS)
    assert all(isinstance(logit, float) and math.isfinite(logit) for logit in logits)


def test_devices_and_dtypes():
    assert resolve_device("cpu") == torch.device("cpu")
    assert resolve_dtype("auto", torch.device("cpu")) == torch.float32
    assert resolve_dtype("auto", torch.device("cuda")) == torch.float16
    assert resolve_dtype("bfloat16", torch.device("cpu")) == torch.bfloat16
    if not torch.cuda.is_available():
        with pytest.raises(ConfigurationError, match="not available"):
            resolve_device("cuda:0")
