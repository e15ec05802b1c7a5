"""A job on Ray whose actors, driver and node are killed: it goes on, and nothing answered is asked again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from blender_core.testing.scripted_server import Reply, ScriptedServer

pytest.importorskip("ray.data", reason="the ray extra is not installed")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1200),
    pytest.mark.skipif(not Path("/proc").is_dir(), reason="it finds Ray's processes in /proc"),
    pytest.mark.filterwarnings("ignore"),
]

ROWS, CONCURRENCY = 120, 4
COMMAND = [sys.executable, "-c", "import typer; from blender_lab.cli.batch import batch; typer.run(batch)"]


def answered(out):
    """Numbers of the rows that are in whole lines of the journals, and the processes that wrote each."""
    found = {}
    for path in sorted(out.with_name(f"{out.name}.journal").glob("0*.jsonl")):
        lines = path.read_bytes().split(b"\n")[:-1]
        found[int(path.name.rsplit("-", 2)[1])] = [json.loads(line)["n"] for line in lines]
    return found


def count(out):
    return sum(len(numbers) for numbers in answered(out).values())


def until(condition, running):
    while not condition():
        assert running.poll() is None, running.stderr.read()
        time.sleep(0.1)


def children(pid, name):
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command, _, rest = (folder / "stat").read_text().partition("(")[2].rpartition(")")
        except OSError:
            continue
        if command.startswith(name) and int(rest.split()[1]) == pid:
            found.append(int(folder.name))
    return found


def asked(server):
    return Counter((request["model"], request["messages"][-1]["content"]) for request in server.requests)


@pytest.fixture
def job(tmp_path):
    rows = tmp_path / "rows.jsonl"
    lines = [json.dumps({"id": f"p{n}", "instruction": f"What is {n}?"}) for n in range(1, ROWS + 1)]
    rows.write_text("\n".join([*lines[:50], "no row at all", *lines[50:]]) + "\n")
    return rows, tmp_path / "out.jsonl"


def test_kills_lose_no_answer_and_ask_only_rows_in_flight_again(job):
    rows, out = job
    with ScriptedServer({"a": Reply("yes", latency_s=0.4), "b": Reply("no, never", latency_s=0.4)}) as server:
        endpoints = [part for model in "ab" for part in ("--endpoint", f"{server.base_url}:{model}")]
        more = ["--ranker", "longest", "--fuser", "none", "--workers", "2", "--concurrency", str(CONCURRENCY)]
        command = [*COMMAND, str(rows), "--out", str(out), *endpoints, *more, "--progress", "none", "--json"]

        def start():
            return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

        kept = []

        def snapshot():
            # what is on the disk now must never be asked again
            done = {number for numbers in answered(out).values() for number in numbers}
            kept.append((done, asked(server)))

        with start() as running:
            until(lambda: count(out) >= 6, running)
            victim = max((numbers, pid) for pid, numbers in answered(out).items())[1]
            os.kill(victim, signal.SIGKILL)
            snapshot()
            until(lambda: len(answered(out)) >= 3 and count(out) >= 30, running)
            snapshot()
            os.kill(running.pid, signal.SIGKILL)
        assert not out.exists()

        before = count(out)
        with start() as running:
            until(lambda: count(out) >= before + 8, running)
            snapshot()
            for pid in children(running.pid, "raylet"):
                os.kill(pid, signal.SIGKILL)
            try:
                running.wait(120)
            except subprocess.TimeoutExpired:
                running.kill()
        assert running.returncode != 0

        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 1, done.stderr
        counts = asked(server)

    written = [json.loads(line) for line in out.read_text().splitlines()]
    assert [row["id"] for row in written] == [f"p{n}" for n in range(1, ROWS + 1)]
    assert {row["text"] for row in written} == {"no, never"}
    failed = json.loads(out.with_name("out.jsonl.failed.jsonl").read_text())
    assert failed["row"] == 51
    told = json.loads(done.stdout)
    assert (told["rows"], told["done"], told["failed"], told["undone"]) == (ROWS + 1, ROWS, 1, 0)
    assert told["wins"] == {"b": ROWS}
    for numbers, then in kept:
        for number in numbers - {51}:
            question = f"What is {number if number < 51 else number - 1}?"
            assert [counts[model, question] - then[model, question] for model in "ab"] == [0, 0]
    # three kills, each with at most so many rows in flight
    assert sum(counts.values()) <= 2 * (ROWS + 3 * CONCURRENCY)
