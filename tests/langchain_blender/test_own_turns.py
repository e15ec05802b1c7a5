"""A picked message keeps what its member needs back: in the next call it gets that, and others a neutral form."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
from langchain.agents import create_agent
from langchain_core.load import dumpd, load
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage, messages_from_dict, messages_to_dict
from langchain_core.messages.tool import tool_call
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from langgraph.checkpoint.memory import InMemorySaver

from blender_core.testing import FakeFuser, FakeMember, FakeRanker
from langchain_blender import BlendedLLM
from langchain_blender.testing import FakeChatModel

CALL = {"name": "weather", "args": {"city": "Oslo"}}
THINKING = {"type": "thinking", "thinking": "It may rain.", "signature": "SECRET"}
SEARCHED = [
    {"type": "server_tool_use", "id": "srv_1", "name": "web_search", "input": {"query": "Oslo"}},
    {"type": "web_search_tool_result", "tool_use_id": "srv_1", "content": [{"encrypted_content": "SECRET"}]},
]
USE = {"type": "tool_use", "id": "id_a", "name": "weather", "input": CALL["args"]}
REASONING = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "SECRET"}
FUNCTION_CALL = {"type": "function_call", "id": "fc_1", "call_id": "id_a", "name": "weather",
                 "arguments": json.dumps(CALL["args"])}  # fmt: skip
TEXT = {"type": "text", "text": "Let me see."}
OPENAI = {"model_provider": "openai", "id": "resp_1"}

TURNS = {
    "signed thoughts": {"content": [THINKING, TEXT, USE], "response_metadata": {"model_provider": "anthropic"}},
    "redacted thoughts": {"content": [{"type": "redacted_thinking", "data": "SECRET"}, USE]},
    "reasoning item": {"content": [REASONING, TEXT, FUNCTION_CALL], "response_metadata": OPENAI, "id": "resp_1"},
    "old reasoning item": {
        "content": [TEXT],
        "additional_kwargs": {"reasoning": REASONING, "__openai_function_call_ids__": {"id_a": "fc_1"}},
        "response_metadata": OPENAI,
        "id": "msg_1",
    },
    "server tool": {"content": [TEXT, *SEARCHED, USE], "response_metadata": {"model_provider": "anthropic"}},
    "signed text": {"content": [{**TEXT, "extras": {"signature": "SECRET"}}]},
    "signed call": {"content": "Let me see.", "additional_kwargs": {"signatures": {"id_a": "SECRET"}}},
    "reasoning content": {"content": "Let me see.", "additional_kwargs": {"reasoning_content": "SECRET"}},
}


@tool
def weather(city: str) -> str:
    """Tell the weather."""
    return f"{city}: rain"


def turn(kind: str, **changes: Any) -> AIMessage:
    return AIMessage(tool_calls=[tool_call(id="id_a", **CALL)], **TURNS[kind] | changes)


def model(*script: Any, name: str) -> FakeChatModel:
    return FakeChatModel(script=list(script), model_name=name)


def blend(*members: Any, **settings: Any) -> BlendedLLM:
    return BlendedLLM(llms=list(members), **{"ranker": FakeRanker(), "fuser": None, **settings})


def sent(member: FakeChatModel, call: int = 1) -> AIMessage:
    """The first model's turn that a member got in a call."""
    return next(message for message in member.calls[call].messages if isinstance(message, AIMessage))


def comparable(message: AIMessage) -> dict[str, Any]:
    kept = ("content", "additional_kwargs", "tool_calls", "id")
    return {key: getattr(message, key) for key in kept} | {"provider": message.response_metadata.get("model_provider")}


async def run(agent: Any, how: str) -> list[Any]:
    config: Any = {"configurable": {"thread_id": "1"}}
    given = {"messages": [("user", "Weather in Oslo?")]}
    if how == "invoke":
        agent.invoke(given, config)
    elif how == "ainvoke":
        await agent.ainvoke(given, config)
    elif how == "stream":
        list(agent.stream(given, config, stream_mode="messages"))
    else:
        [part async for part in agent.astream(given, config, stream_mode="messages")]
    return agent.get_state(config).values["messages"]


