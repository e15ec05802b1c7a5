"""A tool choice means the same through both adapters, whatever kind of member answers."""

from __future__ import annotations

import pytest
from langchain_core.messages import AIMessage
from langchain_core.tools import tool
from llama_index.core.tools import FunctionTool

from blender_core import Prompt
from blender_core.testing import FakeMember, FakeRanker
from blender_core.types.answer import Answer, ToolCall
from langchain_blender import BlendedLLM as LangChainBlend
from langchain_blender import LangChainMember
from langchain_blender.testing import FakeChatModel
from langchain_blender.tools import convert_tools
from langchain_blender.tools import normalised_choice as of_langchain
from llamaindex_blender import BlendedLLM as LlamaIndexBlend
from llamaindex_blender import LlamaIndexMember
from llamaindex_blender.testing import ScriptedLLM
from llamaindex_blender.tools import normalised_choice as of_llamaindex


def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


def subtract(a: int, b: int) -> int:
    """Subtract two numbers."""
    return a - b


class Calls(FakeMember):
    """A member of the engine that calls the named tools, and takes any."""

    def __init__(self, name, *tools):
        calls = tuple(ToolCall(called, {"a": 1, "b": 2}, f"id{place}") for place, called in enumerate(tools))
        super().__init__(name, Answer("" if calls else "It is 3.", calls))

    def can_call_tools(self, tools):
        return True


def through_langchain(members, choice):
    llm = LangChainBlend(llms=members, ranker=FakeRanker(), fuser=None, report="full")
    message = llm.bind_tools([tool(add), tool(subtract)], tool_choice=choice).invoke("1 and 2")
    return message.response_metadata["blend"]


def through_llamaindex(members, choice):
    llm = LlamaIndexBlend(llms=members, ranker=FakeRanker(), fuser=None)
    tools = [FunctionTool.from_defaults(add), FunctionTool.from_defaults(subtract)]
    return llm.chat_with_tools(tools, user_msg="1 and 2", tool_choice=choice).raw["blend"]


BLENDS = pytest.mark.parametrize("ask", [through_langchain, through_llamaindex])


@BLENDS
def test_a_named_tool_has_to_be_among_the_calls(ask):
    members = [Calls("other", "subtract"), Calls("both", "subtract", "add"), Calls("named", "add"), Calls("text")]
    report = ask(members, "add")
    problems = {record["model"]: record["invalid"] for record in report["candidates"]}
    assert problems["other"] == "called subtract where add was required"
    assert "tool call was required" in problems["text"]
    assert all("required" not in (problems[name] or "") for name in ("both", "named"))
    assert report["winner"] in ("both", "named")


@BLENDS
@pytest.mark.parametrize(
    ("choice", "required"),
    [(None, False), (False, False), ("auto", False), ("none", False), (True, True), ("any", True), ("required", True)],
)
def test_a_text_is_an_answer_unless_a_call_is_required(ask, choice, required):
    (record,) = ask([Calls("text")], choice)["candidates"]
    assert bool(record["invalid"]) is required


@pytest.mark.parametrize("read", [of_langchain, of_llamaindex])
@pytest.mark.parametrize(
    ("choice", "normalised"),
    [(None, None), (False, None), (True, "any"), ("required", "any"), ("any", "any"), ("auto", "auto"), ("add", "add"),
     ({"type": "function", "function": {"name": "add"}}, "add"), ({"type": "tool", "name": "add"}, "add"),
     ({"type": "auto"}, "auto")],
)  # fmt: skip
def test_choices_in_one_form(read, choice, normalised):
    assert read(choice) == normalised


@pytest.mark.parametrize(
    ("choice", "given"),
    [
        (None, {"tool_required": False}),
        ("auto", {"tool_required": False, "tool_choice": "auto"}),
        ("none", {"tool_required": False, "tool_choice": "none"}),
        ("any", {"tool_required": True}),
        ("add", {"tool_required": True, "tool_choice": "add"}),
    ],
)
def test_what_a_llamaindex_member_is_told_of_a_choice(choice, given):
    llm = ScriptedLLM(script=["It is 3."])
    prompt = Prompt.of("1 and 2").with_options(tools=convert_tools([tool(add)]), tool_choice=choice)
    LlamaIndexMember(llm).generate(prompt)
    options = llm.calls[0].options
    assert {name: options.get(name) for name in given} == given
    assert ("tool_choice" in options) is ("tool_choice" in given)
    # a prompt of another framework does not speak of it
    assert options["allow_parallel_tool_calls"] is True


@pytest.mark.parametrize("choice", ["any", "add"])
def test_a_choice_without_tools_is_not_sent(choice):
    langchain, llamaindex = FakeChatModel(script=[AIMessage("3")]), ScriptedLLM(script=["3"])
    prompt = Prompt.of("1 and 2").with_options(tool_choice=choice)
    for member, fake in ((LangChainMember(langchain), langchain), (LlamaIndexMember(llamaindex), llamaindex)):
        assert member.generate(prompt).text == "3"
        assert "tool_choice" not in fake.calls[0].options
