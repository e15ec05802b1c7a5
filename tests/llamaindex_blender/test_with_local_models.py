"""The blend over real local models: an agent with a tool, members of both frameworks."""

import asyncio

import pytest
from llama_index.core.agent.workflow import FunctionAgent
from llama_index.core.memory import ChatMemoryBuffer
from llama_index.core.tools import FunctionTool

from blender_core.errors import QuorumError
from langchain_blender import BlendedLLM as LangChainBlend
from langchain_blender.local import local_chat_models
from llamaindex_blender import BlendedLLM, local_llms

pytest.importorskip("llama_index.llms.openai_like", reason="comes with the extra all")

pytestmark = [
    pytest.mark.local_models,
    # LlamaIndex's own code calls what pydantic deprecates
    pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecationWarning"),
]


def tool_callers(models):
    """The models that call tools with any reliability."""
    return [model for model in models if "coder" in model.metadata.model_name]


def population(city: str) -> int:
    """Look up how many people live in a city."""
    return {"Cologne": 1_087_353, "Dresden": 566_222}[city]


def test_an_agent_uses_a_tool_through_the_blend(local_servers):
    # two of the three models cannot call tools, and are left out of those calls
    llm = BlendedLLM(llms=local_llms(local_servers, max_tokens=64), timeout=120, fuser=None)
    agent = FunctionAgent(tools=[FunctionTool.from_defaults(population)], llm=llm)

    async def run():
        memory = ChatMemoryBuffer.from_defaults(token_limit=4000)
        return await agent.run("How many people live in Cologne? Use the tool.", memory=memory)

    output = asyncio.run(run())
    assert [call.tool_output.raw_output for call in output.tool_calls] == [1_087_353]
    assert "087" in output.response.content.replace(",", "").replace(".", "")


def test_a_server_that_stands_there_again_gives_a_sampled_answer(local_servers):
    first, second = local_llms([local_servers[0]] * 2, max_tokens=24, additional_kwargs={"top_p": 0.9})
    assert (second.model, first.temperature, second.temperature) == (f"{first.model}#2", 0, 0.7)
    assert second.additional_kwargs == {"seed": 1, "top_p": 0.9}
    record = BlendedLLM(llms=[first, second], fuser=None).complete("What is the capital of France?").raw["blend"]
    assert [(one["model"], one["status"]) for one in record["candidates"]] == [
        (first.model, "ok"),
        (second.model, "ok"),
    ]


def test_a_question_too_long_is_told_with_the_window(local_servers):
    llms = local_llms(local_servers[:2])
    assert [llm.metadata.context_window for llm in llms] == [server.context for server in local_servers[:2]]
    with pytest.raises(QuorumError, match=r"do not fit its window of 4,096.*Shorten the prompt"):
        BlendedLLM(llms=llms).complete("word " * 5000)


def test_members_of_both_frameworks_call_a_tool(local_servers):
    llamaindex = tool_callers(local_llms(local_servers, max_tokens=64))
    langchain = [model for model in local_chat_models(local_servers, max_tokens=64) if "coder" in model.model_name]
    llm = BlendedLLM(llms=[*llamaindex, *langchain], timeout=120, fuser=None)
    response = llm.chat_with_tools(
        [FunctionTool.from_defaults(population)], user_msg="How many people live in Dresden?", tool_required=True
    )
    assert "2 of 2 members called population" in response.raw["blend"]["decision"]
    assert llm.get_tool_calls_from_response(response)[0].tool_kwargs == {"city": "Dresden"}


def test_members_of_both_frameworks_answer_from_both_adapters(local_servers):
    # the smallest model, once for each framework
    (llamaindex,) = [model for model in local_llms(local_servers, max_tokens=24) if "smollm2" in model.model]
    (langchain,) = [model for model in local_chat_models(local_servers, max_tokens=24) if "smollm2" in model.model_name]
    members, question = [llamaindex, langchain], "What is the capital of France? Answer in one sentence."
    response = BlendedLLM(llms=members, timeout=120, fuser=None).complete(question)
    message = LangChainBlend(llms=members, timeout=120, fuser=None, report="full").invoke(question)
    for text, report in ((response.text, response.raw["blend"]), (message.text, message.response_metadata["blend"])):
        assert "Paris" in text
        assert [record["status"] for record in report["candidates"]] == ["ok", "ok"]
        # one model at temperature 0: the framework that asks makes no difference
        assert len({record["text"] for record in report["candidates"]}) == 1
    assert response.raw["usage"]["completion_tokens"] == message.usage_metadata["output_tokens"] > 0
