"""The pair form: it learns, resumes after a kill, and is loaded as a PairRanker."""

from __future__ import annotations

import json

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from safetensors.torch import save_file  # noqa: E402

from blender_core import PairRanker  # noqa: E402
from blender_core.errors import ConfigurationError  # noqa: E402
from blender_lab.ranker.finish import finish_ranker  # noqa: E402
from blender_lab.ranker.pair import load_pair_model  # noqa: E402
from blender_lab.ranker.train import source_records, source_targets, train_ranker  # noqa: E402


@pytest.fixture(scope="module")
def lively_encoder(toy_encoder, tmp_path_factory):
    """The toy encoder with larger weights: attention of a fresh BERT is too even to learn from in seconds."""
    import shutil

    from transformers import BertModel

    folder = tmp_path_factory.mktemp("lively")
    model = BertModel.from_pretrained(toy_encoder, add_pooling_layer=False)
    for module in model.modules():
        if isinstance(module, (torch.nn.Linear, torch.nn.Embedding)):
            module.weight.data.mul_(10.0)
    model.save_pretrained(folder)
    shutil.copy(toy_encoder / "tokenizer.json", folder)
    return folder


def pair_config(make, encoder, **changes):
    settings = {
        "form": "pair",
        "loss": "instructgpt",
        "encoder": str(encoder),
        "stages": [{"max_tokens": 48}],
        "steps": 200,
        "records_per_step": 16,
        "length_balance": 0.0,
    }
    return make(**{**settings, **changes})


@pytest.mark.parametrize("pooling", ["markers", "segments"])
def test_learns_and_loads_as_a_pair_ranker(pooling, toy_config, toy_data, lively_encoder, tmp_path):
    config = pair_config(toy_config, lively_encoder, pooling=pooling)
    train_ranker(config, data=toy_data)
    report = finish_ranker(config, tmp_path / "ranker", data=toy_data)
    assert report["sources"]["toy"]["accuracy"] > 0.75
    ranker = PairRanker.from_pretrained(tmp_path / "ranker", device="cpu")
    stored = json.loads((tmp_path / "ranker" / "config.json").read_text())
    assert {name: stored[name] for name in ("temperature", "position_bias")} == {
        name: report[name] for name in ("temperature", "position_bias")
    }
    assert report["position_bias"] == pytest.approx(report["sources"]["toy"]["position_bias"], abs=1e-4)
    ranking = ranker.rank("sun moon star 1", ["bread salt door", "sun moon star"])
    assert sorted(ranking.order) == [0, 1]
    # what the head reads is kept with the checkpoint, and by whoever goes on from it
    again = load_pair_model(tmp_path / "ranker")[0]
    assert again.pooling == pooling


def test_one_order_is_measured_as_the_ranker_runs_it(toy_config, toy_data, lively_encoder, tmp_path):
    config = pair_config(toy_config, lively_encoder, steps=5, dropout=0.0)
    train_ranker(config, data=toy_data)
    report = finish_ranker(config, tmp_path / "ranker", data=toy_data)
    # far from 0, so that it decides
    assert abs(report["position_bias"]) > 1e-3
    ranker = PairRanker.from_pretrained(tmp_path / "ranker", device="cpu", both_orders=False)
    source = config.sources["toy"]
    held_out = source_records(config, source, toy_data)[1][:60]
    right = []
    for record, pairs in zip(held_out, source_targets(source, held_out), strict=True):
        for i, j, p in pairs:
            a, b = record.candidates[i], record.candidates[j]
            forward = ranker.compare(record.prompt, a, b, order="ab") - ranker.position_bias
            backward = ranker.compare(record.prompt, a, b, order="ba") - ranker.position_bias
            right += [(forward > 0) == (p > 0.5), (backward < 0) == (p > 0.5)]
    assert report["sources"]["toy"]["one_order_accuracy"] == pytest.approx(sum(right) / len(right), abs=0.01)


def test_deberta_gives_the_states_at_markers_only(toy_encoder, tmp_path):
    (tmp_path / "tokenizer.json").write_bytes((toy_encoder / "tokenizer.json").read_bytes())
    (tmp_path / "config.json").write_text('{"model_type": "deberta-v2"}')
    save_file({"embeddings.word_embeddings.weight": torch.ones(8, 4)}, tmp_path / "model.safetensors")
    with pytest.raises(ConfigurationError, match="set pooling = 'markers'"):
        load_pair_model(tmp_path, pooling="segments")


def test_accumulation_changes_no_step(toy_config, toy_data, lively_encoder, tmp_path):
    states = []
    for parts in (1, 4):
        config = pair_config(
            toy_config, lively_encoder, steps=3, accumulation=parts, dropout=0.0, output=str(tmp_path / str(parts))
        )
        train_ranker(config, data=toy_data)
        states.append(torch.load(tmp_path / str(parts) / "checkpoint.pt", weights_only=True)["model"])
    for name, value in states[0].items():
        assert torch.allclose(value, states[1][name], atol=1e-3), name
