"""`blended-llm batch --local` as a user meets it, and what is left of it after a kill."""

from __future__ import annotations

import gzip
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter

import pytest
import typer
from typer.testing import CliRunner

from blender_core.testing.scripted_server import Reply, ScriptedServer
from blender_lab.batch.journal import JobFolder
from blender_lab.cli.batch import batch

APP = typer.Typer()
APP.command()(batch)
COMMAND = [sys.executable, "-c", "import typer; from blender_lab.cli.batch import batch; typer.run(batch)"]
QUESTIONS = [f"What is {n}?" for n in range(1, 9)]


def run(rows, out, *more):
    return CliRunner().invoke(APP, [str(rows), "--out", str(out), "--local", "--progress", "none", *map(str, more)])


def members(server, *models):
    named = [part for model in models or ("a", "b") for part in ("--endpoint", f"{server.base_url}:{model}")]
    return [*named, "--ranker", "longest", "--fuser", "none"]


def write(path, rows):
    path.write_text("".join(row if isinstance(row, str) else json.dumps(row) + "\n" for row in rows))
    return path


def read(path):
    with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as file:
        return [json.loads(line) for line in file]


def failures(out):
    return read(out.with_name(f"{out.name}.failed.jsonl"))


def asked(server):
    return Counter(request["messages"][-1]["content"] for request in server.requests)


@pytest.fixture
def out(tmp_path):
    (tmp_path / "target").mkdir()
    return tmp_path / "target" / "out.jsonl"


@pytest.fixture
def rows(tmp_path):
    return write(tmp_path / "in.jsonl", [{"id": f"p{n}", "instruction": text} for n, text in enumerate(QUESTIONS)])


def candidates(count):
    answers = [[{"model": "x", "text": "a"}, {"model": "y", "text": "b" * n}] for n in range(2, count + 2)]
    return [{"id": f"c{n}", "instruction": f"Say {n}", "candidates": both} for n, both in enumerate(answers, 2)]


def test_a_blend_has_each_row_once_and_a_second_run_asks_nothing(rows, out):
    with ScriptedServer({"a": "yes", "b": [Reply("no", status=400), "no, never"]}) as server:
        done = run(rows, out, *members(server), "--concurrency", 1, "--json")
        assert done.exit_code == 0, done.output
        before, count = out.read_bytes(), len(server.requests)
        assert run(rows, out, *members(server)).exit_code == 0
        assert len(server.requests) == count == 16
    assert out.read_bytes() == before
    held = read(out)
    assert [row["id"] for row in held] == [f"p{n}" for n in range(8)]
    assert [row["winner"] for row in held] == ["a", *"b" * 7]
    assert held[0]["report"]["candidates"][1]["status"] == "error"
    told = json.loads(done.stdout)
    assert told["wins"] == {"b": 7, "a": 1}
    assert told["tokens"] == 15 * 10


def test_failed_rows_have_their_reason_and_are_asked_again_on_demand(rows, out):
    script = {"a": [Reply("no", status=400), "yes"], "b": [Reply("no", status=400), "yes"]}
    with ScriptedServer(script) as server:
        assert run(rows, out, *members(server), "--concurrency", 1).exit_code == 1
        assert [row["id"] for row in read(out)] == [f"p{n}" for n in range(1, 8)]
        (failed,) = failures(out)
        assert (failed["id"], failed["row"]) == ("p0", 1)
        assert "0 of 2 members answered" in failed["reason"]
        done = run(rows, out, *members(server))
        assert done.exit_code == 1
        assert "1 row failed, the first: 0 of 2 members answered" in done.output
        assert "--retry-failed" in done.output
        assert len(server.requests) == 16
        assert run(rows, out, *members(server), "--retry-failed").exit_code == 0
        assert asked(server) == Counter({QUESTIONS[0]: 4, **dict.fromkeys(QUESTIONS[1:], 2)})
    assert [row["id"] for row in read(out)] == [f"p{n}" for n in range(8)]
    assert not out.with_name("out.jsonl.failed.jsonl").exists()


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"no row", "not JSON"),
        (b'{"instruction": "cut', "not JSON"),
        (b'{"instruction": "\xff"}', "not UTF-8"),
        (b'{"input": "text"}', 'no text "instruction"'),
        (b'{"instruction": " ", "candidates": ["a"]}', "prompt is empty"),
        (b'{"instruction": 3}', 'no text "instruction"'),
        (b'["instruction"]', 'no text "instruction"'),
        (b'{"instruction": "x", "candidates": []}', "no list"),
        (b'{"instruction": "x", "candidates": [""]}', "blank"),
        (b"[" * 100_000, "not JSON"),
        (b'{"instruction": ' + b"9" * 5000 + b"}", "not JSON"),
    ],
)
def test_a_bad_line_ends_no_job(tmp_path, out, line, reason):
    good = [json.dumps(row).encode() for row in candidates(2)]
    path = tmp_path / "in.jsonl"
    path.write_bytes(b"\n".join([good[0], b"", line, good[1]]) + b"\n")
    done = run(path, out, "--rank-only", "--ranker", "longest")
    assert done.exit_code == 1, done.output
    assert [row["id"] for row in read(out)] == ["c2", "c3"]
    (failed,) = failures(out)
    assert failed["row"] == 3
    assert reason in failed["reason"]
    # no option that is another command's
    assert "--" not in failed["reason"]


