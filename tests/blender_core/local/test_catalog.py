from __future__ import annotations

import re

import pytest

from blender_core.errors import ConfigurationError
from blender_core.local import DEFAULT_MODELS, MODELS, find_model


@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
def test_every_entry_is_complete(model):
    assert re.fullmatch(r"[0-9a-f]{64}", model.sha256)
    assert model.size > 50_000_000
    assert model.context >= 4096
    assert model.licence
    assert model.filename.endswith(".gguf")
    assert "/" not in model.filename
    assert re.fullmatch(r"[\w.-]+/[\w.-]+", model.repository)
    assert model.packages
    assert all(re.fullmatch(r"[a-z0-9-]+==\d+(\.\d+)+", package.requirement) for package in model.packages)


@pytest.mark.parametrize("attribute", ["name", "filename", "sha256", "packages"])
def test_no_two_entries_share(attribute):
    values = [getattr(model, attribute) for model in MODELS.values()]
    assert len(set(values)) == len(values)


def test_the_pieces_are_in_order():
    for model in MODELS.values():
        numbers = [int(match[1]) for package in model.packages if (match := re.search(r"part(\d+)$", package.name))]
        assert numbers == list(range(1, len(numbers) + 1))


def test_the_default_models_are_fetched_in_five_minutes_at_50_megabits():
    assert sum(model.size for model in set(DEFAULT_MODELS)) * 8 / 50e6 < 300
    assert all(model.kind == "chat" for model in DEFAULT_MODELS)


def test_a_base_model_has_a_prompt_and_an_end():
    base = [model for model in MODELS.values() if model.kind == "base"]
    assert base
    assert all(model.chat_template and model.stop for model in base)


def test_a_licence_that_is_not_open_source_says_so():
    assert "Prohibited Use" in find_model("gemma-3-270m").licence_note


def test_a_model_is_found_by_its_name():
    assert find_model("smollm2-135m") is MODELS["smollm2-135m"]
    with pytest.raises(ConfigurationError, match=r"'gpt-9'.*smollm2-135m"):
        find_model("gpt-9")
