"""Members by name: Python objects of any framework, endpoints, local models."""

from __future__ import annotations

import pytest

from blender_core.config import BlendConfig
from blender_core.errors import ConfigurationError
from blender_core.testing.scripted_server import ScriptedServer
from blender_core.types.prompt import Prompt
from blender_lab.mix.ensemble import (
    load_llms,
    named,
    open_planned,
    plan_config,
    plan_objects,
)

MODULE = """
from llama_index.core.llms import MockLLM
from langchain_core.language_models import FakeListChatModel

def shout(text):
    return text.upper()

MIXED = [shout, FakeListChatModel(responses=["from langchain"]), MockLLM(max_tokens=2)]
EMPTY = []
NUMBER = 3

def make_pair():
    return [shout, shout]
"""


@pytest.fixture(autouse=True)
def _module(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", ["", *__import__("sys").path])
    monkeypatch.delitem(__import__("sys").modules, "my_llms", raising=False)
    (tmp_path / "my_llms.py").write_text(MODULE)


def test_objects_of_three_frameworks_answer():
    pytest.importorskip("langchain_core")
    pytest.importorskip("llama_index.core")
    plans = named(plan_objects("my_llms:MIXED"))
    with open_planned(plans) as members:
        texts = [member.generate(Prompt.of("hi there you")).text for _, member in members]
    assert texts[:2] == ["HI THERE YOU", "from langchain"]
    assert texts[2]
    assert len({name for name, _ in members}) == 3


def test_a_maker_is_called_and_equal_names_are_told_apart():
    assert [plan.name for plan in named(plan_objects("my_llms:make_pair"))] == ["shout", "shout#2"]


@pytest.mark.parametrize("path", ["my_llms", "my_llms:", "my_llms:NOTHING", "no_such_module:x", "my_llms:EMPTY"])
def test_what_cannot_be_loaded_is_told(path):
    with pytest.raises(ConfigurationError):
        load_llms(path)


def test_what_is_no_llm_is_told():
    with pytest.raises(ConfigurationError, match="not an LLM"):
        plan_objects("my_llms:NUMBER")


def planned(*members, **settings):
    return named(plan_config(BlendConfig.parse({"members": list(members), **settings})))


def test_an_endpoint_is_a_member():
    with ScriptedServer({"m": ["hello"]}) as server:
        plans = planned({"model": "m", "base_url": server.base_url}, max_tokens=5, temperature=0.0)
        with open_planned(plans) as members:
            assert members[0][1].generate(Prompt.of("hi")).text == "hello"
        (request,) = server.requests
    assert (request["max_tokens"], request["temperature"]) == (5, 0.0)


def test_local_models_run_alone_and_are_numbered():
    plans = planned(
        {"local": "smollm2-135m"}, {"model": "m", "base_url": "http://127.0.0.1:1"}, {"local": "smollm2-135m"}
    )
    assert [(plan.name, plan.alone) for plan in plans] == [
        ("smollm2-135m", True),
        ("m", False),
        ("smollm2-135m#2", True),
    ]


def test_names_with_commas_and_no_members_are_refused():
    with pytest.raises(ConfigurationError, match="comma"):
        planned({"model": "a,b", "base_url": "http://127.0.0.1:1/v1"})
    with pytest.raises(ConfigurationError, match="no members"):
        named([])
