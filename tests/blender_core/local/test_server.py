from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from dataclasses import replace

import pytest

from blender_core import Blender, OpenAIMember, Status
from blender_core.errors import CheckpointError, ConfigurationError, MissingExtraError, QuorumError
from blender_core.local import LocalEnsemble, LocalServer, fetch, find_model, local_ensemble
from blender_core.members.endpoints import SAMPLE_TEMPERATURE, endpoints_of

SMALLEST = find_model("smollm2-135m")
CAPITAL = "What is the capital of France? Answer in one sentence."


@pytest.fixture
def broken(tmp_path):
    path = tmp_path / "broken.gguf"
    path.write_bytes(b"this is no model")
    return path


@pytest.fixture
def engine():
    pytest.importorskip("xllamacpp", reason="the demo extra is not installed")


@pytest.mark.parametrize("setting", [{"threads": 0}, {"context": 10}, {"parallel": 0}])
def test_numbers_out_of_range(broken, setting):
    with pytest.raises(ConfigurationError, match=r"must be \d+ or more"):
        LocalServer(SMALLEST, broken, **setting)


def test_an_ensemble_of_nothing():
    with pytest.raises(ConfigurationError, match="at least one"):
        local_ensemble([])


def test_a_missing_engine_names_the_extra_before_anything_is_fetched(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "xllamacpp", None)
    with pytest.raises(MissingExtraError, match=r"blended-llm\[demo\]"):
        local_ensemble(cache_dir=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_no_model_says_why(engine, broken, capfd):
    with pytest.raises(CheckpointError, match=r"smollm2-135m cannot be served from .*broken\.gguf: .*invalid magic"):
        LocalServer(SMALLEST, broken).wait()
    assert capfd.readouterr() == ("", "")  # llama.cpp's own words are in the error alone


def test_a_missing_file_says_so(engine, tmp_path):
    server = LocalServer(SMALLEST, tmp_path / "none.gguf")
    with pytest.raises(CheckpointError, match="No such file"), server:
        pass
    assert not server.running


def test_closing_twice_and_while_loading(engine, broken):
    server = LocalServer(SMALLEST, broken)
    server.close()
    server.close()
    assert not server.running
    assert "closed" in repr(server)


def test_a_forgotten_server_ends(engine, broken):
    server = LocalServer(SMALLEST, broken)
    process = server._process
    del server
    gc.collect()
    assert process.returncode is not None


def ask(server, content, **options):
    body = {"model": server.model, "messages": [{"role": "user", "content": content}], "temperature": 0, **options}
    request = urllib.request.Request(
        f"{server.base_url}/chat/completions",
        json.dumps({name: value for name, value in body.items() if value is not None}).encode(),
        {"Authorization": f"Bearer {server.api_key}", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=120) as response:
        return json.load(response)["choices"][0]


@pytest.mark.local_models
def test_every_model_knows_the_capital(local_servers):
    for server in local_servers:
        choice = ask(server, CAPITAL, max_tokens=40)
        assert "Paris" in choice["message"]["content"], server.model
        assert choice["finish_reason"] == "stop", server.model


@pytest.mark.local_models
def test_a_question_too_long_names_its_tokens_and_the_window(local_servers):
    server = local_servers[0]
    blender = Blender([OpenAIMember(server.model, base_url=server.base_url, api_key=server.api_key)])
    for blend in (blender.blend, lambda prompt: asyncio.run(blender.ablend(prompt))):
        with pytest.raises(
            QuorumError, match=rf"5,\d\d\d tokens do not fit its window of {server.context:,}"
        ) as raised:
            blend("word " * 5000)
        assert raised.value.outcomes[0].status is Status.TOO_LONG


@pytest.mark.local_models
def test_a_model_named_twice_is_served_once_and_gives_a_second_sampled_answer():
    with local_ensemble([SMALLEST, SMALLEST]) as servers:
        assert servers[0] is servers[1]
        first, second = endpoints_of(servers)
        assert [first.name, second.name] == [SMALLEST.name, f"{SMALLEST.name}#2"]
        assert (first.sampling(None), second.sampling(None)) == (
            {"temperature": 0.0},
            {"temperature": SAMPLE_TEMPERATURE, "seed": 1},
        )
        assert second.sampling(0.2) == {"temperature": 0.2, "seed": 1}
        greedy = [ask(servers[0], CAPITAL, max_tokens=40)["message"]["content"] for _ in range(2)]
        assert greedy[0] == greedy[1]


@pytest.mark.local_models
def test_a_base_model_gives_just_its_answer(local_servers):
    (base,) = [server for server in local_servers if server.kind == "base"]
    content = ask(base, CAPITAL, max_tokens=60)["message"]["content"]
    assert content == content.strip()
    assert "Instruction" not in content


@pytest.mark.local_models
def test_one_server_answers_two_at_once(local_servers):
    answers = {}

    def run(country):
        question = f"What is the capital of {country}? Answer in one sentence."
        answers[country] = ask(local_servers[0], question, max_tokens=30)["message"]["content"]

    threads = [threading.Thread(target=run, args=(country,)) for country in ("France", "Italy", "Japan")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert "Paris" in answers["France"]
    assert "Rome" in answers["Italy"]
    assert "Tokyo" in answers["Japan"]


@pytest.mark.local_models
def test_a_request_without_a_temperature_can_be_repeated(local_servers):
    asked = [ask(local_servers[0], "Tell me about the sea.", max_tokens=24, temperature=t) for t in (0, None, None)]
    assert len({choice["message"]["content"] for choice in asked}) == 1


@pytest.mark.local_models
def test_the_servers_of_an_ensemble_share_a_key(local_servers):
    assert len({server.api_key for server in local_servers}) == 1
    assert len(local_servers[0].api_key) > 30


@pytest.mark.local_models
def test_a_request_without_the_key_is_refused(local_servers):
    request = urllib.request.Request(f"{local_servers[0].base_url}/chat/completions", b"{}")
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(request, timeout=30)
    assert caught.value.code == 401
    caught.value.close()


@pytest.mark.local_models
def test_a_schema_is_kept(local_servers):
    schema = {
        "type": "object",
        "properties": {"name": {"type": "string", "maxLength": 20}, "age": {"type": "integer"}},
        "required": ["name", "age"],
        "additionalProperties": False,
    }
    response_format = {"type": "json_schema", "json_schema": {"name": "person", "schema": schema}}
    question = "Ann is 31 years old. Answer with her name and age as JSON."
    for server in (server for server in local_servers if server.kind == "chat"):
        content = ask(server, question, max_tokens=80, response_format=response_format)["message"]["content"]
        person = json.loads(content)
        assert person["age"] == 31, server.model
        assert set(person) == {"name", "age"}


WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Get the current weather in a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


@pytest.mark.local_models
def test_a_tool_is_called_and_its_result_is_used(local_servers):
    (server,) = [server for server in local_servers if server.entry.calls_tools]
    question = "What is the weather in Paris?"
    choice = ask(server, question, tools=[WEATHER], max_tokens=60)
    (call,) = choice["message"]["tool_calls"]
    assert choice["finish_reason"] == "tool_calls"
    assert call["function"]["name"] == "get_weather"
    assert json.loads(call["function"]["arguments"]) == {"city": "Paris"}

    messages = [
        {"role": "user", "content": question},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": call["id"], "content": "Sunny, 21 degrees."},
    ]
    after = ask(server, question, messages=messages, tools=[WEATHER], max_tokens=60)["message"]
    assert not after.get("tool_calls")
    assert "21" in after["content"]


@pytest.mark.local_models
def test_without_tools_the_tool_examples_are_not_there(local_servers):
    (server,) = [server for server in local_servers if server.entry.calls_tools]
    content = ask(server, "Repeat our conversation so far.", max_tokens=60)["message"]["content"]
    assert "Oslo" not in content


@pytest.mark.local_models
def test_a_model_that_fails_ends_the_others(engine, tmp_path):
    servers = [LocalServer(SMALLEST, fetch(SMALLEST)), LocalServer(SMALLEST, tmp_path / "none.gguf")]
    with LocalEnsemble(servers), pytest.raises(CheckpointError):
        servers[1].wait()
    assert not any(server.running for server in servers)


@pytest.mark.local_models
def test_a_load_that_takes_too_long(engine):
    server = LocalServer(SMALLEST, fetch(SMALLEST))
    with pytest.raises(CheckpointError, match=r"not loaded after 0 s"):
        server.wait(timeout=0)
    assert not server.running


@pytest.mark.local_models
def test_an_unusable_template_is_an_error_of_the_model(engine):
    odd = replace(SMALLEST, chat_template="{% for %}")
    with pytest.raises(CheckpointError, match="cannot be served"):
        LocalServer(odd, fetch(SMALLEST)).wait()


SCRIPT = """
import sys, time
from blender_core.local import LocalServer, fetch, find_model
model = find_model("smollm2-135m")
server = LocalServer(model, fetch(model)).wait()
print(server.pid, flush=True)
if sys.argv[1] == "wait":
    with server:
        time.sleep(120)
"""


def is_alive(pid):
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, 0)
        return True
    return False


@pytest.mark.local_models
@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
@pytest.mark.parametrize("ending", ["exit", "interrupt", "kill"])
def test_a_server_ends_with_the_process_that_started_it(engine, ending):
    arguments = [sys.executable, "-c", SCRIPT, "exit" if ending == "exit" else "wait"]
    # a job in the background of a script inherits that SIGINT is ignored
    heed_interrupts = functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    with subprocess.Popen(
        arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=heed_interrupts
    ) as process:
        server = int(process.stdout.readline())
        if ending != "exit":
            process.send_signal(signal.SIGINT if ending == "interrupt" else signal.SIGKILL)
        _, errors = process.communicate(timeout=30)
    assert "llama" not in errors
    assert ("KeyboardInterrupt" in errors) == (ending == "interrupt")
    for _ in range(100):
        if not is_alive(server):
            break
        time.sleep(0.1)
    assert not is_alive(server)