def test_half_a_character_is_replaced(tmp_path, out):
    path = tmp_path / "in.jsonl"
    path.write_text('{"id": "a\\ud83d", "instruction": "Say\\ud83d", "candidates": ["b\\ud83d"]}\n')
    assert run(path, out, "--rank-only", "--ranker", "longest").exit_code == 0
    assert read(out)[0]["text"] == "b?"


@pytest.mark.parametrize("source", ["jsonl", "jsonl.gz", "parquet", "folder"])
@pytest.mark.parametrize("target", ["jsonl", "jsonl.gz", "parquet"])
def test_each_form_in_and_out(tmp_path, out, source, target):
    rows = candidates(30)
    path, out = tmp_path / f"in.{source}", out.with_name(f"out.{target}")
    if "parquet" in (source, target):
        parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
        arrow = pytest.importorskip("pyarrow")
    if source == "parquet":
        parquet.write_table(arrow.Table.from_pylist(rows), path, row_group_size=7)
    elif source == "folder":
        path.mkdir()
        write(path / "1.jsonl", rows[:9])
        write(path / "2.jsonl", ["\n", *rows[9:]])
    else:
        text = "\ufeff" + "\n".join(map(json.dumps, rows))
        path.write_bytes(gzip.compress(text.encode()) if source == "jsonl.gz" else text.encode())
    assert run(path, out, "--rank-only", "--ranker", "longest").exit_code == 0
    held = parquet.read_table(out).to_pylist() if target == "parquet" else read(out)
    assert [(row["id"], row["text"], row["winner"]) for row in held] == [
        (row["id"], row["candidates"][1]["text"], "y") for row in rows
    ]
    report = json.loads(held[3]["report"]) if target == "parquet" else held[3]["report"]
    assert (report["order"], report["scores"]) == ([1, 0], [1.0, 5.0])


@pytest.mark.parametrize("target", ["jsonl", "parquet"])
def test_what_is_gathered_can_be_ranked_later(rows, out, target):
    if target == "parquet":
        pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    gathered = out.with_name(f"gathered.{target}")
    with ScriptedServer({"a": "yes", "b": "no, never"}) as server:
        asks = [part for model in "ab" for part in ("--endpoint", f"{server.base_url}:{model}")]
        assert run(rows, gathered, *asks, "--gather-only").exit_code == 0
        assert len(server.requests) == 16
    assert run(gathered, out, "--rank-only", "--ranker", "longest").exit_code == 0
    assert [(row["id"], row["winner"]) for row in read(out)] == [(f"p{n}", "b") for n in range(8)]


