"""`doctor` says what is wrong with a blend's file before it costs, and `--config` names the members of commands."""

from __future__ import annotations

import json
from collections import Counter

import pytest
from typer.testing import CliRunner

from blender_core.cli.app import app
from blender_core.testing import Reply, ScriptedServer


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def written(tmp_path, url, *members, **settings):
    path = tmp_path / "blend.json"
    path.write_text(json.dumps({"members": [{"base_url": url, **member} for member in members], **settings}))
    return path


@pytest.fixture
def server():
    able = ["cold", Reply(tool_calls=(("report_number", '{"number": 7}'),)), "Red."]
    script = {
        "able": able,
        "plain": Reply("cold", usage=None),
        "blind": ["cold", Reply("no tools here", status=400), Reply("no images here", status=400)],
        "icy": "cold and icy",
        "refused": Reply("the key is wrong", status=401),
        "empty": Reply(""),
        "hung": Reply(hang=True),
    }
    with ScriptedServer(script) as running:
        yield running


def test_the_doctor_tells_what_each_member_can_do_and_what_is_wrong(tmp_path, server, monkeypatch):
    monkeypatch.delenv("NO_SUCH_KEY", raising=False)
    file = written(
        tmp_path,
        server.base_url,
        {"model": "able", "price": {"input": 1.0, "output": 4.0}, "context_window": 8192},
        {"model": "plain"},
        {"model": "blind"},
        {"model": "refused"},
        {"model": "empty"},
        {"model": "hung"},
        {"model": "gone"},
        {"model": "keyless", "api_key_env": "NO_SUCH_KEY"},
        {"model": "dead", "base_url": "http://127.0.0.1:9/v1"},
        ranker="longest",
        fuser="plain",
    )
    done = run("doctor", file, "--json", "--timeout", "2")
    assert done.exit_code == 1, done.stderr
    said = json.loads(done.stdout)
    rows = {row["member"]: row for row in said["members"]}
    assert said["parts"] == {"ranker": "", "fuser": "", "prior": ""}
    assert said["problems"] == 6
    assert rows["able"]["seconds"] > 0
    # tool and image are asked at the same time, so either reply may come first
    assert {rows["able"]["tools"], rows["able"]["images"]} <= {"yes", "no"}
    assert (rows["able"]["context_window"], rows["able"]["usage_reported"]) == (8192, True)
    assert rows["able"]["price"] == {"input": 1.0, "output": 4.0}
    assert (rows["plain"]["tools"], rows["plain"]["images"], rows["plain"]["usage_reported"]) == ("no", "no", False)
    assert "here" in rows["blind"]["tools"]
    for name, words in (
        ("refused", "the key is wrong"),
        ("empty", "empty text"),
        ("hung", "no answer within 2 s"),
        ("gone", "no model 'gone'"),
        ("gone", "the server lists able, plain, blind, icy, refused, ..."),
        ("keyless", "NO_SUCH_KEY"),
        ("dead", "onnection"),
    ):
        assert words in rows[name]["problem"]
    shown = run("doctor", file, "--timeout", "2", "--quick")
    assert shown.exit_code == 1
    # the one without tools and images has no other reply left
    assert "7 problems" in shown.stdout
    assert "ranker: fine" in shown.stdout


@pytest.mark.parametrize(
    ("settings", "part", "said"),
    [
        ({"ranker": "embeded"}, "ranker", "embeded"),
        ({"fuser": "nobody"}, "fuser", "nobody"),
        ({"prior": "gone.json"}, "prior", "gone.json"),
    ],
)
def test_the_doctor_loads_ranker_fuser_and_prior(tmp_path, server, settings, part, said):
    done = run("doctor", written(tmp_path, server.base_url, {"model": "plain"}, **settings), "--quick", "--json")
    assert done.exit_code == 1
    assert said in json.loads(done.stdout)["parts"][part]


def test_a_file_without_faults_is_exit_0_and_a_wrong_one_exit_2(tmp_path, server):
    file = written(tmp_path, server.base_url, {"model": "plain"}, ranker="longest")
    assert run("doctor", file, "--quick").exit_code == 0
    assert run("doctor", tmp_path / "no.toml").exit_code == 2
    assert run("doctor", file, "--timeout", "nan").exit_code == 2


