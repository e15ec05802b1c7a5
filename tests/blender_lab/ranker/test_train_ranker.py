"""A whole run on a tiny encoder: train, resume, export, rank."""

from __future__ import annotations

import csv
import json
import subprocess
import sys

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from blender_core.errors import CheckpointError, ConfigurationError  # noqa: E402
from blender_core.rank.embedded import EmbeddedRanker  # noqa: E402
from blender_lab import RankerTrainingConfig  # noqa: E402
from blender_lab.ranker.export import encoder_folder, load_scorer  # noqa: E402
from blender_lab.ranker.finish import finish_ranker  # noqa: E402
from blender_lab.ranker.loop import load_checkpoint  # noqa: E402
from blender_lab.ranker.one_pass import (  # noqa: E402
    SegmentPooledScorer,
    load_encoder,
    score_rows,
)
from blender_lab.ranker.train import train_ranker  # noqa: E402


def losses(path):
    with path.open() as file:
        return [float(row["loss"]) for row in csv.DictReader(file)]


def int8_and_exact(folder, model):
    """Scores of an exported ranker, and those of a model in float32."""
    ranker, texts = EmbeddedRanker.load(folder), ["sun moon star", "bread salt", "door"]
    prompt = ranker._encode("sun moon")
    rows = [ranker.settings.layout.join(prompt, ranker._encode(text), 32) for text in texts]
    with torch.no_grad():
        return ranker.score("sun moon", texts)[0], score_rows(model, rows, tokens_per_batch=64).tolist()


def test_learns_a_toy_task_and_exports_it(toy_config, toy_data, tmp_path):
    config = toy_config()
    result = train_ranker(config, data=toy_data)
    seen = losses(result.log)
    assert len(seen) == result.steps == 60
    assert sum(seen[-10:]) < 0.7 * sum(seen[:10])
    assert result.sequences == 60 * 8 * 3

    report = finish_ranker(config, tmp_path / "ranker", data=toy_data)
    assert report["model_alone"]["toy"]["accuracy"] > 0.7
    assert report["int8_agrees"]["all"] > 0.8
    assert json.loads((tmp_path / "run" / "development.json").read_text()) == report
    assert {file.name for file in (tmp_path / "ranker").iterdir()} == {
        "model.int8.onnx",
        "ranker.json",
        "tokenizer.json",
    }
    ranking = EmbeddedRanker.load(tmp_path / "ranker").rank("sun moon star 1", ["sun moon star", "bread salt"])
    assert sorted(ranking.order) == [0, 1]


def test_int8_is_near_float(toy_config, toy_data, tmp_path):
    config = toy_config(steps=20)
    train_ranker(config, data=toy_data)
    finish_ranker(config, tmp_path / "ranker", data=toy_data)
    model = SegmentPooledScorer(load_encoder(config.encoder), head_size=config.head_size)
    load_checkpoint(tmp_path / "run" / "checkpoint.pt", model)
    model.eval()
    exported, exact = int8_and_exact(tmp_path / "ranker", model)
    assert exported == pytest.approx(exact, abs=0.25)


@pytest.mark.parametrize("goes_on", ["encoder", "initial"])
def test_export_keeps_a_share_of_the_weights_it_began_with(goes_on, toy_config, toy_data, tmp_path):
    first = toy_config(output=str(tmp_path / "first"), steps=6)
    train_ranker(first, data=toy_data)
    finish_ranker(first, tmp_path / "began", data=toy_data)
    checkpoint = tmp_path / "first" / "checkpoint.pt"
    start = {"encoder": str(tmp_path / "began")} if goes_on == "encoder" else {"initial": str(checkpoint)}
    config = toy_config(steps=40, start_share=0.25, **start)
    begun = load_scorer(encoder_folder(config), config)
    if goes_on == "initial":
        load_checkpoint(config.initial, begun)
    before = {name: value.clone() for name, value in begun.state_dict().items()}
    train_ranker(config, data=toy_data, stop_after=3)
    # a resumed run still knows what it began with, and the ranker it came from may go
    train_ranker(config, data=toy_data)
    checkpoint.unlink()
    model = SegmentPooledScorer(load_encoder(encoder_folder(config)), head_size=config.head_size).eval()
    load_checkpoint(tmp_path / "run" / "checkpoint.pt", model)
    after = {name: value.clone() for name, value in model.state_dict().items()}

    finish_ranker(config, tmp_path / "ranker", data=toy_data)
    exported, unmixed = int8_and_exact(tmp_path / "ranker", model)
    model.load_state_dict({name: 0.25 * before[name] + 0.75 * after[name] for name in after})
    mixed = int8_and_exact(tmp_path / "ranker", model)[1]
    assert max(abs(one - other) for one, other in zip(mixed, unmixed, strict=True)) > 0.2
    assert exported == pytest.approx(mixed, abs=0.05)