@pytest.mark.skipif(os.name == "nt", reason="no SIGKILL")
def test_kill_9_loses_only_the_rows_in_flight(rows, out):
    replies = [*"123", Reply(hang=True), Reply(hang=True), *"45678"]
    with ScriptedServer({"a": replies}) as server:
        more = [*members(server, "a"), "--concurrency", "2", "--local", "--progress", "none"]
        command = [*COMMAND, str(rows), "--out", str(out), *more]
        with subprocess.Popen(command, stderr=subprocess.DEVNULL) as running:
            while len(server.requests) < 5 and running.poll() is None:
                time.sleep(0.02)
            running.kill()
        assert not out.exists()
        (journal,) = out.with_name("out.jsonl.journal").glob("0*.jsonl")
        whole = journal.read_bytes()
        assert whole.count(b"\n") == 3
        # a line that was cut is not counted, one that is damaged is left out
        journal.write_bytes(b"\0" * 20 + b"\n" + whole + whole[:50])
        assert run(rows, out, *members(server, "a")).exit_code == 0
        counts = asked(server)
    assert sorted(counts.values()) == [1, 1, 1, 1, 1, 1, 2, 2]
    assert [row["id"] for row in read(out)] == [f"p{n}" for n in range(8)]


@pytest.mark.skipif(os.name == "nt", reason="no SIGTERM")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_lets_rows_in_flight_end(rows, out, number):
    with ScriptedServer({"a": Reply("yes", latency_s=0.5)}) as server:
        more = [*members(server, "a"), "--concurrency", "2", "--local", "--progress", "none"]
        command = [*COMMAND, str(rows), "--out", str(out), *more]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as running:
            while not server.requests and running.poll() is None:
                time.sleep(0.02)
            running.send_signal(number)
            told = running.communicate()[1]
        assert running.returncode == 130, told
        assert "the same command goes on" in told
        assert not out.exists()
        assert run(rows, out, *members(server, "a")).exit_code == 0
        assert asked(server) == Counter(QUESTIONS)
    assert len(read(out)) == 8


@pytest.mark.parametrize("option", ["--max-tokens-total", "--max-cost"])
def test_the_budget_of_a_job_stops_it_and_a_higher_one_goes_on(rows, tmp_path, out, option):
    with ScriptedServer({"a": Reply("yes", usage=(60, 40))}) as server:
        member = {"model": "a", "base_url": server.base_url, "price": {"input": 1.0, "output": 1.0}}
        described = {"ranker": "longest", "fuser": "none", "members": [member]}
        config = write(tmp_path / "blend.json", [described])
        unit = 100 if option == "--max-tokens-total" else 0.0001
        done = run(rows, out, "--config", config, option, 3.5 * unit if unit < 1 else 350)
        assert done.exit_code == 1, done.output
        assert "a higher limit goes on" in done.output
        assert len(server.requests) == len(read(out)) == 3
        # the first run counts, too
        assert run(rows, out, "--config", config, option, 5 * unit).exit_code == 1
        assert len(server.requests) == 5
        assert run(rows, out, "--config", config, option, 8 * unit).exit_code == 0
        assert asked(server) == Counter(QUESTIONS)
    assert [row["id"] for row in read(out)] == [f"p{n}" for n in range(8)]


def described(path, server, *models, **settings):
    members = [model if isinstance(model, dict) else {"model": model} for model in models]
    held = {"members": [{"base_url": server.base_url, **member} for member in members], **settings}
    return write(path, [{"ranker": "longest", "fuser": "none", **held}])


@pytest.mark.parametrize("mode", [[], ["--gather-only"]])
def test_a_reserve_takes_the_place_of_a_member_that_is_down(rows, tmp_path, out, mode):
    with ScriptedServer({"a": Reply("no", status=404), "b": "yes", "c": "no, never"}) as server:
        alone = described(tmp_path / "alone.json", server, "a")
        assert run(rows, out, *mode, "--config", alone, "--limit", 2).exit_code == 1
        assert len(failures(out)) == 2
        reserve = {"model": "c", "base_url": server.base_url}
        config = described(tmp_path / "blend.json", server, "a", reserves=[reserve], breaker={"failures": 2})
        # what takes the place of a failed member may be added to a job, as a longer timeout may
        more = ["--config", config, "--retry-failed", "--concurrency", 1]
        assert run(rows, out, *mode, *more).exit_code == 0
        counts = Counter(request["model"] for request in server.requests)
    assert len(read(out)) == 8
    # two before, and two until the breaker opened
    assert (counts["a"], counts["c"]) == (4, 8)


