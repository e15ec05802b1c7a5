"""The command line: outputs, exit codes, errors, Ctrl-C, as a user meets them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from blender_core.cli.app import app
from blender_core.errors import ConfigurationError
from blender_core.members.endpoints import Endpoint
from blender_core.testing.scripted_server import Reply

COMMAND = [sys.executable, "-m", "blender_core.cli"]
QUESTION = "Why is the sky blue?"
RECORD = (
    '{"id": "q1", "instruction": "Capital of France?", "candidates": ["Paris is it.", {"text": "Rome", "model": "m"}]}'
)


pytestmark = pytest.mark.usefixtures("no_key")


def run(*arguments, stdin=None):
    return CliRunner().invoke(app, [str(argument) for argument in arguments], input=stdin)


def ask(server, *arguments, models=("a", "b"), stdin=None, question=QUESTION):
    endpoints = [part for model in models for part in ("--endpoint", f"{server.base_url}:{model}")]
    return run("ask", question, *endpoints, "--ranker", "longest", *arguments, stdin=stdin)


def three(serve):
    return serve(
        a=["Rayleigh scattering makes it blue.", "Air scatters blue light most."],
        b=["Scattering."],
        c=[Reply("down", status=400)],
    )


# -- ask ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("control", ["\u2028", "\u2029", "\x85", "\x9b", "\u202e"])
def test_ask_json_escapes_what_a_terminal_or_a_reader_of_lines_obeys(serve, control):
    text = f"Air scatters{control}blue light most."
    done = ask(serve(a=[text]), "--json", models="a")
    assert control not in done.stdout
    assert json.loads(done.stdout)["candidates"][0]["text"] == text


def test_ask_json_holds_only_json_on_stdout(serve):
    done = ask(three(serve), "--json", "--fuse-when", "always", models="abc")
    assert done.exit_code == 0
    result = json.loads(done.stdout)
    assert {"text", "winner", "degraded", "candidates", "fused", "timings_s", "usage"} <= result.keys()
    assert result["text"] == "Air scatters blue light most."
    assert (result["winner"], result["fused"], result["degraded"]) == ("a", ["a", "b"], False)
    assert [candidate["status"] for candidate in result["candidates"]] == ["ok", "ok", "error"]
    for candidate in result["candidates"]:
        assert {"model", "text", "status", "score", "rank", "latency_s"} <= candidate.keys()


def test_ask_puts_the_answer_alone_on_stdout(serve):
    done = ask(three(serve), "--fuser", "none", models="abc")
    assert done.stdout == "Rayleigh scattering makes it blue.\n"
    for told in ("a: answered", "ranked by longest: a is first", "c: error", "BadRequestError", "no fuser"):
        assert told in done.stderr


def test_question_from_stdin_and_a_system_message(serve):
    server = three(serve)
    ask(server, "--fuser", "none", "--system", "Be brief.", "--max-tokens", "9", question="-", stdin=f"{QUESTION}\n")
    assert server.requests[0]["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": QUESTION},
    ]
    assert server.requests[0]["max_tokens"] == 9


def test_quorum_not_met_is_exit_1_and_one_line(serve):
    done = ask(serve(a=[Reply("bad key", status=401)], b=["ok"]), "--quorum", "2")
    assert done.exit_code == 1
    assert done.stdout == ""
    assert "blended-llm: 1 of 2 members answered, the quorum is 2. a: error (AuthenticationError" in done.stderr
    assert "Traceback" not in done.stderr


TOO_LONG = Reply(
    "This model's maximum context length is 4097 tokens. However, you requested 4203 tokens (3703 in the messages, "
    "500 in the completion).",
    status=400,
    code="context_length_exceeded",
)


def test_a_question_too_long_for_every_member_is_one_line_with_the_remedy(serve):
    done = ask(serve(a=[TOO_LONG], b=[TOO_LONG]))
    assert done.exit_code == 1
    assert "a: too_long (4,203 tokens do not fit its window of 4,097); b: too_long" in done.stderr
    assert done.stderr.splitlines()[-1].endswith(
        "Shorten the prompt or the answer, or add a member with a larger window."
    )


def test_a_fusion_too_long_for_its_fuser_is_told_in_the_same_words(serve):
    done = ask(serve(a=["Blue light is scattered.", TOO_LONG], b=["Scattering."]), "--fuse-when", "always", "--json")
    (reason,) = json.loads(done.stdout)["degraded_reasons"]
    assert "4,203 tokens do not fit its window of 4,097" in reason


def test_a_member_that_hangs_is_left_out(serve):
    done = ask(serve(a=["It is scattered."], b=[Reply(hang=True)]), "--timeout", "1.5", "--json")
    statuses = [candidate["status"] for candidate in json.loads(done.stdout)["candidates"]]
    assert statuses == ["ok", "timeout"]


def test_a_member_can_be_named_as_the_fuser(serve):
    server = serve(a=["Blue light is scattered most of all."], b=["Scattering.", "Air scatters blue light."])
    result = json.loads(ask(server, "--fuser", "b", "--fuse-when", "always", "--json").stdout)
    assert (result["text"], result["fuser"]) == ("Air scatters blue light.", "llm:b")


def test_a_refused_fusion_is_told_and_is_no_fault(serve):
    server = serve(a=["Blue light is scattered.", "I'm sorry, but I can't merge these."], b=["Scattering."])
    done = ask(server, "--fuse-when", "always", "--fail-if-degraded")
    assert done.exit_code == 0
    assert done.stdout.strip() == "Blue light is scattered."
    assert "kept the best answer" in done.stderr
    assert "a refusal" in done.stderr


@pytest.mark.parametrize(("flags", "code"), [((), 0), (("--fail-if-degraded",), 3)])
def test_degraded_is_told_and_may_be_an_error(serve, flags, code):
    server = serve(a=["Blue light is scattered.", Reply(refusal="no")], b=["Scattering."])
    done = ask(server, "--fuse-when", "always", "--json", *flags)
    assert done.exit_code == code
    result = json.loads(done.stdout)
    assert result["degraded"]
    assert result["text"] == "Blue light is scattered."


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--fuser", "soup"], "fuser is 'soup'"),
        (["--fuse-when", "sometimes"], "sometimes"),
        (["--ranker", "nobody"], "no ranker is called 'nobody'"),
        (["--quorum", "3"], "the quorum is 3"),
        (["--timeout", "0"], "timeout is 0"),
        (["--max-tokens", "0"], "max_tokens is 0"),
        (["--top-k", "0"], "top_k is 0"),
        (["--endpoint", "localhost:8080"], "is not URL:MODEL"),
        (["--model", "gpt-99"], "gpt-99"),
    ],
)
def test_settings_that_cannot_work_are_exit_2(serve, arguments, said):
    done = ask(three(serve), *arguments)
    assert done.exit_code == 2
    assert said in done.stderr
    assert done.stderr.count("\n") == 1


def test_empty_question(serve):
    assert ask(three(serve), question="-", stdin=" \n").exit_code == 2


def test_control_characters_of_an_answer_reach_a_pipe_but_not_the_table(serve):
    done = ask(serve(a=["clear\x1b[2J it"], b=["x"]), "--fuser", "none")
    assert done.stdout == "clear\x1b[2J it\n"
    assert "\x1b" not in done.stderr


def test_missing_extra_names_the_pip_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "openai", None)
    done = run("ask", QUESTION, "--endpoint", "http://127.0.0.1:9/v1:m", "--ranker", "longest")
    assert done.exit_code == 1
    assert 'pip install "blended-llm[demo]"' in done.stderr


@pytest.mark.parametrize(
    ("endpoint", "expected"),
    [
        ("http://127.0.0.1:8080/v1:qwen", ("http://127.0.0.1:8080/v1", "qwen")),
        ("http://127.0.0.1:8080:qwen", ("http://127.0.0.1:8080/v1", "qwen")),
        ("http://localhost:11434/v1/:llama3:8b", ("http://localhost:11434/v1", "llama3:8b")),
        ("https://[::1]:8443/api:org/m", ("https://[::1]:8443/api", "org/m")),
    ],
)
def test_endpoint(endpoint, expected):
    found = Endpoint.parse(endpoint)
    assert (found.base_url, found.model) == expected


@pytest.mark.parametrize("endpoint", ["http://127.0.0.1:8080", "http://127.0.0.1:8080/v1", "ftp://h:m", ":m", ""])
def test_endpoint_that_is_none(endpoint):
    with pytest.raises(ConfigurationError, match="URL:MODEL"):
        Endpoint.parse(endpoint)


def test_an_error_nobody_expected_is_one_line_unless_debugging(monkeypatch):
    def explode(name):
        raise RuntimeError("boom")

    monkeypatch.setattr("blender_core.rank.registry.resolve_ranker", explode)
    done = run("rank", "-", stdin=RECORD)
    assert (done.exit_code, done.stderr.count("\n")) == (1, 1)
    assert "unexpected RuntimeError: boom" in done.stderr
    monkeypatch.setenv("BLENDED_LLM_DEBUG", "1")
    assert isinstance(run("rank", "-", stdin=RECORD).exception, RuntimeError)


# -- rank, compare, models ---------------------------------------------------------------------------------


@pytest.mark.parametrize("ranker", ["longest", "consensus", "embedded"])
def test_rank_jsonl(tmp_path, ranker):
    path = tmp_path / "pairs.jsonl"
    path.write_text(f"{RECORD}\n\n{RECORD}\n", encoding="utf-8")
    done = run("rank", path, "--ranker", ranker, "--json")
    first, second = (json.loads(line) for line in done.stdout.splitlines())
    assert (first["line"], second["line"], first["id"]) == (1, 3, "q1")
    assert [candidate["model"] for candidate in first["candidates"]] == ["candidate 0", "m"]
    assert sorted(first["order"]) == [0, 1]
    assert first["scores"] == second["scores"]


def test_rank_from_stdin_as_a_table():
    done = run("rank", "-", "--ranker", "longest", stdin=RECORD)
    assert done.stdout.index("candidate 0") < done.stdout.index("Rome")


def test_rank_candidate_files(tmp_path):
    for name, text in {"short.txt": "no", "long.txt": "a longer answer"}.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    arguments = (tmp_path / "short.txt", tmp_path / "long.txt", "--prompt", "Q?", "--ranker", "longest", "--json")
    record = json.loads(run("rank", *arguments).stdout)
    assert [(c["model"], c["rank"]) for c in record["candidates"]] == [("short.txt", 2), ("long.txt", 1)]


@pytest.mark.parametrize(
    "line",
    [
        "plain text",
        "[1]",
        '{"instruction": "Q"}',
        '{"instruction": "Q", "candidates": []}',
        '{"instruction": 3, "candidates": ["a"]}',
        '{"instruction": "Q", "candidates": ["a", 3]}',
        "",
    ],
)
def test_rank_says_what_is_wrong_with_a_line(line):
    done = run("rank", "-", "--ranker", "longest", "--json", stdin=f"{RECORD}\n{line}\n" if line else "")
    assert done.exit_code == 2
    assert ("line 2" if line else "holds no line") in done.stderr


def test_rank_files_that_are_not_there(tmp_path):
    assert run("rank", tmp_path / "gone.jsonl", "--ranker", "longest").exit_code == 2
    assert run("rank", tmp_path / "gone.txt", "--prompt", "Q", "--ranker", "longest").exit_code == 2
    assert "no --prompt" in run("rank", "a", "b", "--ranker", "longest").stderr


@pytest.mark.parametrize("ranker", ["longest", "embedded"])
def test_compare(tmp_path, ranker):
    a, b = tmp_path / "a", tmp_path / "b"
    a.write_text("Rayleigh scattering of sunlight by air makes the sky blue.", encoding="utf-8")
    b.write_text("no idea", encoding="utf-8")
    done = run("compare", "--prompt", QUESTION, "--a", a, "--b", b, "--ranker", ranker, "--json")
    result = json.loads(done.stdout)
    assert result["better"] == "a"
    assert result["scores"]["a"] > result["scores"]["b"]
    assert 0.5 <= result["confidence"] <= 1
    assert "a is better" in run("compare", "--prompt", QUESTION, "--a", a, "--b", b, "--ranker", ranker).stdout


def test_compare_tie_and_stdin_twice(tmp_path):
    (tmp_path / "a").write_text("same", encoding="utf-8")
    arguments = ("compare", "--prompt", "Q", "--a", "-", "--ranker", "longest")
    assert "a tie" in run(*arguments, "--b", tmp_path / "a", stdin="same").stdout
    assert run(*arguments, "--b", "-", stdin="same").exit_code == 2


def test_models_lists_the_catalogue(monkeypatch, tmp_path):
    monkeypatch.setenv("BLENDED_LLM_CACHE", str(tmp_path))
    listed = json.loads(run("models", "--json").stdout)
    assert listed["cache"] == str(tmp_path)
    assert [model["model"] for model in listed["models"] if model["default"]]
    assert not any(model["cached"] for model in listed["models"])
    assert "Gemma Terms of Use" in run("models").stdout


# -- the process -------------------------------------------------------------------------------------------


def heed_interrupts():
    # a job in the background of a script inherits that SIGINT is ignored
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def process(*arguments, **options):
    if os.name != "nt":
        options["preexec_fn"] = heed_interrupts
    return subprocess.Popen(
        [*COMMAND, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, encoding="utf-8", **options
    )


def test_version_and_help():
    assert run("--version").stdout.startswith("blended-llm ")
    for command in ([], ["ask"], ["rank"], ["compare"], ["models"]):
        shown = run(*command, "--help")
        assert shown.exit_code == 0
        assert "130 interrupted" in " ".join(shown.stdout.split())


@pytest.mark.skipif(os.name == "nt", reason="no SIGINT to send")
def test_ctrl_c_ends_cleanly(serve):
    server = serve(a=[Reply(hang=True)])
    running = process("ask", QUESTION, "--endpoint", f"{server.base_url}:a", "--ranker", "longest")
    while not server.requests:
        assert running.poll() is None
        time.sleep(0.02)
    running.send_signal(signal.SIGINT)
    out, err = running.communicate(timeout=30)
    assert (running.returncode, out, err) == (130, "", "blended-llm: interrupted\n")


def test_a_reader_that_leaves_gets_no_traceback(tmp_path):
    path = tmp_path / "many.jsonl"
    path.write_text(f"{RECORD}\n" * 2000, encoding="utf-8")
    running = process("rank", str(path), "--ranker", "longest", "--json")
    assert running.stdout is not None
    running.stdout.readline()
    running.stdout.close()
    assert running.stderr is not None
    with running.stderr as errors:
        assert "Traceback" not in errors.read()
    running.wait(timeout=30)


def test_a_narrow_locale_is_no_obstacle(serve):
    server = serve(a=["Das Blaue \u2013 \u5929\u7a7a."])
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    running = process(
        "ask", QUESTION, "--endpoint", f"{server.base_url}:a", "--ranker", "longest", "--json", env=environment
    )
    out, _ = running.communicate(timeout=30)
    assert json.loads(out)["text"] == "Das Blaue \u2013 \u5929\u7a7a."


@pytest.mark.local_models
def test_ask_the_local_models():
    done = subprocess.run(
        [*COMMAND, "ask", "Name a primary colour.", "--max-tokens", "24", "--json"],
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=True,
    )
    result = json.loads(done.stdout)
    assert result["text"].strip()
    assert len({c["model"] for c in result["candidates"] if c["status"] == "ok"}) >= 3


def test_a_broken_command_of_another_package_costs_itself_only(tmp_path):
    package = tmp_path / "plugin-1.0.dist-info"
    package.mkdir()
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: plugin\nVersion: 1.0\n")
    (package / "entry_points.txt").write_text(
        "[blended_llm.commands]\nboom = nosuchmodule:x\nnumber = plugin:NUMBER\nask = plugin:hello\n"
        "train = plugin:hello\nhello = plugin:hello\n"
    )
    (tmp_path / "plugin.py").write_text('NUMBER = 5\n\ndef hello():\n    """Greet."""\n    print("hello")\n')
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(Path(__file__).parents[3])])}

    def run(*arguments):
        command = [sys.executable, "-m", "blender_core.cli", *arguments]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    helped = run("--help")
    assert helped.returncode == 0
    for told in (
        "boom = nosuchmodule:x of plugin",
        "number = plugin:NUMBER",
        "ask = plugin:hello",
        "train = plugin:hello",
    ):
        assert told in helped.stderr
    assert "Ask several LLMs" in helped.stdout
    assert "Train on your own data" in helped.stdout
    assert run("hello").stdout == "hello\n"