def test_a_share_of_the_start_needs_a_ranker_to_start_from(toy_config, toy_data, tmp_path):
    with pytest.raises(ConfigurationError, match="which has no head"):
        train_ranker(toy_config(start_share=0.5), data=toy_data)
    for wrong in ({"start_share": 1.0}, {"start_share": -0.1}, {"start_share": 0.5, "form": "pair"}):
        with pytest.raises(ConfigurationError, match="start_share is"):
            toy_config(**wrong)
    train_ranker(toy_config(steps=1), data=toy_data)
    begun_without = toy_config(steps=1, start_share=0.5)
    with pytest.raises(CheckpointError, match="the run began without start_share"):
        finish_ranker(begun_without, tmp_path / "ranker", data=toy_data)


def test_resumed_run_ends_where_an_unbroken_one_does(toy_config, toy_data, tmp_path):
    whole = toy_config(output=str(tmp_path / "whole"), steps=12, corruption=0.5)
    train_ranker(whole, data=toy_data)
    broken = toy_config(output=str(tmp_path / "broken"), steps=12, corruption=0.5)
    assert train_ranker(broken, data=toy_data, stop_after=5).steps == 5
    assert train_ranker(broken, data=toy_data).steps == 12
    states = [torch.load(tmp_path / name / "checkpoint.pt", weights_only=True) for name in ("whole", "broken")]
    assert states[0]["sequences"] == states[1]["sequences"]
    for name, value in states[0]["model"].items():
        assert torch.equal(value, states[1]["model"][name]), name
    assert losses(tmp_path / "whole" / "log.csv") == losses(tmp_path / "broken" / "log.csv")


def test_finished_run_does_nothing_more(toy_config, toy_data):
    config = toy_config(steps=3)
    first = train_ranker(config, data=toy_data)
    assert train_ranker(config, data=toy_data).sequences == first.sequences


def test_time_limit_ends_the_run(toy_config, toy_data):
    config = toy_config(steps=100_000, minutes=0.02)
    assert train_ranker(config, data=toy_data).steps < 100_000


def test_checkpoint_of_another_shape_is_refused(toy_config, toy_data, tmp_path):
    train_ranker(toy_config(steps=1), data=toy_data)
    (tmp_path / "run" / "config.json").unlink()
    with pytest.raises(CheckpointError, match="does not fit"):
        train_ranker(toy_config(steps=2, head_size=8), data=toy_data)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"seed": 1}, "seed"),
        ({"development_share": 0.3, "learning_rate": 1e-3}, "learning_rate, development_share"),
        ({"sources": {"toy": {"file": "train/toy.jsonl.gz", "group": 2}}}, r"sources\.toy\.group"),
        ({"teacher": {"ranker": "longest"}}, "teacher"),
        ({"stages": [{"max_tokens": 16}]}, "stages"),
    ],
)
def test_another_run_in_the_same_output_is_refused(change, named, toy_config, toy_data, tmp_path):
    train_ranker(toy_config(steps=1), data=toy_data)
    before = {path: path.read_bytes() for path in (tmp_path / "run").iterdir() if path.is_file()}
    for attempt in (
        lambda config: train_ranker(config, data=toy_data),
        lambda config: finish_ranker(config, tmp_path / "ranker", data=toy_data),
    ):
        with pytest.raises(
            ConfigurationError, match=rf"other settings \({named}\); use those, give another output, or"
        ):
            attempt(toy_config(steps=1, **change))
    assert {path: path.read_bytes() for path in before} == before


def test_a_run_goes_on_with_what_does_not_change_it(toy_config, toy_data, tmp_path):
    train_ranker(toy_config(steps=1), data=toy_data)
    kept = tmp_path / "run" / "config.json"
    # as an older version wrote it, which knew fewer keys
    stored = json.loads(kept.read_text())
    del stored["ties"], stored["sources"]["toy"]["slope"]
    kept.write_text(json.dumps(stored))
    free = {"minutes": 30, "keep": "best", "evaluate_every": 1, "tokens_per_batch": 64}
    assert train_ranker(toy_config(steps=2, **free), data=toy_data).steps == 2
    assert json.loads(kept.read_text())["minutes"] == 30
    # fewer steps are done already
    assert train_ranker(toy_config(steps=1), data=toy_data).steps == 2


