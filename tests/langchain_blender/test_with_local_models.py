"""A chain, an agent with a tool, and a stream on real local models."""

from __future__ import annotations

import pytest
from langchain.agents import create_agent
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.tools import tool
from langchain_core.tracers.run_collector import RunCollectorCallbackHandler

from langchain_blender import BlendedLLM
from langchain_blender.local import local_chat_models

pytestmark = pytest.mark.local_models


@pytest.fixture(scope="module")
def members(local_servers):
    pytest.importorskip("langchain_openai", reason="langchain-openai is not installed")
    return local_chat_models(local_servers, max_tokens=48)


@pytest.fixture(scope="module")
def llm(members):
    return BlendedLLM(llms=members, fuse_when="always", timeout=120)


PROMPT = ChatPromptTemplate.from_template("What is the capital of {country}? Answer in one sentence.")


def test_a_chain(llm, members):
    assert "Paris" in (PROMPT | llm | StrOutputParser()).invoke({"country": "France"})
    collector = RunCollectorCallbackHandler()
    message = (PROMPT | llm).invoke({"country": "France"}, {"callbacks": [collector]})
    blended = message.response_metadata["blend"]
    assert [candidate["status"] for candidate in blended["candidates"]] == ["ok"] * len(members)
    assert sorted(candidate["rank"] for candidate in blended["candidates"])[0] == 1
    assert message.usage_metadata["output_tokens"] > 0
    blend_run = collector.traced_runs[0].child_runs[1]
    assert {f"candidate:{member.name}" for member in members} <= {run.name for run in blend_run.child_runs}


async def test_a_stream(llm):
    chunks = [chunk async for chunk in (PROMPT | llm).astream({"country": "France"})]
    total = chunks[0] + chunks[1:]
    assert "Paris" in total.text
    assert [chunk.usage_metadata is not None for chunk in chunks].count(True) == 1
    assert total.response_metadata["blend"]["rejected_characters"] >= 0


def test_a_batch(llm):
    answers = llm.batch([PROMPT.format(country=country) for country in ("France", "Japan")])
    assert [city in answer.text for city, answer in zip(("Paris", "Tokyo"), answers, strict=True)] == [True, True]


@pytest.mark.filterwarnings("ignore:.*cannot call tools and take no part")
def test_an_agent_with_a_tool(llm):
    @tool
    def population(city: str) -> str:
        """Look up how many people live in a city."""
        return f"{city} has 2102650 inhabitants."

    agent = create_agent(llm, tools=[population])
    state = agent.invoke({"messages": [HumanMessage("How many people live in Paris? Use the tool.")]})
    assert ToolMessage in [type(message) for message in state["messages"]]
    assert isinstance(state["messages"][-1], AIMessage)
    assert "2102650" in state["messages"][-1].text.replace(",", "")
