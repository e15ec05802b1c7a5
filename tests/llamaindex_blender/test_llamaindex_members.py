"""LlamaIndex LLMs as members, alone and inside the engine."""

import asyncio
import gc

import pytest
from llama_index.core.base.llms.types import ChatMessage, ChatResponse
from llama_index.core.llms import MockLLM

from blender_core import Blender, GatherPolicy, Message, Prompt, RetryPolicy, Status, ToolCall, Usage, as_member
from blender_core.errors import ConfigurationError, MemberError
from blender_core.testing import FakeRanker, Reply, ScriptedServer
from llamaindex_blender import BlendedLLM, LlamaIndexMember, local_llms
from llamaindex_blender.testing import ScriptedLLM

PROMPT = Prompt.of([("system", "Be brief."), ("user", "Why?")])


class Scripted(MockLLM):
    """A LlamaIndex LLM with counts in its raw response."""

    def chat(self, messages, **kwargs):
        raw = {"usage": {"prompt_tokens": 7, "completion_tokens": 2}, "asked": (messages, kwargs)}
        return ChatResponse(message=ChatMessage(role="assistant", content="because"), raw=raw)


def test_the_engine_finds_the_adapter():
    member = as_member(MockLLM())
    assert isinstance(member, LlamaIndexMember)
    assert member.name == "MockLLM"
    assert member.blocks_event_loop


def test_turns_options_and_usage():
    answer = LlamaIndexMember(Scripted()).generate(PROMPT.with_options(temperature=0, top_k=3))
    messages, options = answer.native.raw["asked"]
    assert [(m.role.value, m.content) for m in messages] == [("system", "Be brief."), ("user", "Why?")]
    assert options == {"temperature": 0}
    assert (answer.text, answer.usage) == ("because", Usage(7, 2))


def test_streams_add_up_sync_and_async():
    member = LlamaIndexMember(MockLLM())
    *pieces, answer = list(member.stream(PROMPT))
    assert "".join(pieces) == answer.text

    async def collect():
        return [piece async for piece in member.astream(PROMPT)]

    assert asyncio.run(collect())[-1].text == answer.text


@pytest.mark.parametrize("asynchronous", [False, True])
def test_ends_of_streams(asynchronous):
    class Empty(ScriptedLLM):
        def _stream_chat(self, messages, **options):
            yield from ()

        async def _astream_chat(self, messages, **options):
            async def nothing():
                for piece in ():
                    yield piece

            return nothing()

    async def collect(member):
        return [piece async for piece in member.astream(PROMPT)]

    def streamed(llm):
        member = LlamaIndexMember(llm)
        return asyncio.run(collect(member)) if asynchronous else list(member.stream(PROMPT))

    # what might have been the start of a thought is held back until the end
    *pieces, answer = streamed(ScriptedLLM(script=["<th"]))
    assert "".join(pieces) == answer.text == "<th"
    with pytest.raises(MemberError, match="ended without an answer"):
        streamed(Empty())


def test_a_result_without_the_id_of_its_call_reaches_the_llm_as_text():
    llm = ScriptedLLM(script=["ok"])
    member = LlamaIndexMember(llm)
    call = ToolCall("add", {"a": 1}, "c1")
    member.generate(
        Prompt((Message("user", "1 and 2"), Message("assistant", "", tool_calls=(call,)), Message("tool", "3")))
    )
    assert [(turn.role.value, turn.content) for turn in llm.calls[0].messages][2] == ("user", "Tool result: 3")
    member.generate(Prompt((Message("user", "1 and 2"), Message("tool", "3", tool_call_id="c1"))))
    last = llm.calls[1].messages[-1]
    assert (last.role.value, last.content, last.additional_kwargs["tool_call_id"]) == ("tool", "3", "c1")


@pytest.mark.parametrize("llm", ["gpt", object(), str.upper])
def test_what_is_no_llm_is_refused(llm):
    with pytest.raises(ConfigurationError, match=f"{type(llm).__name__} is not a LlamaIndex LLM"):
        LlamaIndexMember(llm)


def test_mixed_members_in_one_blend_from_both_calls():
    blender = Blender([Scripted(), lambda text: "a longer answer"], ranker=FakeRanker(), fuser=None)
    assert blender.blend("q").text == asyncio.run(blender.ablend("q")).text == "a longer answer"
    assert blender.blend("q").candidates[0].text == "because"


def test_no_part_in_calls_with_tools():
    with pytest.raises(MemberError, match="no part in calls with tools"):
        LlamaIndexMember(MockLLM()).generate(PROMPT.with_options(tools=[{}]))


def test_a_real_client_over_http():
    openai_like = pytest.importorskip("llama_index.llms.openai_like", reason="comes with the extra all")
    with ScriptedServer({"m": ["over the wire"]}) as server:
        llm = openai_like.OpenAILike(
            model="m", api_base=server.base_url, api_key="x", is_chat_model=True, reuse_client=False, max_retries=0
        )
        member = LlamaIndexMember(llm)
        assert member.has_native_async
        assert member.generate(PROMPT).text == asyncio.run(member.agenerate(PROMPT)).text == "over the wire"
        assert member.generate(PROMPT).usage is not None


@pytest.mark.parametrize("way", ["sync", "async"])
def test_an_error_with_status_200(way):
    openai_like = pytest.importorskip("llama_index.llms.openai_like", reason="comes with the extra all")
    stated = {"code": 429, "message": "too many free calls", "metadata": {"raw": "wait a minute"}}
    with ScriptedServer({"m": [Reply(error=stated, choices=False)]}) as server:
        llm = openai_like.OpenAILike(
            model="m", api_base=server.base_url, api_key="x", is_chat_model=True, reuse_client=False, max_retries=0
        )
        policy = GatherPolicy(retry=RetryPolicy(retries=1, first_wait_s=0.01))
        blender = Blender([llm, lambda text: "Lima"], fuser=None, policy=policy)
        result = blender.blend("Q") if way == "sync" else asyncio.run(blender.ablend("Q"))
    record = result.candidates[0]
    assert (record.status, record.attempts) == (Status.RATE_LIMITED, 2)
    assert "too many free calls (wait a minute)" in record.reason


# connections of a loop that has ended are closed by the garbage collector
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_one_client_in_several_event_loops():
    openai_like = pytest.importorskip("llama_index.llms.openai_like", reason="comes with the extra all")
    with ScriptedServer({"m": "Lima it is"}) as server:
        llm = openai_like.OpenAILike(
            model="m", api_base=server.base_url, api_key="x", is_chat_model=True, max_retries=0
        )
        blend = BlendedLLM(llms=[llm, MockLLM(max_tokens=1)], fuser=llm, fuse_when="always", max_retries=0)

        async def whole():
            return await blend.acomplete("Capital of Peru?")

        async def streamed():
            return [piece async for piece in await blend.astream_complete("Capital of Peru?")][-1]

        async def last():
            response = await whole()
            await llm._get_aclient().close()
            return response

        for call in (whole, streamed, last):
            report = asyncio.run(call()).raw["blend"]
            gc.collect()
            assert ([one["attempts"] for one in report["candidates"]], report["degraded"]) == ([1, 1], False)


@pytest.mark.local_models
def test_local_models_answer_as_llamaindex_members(local_servers):
    pytest.importorskip("llama_index.llms.openai_like", reason="comes with the extra all")
    blender = Blender(local_llms(local_servers, max_tokens=40), timeout=120, fuser=None)
    result = blender.blend("What is the capital of France? Answer in one sentence.")
    assert all(record.outcome.ok for record in result.candidates)
    assert "Paris" in result.text
    assert result.usage.output_tokens > 0
