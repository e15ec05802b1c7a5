"""Scripts of the test doubles: one step, or several in order."""

from __future__ import annotations

import json
import urllib.request

import pytest

from blender_core.errors import ConfigurationError
from blender_core.testing import FakeMember, Reply, ScriptedServer


def ask(server, model):
    body = json.dumps({"model": model, "messages": []}).encode()
    with urllib.request.urlopen(server.base_url + "/chat/completions", body) as answer:
        return json.load(answer)["choices"][0]["message"]["content"]


@pytest.mark.parametrize(
    ("script", "answers"),
    [
        ("text", ["text", "text"]),
        ("", [None, None]),
        (Reply("one"), ["one", "one"]),
        (["a", Reply("b")], ["a", "b", "b"]),
        (("first", "last"), ["first", "last", "last"]),
    ],
)
def test_a_server_answers_a_text_whole_and_a_list_in_order(script, answers):
    with ScriptedServer({"m": script}) as server:
        assert [ask(server, "m") for _ in answers] == answers


@pytest.mark.parametrize("script", [[], ()])
def test_a_server_without_a_reply_is_refused(script):
    with pytest.raises(ConfigurationError, match="the script of 'm' is empty"):
        ScriptedServer({"a": "x", "m": script})


@pytest.mark.parametrize("step", [["a", "b"], ("a",), None, 3, b"a"])
def test_a_members_steps_are_arguments_of_their_own(step):
    with pytest.raises(ConfigurationError, match="as arguments of their own"):
        FakeMember("m", "ok", step)
