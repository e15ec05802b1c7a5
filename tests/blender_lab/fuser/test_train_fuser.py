"""Whole runs on tiny models: train, be killed, go on, fuse."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytest.importorskip("accelerate", reason="the train extra is not installed")

from safetensors.torch import load_file, save_file  # noqa: E402

from blender_core import GenFuser  # noqa: E402
from blender_core.errors import CheckpointError, ConfigurationError  # noqa: E402
from blender_core.fuse import FusionInput  # noqa: E402
from blender_lab import train_fuser  # noqa: E402
from blender_lab.fuser.trainer import (  # noqa: E402
    last_checkpoint,
    rate_at,
    read_log,
    read_seconds,
    rewind_log,
)

# deprecations inside peft and accelerate are theirs
pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning")
REQUEST = FusionInput("Which word, 3?", ("the licence", "a patent"))


def column(result, name):
    return [float(row[name]) for row in read_log(Path(result.log)) if row[name]]


def test_a_decoder_only_model_learns_and_fuses(llama_folder, make_config, data):
    lines = []
    config = make_config(llama_folder, epochs=8, bfloat16=True, generation={"max_new_tokens": 12})
    result = train_fuser(config, data=data, report=lines.append)
    losses = column(result, "loss")
    assert len(losses) == result.steps
    assert sum(losses[-5:]) < 0.8 * sum(losses[:5])
    assert min(column(result, "development_loss")) == result.development_loss
    assert result.epochs == 8
    assert any("development_loss" in line for line in lines)
    fuser = GenFuser.from_pretrained(result.model, device="cpu")
    assert "max_length=400" in repr(fuser)
    assert "'max_new_tokens': 12" in repr(fuser)
    assert fuser.fuse(REQUEST).usage.output_tokens <= 12
    # a run that is done is not trained again
    before = Path(result.log).read_bytes()
    assert train_fuser(config, data=data) == result
    assert Path(result.log).read_bytes() == before


def test_a_t5_learns_and_fuses(t5_folder, make_config, data):
    result = train_fuser(make_config(t5_folder, epochs=3, prompt_format="paper"), data=data)
    losses = column(result, "loss")
    assert losses[-1] < losses[0]
    assert GenFuser.from_pretrained(result.model, device="cpu").fuse(REQUEST).usage.input_tokens > 20
    # transformers 5 would write another tokenizer
    assert (Path(result.model) / "tokenizer.json").read_bytes() == (t5_folder / "tokenizer.json").read_bytes()


def test_adapters_are_merged(llama_folder, make_config, data):
    pytest.importorskip("peft", reason="the train extra is not installed")
    config = make_config(llama_folder, lora={"rank": 2, "alpha": 8}, learning_rate=1e-2)
    result = train_fuser(config, data=data)
    trained = load_file(Path(result.model) / "model.safetensors")
    base = load_file(llama_folder / "model.safetensors")
    assert trained.keys() == base.keys()
    changed = {name for name in base if not torch.allclose(trained[name].float(), base[name], atol=1e-3)}
    assert "model.layers.0.mlp.up_proj.weight" in changed
    assert "model.embed_tokens.weight" not in changed


def start(config, data, tmp_path, name):
    file = tmp_path / f"{name}.json"
    file.write_text(json.dumps(config.to_dict()))
    command = [sys.executable, "-m", "blender_core.cli", "train", "fuser", str(file), "--data", str(data), "--json"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment)


@pytest.fixture(scope="module")
def whole_runs():
    """Unbroken runs, by whether they keep their best step: how often a run saves does not change it."""
    return {}


@pytest.mark.slow
@pytest.mark.parametrize(("save_every", "keep_best"), [(4, False), (1, False), (1, True), (0, True)])
def test_a_killed_run_goes_on_from_its_last_checkpoint(
    save_every, keep_best, whole_runs, llama_folder, make_config, data, tmp_path, tmp_path_factory
):
    settings = {"epochs": 6, "keep_best": keep_best, "save_every": save_every}
    if keep_best not in whole_runs:
        unbroken = make_config(
            llama_folder, output=str(tmp_path_factory.mktemp("whole")), **{**settings, "save_every": 4}
        )
        whole_runs[keep_best] = train_fuser(unbroken, data=data)
    whole = whole_runs[keep_best]
    config = make_config(llama_folder, output=str(tmp_path / "broken"), **settings)
    run = start(config, data, tmp_path, "broken")
    output = Path(config.output)
    deadline = time.monotonic() + 200
    while not list(output.glob("checkpoint-[1-9]*/trainer_state.json")):
        assert run.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    run.send_signal(signal.SIGKILL)
    run.wait()
    assert run.returncode == -signal.SIGKILL
    assert not (output / "model").exists()
    run.stdout.close()
    reached = last_checkpoint(output)
    assert reached is not None
    logged = max(int(row["step"]) for row in read_log(output / "log.csv"))
    if save_every:
        # the step in flight, where every one is saved
        assert logged - int(reached.name.removeprefix("checkpoint-")) <= save_every
    # as if the kill had come while the next one was written
    half = output / "checkpoint-9999"
    half.mkdir()
    (half / "trainer_state.json").write_text('{"global_st')

    if save_every == 4:
        again = start(config, data, tmp_path, "broken")
        report, _ = again.communicate(timeout=240)
        assert again.returncode == 0
        result = json.loads(report)
    else:
        result = dataclasses.asdict(train_fuser(config, data=data))
    assert result["steps"] == whole.steps
    assert not half.exists()
    ours, theirs = (load_file(Path(folder) / "model.safetensors") for folder in (result["model"], whole.model))
    for name, value in theirs.items():
        assert torch.equal(value, ours[name]), name
    logs = [[row["loss"] for row in read_log(Path(log))] for log in (result["log"], whole.log)]
    assert logs[0] == logs[1]


def test_another_run_in_the_same_folder_is_refused(llama_folder, make_config, data):
    train_fuser(make_config(llama_folder, epochs=1), data=data)
    with pytest.raises(ConfigurationError, match=r"other settings \(top_k\)"):
        train_fuser(make_config(llama_folder, epochs=1, top_k=3), data=data)
    # as an older version wrote it, which knew fewer keys
    kept = Path(make_config(llama_folder).output) / "config.json"
    stored = json.loads(kept.read_text())
    del stored["cut_repeats"]
    kept.write_text(json.dumps(stored))
    assert train_fuser(make_config(llama_folder, epochs=1, minutes=30), data=data).steps > 0


def test_an_unknown_optimizer_is_refused(llama_folder, make_config, data):
    with pytest.raises(ConfigurationError, match=r"optimizer is 'x'; choose one of .*adamw_torch"):
        train_fuser(make_config(llama_folder, optimizer="x"), data=data)


def test_a_checkpoint_that_does_not_fit(llama_folder, make_config, data):
    config = make_config(llama_folder, epochs=1)
    result = train_fuser(config, data=data)
    Path(config.output, "result.json").unlink()
    reached = last_checkpoint(Path(config.output))
    (reached / "optimizer.pt").write_bytes(b"no optimizer")
    with pytest.raises(CheckpointError, match="remove that folder"):
        train_fuser(config, data=data)
    assert result.steps > 0


def test_time_ends_a_run(llama_folder, make_config, data):
    ticks = iter(range(0, 100_000, 7))
    config = make_config(llama_folder, epochs=1000, minutes=5, evaluate_every=1000, save_every=1000)
    result = train_fuser(config, data=data, clock=lambda: float(next(ticks)))
    assert 0 < result.steps < 45
    # its last step was judged and saved
    assert result.best_step == result.steps
    assert last_checkpoint(Path(config.output)).name == f"checkpoint-{result.steps}"
    rates = column(result, "learning_rate")
    assert rates == sorted(rates, reverse=True)


def test_a_resumed_run_knows_how_long_it_had_taken(llama_folder, make_config, data, tmp_path):
    """Whatever the log holds: a checkpoint lies between two of its lines."""
    ticks = iter(range(0, 100_000, 7))
    config = make_config(llama_folder, epochs=1, log_every=1000, evaluate_every=1000, keep_best=False, save_every=2)
    train_fuser(config, data=data, clock=lambda: float(next(ticks)))
    reached = last_checkpoint(Path(config.output))
    assert read_seconds(reached) >= 7 * 2
    assert rewind_log(tmp_path / "log.csv", 1) == 0.0
    (reached / "seconds.json").write_text("{")
    assert read_seconds(reached) == read_seconds(None) == 0.0


def test_no_records_to_watch(llama_folder, make_config, data):
    with pytest.raises(ConfigurationError, match="development"):
        train_fuser(make_config(llama_folder, files=["referenced.jsonl.gz"], development_share=1e-9), data=data)
    with pytest.raises(ConfigurationError, match="cannot read"):
        train_fuser(make_config(llama_folder, files=["none.jsonl"]), data=data)


def test_the_log_goes_back_with_the_run(tmp_path):
    log = tmp_path / "log.csv"
    assert rewind_log(log, 0) == 0.0
    with log.open("a") as file:
        for step in (1, 2, 3):
            file.write(f"{step},0.1,{step * 10}.0,1e-4,1.0,2.0,\n")
        file.write("4,0.1")
    assert rewind_log(log, 2) == 20.0
    assert [row["step"] for row in read_log(log)] == ["1", "2"]


def test_the_rate_rises_and_falls():
    rates = [rate_at(step / 20, 0.25) for step in range(21)]
    assert rates.index(1.0) == 5
    assert rates[5:] == sorted(rates[5:], reverse=True)
    assert 0 < rates[0] < rates[1] < 1
    assert rate_at(0.0, 0.0) == 1.0


@pytest.mark.parametrize("kind", ["t5_folder", "llama_folder"])
def test_a_base_without_all_its_weights_is_refused(kind, request, make_config, data, tmp_path):
    folder = shutil.copytree(request.getfixturevalue(kind), tmp_path / "half")
    weights = load_file(folder / "model.safetensors")
    gone = next(name for name in weights if "layer" in name or "block" in name)
    save_file({name: tensor for name, tensor in weights.items() if name != gone}, folder / "model.safetensors")
    with pytest.raises(CheckpointError, match=f"no weights for {re.escape(gone)}"):
        train_fuser(make_config(folder), data=data)