def test_rows_may_be_added_and_failed_ones_mended_but_no_answered_one_changes(tmp_path, out):
    rows = candidates(3)
    path = write(tmp_path / "in.jsonl", [rows[0], "no row\n"])
    rank = ("--rank-only", "--ranker", "longest")
    assert run(path, out, *rank).exit_code == 1
    assert run(write(path, rows), out, *rank).exit_code == 0
    assert [row["id"] for row in read(out)] == ["c2", "c3", "c4"]
    done = run(write(path, rows[1:]), out, *rank)
    assert done.exit_code == 2
    assert "2 rows were changed after they were answered" in done.output
    assert len(read(out)) == 3


def test_other_settings_need_another_file(tmp_path, out):
    path = write(tmp_path / "in.jsonl", candidates(2))
    assert run(path, out, "--rank-only", "--ranker", "longest").exit_code == 0
    done = run(path, out, "--rank-only", "--ranker", "consensus")
    assert done.exit_code == 2
    assert "ranker 'longest', now 'consensus'" in done.output


def test_a_job_without_an_answer_binds_nobody_to_its_settings(tmp_path, out):
    path = tmp_path / "in.jsonl"
    assert "there is no file" in run(path, out, "--rank-only", "--ranker", "longest").output
    write(path, candidates(2))
    assert run(path, out, "--rank-only", "--ranker", "consensus").exit_code == 0


def test_what_ranking_does_not_use_may_change(tmp_path, out):
    path = write(tmp_path / "in.jsonl", candidates(2))
    member = {"model": "x", "base_url": "http://127.0.0.1:9/v1"}
    held = {"ranker": "longest", "members": [member]}
    rank = ("--rank-only", "--config", tmp_path / "blend.json")
    write(tmp_path / "blend.json", [held])
    assert run(path, out, *rank).exit_code == 0
    write(tmp_path / "blend.json", [{**held, "fuser": "none", "max_tokens": 5, "members": [member, member]}])
    assert run(path, out, *rank).exit_code == 0
    strong = [{**member, "model": name, "strength": share} for name, share in (("x", 0.9), ("y", 0.1))]
    write(tmp_path / "blend.json", [{**held, "members": strong}])
    done = run(path, out, *rank)
    assert done.exit_code == 2
    assert "strengths None, now" in done.output


@pytest.mark.skipif(os.name == "nt", reason="no limit of a file's size")
def test_a_full_disk_stops_the_job_and_loses_nothing(tmp_path, out):
    import resource

    count = 1500
    path = write(tmp_path / "in.jsonl", candidates(count))
    # a file may grow to this size, and then writing fails as on a full disk
    limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))  # noqa: E731
    command = [*COMMAND, str(path), "--out", str(out), "--local", "--rank-only", "--ranker", "longest"]
    stopped = subprocess.run(
        [*command, "--progress", "none"], capture_output=True, text=True, check=False, preexec_fn=limit
    )
    assert stopped.returncode == 1
    assert "the job stopped: " in stopped.stderr
    assert "the same command goes on" in stopped.stderr
    assert not out.exists()
    assert run(path, out, "--rank-only", "--ranker", "longest").exit_code == 0
    assert [row["id"] for row in read(out)] == [f"c{n}" for n in range(2, count + 2)]
    journals = sorted(out.with_name("out.jsonl.journal").glob("0*.jsonl"))
    numbers = Counter(json.loads(line)["n"] for one in journals for line in one.read_bytes().split(b"\n")[:-1])
    assert len(journals) == 2
    assert numbers == Counter(range(1, count + 1))


def test_a_journal_that_cannot_be_written_is_told(tmp_path, out):
    path = write(tmp_path / "in.jsonl", candidates(1))
    out.with_name("out.jsonl.journal").write_text("a file")
    done = run(path, out, "--rank-only", "--ranker", "longest")
    assert done.exit_code == 2
    assert "cannot write" in done.output


def test_standard_input_and_an_empty_folder_are_refused_with_a_remedy(tmp_path, out):
    (tmp_path / "empty").mkdir()
    for path, said in (("-", "write the rows into a file"), (tmp_path / "empty", "holds no file of rows")):
        done = run(path, out, "--rank-only", "--ranker", "longest")
        assert done.exit_code == 2
        assert said in done.output


