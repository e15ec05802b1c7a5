"""The packed pass on a CPU computes what the padded one does, at any length and beside any neighbour."""

from __future__ import annotations

from dataclasses import replace

import pytest

torch = pytest.importorskip("torch")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from blender_core.rank.pairrm.deberta import DebertaEncoder, DebertaShape  # noqa: E402
from blender_core.rank.pairrm.packed import PackedDeberta  # noqa: E402

SHAPE = DebertaShape(
    vocab_size=50, hidden_size=32, layers=3, heads=4, intermediate_size=48, position_buckets=16, max_distance=40
)
SHAPES = {
    "three layers": SHAPE,
    "one layer": replace(SHAPE, layers=1),
    "convolution": replace(SHAPE, convolution=3),
    "convolution alone": replace(SHAPE, layers=1, convolution=3, convolution_activation="tanh"),
}


@pytest.fixture(scope="module", params=SHAPES)
def encoder(request):
    torch.manual_seed(1)
    encoder = DebertaEncoder(SHAPES[request.param]).eval()
    for parameter in encoder.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return encoder


@settings(max_examples=8, deadline=None)
@given(lengths=st.lists(st.integers(3, 300), min_size=1, max_size=4), seed=st.integers(0, 2**16))
def test_it_computes_what_the_padded_pass_computes(encoder, lengths, seed):
    generator = torch.Generator().manual_seed(seed)
    texts = [torch.randint(1, 50, (length,), generator=generator).tolist() for length in lengths]
    places = [torch.randperm(length, generator=generator)[:3].tolist() for length in lengths]
    found = PackedDeberta(encoder)(texts, places)
    assert found.shape == (len(lengths), 3, 32)
    for number, (text, positions) in enumerate(zip(texts, places, strict=True)):
        ids = torch.tensor([text])
        with torch.inference_mode():
            expected = encoder(ids, torch.ones_like(ids, dtype=torch.bool), torch.tensor([positions]))
        torch.testing.assert_close(found[number : number + 1], expected, atol=2e-5, rtol=1e-4)


def test_it_keeps_no_state(encoder):
    packed = PackedDeberta(encoder)
    first = packed([[1, 2, 3, 4] * 30], [[0, 5, 9]]).clone()
    packed([[9, 8, 7] * 70], [[0, 1, 2]])
    assert torch.equal(packed([[1, 2, 3, 4] * 30], [[0, 5, 9]]), first)
