"""Test doubles: they follow their scripts, record their calls, and can be copied."""

from __future__ import annotations

import copy
import json
import pickle
import urllib.request

import pytest

from blender_core.testing import FakeMember, Reply, ScriptedServer
from blender_core.types.prompt import Prompt
from langchain_blender.testing import FakeChatModel


@pytest.mark.parametrize("script", ["Hello there", ["Hello there"], Reply("Hello there"), [Reply("Hello there")]])
def test_a_server_takes_one_reply_or_a_list(script):
    with ScriptedServer({"echo": script}) as server:
        answers = []
        for _ in range(2):
            body = json.dumps({"model": "echo", "messages": []}).encode()
            with urllib.request.urlopen(server.base_url + "/chat/completions", body) as response:
                answers.append(json.load(response)["choices"][0]["message"]["content"])
    assert answers == ["Hello there"] * 2


@pytest.mark.parametrize("copied", [lambda double: pickle.loads(pickle.dumps(double)), copy.deepcopy])
@pytest.mark.parametrize(
    ("double", "ask"),
    [
        (FakeMember("a", "one", "two"), lambda double: double.generate(Prompt.of("Hi")).text),
        (FakeChatModel(script=["one", "two"]), lambda double: double.invoke("Hi").text),
    ],
    ids=["member", "LangChain"],
)
def test_a_copy_keeps_the_calls_and_its_place_in_the_script(double, ask, copied):
    double = copy.deepcopy(double)
    assert ask(double) == "one"
    twin = copied(double)
    assert ask(twin) == "two"
    calls = [len(each.prompts if isinstance(each, FakeMember) else each.calls) for each in (double, twin)]
    assert calls == [1, 2]
