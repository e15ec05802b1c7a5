"""Progress of a training run on a terminal and in a log."""

from __future__ import annotations

import io
import json

import pytest
from rich.console import Console
from typer.testing import CliRunner

from blender_lab.cli.train_progress import training_progress

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from blender_lab.ranker.loop import StepReport  # noqa: E402


def show(*, terminal, seconds_a_step, evaluate_at=(), start=0):
    """What 40 of 50 steps with 8 rows each write."""
    now = [100.0]
    out = io.StringIO()
    console = Console(file=out, force_terminal=terminal, width=120, color_system=None)
    with training_progress(50, console, clock=lambda: now[0]) as report:
        for step in range(start + 1, 41):
            numbers = {"mine": 0.75} if step in evaluate_at else {}
            report(StepReport(step, step / 50, 0.5, now[0] - 100.0, 8 * step, numbers))
            now[0] += seconds_a_step
    return out.getvalue()


def test_a_log_gets_a_line_in_ten_seconds():
    lines = show(terminal=False, seconds_a_step=1.0).splitlines()
    assert [line.split()[1] for line in lines] == ["1/50", "11/50", "21/50", "31/50"]
    assert lines[1] == "step 11/50  loss 0.5000  8 rows/s  0:39 left"


def test_a_log_gets_every_evaluation():
    lines = show(terminal=False, seconds_a_step=0.001, evaluate_at=(7, 20)).splitlines()
    assert [line.split()[1] for line in lines] == ["1/50", "7/50", "20/50"]
    assert lines[1].endswith("mine 0.750")


def test_a_resumed_run_counts_its_own_rows():
    lines = show(terminal=False, seconds_a_step=2.0, start=30).splitlines()
    assert lines[-1] == "step 36/50  loss 0.5000  4 rows/s  0:28 left"


def test_a_terminal_gets_a_bar():
    text = show(terminal=True, seconds_a_step=1.0, evaluate_at=(20,))
    assert "step 40/50" in text
    assert "80%" in text
    assert "loss 0.5000  8 rows/s  0:10 left" in text
    assert "step 20  mine 0.750" in text


@pytest.fixture
def run_file(tmp_path):
    """A run of three steps."""
    from blender_lab.ranker.one_pass import tiny_encoder

    tokenizers = pytest.importorskip("tokenizers")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "good", "bad", "say"]
    tokenizer = tokenizers.Tokenizer(
        tokenizers.models.WordLevel({word: index for index, word in enumerate(words)}, unk_token="[UNK]")
    )
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    tiny_encoder(vocabulary=len(words)).save_pretrained(tmp_path)
    rows = [{"prompt": f"say {n}", "chosen": "good", "rejected": "bad"} for n in range(12)]
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    settings = {
        "encoder": str(tmp_path),
        "output": str(tmp_path / "run"),
        "sources": {"log": {"file": "log.jsonl", "format": "chosen_rejected", "group": 2}},
        "stages": [{"max_tokens": 16}],
        "steps": 3,
        "head_size": 8,
        "corruption": 0.0,
        "precision": "float32",
    }
    (tmp_path / "run.json").write_text(json.dumps(settings))
    return tmp_path / "run.json"


def test_command_writes_progress_beside_its_result(run_file):
    from blender_core.cli.app import app

    command = ["train", "ranker", str(run_file), "--data", str(run_file.parent)]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.stderr
    assert "step 1/3" in done.stderr
    assert "step 3/3" in done.stderr
    assert done.stdout.startswith("3 steps")
    # the run has ended: the same command does no more steps
    quiet = CliRunner().invoke(app, [*command, "--json"])
    ended = json.loads(quiet.stdout)
    assert (ended["steps"], ended["loss"]) == (3, None)
    assert "step" not in quiet.stderr
