"""The three spellings of a PairRanker's config.json."""

from __future__ import annotations

import pytest

from blender_core.errors import CheckpointError
from blender_core.rank.pairrm.settings import PairRankerSettings


def test_pairrm(checkpoints):
    settings = PairRankerSettings.from_config(checkpoints.ranker_config())
    assert (settings.source_max_length, settings.candidate_max_length, settings.heads) == (1224, 412, None)


def test_pair_ranker_of_2023():
    """It spells the lengths in a way that llm-blender 0.0.2 cannot read."""
    config = {
        "ranker_type": "pairranker",
        "model_type": "deberta",
        "source_max_length": 128,
        "candidate_max_length": 96,
    }
    settings = PairRankerSettings.from_config(config)
    assert (settings.source_max_length, settings.candidate_max_length) == (128, 96)


def test_pairrm_hf(checkpoints):
    settings = PairRankerSettings.from_config(checkpoints.transformers_config(checkpoints.TINY))
    assert (settings.source_max_length, settings.candidate_max_length) == (1224, 412)
    assert (settings.heads, settings.max_distance, settings.layer_norm_eps) == (2, 512, 1e-7)
    assert settings.marker_ids == {
        "<|source|>": 401,
        "<|candidate1|>": 402,
        "<|candidate2|>": 403,
        "<|candidate|>": 404,
    }


def test_the_second_name_of_the_file(tmp_path, checkpoints):
    import json

    (tmp_path / "ranker_config.json").write_text(json.dumps(checkpoints.ranker_config()))
    assert PairRankerSettings.from_folder(tmp_path).source_max_length == 1224


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"ranker_type": "summareranker"}, "summareranker"),
        ({"model_type": "roberta"}, "roberta"),
        ({"model_type": "deberta-rm"}, "deberta-rm"),
        ({"source_maxlength": None}, "source_max_length"),
    ],
)
def test_other_rankers_are_refused(change, match, checkpoints):
    with pytest.raises(CheckpointError, match=match):
        PairRankerSettings.from_config(checkpoints.ranker_config(**change))


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"architectures": ["LlamaForCausalLM"]}, "LlamaForCausalLM"),
        ({"hidden_act": "relu"}, "relu"),
        ({"share_att_key": False}, "share_att_key"),
        ({"pos_att_type": "c2p"}, "pos_att_type"),
        ({"position_biased_input": True}, "position_biased_input"),
    ],
)
def test_other_networks_are_refused(change, match, checkpoints):
    with pytest.raises(CheckpointError, match=match):
        PairRankerSettings.from_config({**checkpoints.transformers_config(checkpoints.TINY), **change})


@pytest.mark.parametrize(("content", "match"), [(None, "no config.json"), ("{", "not JSON"), ("[]", "no object")])
def test_files_that_are_no_config(content, match, tmp_path):
    if content is not None:
        (tmp_path / "config.json").write_text(content)
    with pytest.raises(CheckpointError, match=match):
        PairRankerSettings.from_folder(tmp_path)