@pytest.mark.parametrize("how", ["invoke", "ainvoke", "stream", "astream"])
@pytest.mark.parametrize("kind", TURNS)
async def test_in_an_agent_each_member_gets_its_own_turn_back(kind, how):
    thinks = model(turn(kind), "It rains.", name="thinks")
    other = model(AIMessage("", tool_calls=[tool_call(id="id_b", **CALL)]), "Rain.", name="other")
    elsewhere = FakeMember("elsewhere", "Hm.")
    messages = await run(create_agent(blend(thinks, other, elsewhere), [weather], checkpointer=InMemorySaver()), how)
    assert messages[-1].text == "It rains."
    assert comparable(sent(thinks)) == comparable(turn(kind))
    neutral = sent(other)
    assert neutral.tool_calls == messages[1].tool_calls == [tool_call(id="id_a", **CALL)]
    assert "SECRET" not in str([neutral.content, neutral.additional_kwargs, neutral.response_metadata])
    assert "SECRET" not in elsewhere.prompts[1].text
    assert all(block["type"] in ("text", "reasoning") for block in messages[1].content if not isinstance(block, str))
    assert "SECRET" not in str(messages[1].content)


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("kind", TURNS)
def test_a_model_outside_of_the_blend_can_go_on(kind, streamed):
    """OpenAI's Responses API refuses a reasoning item that it did not make."""
    requests: list[Any] = []

    def answer(request: httpx.Request) -> httpx.Response:
        requests.append(json.loads(request.content))
        part = {"type": "output_text", "text": "Rain.", "annotations": []}
        said = {"type": "message", "id": "msg_9", "role": "assistant", "status": "completed", "content": [part]}
        known = {"object": "response", "created_at": 1, "model": "o", "status": "completed", "error": None}
        rest = {"parallel_tool_calls": True, "tool_choice": "auto", "tools": []}
        return httpx.Response(200, json={"id": "resp_9", **known, **rest, "output": [said]})

    llm = blend(model(turn(kind), name="thinks")).bind_tools([weather])
    question = HumanMessage("Weather in Oslo?")
    if streamed:
        chunks = list(llm.stream([question]))
        picked: Any = chunks[0] + chunks[1:]
    else:
        picked = llm.invoke([question])
    with httpx.Client(transport=httpx.MockTransport(answer)) as client:
        other = ChatOpenAI(model="o", api_key="x", use_responses_api=True, http_client=client, max_retries=0)
        assert other.invoke([question, picked, ToolMessage("rain", tool_call_id="id_a")]).text == "Rain."
    items = requests[0]["input"]
    assert {item.get("type", "message") for item in items} == {"message", "function_call", "function_call_output"}
    assert "SECRET" not in str(items)


@pytest.mark.parametrize(
    "kept", [lambda turns: messages_from_dict(json.loads(json.dumps(messages_to_dict(turns)))),
             lambda turns: [load(json.loads(json.dumps(dumpd(turn))), allowed_objects="messages") for turn in turns]],
    ids=["to dict", "load"],
)  # fmt: skip
@pytest.mark.parametrize("kind", TURNS)
@pytest.mark.filterwarnings("ignore:The function `load` is in beta")
def test_a_turn_survives_serialisation(kind, kept):
    thinks = model(turn(kind), "It rains.", name="thinks")
    question = HumanMessage("Weather in Oslo?")
    picked = blend(thinks).bind_tools([weather]).invoke([question])
    blend(thinks).invoke(kept([question, picked, ToolMessage("rain", tool_call_id="id_a")]))
    assert comparable(sent(thinks)) == comparable(turn(kind))


@pytest.mark.parametrize("kind", ["signed thoughts", "reasoning item", "old reasoning item", "signed call"])
def test_members_that_made_the_same_call_get_their_own_thoughts_with_the_picked_ids(kind):
    first = model(turn("signed thoughts"), "It rains.", name="first")
    own = json.loads(json.dumps(TURNS[kind]).replace("id_a", "id_b").replace("SECRET", "OWN"))
    second_turn = AIMessage(tool_calls=[tool_call(id="id_b", **CALL)], **own)
    second = model(second_turn, "Rain.", name="second")
    create_agent(blend(first, second), [weather]).invoke({"messages": [("user", "Weather in Oslo?")]})
    got = sent(second)
    written = json.dumps([got.content, got.additional_kwargs])
    assert "SECRET" not in written
    assert "OWN" in written
    assert "id_b" not in written
    assert got.tool_calls == [tool_call(id="id_a", **CALL)]
    assert got.text == "Let me see."


def test_arguments_that_cannot_be_read_are_replaced_by_those_of_the_message():
    broken = AIMessage(
        [REASONING, {**FUNCTION_CALL, "arguments": '{"city": "Os'}], tool_calls=turn("signed text").tool_calls
    )
    thinks = model(broken, "It rains.", name="thinks")
    picked = blend(thinks).bind_tools([weather]).invoke("Weather in Oslo?")
    blend(thinks).invoke([HumanMessage("Weather in Oslo?"), picked, ToolMessage("rain", tool_call_id="id_a")])
    assert json.loads(sent(thinks).content[1]["arguments"]) == CALL["args"]