def test_ids_come_back_as_they_were_and_may_be_equal(tmp_path, out):
    ids = [7, 0, "é-Ж-😀", 7, 1.5, None, ""]
    held = [{"id": one, "instruction": f"Say {n}", "candidates": ["a"]} for n, one in enumerate(ids)]
    path = write(tmp_path / "in.jsonl", held)
    assert run(path, out, "--rank-only", "--ranker", "longest").exit_code == 0
    # without an id it is the number of the row
    assert [row["id"] for row in read(out)] == [7, 0, "é-Ж-😀", 7, 1.5, "6", "7"]


@pytest.mark.parametrize("limit", [["--timeout", "0.5"], ["--deadline", "0.5"]])
def test_a_member_that_never_answers_fails_its_row_only(tmp_path, out, limit):
    path = write(tmp_path / "in.jsonl", [{"id": n, "instruction": f"Say {n}"} for n in range(2)])
    with ScriptedServer({"a": [Reply(hang=True), "yes"]}) as server:
        done = run(path, out, *members(server, "a"), "--gather-only", "--concurrency", 1, *limit)
    assert done.exit_code == 1, done.output
    assert [row["id"] for row in read(out)] == [1]
    assert "timeout" in failures(out)[0]["reason"]


def test_two_jobs_on_one_output_are_refused(tmp_path, out):
    pytest.importorskip("fcntl")
    path = write(tmp_path / "in.jsonl", candidates(2))
    with JobFolder(out, {}):
        done = run(path, out, "--rank-only", "--ranker", "longest")
    assert done.exit_code == 2
    assert "another job writes it" in done.output


def test_a_job_that_only_fails_gives_up(rows, out):
    with ScriptedServer({"a": Reply("wrong key", status=401, latency_s=0.3)}) as server:
        done = run(rows, out, *members(server, "a"), "--give-up-after", 3, "--concurrency", 1)
        assert done.exit_code == 1
        assert len(server.requests) <= 5
    assert "rows failed one after the other" in done.output


def test_the_first_rows_alone_and_then_all(tmp_path, out):
    path = write(tmp_path / "in.jsonl", candidates(5))
    assert run(path, out, "--rank-only", "--ranker", "longest", "--limit", 2).exit_code == 0
    assert len(read(out)) == 2
    assert run(path, out, "--rank-only", "--ranker", "longest").exit_code == 0
    assert len(read(out)) == 5


def test_progress_as_json(rows, out):
    with ScriptedServer({"a": "yes"}) as server:
        done = run(rows, out, *members(server, "a"), "--progress", "json")
    told = [json.loads(line) for line in done.stderr.splitlines() if line.startswith("{")]
    assert told[-1].items() >= {"rows": 8, "of": 8, "failed": 0, "tokens": 80}.items()


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--rank-only", "--gather-only"], "exclude each other"),
        (["--rank-only", "--model", "gemma-3-270m"], "asks nobody"),
        (["--rank-only", "--max-cost", "1"], "makes none"),
        (["--rank-only", "--ranker", "judge:a"], "asks the members of a blend, and --rank-only asks nobody"),
        (["--rank-only", "--ranker", "nobody"], "no ranker is called"),
        (["--workers", "2"], "are Ray's"),
        (["--concurrency", "-1"], "at least 1"),
        (["--concurrency", "0"], "at least 1"),
        (["--endpoint", "http://127.0.0.1:9/v1:a", "--max-cost", "1"], "no price for a;"),
        (["--endpoint", "http://127.0.0.1:9/v1:a", "--model", "smollm2-135m", "--max-cost", "1"], "no price for a;"),
        (["--endpoint", "http://127.0.0.1:9/v1:a", "--max-cost", "nan"], "above 0"),
        (["--progress", "loud"], "use auto, json or none"),
    ],
)
def test_what_cannot_work_is_told_before_anything_begins(rows, out, more, said):
    done = run(rows, out, *more)
    assert done.exit_code == 2
    assert said in " ".join(done.output.split())
    assert not out.exists()


def test_without_ray_the_extra_and_the_way_without_it_are_named(rows, out, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    done = CliRunner().invoke(APP, [str(rows), "--out", str(out), "--rank-only"])
    assert done.exit_code == 1
    assert 'pip install "blended-llm[ray]"' in done.output
    assert "--local" in done.output
