"""How much a message says of the call, and who gets the whole report."""

from __future__ import annotations

import asyncio
import json

import pytest
from langchain.agents import create_agent
from langchain_core.callbacks import AsyncCallbackHandler, BaseCallbackHandler
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.prompts import ChatPromptTemplate
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from pydantic import ValidationError
from rich.console import Console

from blender_core import FunctionMember, Price
from blender_core.rank import CombinedRanker, LLMJudge, PeerRanker
from blender_core.testing import FakeFuser, FakeRanker
from blender_core.view import blend_table
from langchain_blender import BlendedLLM, LangChainMember
from langchain_blender.testing import FakeChatModel


def said(text: str, **metadata) -> AIMessage:
    return AIMessage(
        text, response_metadata=metadata, usage_metadata={"input_tokens": 4, "output_tokens": 2, "total_tokens": 6}
    )


def model(name: str, *script) -> FakeChatModel:
    return FakeChatModel(script=list(script), model_name=name)


def blend(*members, **settings) -> BlendedLLM:
    return BlendedLLM(llms=list(members), **{"ranker": FakeRanker(), "fuser": None, **settings})


def joined(chunks):
    return chunks[0] + chunks[1:]


async def _astreamed(llm, config):
    return joined([chunk async for chunk in llm.astream("Hi", config)])


CALLS = {
    "invoke": lambda llm, config=None: llm.invoke("Hi", config),
    "stream": lambda llm, config=None: joined(list(llm.stream("Hi", config))),
    "ainvoke": lambda llm, config=None: asyncio.run(llm.ainvoke("Hi", config)),
    "astream": lambda llm, config=None: asyncio.run(_astreamed(llm, config)),
}
every_call = pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
TWO = (model("a", "Berlin"), model("b", "Berlin, in short"))


@every_call
@pytest.mark.parametrize(("report", "texts"), [("full", True), ("slim", False), ("none", False)])
def test_a_message_says_as_much_as_is_asked(call, report, texts):
    metadata = call(blend(*TWO, report=report)).response_metadata
    assert ("Berlin" in json.dumps(metadata)) is texts
    assert bool(metadata["blend"]) is (report != "none")
    if report != "none":
        assert metadata["blend"]["winner"] == "b"
        assert [part["rank"] for part in metadata["blend"]["candidates"]] == [2, 1]
    assert metadata["member_usage"].keys() == {"a", "b"}


def test_the_short_report_is_a_part_of_the_whole():
    full, slim = (blend(*TWO, model("c", OSError("down")), report=kind, max_retries=0) for kind in ("full", "slim"))
    whole, part = (llm.invoke("Hi").response_metadata["blend"] for llm in (full, slim))
    for report in (whole, part):
        for candidate in report["candidates"]:
            del candidate["latency_s"]
    for few, all_of_it in zip(part.pop("candidates"), whole["candidates"], strict=True):
        assert few.items() <= all_of_it.items()
    assert all(whole[key] == value for key, value in part.items())


def test_histories_stay_short():
    long = [model(f"m{index}", f"{index} " + "word " * 400) for index in range(4)]
    sizes = []
    for llm in (long[0], blend(*long)):
        agent, config = create_agent(llm, [], checkpointer=InMemorySaver()), {"configurable": {"thread_id": "1"}}
        for _ in range(3):
            agent.invoke({"messages": [("user", "Go on")]}, config)
        kept = agent.get_state(config).values["messages"]
        sizes.append(len(JsonPlusSerializer().dumps_typed(kept)[1]))
    # a second text of each turn would double it
    assert sizes[1] < 1.8 * sizes[0]


class Reports(BaseCallbackHandler):
    def __init__(self) -> None:
        self.got = []

    def on_custom_event(self, name, data, *, run_id, **kwargs) -> None:
        self.got.append((name, data))


class AsyncReports(AsyncCallbackHandler):
    def __init__(self) -> None:
        self.got = []

    async def on_custom_event(self, name, data, *, run_id, **kwargs) -> None:
        self.got.append((name, data))


@every_call
@pytest.mark.parametrize("handler", [Reports, AsyncReports])
@pytest.mark.parametrize("place", ["config", "model"])
def test_callbacks_get_the_whole_report_once(call, handler, place):
    reports = handler()
    if place == "config":
        call(blend(*TWO, report="none"), {"callbacks": [reports]})
    else:
        call(blend(*TWO, report="none", callbacks=[reports]))
    ((name, report),) = reports.got
    assert name == "blend"
    assert [part["text"] for part in report["candidates"]] == ["Berlin", "Berlin, in short"]