def test_a_member_that_was_outvoted_gets_its_signed_thoughts_back():
    """Its provider refuses a tool's result after a turn without thoughts."""
    voters = [model(turn("signed call"), "It rains.", name=name) for name in "ab"]
    outvoted = model(AIMessage([THINKING, {"type": "text", "text": "I will not."}]), "Rain.", name="outvoted")
    create_agent(blend(*voters, outvoted), [weather]).invoke({"messages": [("user", "Weather in Oslo?")]})
    assert sent(outvoted).content == [THINKING, TEXT]
    assert sent(outvoted).tool_calls == [tool_call(id="id_a", **CALL)]


def test_members_with_the_same_model_keep_their_own():
    one, two = (model(turn("signed thoughts", content=[{**THINKING, "signature": mark}, TEXT, USE]), "x", name="same")
                for mark in "12")  # fmt: skip
    create_agent(blend(one, two), [weather]).invoke({"messages": [("user", "Weather in Oslo?")]})
    assert [sent(member).content[0]["signature"] for member in (one, two)] == ["1", "2"]


def test_a_blend_inside_a_blend_gives_its_members_their_own():
    thinks = model(turn("signed thoughts"), "It rains.", name="thinks")
    outer = blend(blend(thinks, model="inner"), model("I cannot know.", name="other"))
    create_agent(outer, [weather]).invoke({"messages": [("user", "Weather in Oslo?")]})
    assert sent(thinks).content == turn("signed thoughts").content


@pytest.mark.parametrize("kind", ["signed thoughts", "reasoning item", "server tool"])
def test_a_turn_that_someone_changed_is_sent_as_it_was_changed(kind):
    thinks = model(turn(kind), "It rains.", name="thinks")
    llm = blend(thinks)
    picked = llm.bind_tools([weather]).invoke("Weather in Oslo?")
    corrected = picked.model_copy(update={"tool_calls": [tool_call(name="weather", args={"city": "Rome"}, id="id_a")]})
    masked = picked.model_copy(update={"content": "Let me [removed]."})
    stopped = picked.model_copy(update={"tool_calls": []})
    for changed in (corrected, masked, stopped):
        llm.invoke([HumanMessage("Weather in Oslo?"), changed, HumanMessage("Go on.")])
    got = [sent(thinks, call) for call in (1, 2, 3)]
    assert "Oslo" not in str([block for block in got[0].content if block.get("type") in ("tool_use", "function_call")])
    assert got[0].tool_calls == corrected.tool_calls
    assert (got[1].text, "SECRET" in str(got[1].content)) == ("Let me [removed].", False)
    assert got[2].tool_calls == []
    assert not {"tool_use", "function_call"} & {block["type"] for block in got[2].content}


def test_what_others_need_no_more_than_the_message_is_not_kept_twice():
    plain = [TEXT, USE]
    for content in (
        "Let me see.",
        plain,
        [TEXT],
        [TEXT, {"type": "image", "base64": "aGk=", "mime_type": "image/png"}],
    ):
        calls = [tool_call(id="id_a", **CALL)] if content is plain else []
        message = blend(model(AIMessage(content, tool_calls=calls), name="a")).invoke("Hi")
        assert "blend_own_turns" not in message.response_metadata


def test_a_fused_text_keeps_nobodys_thoughts():
    members = [model(AIMessage([THINKING, {"type": "text", "text": text}]), name=text) for text in ("Rain", "No rain")]
    message = blend(*members, fuser=FakeFuser("Maybe rain"), fuse_when="always").invoke("Weather?")
    assert message.content == "Maybe rain"
    assert "SECRET" not in str(message)


@pytest.mark.parametrize("kept", ["text", ["a"], {"m": "text"}, {"m": {"content": "text"}}])
def test_an_entry_of_another_form_is_left_out(kept):
    """Histories come from files, which anyone may have written."""
    member = FakeChatModel(script=["It is 3."], model_name="m")
    history = [HumanMessage("q"), AIMessage("a", response_metadata={"blend_own_turns": kept}), HumanMessage("1 and 2")]
    assert BlendedLLM(llms=[member]).invoke(history).text == "It is 3."
    assert member.calls[0].messages[1].text in ("a", "text")
