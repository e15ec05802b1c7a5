"""What save_pretrained writes loads again."""

from __future__ import annotations

import json

import pytest

pytest.importorskip("torch")

from blender_core import PairRanker
from blender_core.errors import CheckpointError, ConfigurationError

CANDIDATES = ["the work", "a licence of it", "any terms"]


@pytest.mark.parametrize("layout", ["blended", "pairrm-hf"])
@pytest.mark.parametrize("again", [False, True])
def test_equal_logits_after_a_round_trip(layout, again, ranker, tmp_path):
    ranker.save_pretrained(tmp_path / "one", layout=layout)
    loaded = PairRanker.from_pretrained(tmp_path / "one", device="cpu")
    if again:
        loaded.save_pretrained(tmp_path / "two", layout=layout)
        loaded = PairRanker.from_pretrained(tmp_path / "two", device="cpu")
    assert loaded.ordered_logits("Which?", CANDIDATES) == ranker.ordered_logits("Which?", CANDIDATES)


def test_transformers_is_told_to_change_no_letter(ranker, tmp_path):
    ranker.save_pretrained(tmp_path / "hf", layout="pairrm-hf")
    config = json.loads((tmp_path / "hf" / "tokenizer_config.json").read_text())
    assert (config["do_lower_case"], config["split_by_punct"]) == (False, False)
    assert (config["cls_token"], config["sep_token"]) == ("[CLS]", "[SEP]")


def test_the_own_layout_keeps_the_settings(pairrm_folder, tmp_path):
    ranker = PairRanker.from_pretrained(
        pairrm_folder,
        device="cpu",
        temperature=2.5,
        aggregation="bradley_terry",
        both_orders=False,
        source_max_length=24,
        candidate_max_length=12,
    )
    ranker.save_pretrained(tmp_path / "saved")
    loaded = PairRanker.from_pretrained(tmp_path / "saved", device="cpu", name=ranker.name)
    assert repr(loaded) == repr(ranker)
    long = ["the licence " * 40, "the work " * 40]
    assert loaded.rank("the terms " * 40, long) == ranker.rank("the terms " * 40, long)
    warmer = PairRanker.from_pretrained(tmp_path / "saved", device="cpu", temperature=0.5)
    assert warmer.rank("Which?", CANDIDATES).confidence > loaded.rank("Which?", CANDIDATES).confidence


def test_the_hf_layout_names_what_the_class_needs(ranker, tmp_path):
    ranker.save_pretrained(tmp_path / "hf", layout="pairrm-hf")
    config = json.loads((tmp_path / "hf" / "config.json").read_text())
    assert config["architectures"] == ["DebertaV2PairRM"]
    wanted = {"source_prefix_id": 401, "cand1_prefix_id": 402, "cand2_prefix_id": 403, "cand_prefix_id": 404}
    assert {**config, **wanted, "sep_token_id": 2, "n_tasks": 1, "drop_out": 0.05} == config
    assert json.loads((tmp_path / "hf" / "added_tokens.json").read_text())["<|candidate|>"] == 404


def test_markers_that_the_file_lacked_are_written(checkpoints, ranker, tmp_path):
    folder = checkpoints.write_checkpoint(tmp_path / "bare", checkpoints.ranker_config())
    definition = json.loads((folder / "tokenizer.json").read_text())
    definition["added_tokens"] = [token for token in definition["added_tokens"] if "|" not in token["content"]]
    (folder / "tokenizer.json").write_text(json.dumps(definition))
    PairRanker.from_pretrained(folder, device="cpu").save_pretrained(tmp_path / "saved")
    from tokenizers import Tokenizer

    saved = Tokenizer.from_file(str(tmp_path / "saved" / "tokenizer.json"))
    assert saved.encode("<|candidate2|>the", add_special_tokens=False).ids[0] == 403
    loaded = PairRanker.from_pretrained(tmp_path / "saved", device="cpu")
    assert loaded.ordered_logits("Which?", CANDIDATES) == ranker.ordered_logits("Which?", CANDIDATES)


def test_an_unknown_layout(ranker, tmp_path):
    with pytest.raises(ConfigurationError, match="'blended' or 'pairrm-hf'"):
        ranker.save_pretrained(tmp_path / "x", layout="gguf")
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(("change", "match"), [({"format_version": 2}, "version 2"), ({"encoder": None}, "incomplete")])
def test_a_config_of_the_future_or_a_broken_one(change, match, ranker, tmp_path):
    ranker.save_pretrained(tmp_path / "saved")
    path = tmp_path / "saved" / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(CheckpointError, match=match):
        PairRanker.from_pretrained(tmp_path / "saved", device="cpu")


def test_the_backend(pairrm_folder):
    assert PairRanker.from_pretrained(pairrm_folder, device="cpu", backend="torch").name == "PairRM"
    with pytest.raises(ConfigurationError, match="'torch'"):
        PairRanker.from_pretrained(pairrm_folder, device="cpu", backend="abacus")
