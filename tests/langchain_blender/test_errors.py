"""A missed quorum is handled as the error of a plain ``ChatOpenAI`` would be."""

from __future__ import annotations

import asyncio
import pickle

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import ModelRetryMiddleware, SummarizationMiddleware
from langchain_core.documents import Document
from langchain_core.exceptions import (
    ContextOverflowError,
    ModelAPIError,
    ModelAuthenticationError,
    ModelConnectionError,
    ModelError,
    ModelInvalidRequestError,
    ModelNotFoundError,
    ModelPermissionDeniedError,
    ModelRateLimitError,
    ModelRefusalError,
    ModelTimeoutError,
)
from langchain_core.runnables import RunnableLambda
from langchain_openai import ChatOpenAI

from blender_core.errors import QuorumError
from blender_core.testing import FakeRanker, Reply, ScriptedServer
from langchain_blender import BlendedLLM
from langchain_blender.rag import BlendedRAG
from langchain_blender.testing import FakeChatModel

DEAD = "http://127.0.0.1:9/v1"
OVERFLOW = "This model's maximum context length is 512 tokens. However, you requested 600 tokens."
BUSY = Reply("slow down", status=429, headers={"Retry-After": "7"})


def client(server: ScriptedServer | str, name: str) -> ChatOpenAI:
    url = server if isinstance(server, str) else server.base_url
    return ChatOpenAI(model=name, base_url=url, api_key="k", max_retries=0)


def blend(members: list, **settings) -> BlendedLLM:
    return BlendedLLM(llms=members, **{"ranker": FakeRanker(), "fuser": None, "max_retries": 0, **settings})


async def _streamed(llm: BlendedLLM) -> None:
    async for _ in llm.astream("Hi"):
        pass


CALLS = {
    "invoke": lambda llm: llm.invoke("Hi"),
    "ainvoke": lambda llm: asyncio.run(llm.ainvoke("Hi")),
    "stream": lambda llm: list(llm.stream("Hi")),
    "astream": lambda llm: asyncio.run(_streamed(llm)),
}


@pytest.mark.parametrize(
    ("reply", "kind", "advice"),
    [
        (Reply("bad key", status=401), ModelAuthenticationError, "Give these members a valid API key."),
        (Reply("not yours", status=403), ModelPermissionDeniedError, "Use a key that may call these models."),
        (Reply("no such model", status=404), ModelNotFoundError, "Mend the model's name or the server's URL."),
        (Reply("what?", status=400), ModelInvalidRequestError, "Mend these members, or lower the quorum."),
        (BUSY, ModelRateLimitError, "Wait, raise max_retries"),
        (Reply("down", status=503), ModelAPIError, "Mend these members"),
        (Reply(OVERFLOW, status=400, code="context_length_exceeded"), ContextOverflowError, "Shorten the prompt"),
        (Reply("", refusal="I will not."), ModelRefusalError, "They refused: change the prompt"),
        (Reply("late", latency_s=30), ModelTimeoutError, "Raise the timeout."),
    ],
)
@pytest.mark.parametrize("way", list(CALLS))
def test_failures_of_one_kind_raise_an_error_that_is_of_this_kind_too(reply, kind, advice, way):
    with ScriptedServer({"x": reply, "y": reply}) as server:
        llm = blend([client(server, "x"), client(server, "y")], timeout=0.5 if reply.latency_s else 20)
        with pytest.raises(kind) as caught:
            CALLS[way](llm)
    assert isinstance(caught.value, QuorumError)
    assert advice in str(caught.value)
    assert caught.value.is_retryable is kind.is_retryable
    copy = pickle.loads(pickle.dumps(caught.value))
    assert (type(copy), str(copy)) == (type(caught.value), str(caught.value))


def test_servers_that_cannot_be_reached_are_a_connection_error():
    with pytest.raises(ModelConnectionError):
        blend([client(DEAD, "x"), client(DEAD, "y")]).invoke("Hi")


@pytest.mark.parametrize(
    ("error", "connection"), [(ConnectionResetError("cut"), True), (OSError("cut"), False), (ValueError("no"), False)]
)
def test_an_error_that_is_no_providers_is_known_by_its_name(error, connection):
    with pytest.raises(QuorumError) as caught:
        blend([FakeChatModel(script=[error])], max_retries=0).invoke("Hi")
    assert isinstance(caught.value, ModelConnectionError) is connection


