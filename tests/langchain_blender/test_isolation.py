"""Members cannot change each other's input, and no blend gets another's cached answer."""

import threading
from typing import Any

import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.runnables import ConfigurableField, RunnableLambda
from langchain_core.utils.function_calling import convert_to_openai_tool

from blender_core import LLMFuser
from blender_core.testing import FakeRanker
from langchain_blender import BlendedLLM
from langchain_blender.caching import identity
from langchain_blender.members import LangChainMember
from langchain_blender.testing import FakeChatModel


def blend(*llms, **settings):
    return BlendedLLM(llms=list(llms), ranker=FakeRanker(), fuser=None, **settings)


def test_a_member_cannot_change_the_callers_messages():
    seen = []

    def vandal(messages):
        messages[0].content = "HACKED"
        return "vandal"

    message = HumanMessage("question")
    reader = RunnableLambda(lambda messages: seen.append(messages[0].content) or "reader")
    blend(RunnableLambda(vandal), reader).invoke([message])
    assert message.content == "question"
    assert seen == ["question"]


def test_a_member_cannot_change_anothers_tools():
    class Vandal(FakeChatModel):
        def bind_tools(self, tools, **kwargs):
            tools[0]["function"].pop("description", None)
            return super().bind_tools(tools, **kwargs)

    def add(a: int, b: int) -> int:
        """Add two numbers."""
        return a + b

    other, tool = FakeChatModel(script=["y"]), convert_to_openai_tool(add)
    bound = blend(Vandal(script=["x"]), other).bind_tools([tool])
    bound.invoke("1 + 2?")
    assert tool["function"]["description"] == "Add two numbers."
    assert [*other.calls[0].options["tools"], *bound.kwargs["tools"]] == [tool, tool]


def test_functions_take_no_part_in_calls_with_tools():
    def add(a: int, b: int) -> int:
        """Add two numbers."""
        return a + b

    def answer(text: str) -> str:
        return "the answer is 3"

    with pytest.warns(UserWarning, match="answer, <lambda> cannot call tools"):
        bound = blend(FakeChatModel(script=["from the model"]), answer, lambda text: "3").bind_tools([add])
    assert bound.invoke("1 + 2?").text == "from the model"


def test_blends_that_differ_in_a_members_settings_have_different_identities():
    base = RunnableLambda(lambda messages: "x")
    one, two = (LangChainMember(base.with_config(configurable={"who": who}), name="m") for who in ("one", "two"))
    assert identity(one) != identity(two)
    read = [LangChainMember(base, name="m", input=lambda prompt, n=n: n) for n in range(2)]
    assert identity(read[0]) != identity(read[1])
    assert identity(LLMFuser(max_candidate_characters=100)) != identity(LLMFuser())


def test_what_is_configurable_is_part_of_the_cache_key():
    model = FakeChatModel(script=[lambda messages: "unused"]).configurable_fields(script=ConfigurableField(id="script"))
    llm = blend(model, cache=InMemoryCache())
    answers = [
        llm.invoke("q", {"configurable": {"script": [text], "thread_id": n}}).text
        for n, text in enumerate(["one", "two", "one"])
    ]
    assert answers == ["one", "two", "one"]


def test_what_cannot_be_copied_is_shared_and_stops_no_member():
    lock, big = threading.Lock(), [0]
    call = AIMessage("", tool_calls=[{"name": "query", "args": {}, "id": "1"}])
    history = [
        HumanMessage("q", additional_kwargs={"connection": lock, "notes": ["mine"]}),
        call,
        ToolMessage("3 rows", tool_call_id="1", artifact={"cursor": lock, "rows": big}),
    ]

    def vandal(messages):
        messages[0].additional_kwargs["notes"].append("yours")
        return "vandal"

    reader = FakeChatModel(script=["the reader"])
    llm = blend(RunnableLambda(vandal), reader)
    assert llm.invoke(history).text == "the reader"
    asked, _, result = reader.calls[0].messages
    assert asked.additional_kwargs == {"connection": lock, "notes": ["mine"]}
    assert history[0].additional_kwargs["notes"] == ["mine"]
    assert result.artifact["rows"] is big


class Served(FakeChatModel):
    """Says of itself only its name, as many models do, and all when it is serialized."""

    base_url: str = "http://a/v1"
    headers: dict[str, str] | None = None
    client: Any = None

    @classmethod
    def is_lc_serializable(cls) -> bool:
        return True

    @property
    def _identifying_params(self) -> dict[str, Any]:
        return {"model_name": self.model_name}


def served_text(cache, member) -> str:
    # a ranker that is an object is part of the key
    return BlendedLLM(llms=[member], ranker="longest", fuser=None, cache=cache).invoke("q").text


@pytest.mark.parametrize("other", [{"base_url": "http://b/v1"}, {"headers": {"organization": "b"}}])
def test_members_at_different_servers_do_not_share_a_cache_entry(other):
    cache = InMemoryCache()
    assert served_text(cache, Served(script=["one"])) == "one"
    assert served_text(cache, Served(script=["two"], **other)) == "two"


def test_equal_members_share_a_cache_entry_and_the_key_holds_no_settings_in_clear():
    cache = InMemoryCache()
    # objects that cannot be serialized have an address in their repr
    one, two = (Served(script=["one", "again"], headers={"token": "hidden"}, client=object()) for _ in range(2))
    assert [served_text(cache, member) for member in (one, two)] == ["one", "one"]
    assert two.calls == ()
    assert "hidden" not in str(identity(LangChainMember(one)))