async def test_the_event_stream_has_the_whole_report_of_the_blends_run():
    chain = ChatPromptTemplate.from_template("{question}") | blend(*TWO)
    events = [event async for event in chain.astream_events({"question": "Hi"}, version="v2")]
    (told,) = [event for event in events if event["event"] == "on_custom_event"]
    assert told["data"]["text"] == "Berlin, in short"
    assert told["run_id"] in {event["run_id"] for event in events if event["event"] == "on_chat_model_start"}


def test_generate_tells_callbacks_too():
    reports = Reports()
    blend(*TWO).generate([[HumanMessage("Hi")], [HumanMessage("Ho")]], callbacks=[reports])
    assert len(reports.got) == 2


@every_call
def test_a_picked_answer_keeps_what_its_provider_said(call):
    provider = {
        "model_name": "big-2026-05-01",
        "id": "req-77",
        "system_fingerprint": "fp_9",
        "logprobs": {"content": [{"token": "Hi", "logprob": -0.5}]},
    }
    longer = said("Hello, you there", **provider)
    metadata = call(blend(model("a", "Hi"), model("b", longer))).response_metadata
    logprobs = provider.pop("logprobs")
    assert metadata["member_response"] == {**provider, "model_name": "big-2026-05-01"}
    assert metadata["logprobs"] == logprobs
    assert metadata["blend"]["candidates"][1]["served_by"] == "big-2026-05-01"
    assert metadata["model_name"] == "blended-llm"


def test_a_fused_answer_has_no_providers_words():
    fused = blend(model("a", "Hi"), model("b", said("Ho", id="1", logprobs={})), fuser=FakeFuser("fused"))
    metadata = fused.model_copy(update={"fuse_when": "always"}).invoke("Hi").response_metadata
    assert not metadata.keys() & {"member_response", "logprobs"}


def test_a_fallback_inside_a_member_is_named():
    member = model("first", ValueError("down")).with_fallbacks([model("second", "Hi from me")])
    part = blend(member).invoke("Hi").response_metadata["blend"]["candidates"][0]
    assert (part["model"], part["served_by"]) == ("first", "second")


@every_call
@pytest.mark.parametrize("ranker", ["judge", "council", "in a combination"])
def test_the_parts_add_up_to_the_usage_and_the_cost(call, ranker):
    price = Price(1_000_000, 2_000_000)
    members = [LangChainMember(model(name, said(name * 9), said("Better: A")), price=price) for name in "ab"]
    members.append(FunctionMember(lambda text: "cc", price=price))
    fuser = LangChainMember(model("c", said("fused text")), price=price)
    jury = [LangChainMember(model(name, said('{"ranking": ["A"]}')), price=price) for name in "xyz"]
    rankers = {
        "judge": (LLMJudge(jury[0], mode="pairwise", read=lambda _: 0), 6),
        "council": (PeerRanker(jury), 3),
        "in a combination": (CombinedRanker(["longest", LLMJudge(jury[1], mode="listwise")]), 1),
    }
    judge, calls = rankers[ranker]
    message = call(blend(*members, ranker=judge, fuser=fuser, fuse_when="always"))
    metadata = message.response_metadata
    assert metadata["ranker_usage"]["total_tokens"] == 6 * calls
    parts = [*metadata["member_usage"].values(), metadata["fuser_usage"], metadata["ranker_usage"]]
    for key in ("input_tokens", "output_tokens", "total_tokens"):
        assert sum(part[key] for part in parts) == message.usage_metadata[key] > 0
    assert sum(part["total_cost"] for part in parts) == metadata["total_cost"] == (3 + calls) * (4 + 4)
    assert "total_cost" not in message.usage_metadata


def test_the_cost_of_a_blend_in_a_blend_is_counted():
    inner = blend(LangChainMember(model("a", said("Hi")), price=Price(1_000_000, 0)))
    assert blend(inner).invoke("Hi").response_metadata["total_cost"] == 4


def test_an_unknown_usage_and_cost_are_left_out():
    metadata = blend(FunctionMember(str.upper)).invoke("Hi").response_metadata
    assert not metadata.keys() & {"member_usage", "fuser_usage", "ranker_usage", "total_cost"}


def test_a_report_that_does_not_exist_is_refused():
    with pytest.raises(ValidationError, match="'full', 'slim' or 'none'"):
        blend(*TWO, report="short")


def test_the_short_report_can_be_shown_as_a_table():
    console = Console(width=120)
    message = blend(*TWO, model("c", OSError("down")), max_retries=0).invoke("Hi")
    with console.capture() as shown:
        console.print(blend_table(message.response_metadata["blend"]))
    assert "down" in shown.get()
