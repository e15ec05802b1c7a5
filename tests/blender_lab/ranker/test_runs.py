"""Real runs of a few seconds: losses, teachers, precision, accumulation, logs, the best checkpoint, a kill."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from blender_core import PairRanker  # noqa: E402
from blender_core.errors import ConfigurationError  # noqa: E402
from blender_lab.ranker.development import HeldOut, held_out_groups, pair_logits  # noqa: E402
from blender_lab.ranker.finish import finish_ranker  # noqa: E402
from blender_lab.ranker.loop import load_checkpoint  # noqa: E402
from blender_lab.ranker.sampling import pack_texts  # noqa: E402
from blender_lab.ranker.train import build_form, source_records, source_targets, train_ranker  # noqa: E402


def rows(path):
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def evaluations(folder):
    return [json.loads(line) for line in (folder / "evaluations.jsonl").read_text().splitlines()]


def weights(folder):
    return torch.load(folder / "checkpoint.pt", weights_only=True)["model"]


@pytest.mark.parametrize("loss", ["bce", "mse", "instructgpt"])
def test_every_loss_falls_and_orders_held_out_candidates(toy_config, toy_data, tmp_path, loss):
    result = train_ranker(toy_config(loss=loss, steps=50), data=toy_data)
    seen = [float(row["loss"]) for row in rows(result.log)]
    assert sum(seen[-5:]) < 0.8 * sum(seen[:5])
    assert evaluations(tmp_path / "run")[-1]["toy"] > 0.7


def test_source_weights_decide_what_is_read(toy_config, toy_data, tmp_path):
    sources = {
        "toy": {"file": "train/toy.jsonl.gz", "group": 3, "share": 1.0},
        # a file with a share of 0 is evaluated and never learned from
        "held": {"file": "train/toy.jsonl.gz", "group": 2, "share": 0.0},
    }
    result = train_ranker(toy_config(sources=sources, steps=3), data=toy_data)
    assert result.sequences == 3 * 8 * 3
    assert set(evaluations(tmp_path / "run")[-1]) == {"step", "toy", "held"}


def test_a_student_follows_its_teacher_and_not_the_labels(toy_config, make_toy_data, tmp_path):
    # the labels prefer candidate 0, the teacher rejects it
    make_toy_data(tmp_path / "data", lambda record: {**record, "teacher": [[0, 1, -4.0], [0, 2, -4.0]]})
    accuracies = {}
    for weight in (0.0, 1.0):
        output = tmp_path / str(weight)
        config = toy_config(teacher={"weight": weight}, output=str(output))
        train_ranker(config, data=tmp_path / "data")
        accuracies[weight] = evaluations(output)[-1]["toy"]
    assert accuracies[0.0] > 0.7
    assert accuracies[1.0] < 0.3


def test_a_teacher_is_asked_for_chosen_sources_alone(toy_config, toy_data, tmp_path):
    base = toy_config().sources["toy"]
    sources = {"toy": base, "other": base}
    train_ranker(
        toy_config(sources=sources, teacher={"ranker": "longest", "sources": ["other"]}, steps=1), data=toy_data
    )
    assert [file.name for file in (tmp_path / "run" / "teacher").iterdir()] == ["other.jsonl"]


def test_a_teacher_of_an_unknown_source_is_refused(toy_config):
    with pytest.raises(ConfigurationError, match=r"teacher\.sources names elsewhere; the run's sources are toy"):
        toy_config(teacher={"ranker": "longest", "sources": ["elsewhere"]})


def test_a_teacher_is_asked_once(toy_config, toy_data, tmp_path):
    config = toy_config(teacher={"ranker": "longest"}, steps=1)
    train_ranker(config, data=toy_data)
    cache = tmp_path / "run" / "teacher" / "toy.jsonl"
    asked = cache.read_text().splitlines()
    train, _ = source_records(config, config.sources["toy"], toy_data)
    assert len(asked) == len(train)
    stored = {(i, j): logit for i, j, logit in json.loads(asked[0])["logits"]}
    lengths = [len(text) for text in train[0].candidates]
    assert stored == {(i, j): lengths[i] - lengths[j] for i in range(3) for j in range(i + 1, 3)}
    train_ranker(toy_config(teacher={"ranker": "longest"}, steps=2), data=toy_data)
    assert cache.read_text().splitlines() == asked


def test_bfloat16_runs_on_a_cpu_and_stays_near_float32(toy_config, toy_data, tmp_path):
    losses = {}
    for precision in ("float32", "bfloat16"):
        config = toy_config(precision=precision, steps=15, device="cpu", output=str(tmp_path / precision))
        losses[precision] = [float(row["loss"]) for row in rows(train_ranker(config, data=toy_data).log)]
        assert {value.dtype for value in weights(tmp_path / precision).values()} == {torch.float32}
    assert losses["bfloat16"] != losses["float32"]
    assert losses["bfloat16"] == pytest.approx(losses["float32"], abs=0.1)


@pytest.mark.parametrize("instructions", [False, True])
def test_a_cpu_without_bfloat16_computes_in_float32(instructions, toy_config, toy_data, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": instructions}, raising=False)
    losses = {}
    for wanted in ("float32", "auto"):
        config = toy_config(precision=wanted, steps=4, device="cpu", output=str(tmp_path / wanted))
        with caplog.at_level("INFO", logger="blender_lab.training.precision"):
            losses[wanted] = [float(row["loss"]) for row in rows(train_ranker(config, data=toy_data).log)]
        assert ("computing in float32" in caplog.text) is (wanted == "auto" and not instructions)
    assert (losses["auto"] == losses["float32"]) is not instructions


def test_float16_scales_its_loss_and_resumes(toy_config, toy_data, tmp_path):
    config = {"precision": "float16", "device": "cpu"}
    train_ranker(toy_config(steps=4, **config), data=toy_data)
    # the loss scale is part of the checkpoint
    assert torch.load(tmp_path / "run" / "checkpoint.pt", weights_only=True)["scaler"]["scale"] > 1.0
    result = train_ranker(toy_config(steps=6, **config), data=toy_data)
    assert result.steps == 6
    assert np.isfinite([float(row["loss"]) for row in rows(result.log)]).all()


def test_accumulation_gives_the_step_of_one_large_batch(toy_config, toy_data, tmp_path):
    found = {}
    # 8 records in 3 parts: the parts differ in size
    for parts in (1, 3, 8):
        output = tmp_path / str(parts)
        config = toy_config(steps=2, accumulation=parts, learning_rate=1e-3, output=str(output), device="cpu")
        result = train_ranker(config, data=toy_data)
        found[parts] = [float(row["loss"]) for row in rows(result.log)], weights(output), result.sequences
    for parts in (3, 8):
        assert found[parts][0] == pytest.approx(found[1][0], abs=2e-4)
        assert found[parts][2] == found[1][2]
        for name, value in found[1][1].items():
            # softmax does not see the keys' bias, a difference of scores not the last one: their gradients are rounding
            # noise, which Adam blows up
            if not name.endswith(("key.bias", "head.4.bias")):
                assert torch.allclose(value, found[parts][1][name], atol=1e-4), name


def test_csv_and_tensorboard_tell_the_same(toy_config, toy_data, tmp_path):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    reports = []
    config = toy_config(steps=6, evaluate_every=3, tensorboard=True)
    result = train_ranker(config, data=toy_data, report=reports.append)
    logged = rows(result.log)
    assert [int(row["step"]) for row in logged] == [1, 2, 3, 4, 5, 6]
    board = accumulator.EventAccumulator(str(tmp_path / "run" / "tensorboard"))
    board.Reload()
    losses = board.Scalars("train/loss")
    assert [event.step for event in losses] == [1, 2, 3, 4, 5, 6]
    assert [event.value for event in losses] == pytest.approx([float(row["loss"]) for row in logged], abs=1e-4)
    # evaluation during training: in the file, on the board and in the reports
    seen = {line["step"]: line["toy"] for line in evaluations(tmp_path / "run")}
    assert set(seen) == {3, 6}
    assert {event.step: event.value for event in board.Scalars("development/toy")} == pytest.approx(seen)
    assert {one.step: one.evaluation["toy"] for one in reports if one.evaluation} == seen
    assert reports[-1].sequences == result.sequences == int(logged[-1]["sequences"])


def test_the_best_checkpoint_is_what_keep_exports(toy_config, toy_data, tmp_path):
    # a rate this high loses again what was learned
    config = toy_config(
        form="pair", stages=[{"max_tokens": 48}], steps=12, evaluate_every=2, keep="best", learning_rate=0.05
    )
    train_ranker(config, data=toy_data)
    history = evaluations(tmp_path / "run")
    best = torch.load(tmp_path / "run" / "best.pt", weights_only=True)
    highest = max(line["toy"] for line in history)
    assert best["best"] == pytest.approx(highest)
    assert best["step"] == next(line["step"] for line in history if line["toy"] == highest)
    finish_ranker(config, tmp_path / "exported", data=toy_data)
    same_logits(config, "best.pt", tmp_path / "exported", toy_data)


def test_the_exported_pair_ranker_gives_the_logits_of_the_trained_model(toy_config, toy_data, tmp_path):
    config = toy_config(form="pair", stages=[{"max_tokens": 48}], steps=10, records_per_step=4)
    train_ranker(config, data=toy_data)
    finish_ranker(config, tmp_path / "exported", data=toy_data)
    same_logits(config, "checkpoint.pt", tmp_path / "exported", toy_data)


def same_logits(config, checkpoint, exported, data):
    """Compare both orders of every held-out pair."""
    form, texts = build_form(config)
    load_checkpoint(os.path.join(config.output, checkpoint), form.module)
    form.module.eval()
    ranker = PairRanker.from_pretrained(exported, device="cpu")
    source = config.sources["toy"]
    held_out = source_records(config, source, data)[1][:3]
    assert held_out
    for record in held_out:
        targets = source_targets(source, [record])
        groups = held_out_groups(HeldOut(pack_texts([record], texts.encode_batch), targets))
        matrix = ranker.ordered_logits(record.prompt, record.candidates)
        decided = [(i, j) for i, j, p in targets[0] if p != 0.5]
        for (i, j), pair in zip(decided, pair_logits(form, groups, config.largest_window), strict=True):
            assert pair.forward == pytest.approx(matrix[i][j], abs=1e-4)
            assert pair.backward == pytest.approx(-matrix[j][i], abs=1e-4)


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory):
    """The folder of the unbroken run; how often a run saves does not change it."""
    return tmp_path_factory.mktemp("whole")


@pytest.mark.slow
@pytest.mark.parametrize("save_every", [7, 1])
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL on this system")
def test_a_killed_run_ends_where_an_unbroken_one_does(save_every, whole_run, toy_config, toy_data, tmp_path):
    """At most the steps since the last save are done again; the weights are the same to the last bit."""
    changes = {"steps": 120, "save_every": save_every, "corruption": 0.5, "dropout": 0.1, "records_per_step": 4}
    killed = toy_config(output=str(tmp_path / "killed"), **changes)
    (tmp_path / "run.json").write_text(json.dumps(killed.to_dict()))
    command = [sys.executable, "-m", "blender_core.cli", "train", "ranker", str(tmp_path / "run.json")]
    process = subprocess.Popen([*command, "--data", str(toy_data)], stderr=subprocess.DEVNULL)
    log, deadline = tmp_path / "killed" / "log.csv", time.monotonic() + 240
    try:
        while (not log.is_file() or log.read_bytes().count(b"\n") < 17) and process.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.01)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == -signal.SIGKILL
    logged = len(rows(log))
    saved = torch.load(tmp_path / "killed" / "checkpoint.pt", weights_only=True)["step"]
    assert 14 <= saved < 120
    assert saved % save_every == 0
    # with 1, the step in flight
    assert logged - saved <= save_every

    # the second time it is done already
    train_ranker(toy_config(output=str(whole_run), **{**changes, "save_every": 7}), data=toy_data)
    assert train_ranker(killed, data=toy_data).steps == 120
    same = weights(tmp_path / "killed")
    for name, value in weights(whole_run).items():
        assert torch.equal(value, same[name]), name
    losses = [[row["loss"] for row in rows(folder / "log.csv")] for folder in (whole_run, tmp_path / "killed")]
    assert losses[0] == losses[1]