@pytest.mark.parametrize(
    ("one", "other", "quorum", "retryable"),
    [
        (Reply("bad key", status=401), Reply("no such model", status=404), 1, False),
        (Reply("bad key", status=401), BUSY, 1, True),
        (Reply("bad key", status=401), BUSY, 2, False),
    ],
)
def test_failures_of_several_kinds_say_whether_a_further_call_may_succeed(one, other, quorum, retryable):
    with ScriptedServer({"x": one, "y": other}) as server, pytest.raises(ModelError) as caught:
        blend([client(server, "x"), client(server, "y")], quorum=quorum).invoke("Hi")
    assert caught.value.is_retryable is retryable
    assert not isinstance(caught.value, ModelRateLimitError)


def test_a_member_that_cannot_do_the_call_does_not_hide_the_kind():
    with ScriptedServer({"x": BUSY}) as server:
        able, unable = client(server, "x"), FakeChatModel(tools=False)
        with pytest.warns(UserWarning, match="cannot call tools"):
            bound = blend([able, unable]).bind_tools([{"name": "f", "description": "", "parameters": {}}])
        with pytest.raises(ModelRateLimitError):
            bound.invoke("Hi")


@pytest.mark.parametrize(
    ("waits", "quorum", "seconds"), [(("7", "3"), 1, 3.0), (("7", "3"), 2, 7.0), (("7", None), 2, None)]
)
def test_the_error_carries_the_wait_after_which_the_quorum_may_answer(waits, quorum, seconds):
    replies = [Reply("busy", status=429, headers={"Retry-After": wait} if wait else {}) for wait in waits]
    script = dict(zip("xy", replies, strict=True))
    with ScriptedServer(script) as server, pytest.raises(ModelRateLimitError) as caught:
        blend([client(server, "x"), client(server, "y")], quorum=quorum).invoke("Hi")
    assert caught.value.retry_after == seconds


@pytest.mark.parametrize(("reply", "tries"), [(Reply("bad key", status=401), 1), (BUSY, 3)])
def test_middleware_retries_what_it_would_retry_on_a_plain_model(reply, tries):
    retry = ModelRetryMiddleware(max_retries=2, initial_delay=0.0, on_failure="error")
    with ScriptedServer({"x": reply, "y": reply}) as server:
        agent = create_agent(blend([client(server, "x"), client(server, "y")]), [], middleware=[retry])
        with pytest.raises(ModelError):
            agent.invoke({"messages": [("user", "Hi")]})
        assert len(server.requests) == 2 * tries


def test_fallbacks_for_one_kind_of_error_answer():
    with ScriptedServer({"x": BUSY, "y": BUSY, "z": "Here I am"}) as server:
        llm = blend([client(server, "x"), client(server, "y")])
        guarded = llm.with_fallbacks([client(server, "z")], exceptions_to_handle=(ModelRateLimitError,))
        assert guarded.invoke("Hi").text == "Here I am"


def test_a_summary_that_overflows_is_made_of_less():
    long = Reply(OVERFLOW, status=400, code="context_length_exceeded")
    script = {"x": [long, "in short"], "y": [long, "in short"], "z": "answer"}
    with ScriptedServer(script) as server:
        summary = SummarizationMiddleware(
            model=blend([client(server, "x"), client(server, "y")]), trigger=("messages", 3), keep=("messages", 1)
        )
        agent = create_agent(client(server, "z"), [], middleware=[summary])
        turns = [("user", "tell " * 2000), ("assistant", "well " * 2000), ("user", "more " * 2000), ("user", "and?")]
        assert "in short" in agent.invoke({"messages": turns})["messages"][0].text


@pytest.mark.parametrize("way", list(CALLS))
def test_a_blend_of_retrieval_chains_raises_the_kind_too(way):
    page = Document("The port is 8080.")
    with ScriptedServer({"x": BUSY}) as server:
        pair = (RunnableLambda(lambda question: [page]), client(server, "x"))
        rag = BlendedRAG([pair, pair], ranker=FakeRanker(), fuser=None, max_retries=0)
        with pytest.raises(ModelRateLimitError):
            CALLS[way](rag)