def test_kept_settings_that_cannot_be_read(toy_config, toy_data, tmp_path):
    train_ranker(toy_config(steps=1), data=toy_data)
    (tmp_path / "run" / "config.json").write_text("{")
    with pytest.raises(ConfigurationError, match=r"the settings of the run in .* cannot be read"):
        train_ranker(toy_config(steps=1), data=toy_data)


@pytest.mark.parametrize("form", ["one_pass", "pair"])
def test_an_export_that_cannot_work(form, toy_config, toy_data, tmp_path):
    config = toy_config(steps=1, form=form, stages=[{"max_tokens": 48}])
    train_ranker(config, data=toy_data)
    # the toy encoder has 64 positions
    for wrong in ({"max_tokens": -1}, {"max_tokens": 0}, {"max_tokens": 9999}, {"records": 0}):
        (name,) = wrong
        with pytest.raises(ConfigurationError, match=rf"{name} is {wrong[name]};|a window of {wrong[name]} tokens"):
            finish_ranker(config, tmp_path / "ranker", data=toy_data, **wrong)
    assert not (tmp_path / "ranker").exists()


def test_an_export_without_held_out_records(toy_config, toy_data, tmp_path):
    config = toy_config(steps=1, development_share=0.0)
    train_ranker(config, data=toy_data)
    with pytest.raises(ConfigurationError, match=r"development_share is 0\.0"):
        finish_ranker(config, tmp_path / "ranker", data=toy_data)


def test_rows_keep_their_scores_in_any_batch(toy_encoder):
    from blender_core.models.segments import SegmentLayout

    layout = SegmentLayout(cls_token=2, sep_token=3, cut_marker=4)
    rows = [layout.join([5, 6], list(range(5, 5 + length)), 32) for length in (3, 11, 1, 7, 5)]
    model = SegmentPooledScorer(load_encoder(toy_encoder), head_size=8).eval()
    with torch.no_grad():
        one, many = (score_rows(model, rows, tokens_per_batch=size) for size in (1, 500))
    assert torch.allclose(one, many, atol=1e-5)


def test_encoder_that_is_no_bert(tmp_path):
    with pytest.raises(CheckpointError, match=r"config\.json"):
        load_encoder(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "t5"}')
    with pytest.raises(CheckpointError, match="t5"):
        load_encoder(tmp_path)


@pytest.mark.parametrize(
    "change", [{"sources": {}}, {"steps": 0}, {"stages": [{"max_tokens": 9, "until": 0.5}]}, {"colour": "red"}]
)
def test_unusable_settings(change):
    settings = {"encoder": "e", "output": "o", "sources": {"a": {"file": "f"}}}
    assert RankerTrainingConfig.from_dict(RankerTrainingConfig.from_dict(settings).to_dict()).steps == 1000
    with pytest.raises(ConfigurationError):
        RankerTrainingConfig.from_dict({**settings, **change})


def test_configuration_files(tmp_path):
    toml, broken = tmp_path / "run.toml", tmp_path / "broken.json"
    toml.write_text('encoder = "e"\noutput = "o"\n[[stages]]\nmax_tokens = 64\n[sources.a]\nfile = "f"\n')
    assert RankerTrainingConfig.load(toml).window(0.5) == 64
    broken.write_text("{")
    for path in (broken, tmp_path / "none.toml"):
        with pytest.raises(ConfigurationError):
            RankerTrainingConfig.load(path)


def test_stages_follow_progress():
    config = RankerTrainingConfig.from_dict(
        {
            "encoder": "e",
            "output": "o",
            "sources": {"a": {"file": "f"}},
            "stages": [{"max_tokens": 64, "until": 0.8}, {"max_tokens": 128}],
        }
    )
    assert [config.window(progress) for progress in (0.0, 0.79, 0.8, 1.0)] == [64, 64, 128, 128]


@pytest.mark.slow
def test_command_line(toy_config, toy_data, tmp_path):
    file = tmp_path / "run.json"
    file.write_text(json.dumps(toy_config(steps=2).to_dict()))
    command = [sys.executable, "-m", "blender_core.cli", "train"]
    data = ["--data", str(toy_data)]
    done = subprocess.run([*command, "ranker", str(file), *data], check=True, capture_output=True, text=True)
    assert "2 steps" in done.stdout
    export = [*command, "export", str(file), str(tmp_path / "out"), *data]
    assert "int8_agrees" in json.loads(subprocess.run(export, check=True, capture_output=True, text=True).stdout)
    assert (tmp_path / "out" / "model.int8.onnx").is_file()
