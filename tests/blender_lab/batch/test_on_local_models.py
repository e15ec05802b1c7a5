"""`blended-llm batch` over two local models that a file describes, with kill -9 in the middle."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections import Counter

import pytest

pytestmark = [
    pytest.mark.local_models,
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL"),
]

BLEND = """
ranker = "longest"
fuser = "none"
max_tokens = 3

[[members]]
local = "smollm2-135m"

[[members]]
local = "gemma-3-270m"
"""


def answered(out):
    """Numbers of the rows in whole lines of the journals."""
    lines = [
        line
        for path in out.with_name(f"{out.name}.journal").glob("0*.jsonl")
        for line in path.read_bytes().split(b"\n")[:-1]
    ]
    return Counter(json.loads(line)["n"] for line in lines)


@pytest.mark.parametrize("way", ["--local", "--workers=1"])
def test_the_same_command_goes_on_after_a_kill_and_asks_no_answered_row_again(tmp_path, way):
    if way != "--local":
        pytest.importorskip("ray.data", reason="the ray extra is not installed")
    config, rows, out = tmp_path / "blend.toml", tmp_path / "rows.jsonl", tmp_path / "out.jsonl"
    config.write_text(BLEND)
    ids = [f"p{n}" for n in range(1, 9)]
    rows.write_text("".join(json.dumps({"id": one, "instruction": f"Say {one}."}) + "\n" for one in ids))
    command = [sys.executable, "-m", "blender_core.cli", "batch", rows, "--out", out, "--config", config, way]
    command += ["--concurrency", "1", "--progress", "none"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as running:
        while len(answered(out)) < 2:
            assert running.poll() is None, running.stderr.read()
            time.sleep(0.02)
        running.kill()
    assert not out.exists()
    before = answered(out)
    assert 2 <= len(before) < len(ids)

    done = subprocess.run([*command, "--json"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    written = [json.loads(line) for line in out.read_text().splitlines()]
    assert [row["id"] for row in written] == ids
    assert all(len(row["report"]["candidates"]) == 2 for row in written)
    # an answered row that is asked again has a second line
    assert answered(out) == Counter(range(1, len(ids) + 1))
    told = json.loads(done.stdout)
    assert (told["rows"], told["done"], told["failed"]) == (len(ids), len(ids), 0)
    assert told["this_run"]["rows"] <= len(ids) - len(before)
