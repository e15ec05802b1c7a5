"""A blend is written and read again as ``ChatOpenAI`` is."""

from __future__ import annotations

import json

import pytest
from langchain_core.language_models import FakeListChatModel
from langchain_core.load import dumpd, dumps, load, loads
from langchain_core.prompts import ChatPromptTemplate, HumanMessagePromptTemplate, PromptTemplate
from langchain_core.runnables import RunnableBinding, RunnableSequence
from langchain_openai import ChatOpenAI

from blender_core import FusionGuard, GatherPolicy, MemberPrior
from blender_core.testing import FakeRanker, Reply, ScriptedServer
from langchain_blender import BlendedLLM

SECRET = "sk-never-written"
pytestmark = pytest.mark.filterwarnings(
    "ignore:The function `load:langchain_core._api.beta_decorator.LangChainBetaWarning"
)


@pytest.fixture(autouse=True)
def key(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)


def client(name: str, url: str | None = None) -> ChatOpenAI:
    return ChatOpenAI(model=name, base_url=url, api_key=SECRET, max_retries=0)


def read(written, *kinds):
    allowed = {"allowed_objects": [BlendedLLM, ChatOpenAI, *kinds], "valid_namespaces": ["langchain_blender"]}
    return (loads if isinstance(written, str) else load)(written, **allowed, secrets_from_env=True)


SETTINGS = {
    "ranker": "consensus",
    "fuser": None,
    "top_k": 2,
    "timeout": None,
    "deadline": 12.5,
    "max_retries": 0,
    "quorum": 2,
    "fuse_when": "never",
    "temperature": 0.0,
    "stop": ["END"],
    "model": "mine",
    "report": "none",
    "trace_candidates": "none",
}


def test_a_blend_comes_back_with_its_settings_and_without_secrets():
    llm = BlendedLLM(llms=[client("x"), client("y")], **SETTINGS)
    for copy in (read(dumpd(llm)), read(dumps(llm))):
        assert {name: getattr(copy, "model_name" if name == "model" else name) for name in SETTINGS} == SETTINGS
        assert [name for name, _ in copy.members] == ["x", "y"]
        assert dumpd(copy) == dumpd(llm)
    assert SECRET not in dumps(llm)
    # what a database stores
    assert json.loads(json.dumps(dumpd(llm))) == dumpd(llm)


def test_the_copy_answers_through_members_fallbacks_and_the_fuser():
    with ScriptedServer({"x": "one", "y": Reply("down", status=500), "z": "three", "f": "one and three"}) as server:
        x, y, z, f = (client(name, server.base_url) for name in "xyzf")
        llm = BlendedLLM(llms=[x, z], fuser=f, ranker="consensus", fuse_when="always", max_retries=0)
        copy = read(dumpd(llm))
        assert copy.invoke("Hi").text == "one and three"
        nested = BlendedLLM(llms=[copy, y], fuser=None, ranker="longest", max_retries=0)
        assert read(dumpd(nested)).invoke("Hi").text == "one and three"


def test_a_chain_with_a_blend_and_bound_members_comes_back():
    with ScriptedServer({"z": "three"}) as server:
        member = client("z", server.base_url).bind(temperature=0.5)
        chain = ChatPromptTemplate.from_messages([("user", "{q}")]) | BlendedLLM(llms=[member], fuser=None)
        kinds = [ChatPromptTemplate, HumanMessagePromptTemplate, PromptTemplate, RunnableBinding, RunnableSequence]
        assert read(dumpd(chain), *kinds).invoke({"q": "Hi"}).text == "three"
        assert server.requests[-1]["temperature"] == 0.5


@pytest.mark.parametrize(
    "settings",
    [
        {"policy": GatherPolicy()},
        {"guard": FusionGuard(short_answer=1)},
        {"member_prior": MemberPrior()},
        {"ranker": FakeRanker()},
        {"llms": [FakeListChatModel(responses=["Hi"]), str.upper]},
    ],
    ids=lambda settings: next(iter(settings)),
)
def test_what_cannot_be_written_is_refused_when_it_is_read_and_never_lost(settings):
    llm = BlendedLLM(**{"llms": [client("x")], "fuser": None, **settings})
    with pytest.raises(NotImplementedError, match="doesn't implement serialization"):
        read(dumpd(llm))
