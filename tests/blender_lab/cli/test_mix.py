"""`blended-llm mix` as a user meets it, and what is left of it after a kill."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter

import pytest
from typer.testing import CliRunner

from blender_core.cli.app import app
from blender_core.testing.scripted_server import Reply, ScriptedServer
from blender_lab.data.mixinstruct import Verdict, read_mix

PROMPTS = [
    {"id": f"p{number}", "instruction": f"What is {number} + 1?", "output": str(number + 1), "task": "sums",
     "check": {"kind": "number", "value": number + 1}}
    for number in range(8)
]  # fmt: skip


@pytest.fixture(autouse=True)
def _no_key(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


@pytest.fixture
def prompts(tmp_path):
    path = tmp_path / "prompts.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in PROMPTS))
    return path


def arguments(prompts, server, *more, models=("a", "b")):
    endpoints = [part for model in models for part in ("--endpoint", f"{server.base_url}:{model}")]
    return ["mix", str(prompts), "--out", str(prompts.parent / "mix.jsonl"), *endpoints, *map(str, more)]


def mix(prompts, server, *more, **kwargs):
    return CliRunner().invoke(app, arguments(prompts, server, *more, **kwargs))


def asked(server, model):
    return Counter(request["messages"][-1]["content"] for request in server.requests if request["model"] == model)


def test_answers_scores_and_verdicts(prompts):
    with ScriptedServer({"a": [str(n + 1) for n in range(8)], "b": [Reply("no", status=400), "1"]}) as server:
        done = mix(prompts, server, "--temperature", 0, "--seed", 5, "--max-tokens", 9, "--verdicts", "checks")
        assert done.exit_code == 0, done.output
        sent = server.requests[0]
    records = list(read_mix(prompts.parent / "mix.jsonl"))
    assert [record.id for record in records] == [line["id"] for line in PROMPTS]
    assert all(record.scores("check") == (1.0, 0.0) for record in records)
    assert records[0].candidates[1].gathered.status == "error"
    assert records[3].verdict("b", "a") is Verdict.B_IS_BETTER
    assert {record.candidates[0].decoding_method for record in records} == {"greedy"}
    assert (sent["temperature"], sent["seed"], sent["max_tokens"]) == (0.0, 5, 9)
    assert "100.0%" in done.output


def test_metrics_by_name(prompts):
    pytest.importorskip("rouge_score")
    with ScriptedServer({"a": ["1", "9"]}) as server:
        done = mix(prompts, server, "--metric", "rougeL", "--limit", 2, models="a")
    assert done.exit_code == 0, done.output
    assert [record.scores("rougeL") for record in read_mix(prompts.parent / "mix.jsonl")] == [(1.0,), (0.0,)]


def test_a_judge_in_both_orders(prompts):
    with ScriptedServer({"a": ["x"], "b": ["y"], "judge": ["A is better"]}) as server:
        done = mix(prompts, server, "--limit", 2, "--verdicts", "judge", "--judge", f"{server.base_url}:judge")
        assert done.exit_code == 0, done.output
        assert sum(asked(server, "judge").values()) == 4
    assert "2 pairs in both orders, 0 agree, 2 name different winners" in done.output
    record = next(iter(read_mix(prompts.parent / "mix.jsonl")))
    assert record.cmp_results == {("a", "b"): Verdict.A_IS_BETTER, ("b", "a"): Verdict.A_IS_BETTER}


def test_a_second_run_asks_nothing_and_writes_the_same(prompts):
    with ScriptedServer({"a": ["x"], "b": ["y"]}) as server:
        mix(prompts, server)
        before, count = (prompts.parent / "mix.jsonl").read_bytes(), len(server.requests)
        assert mix(prompts, server).exit_code == 0
        assert len(server.requests) == count == 16
    assert (prompts.parent / "mix.jsonl").read_bytes() == before


def test_other_settings_need_another_file(prompts):
    with ScriptedServer({"a": ["x"]}) as server:
        mix(prompts, server, "--temperature", 0, models="a")
        done = mix(prompts, server, "--temperature", 1, models="a")
    assert done.exit_code == 2
    assert "temperature 0" in done.output


def test_names_are_shown_as_they_are(prompts):
    models = ("m[/4bit]", "llama[q4]")
    with ScriptedServer({models[0]: ["x"], models[1]: ["x"], "j[/q]": ["Same bad"]}) as server:
        judge = ("--verdicts", "judge", "--judge", f"{server.base_url}:j[/q]")
        done = mix(prompts, server, "--limit", 1, *judge, models=models)
    assert done.exit_code == 0, done.output
    for model in models:
        assert done.output.count(model) >= 2  # how far it is, and the table


def test_half_a_character_is_replaced_once(prompts):
    with ScriptedServer({"a": ["half \ud83d", Reply("x", finish_reason="stop\udc00")]}) as server:
        done = mix(prompts, server, "--limit", 2, models="a")
        assert done.exit_code == 0, done.output
        before = (prompts.parent / "mix.jsonl").read_bytes()
        assert mix(prompts, server, "--limit", 2, models="a").exit_code == 0
        assert len(server.requests) == 2
    assert (prompts.parent / "mix.jsonl").read_bytes() == before
    first, second = read_mix(prompts.parent / "mix.jsonl")
    assert first.texts == ("half ?",)
    assert second.candidates[0].gathered.finish_reason == "stop?"


def test_replies_that_cannot_be_read_are_counted_and_asked_again_on_demand(prompts):
    script = {"a": ["x"], "b": ["y"], "judge": ["Hm.", "A is better", "Hm.", "", "B is better"]}
    with ScriptedServer(script) as server:
        judge = ("--limit", 2, "--verdicts", "judge", "--judge", f"{server.base_url}:judge")
        done = mix(prompts, server, *judge)
        assert done.exit_code == 0, done.output
        assert "3 of 4 replies could not be read" in done.output
        assert "--retry-failed" in done.output
        assert "3 of 4" in mix(prompts, server, *judge).output
        assert sum(asked(server, "judge").values()) == 4
        assert "could not be read" not in mix(prompts, server, *judge, "--retry-failed").output
        assert sum(asked(server, "judge").values()) == 7
    records = list(read_mix(prompts.parent / "mix.jsonl"))
    assert [len(record.cmp_results) for record in records] == [2, 2]


def test_a_judge_that_fails_once_is_asked_again(prompts):
    with ScriptedServer({"a": ["x"], "b": ["y"], "judge": [Reply("busy", status=503), "Same good"]}) as server:
        judge = ("--verdicts", "judge", "--judge", f"{server.base_url}:judge")
        done = mix(prompts, server, "--limit", 1, *judge)
        assert done.exit_code == 0, done.output
        assert sum(asked(server, "judge").values()) == 3


def test_a_judge_that_never_answers_ends(prompts):
    with ScriptedServer({"a": ["x"], "b": ["y"], "judge": [Reply(hang=True)]}) as server:
        judge = ("--verdicts", "judge", "--judge", f"{server.base_url}:judge", "--timeout", 1)
        done = mix(prompts, server, "--limit", 1, *judge)
    assert done.exit_code == 1
    assert "no answer within 1 s" in done.output


def test_a_link_stays_a_link(prompts):
    out, target = prompts.parent / "mix.jsonl", prompts.parent / "below" / "real.jsonl"
    target.parent.mkdir()
    out.symlink_to(target)
    with ScriptedServer({"a": ["x"]}) as server:
        for _ in range(2):
            assert mix(prompts, server, "--limit", 1, models="a").exit_code == 0
    assert out.is_symlink()
    assert [record.texts for record in read_mix(target)] == [("x",)]


@pytest.mark.parametrize(
    "kind", ["folder", "fifo", "prompts", "link to the prompts", "link to nowhere", "journal is a fifo"]
)
def test_a_target_that_cannot_be_written_asks_nobody(prompts, kind):
    out = prompts.parent / "mix.jsonl"
    if "fifo" in kind and not hasattr(os, "mkfifo"):
        pytest.skip("no fifos here")
    if kind == "folder":
        out.mkdir()
    elif kind == "fifo":
        os.mkfifo(out)
    elif kind == "journal is a fifo":
        os.mkfifo(out.with_name("mix.jsonl.journal"))
    elif kind == "prompts":
        prompts = prompts.rename(out)
    elif kind == "link to nowhere":
        out.symlink_to(prompts.parent / "nowhere" / "mix.jsonl")
    else:
        out.symlink_to(prompts)
    before = prompts.read_bytes()
    with ScriptedServer({"a": ["x"]}) as server:
        done = mix(prompts, server, models="a")
        assert not server.requests
    assert done.exit_code == 2
    assert "--out" in done.output
    assert prompts.read_bytes() == before
    assert not out.with_name("mix.jsonl.journal").is_file()


@pytest.mark.parametrize("notes", ["my notes", "my notes\nand more\n", '{"text": "mine"}\n', '{"text": "mine"}'])
def test_a_file_that_is_no_journal_is_left_alone(prompts, notes):
    journal = prompts.parent / "mix.jsonl.journal"
    journal.write_text(notes)
    with ScriptedServer({"a": ["x"]}) as server:
        done = mix(prompts, server, models="a")
        assert not server.requests
    assert done.exit_code == 2
    assert "not a journal" in done.output
    assert journal.read_text() == notes


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--verdicts", "maybe"], "--verdicts"),
        (["--verdicts", "judge"], "--judge"),
        (["--limit", "0"], "--limit"),
        (["--metric", "vibes"], "no metric"),
        (["--ensemble", "nowhere"], "module:attribute"),
        (["--model", "gpt-5"], "no local model"),
    ],
)
def test_wrong_usage_asks_nobody(prompts, more, said):
    with ScriptedServer({"a": ["x"]}) as server:
        done = mix(prompts, server, *more, models="a")
        assert not server.requests
    assert done.exit_code == 2
    assert said in done.output


def test_a_broken_prompts_file_is_told(tmp_path):
    path = tmp_path / "prompts.jsonl"
    with ScriptedServer({"a": ["x"]}) as server:
        for content, said in (
            ("", "no prompt"),
            ('{"instruction": " "}', "empty"),
            ('{"instruction": "x", "check": {"kind": "vibes"}}', "not a check"),
            ('{"instruction": "x"', "line 1"),
            ('{"instruction": null}', "line 1: the instruction is null"),
            ('{"instruction": "half \\ud83d"}', "line 1: half a character"),
            ('{"instruction": "x", "extra": [{"y": "\\udc00"}]}', "line 1: half a character"),
        ):
            path.write_text(content)
            done = mix(path, server, models="a")
            assert (done.exit_code, said in done.output) == (2, True), done.output
        assert not server.requests


@pytest.mark.skipif(os.name == "nt", reason="no SIGKILL")
def test_kill_9_loses_at_most_the_answer_in_flight(prompts):
    replies = ["1", "2", "3", Reply(hang=True), *"45678"]
    with ScriptedServer({"a": replies}) as server:
        command = [sys.executable, "-m", "blender_core.cli", *arguments(prompts, server, models="a")]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as running:
            while len(server.requests) < 4 and running.poll() is None:
                time.sleep(0.02)
            os.kill(running.pid, signal.SIGKILL)
        assert running.returncode == -signal.SIGKILL
        assert not (prompts.parent / "mix.jsonl").exists()
        assert (prompts.parent / "mix.jsonl.journal").read_bytes().count(b"\n") == 1 + 3

        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        counts = asked(server, "a")
    assert counts.pop("What is 3 + 1?") == 2
    assert set(counts.values()) == {1}
    assert len(counts) == 7
    records = list(read_mix(prompts.parent / "mix.jsonl"))
    assert [record.texts for record in records] == [(str(number + 1),) for number in range(8)]
