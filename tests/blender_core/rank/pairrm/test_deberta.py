"""Our encoder computes what the DeBERTa-v2 of transformers computes."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from blender_core.rank.pairrm.deberta import DebertaEncoder, DebertaShape, distance_buckets  # noqa: E402

SHAPE = DebertaShape(
    vocab_size=50, hidden_size=32, layers=3, heads=4, intermediate_size=48, position_buckets=16, max_distance=40
)


@pytest.fixture(scope="module")
def encoder():
    torch.manual_seed(1)
    encoder = DebertaEncoder(SHAPE).eval()
    for parameter in encoder.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return encoder


@pytest.fixture(scope="module")
def theirs(encoder, checkpoints):
    from transformers import DebertaV2Config, DebertaV2Model

    size = {"vocab": 50, "hidden": 32, "layers": 3, "heads": 4, "intermediate": 48}
    config = {**checkpoints.transformers_config(size), "position_buckets": 16, "max_position_embeddings": 40}
    model = DebertaV2Model(DebertaV2Config(**{k: v for k, v in config.items() if "prefix" not in k})).eval()
    model.load_state_dict(encoder.state_dict())
    return model


@settings(max_examples=20)
@given(st.lists(st.integers(3, 90), min_size=1, max_size=4), st.integers(0, 2**16))
def test_hidden_states_agree(encoder, theirs, lengths, seed):
    generator = torch.Generator().manual_seed(seed)
    mask = torch.arange(max(lengths))[None] < torch.tensor(lengths)[:, None]
    ids = torch.randint(1, 50, mask.shape, generator=generator) * mask
    positions = torch.stack([torch.randperm(length, generator=generator)[:3] for length in lengths])
    with torch.inference_mode():
        ours = encoder(ids, mask, positions)
        expected = theirs(input_ids=ids, attention_mask=mask.long()).last_hidden_state
    expected = expected[torch.arange(len(lengths))[:, None], positions]
    torch.testing.assert_close(ours, expected, atol=2e-5, rtol=1e-4)


def test_cached_projections_change_nothing(encoder):
    ids = torch.arange(1, 21)[None]
    mask, positions = torch.ones_like(ids, dtype=torch.bool), torch.tensor([[0, 5, 9]])
    with torch.inference_mode():
        cached = encoder.relative_projections()
        assert torch.equal(encoder(ids, mask, positions, cached), encoder(ids, mask, positions))


@pytest.mark.parametrize("length", [1, 2, 129, 511, 512, 513, 2048])
def test_buckets_are_those_of_transformers(length):
    from transformers.models.deberta_v2.modeling_deberta_v2 import make_log_bucket_position

    theirs = make_log_bucket_position(torch.arange(1 - length, length), 256, 512).long()
    assert torch.equal(distance_buckets(length, 256, 512), (theirs + 256).clamp(0, 511))


@given(st.integers(1, 600))
def test_buckets_never_fall(length):
    buckets = distance_buckets(length, 32, 100)
    assert (buckets.diff() >= 0).all()
    assert buckets[length - 1] == 32