def test_ask_takes_the_file_and_options_win(tmp_path, server):
    file = written(tmp_path, server.base_url, {"model": "plain"}, {"model": "icy"}, ranker="longest", fuser="none")
    done = run("ask", "Hot?", "--config", file, "--json")
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)["ranking"]["ranker"] == "longest"
    done = run("ask", "Hot?", "--config", file, "--json", "--ranker", "consensus", "--timeout", "7")
    assert json.loads(done.stdout)["ranking"]["ranker"] == "consensus"
    # as the error of a wrong one says
    assert '"none" for no limit' in run("ask", "Hot?", "--config", file, "--timeout", "-1").stderr
    assert run("ask", "Hot?", "--config", file, "--timeout", "none").exit_code == 0
    assert run("ask", "Hot?", "--config", file, "--timeout", "soon").exit_code == 2
    wrong = run("ask", "Hot?", "--config", file, "--endpoint", f"{server.base_url}:able")
    assert wrong.exit_code == 2
    assert "--config names the members" in wrong.stderr
    assert run("ask", "Hot?", "--config", file, "--top-k", "0").exit_code == 2


def test_rate_and_mix_take_the_file(tmp_path, server):
    file = written(tmp_path, server.base_url, {"model": "plain", "name": "p"}, {"model": "able"}, ranker="longest")
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text('{"id": "1", "instruction": "Hot?"}\n')
    mixed = run("mix", prompts, "--config", file, "--out", tmp_path / "mix.jsonl")
    assert mixed.exit_code == 0, mixed.stderr
    row = json.loads((tmp_path / "mix.jsonl").read_text().splitlines()[0])
    assert [candidate["model"] for candidate in row["candidates"]] == ["p", "able"]
    rated = run("rate", prompts, "--config", file, "--out", tmp_path / "prior.json", "--limit", "1")
    assert rated.exit_code == 0, rated.stderr


def test_every_command_takes_reserves_and_the_breaker_of_the_file(tmp_path, server):
    file = written(
        tmp_path,
        server.base_url,
        {"model": "gone"},
        {"model": "plain"},
        reserves=[{"model": "icy", "base_url": server.base_url}],
        breaker={"failures": 1},
        ranker="longest",
        fuser="none",
    )
    found = run("doctor", file, "--quick", "--json")
    rows = {row["member"]: row["reserve"] for row in json.loads(found.stdout)["members"]}
    assert rows == {"gone": False, "plain": False, "icy": True}
    assert "icy (reserve)" in run("doctor", file, "--quick").stdout
    asked = json.loads(run("ask", "Hot?", "--config", file, "--json").stdout)
    assert [(one["model"], one["instead_of"]) for one in asked["candidates"]] == [
        ("gone", None),
        ("plain", None),
        ("icy", "gone"),
    ]
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text('{"id": "1", "instruction": "Hot?"}\n{"id": "2", "instruction": "Warm?"}\n')
    # these two want the answers of all
    assert run("mix", prompts, "--config", file, "--out", tmp_path / "mix.jsonl").exit_code == 0
    row = json.loads((tmp_path / "mix.jsonl").read_text().splitlines()[0])
    assert [candidate["model"] for candidate in row["candidates"]] == ["gone", "plain", "icy"]
    before = len(server.requests)
    rated = CliRunner().invoke(
        app, ["rate", str(prompts), "--config", str(file), "--out", str(tmp_path / "prior.json")], input="a\na\n"
    )
    assert rated.exit_code == 0, rated.stderr
    counts = Counter(request["model"] for request in server.requests[before:])
    # the breaker skips the one that is down at the second prompt
    assert (counts["gone"], counts["plain"], counts["icy"]) == (1, 2, 2)


@pytest.mark.local_models
def test_a_file_of_local_models_answers_on_the_command_line_and_in_python(tmp_path):
    file = tmp_path / "blend.toml"
    file.write_text('fuser = "none"\nmax_tokens = 8\n' + '[[members]]\nlocal = "smollm2-135m"\n' * 2)
    found = run("doctor", file, "--json")
    assert [row["member"] for row in json.loads(found.stdout)["members"]] == ["smollm2-135m", "smollm2-135m#2"]
    done = run("ask", "Name a colour.", "--config", file, "--json")
    assert done.exit_code == 0, done.stderr
    assert [one["model"] for one in json.loads(done.stdout)["candidates"]] == ["smollm2-135m", "smollm2-135m#2"]
    langchain_blender = pytest.importorskip("langchain_blender")
    llm = langchain_blender.BlendedLLM.from_config(file)
    copy = llm.model_copy(update={"fuser": None})
    del llm
    assert copy.invoke("Name a colour.").text
