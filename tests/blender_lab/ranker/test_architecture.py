"""What a run leaves frozen, and what it starts from."""

import pytest

torch = pytest.importorskip("torch")

from blender_core.errors import ConfigurationError  # noqa: E402
from blender_lab.ranker.architecture import freeze_layers  # noqa: E402
from blender_lab.ranker.one_pass import tiny_encoder  # noqa: E402


def test_only_the_lowest_layers_are_frozen():
    encoder = tiny_encoder(layers=3)
    freeze_layers(encoder, 2)
    frozen = {name.split(".")[2] for name, p in encoder.named_parameters() if not p.requires_grad}
    trained = {name.split(".")[2] for name, p in encoder.named_parameters() if p.requires_grad and ".layer." in name}
    assert (frozen, trained) == ({"0", "1"}, {"2"})


def test_more_layers_than_there_are_is_an_error():
    with pytest.raises(ConfigurationError, match="freeze_layers is 4; this encoder has 3"):
        freeze_layers(tiny_encoder(layers=3), 4)
