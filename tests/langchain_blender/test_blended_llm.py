"""What the blend answers, and what its message says about it."""

from __future__ import annotations

import asyncio
import json
import time

import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.language_models import FakeListLLM
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage
from langchain_core.output_parsers import (
    CommaSeparatedListOutputParser,
    MarkdownListOutputParser,
    NumberedListOutputParser,
    StrOutputParser,
)
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import ConfigurableField, RunnableLambda
from pydantic import ValidationError

from blender_core import Blender, Budget, FunctionMember, FusePolicy, GatherPolicy, Message, Price, Prompt
from blender_core.errors import ConfigurationError, QuorumError
from blender_core.testing import FakeFuser, FakeMember, FakeRanker
from langchain_blender import BlendedLLM, LangChainMember
from langchain_blender.testing import FakeChatModel


def model(*script, name: str = "m", **settings) -> FakeChatModel:
    return FakeChatModel(script=list(script), model_name=name, **settings)


def blend(*members, **settings) -> BlendedLLM:
    return BlendedLLM(llms=list(members), **{"report": "full", "ranker": FakeRanker(), "fuser": None, **settings})


def record(message: AIMessage, name: str) -> dict:
    return next(c for c in message.response_metadata["blend"]["candidates"] if c["model"] == name)


# -- answers ---------------------------------------------------------------------------------------------------


def test_a_chain_gets_the_best_answer():
    chain = ChatPromptTemplate.from_template("{question}") | blend(
        model("no", name="a"), model("the longest", name="b")
    )
    assert (chain | StrOutputParser()).invoke({"question": "Hi"}) == "the longest"


def test_the_metadata_says_who_answered_won_and_failed():
    message = blend(
        model("short", name="a"), model("the longest", name="b"), model(ValueError("no key"), name="c")
    ).invoke("Hi")
    assert message.response_metadata["model_name"] == "blended-llm"
    assert message.response_metadata["blend"]["winner"] == "b"
    assert record(message, "a")["status"] == "ok"
    assert record(message, "c")["status"] == "error"
    assert "no key" in record(message, "c")["reason"]


def test_a_fused_text_is_plain_and_names_no_provider():
    reasoning = [{"type": "reasoning", "reasoning": "hmm"}, {"type": "text", "text": "From a provider"}]
    provider = AIMessage(
        reasoning,
        id="msg_1",
        additional_kwargs={"reasoning_content": "hmm"},
        response_metadata={"model_provider": "anthropic"},
    )
    message = blend(model(provider, name="a"), model("another", name="b"), fuser=FakeFuser("fused"),
                    fuse_when="always").invoke("Hi")  # fmt: skip
    assert message.content == "fused"
    assert message.response_metadata["blend"]["fused"] == ["a", "b"]
    assert "model_provider" not in message.response_metadata


def test_a_picked_message_keeps_its_text_and_drops_what_only_its_provider_understands():
    content = [
        {"type": "reasoning", "reasoning": "hmm", "extras": {"signature": "x"}},
        {"type": "text", "text": "Look: ", "id": "msg_1"},
        {"type": "image", "base64": "aaaa", "mime_type": "image/png", "id": "img_1"},
    ]
    given = AIMessage(content, id="msg_1", additional_kwargs={"reasoning_content": "hmm"})
    message = blend(model(given)).invoke("Hi")
    assert message.text == "Look: "
    shown = [{"type": "text", "text": "Look: "}, {"type": "image", "base64": "aaaa", "mime_type": "image/png"}]
    assert message.content == shown
    assert message.content_blocks == [{"type": "reasoning", "reasoning": "hmm"}, *shown]
    assert message.id != "msg_1"
    assert message.additional_kwargs == {"reasoning_content": "hmm"}
    assert given.id == "msg_1"
    assert len(given.content) == 3


def test_streamed_content_is_the_same_as_invoked():
    content = [{"type": "text", "text": "Look: "}, {"type": "image", "base64": "aaaa", "mime_type": "image/png"}]
    llm = blend(model(AIMessage(content)))
    chunks = list(llm.stream("Hi"))
    total = chunks[0] + chunks[1:]
    assert total.text == llm.invoke("Hi").text
    assert content[1] in total.content


def test_members_of_every_kind():
    async def later(messages):
        return "an asynchronous function"

    members = [
        model("a chat model", name="chat"),
        FakeListLLM(responses=["a completion"]),
        model("a retry", name="retry").with_retry(),
        model("a binding", name="bound").bind(temperature=0),
        model(ValueError("x"), name="broken").with_fallbacks([model("a fallback", name="second")]),
        ChatPromptTemplate.from_messages([("placeholder", "{messages}")]) | model("a chain", name="chain"),
        RunnableLambda(lambda messages: f"a function of {len(messages)} message"),
        RunnableLambda(later),
        FakeMember("engine", "an engine's member"),
        lambda text: f"a plain function of {text!r}",
    ]
    expected = {
        "a chat model",
        "a completion",
        "a retry",
        "a binding",
        "a fallback",
        "a chain",
        "a function of 1 message",
        "an asynchronous function",
        "an engine's member",
        "a plain function of 'Hi'",
    }
    llm = blend(*members)
    texts = {candidate["text"] for candidate in llm.invoke("Hi").response_metadata["blend"]["candidates"]}
    assert texts == expected
    again = asyncio.run(llm.ainvoke("Hi")).response_metadata["blend"]["candidates"]
    assert {candidate["text"] for candidate in again} == expected


def test_the_engine_takes_langchain_models_by_itself():
    result = Blender([model("Paris", name="a"), RunnableLambda(lambda messages: "Rome is it")],
                     ranker=FakeRanker(), fuser=None).blend("Capital?")  # fmt: skip
    assert result.text == "Rome is it"


def test_members_get_the_messages_untouched():
    member = model("ok")
    messages = [SystemMessage("Be brief."), HumanMessage([{"type": "image", "url": "https://x/y.png"}], name="Ann")]
    blend(member).invoke(messages)
    assert list(member.calls[0].messages) == messages


def test_a_blend_is_a_member_like_any_other():
    inner = blend(model("inner answer", name="a"), model("in", name="b"), model="inner-blend")
    message = blend(inner, model("x", name="c")).invoke("Hi")
    assert message.text == "inner answer"
    assert record(message, "inner-blend")["status"] == "ok"


# -- options -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrap",
    [
        lambda m: m,
        lambda m: m.with_retry(),
        lambda m: m.bind(logprobs=True),
        lambda m: m.with_fallbacks([model("x")]),
        lambda m: ChatPromptTemplate.from_messages([("placeholder", "{messages}")]) | m | StrOutputParser(),
    ],
    ids=["model", "retry", "binding", "fallbacks", "chain"],
)
def test_options_reach_the_model_inside(wrap):
    member = model("ok")
    llm = blend(wrap(member), temperature=0.2, max_tokens=7)
    llm.invoke("Hi", stop=["END"], top_p=0.5)
    options = member.calls[0].options
    assert options["temperature"] == 0.2
    assert options["max_tokens"] == 7
    assert options["stop"] == ["END"]
    assert options["top_p"] == 0.5


def test_what_is_bound_to_a_member_stays():
    member = model("ok")
    blend(member.bind(temperature=1), temperature=0.2).invoke("Hi")
    assert member.calls[0].options["temperature"] == 1


def test_stop_ends_a_fused_text_that_its_fuser_did_not_end():
    llm = blend(
        model("a"), model("b b"), fuser=FakeFuser("keep this STOP drop that"), fuse_when="always", stop=["STOP"]
    )
    assert llm.invoke("Hi").text == "keep this "
    assert "".join(chunk.text for chunk in llm.stream("Hi")) == "keep this "


def test_a_model_cannot_be_set_for_a_call():
    with pytest.raises(ConfigurationError, match="bind it to a member"):
        blend(model("ok")).invoke("Hi", model="other")


def test_the_default_ranker_is_not_loaded_before_it_is_needed():
    assert BlendedLLM(llms=[model("ok")]).invoke("Hi").text == "ok"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"llms": []}, "has no members"),
        ({"llms": [object()]}, "not an LLM"),
        ({"llms": ["openai:gpt-4.1"]}, r"pass the model: init_chat_model\('openai:gpt-4.1'\)"),
        ({"llms": [model("x")], "quorum": 2}, "quorum is 2"),
        ({"llms": [model("x")], "top_k": 0}, "top_k is 0"),
        ({"llms": [model("x")], "ranke": "embedded"}, "did you mean ranker"),
        ({"llms": [model("x")], "ranker": 3}, "ranker is int"),
        ({"llms": [model("x")], "fuse_when": "sometimes"}, "sometimes"),
    ],
)
def test_settings_that_cannot_work_are_refused(settings, message):
    with pytest.raises(ValidationError, match=message):
        BlendedLLM(**settings)


def test_a_field_that_is_assigned_counts():
    llm = blend(model("a"), model("b b"), fuser=None)
    llm.fuser = FakeFuser("fused")
    llm.fuse_when = "always"
    assert llm.invoke("Hi").text == "fused"


def test_the_repr_names_members_and_no_secrets():
    assert repr(blend(model("x", name="a"), model("x", name="a"))) == (
        "BlendedLLM(llms=['a', 'a#2'], ranker='fake', fuser=None, top_k=3)"
    )


# -- failure and time ----------------------------------------------------------------------------------------


def test_too_few_answers_raise_one_error_that_names_every_cause():
    llm = blend(model(ValueError("no key"), name="a"), model("", name="b"), model("ok", name="c"), quorum=2)
    with pytest.raises(QuorumError, match=r"(?s)1 of 3.*a: error.*no key.*b: error.*empty answer"):
        llm.invoke("Hi")


@pytest.mark.parametrize(
    "said", [{"finish_reason": "content_filter"}, {"stop_reason": "refusal"}, {"stopReason": "content_filtered"}]
)
def test_a_refused_answer_loses(said):
    refused = AIMessage("Partly", response_metadata=said)
    message = blend(model(refused, name="a"), model("x", name="b")).invoke("Hi")
    assert message.text == "x"
    assert record(message, "a")["status"] == "refused"


@pytest.mark.parametrize("call", [lambda llm: llm.invoke("Hi"), lambda llm: asyncio.run(llm.ainvoke("Hi"))])
def test_a_member_that_hangs_is_left_behind(call):
    llm = blend(model(hang=True, name="hung"), model("ok", name="b"), timeout=0.2)
    message = call(llm)
    assert message.text == "ok"
    assert record(message, "hung")["status"] == "timeout"


def test_the_deadline_holds_while_everything_goes_wrong():
    llm = blend(
        model(hang=True, name="hung"),
        model(ValueError("x"), name="raises"),
        model("", name="empty"),
        model("ok", name="works"),
        deadline=0.6,
    )
    assert llm.invoke("Hi").text == "ok"


def test_a_whole_policy_may_be_given():
    policy = GatherPolicy(timeout=1, budget=Budget(max_tokens=1), max_concurrency=1)
    message = blend(model("one two", name="a"), model("never asked", name="b"), policy=policy).invoke("Hi there you")
    assert record(message, "b")["status"] == "cancelled"


def test_failures_that_may_pass_are_retried_as_often_as_asked():
    flaky = model(ConnectionError("reset"), name="a")
    message = blend(flaky, model("x", name="b"), max_retries=0).invoke("Hi")
    assert record(message, "a")["attempts"] == 1
    patient = blend(model(ConnectionError("reset"), "ok", name="a"), max_retries=1).invoke("Hi")
    assert record(patient, "a")["attempts"] == 2


def test_prices_make_costs():
    priced = LangChainMember(model("four words are here"), name="a", price=Price(1_000_000, 1_000_000))
    message = blend(priced).invoke("Hi")
    assert message.response_metadata["blend"]["cost"] == 5.0


async def test_cancelling_the_call_cancels_members():
    member = model(hang=True)
    task = asyncio.create_task(blend(member).ainvoke("Hi"))
    while not member.calls:  # noqa: ASYNC110
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert member.cancelled == 1


async def test_leaving_a_stream_cancels_the_members():
    member = model(hang=True)
    stream = blend(member).astream("Hi")
    step = asyncio.create_task(anext(stream))
    while not member.calls:  # noqa: ASYNC110
        await asyncio.sleep(0)
    step.cancel()
    with pytest.raises(asyncio.CancelledError):
        await step
    assert member.cancelled == 1


async def test_works_where_an_event_loop_is_running():
    llm = blend(model("a"), model("b b"))
    assert llm.invoke("Hi").text == "b b"
    assert "".join(chunk.text for chunk in llm.stream("Hi")) == "b b"


async def test_members_without_async_do_not_block_the_event_loop():
    def slow(messages):
        time.sleep(0.3)
        return "ok"

    llm = blend(RunnableLambda(slow), RunnableLambda(slow))
    ticks = 0

    async def tick():
        nonlocal ticks
        while True:
            await asyncio.sleep(0.01)
            ticks += 1

    ticking = asyncio.create_task(tick())
    await llm.ainvoke("Hi")
    ticking.cancel()
    assert ticks >= 10


def test_members_run_at_once_in_both_worlds():
    """Each waits for the other, so they can only finish together."""
    import threading

    barrier = threading.Barrier(2, timeout=10)

    def wait(messages):
        barrier.wait()
        return "together"

    llm = blend(RunnableLambda(wait), RunnableLambda(wait), timeout=20)
    assert llm.invoke("Hi").text == "together"
    assert asyncio.run(llm.ainvoke("Hi")).text == "together"


class Crowd:
    """Counts how many calls run at once."""

    def __init__(self):
        self.running = self.most = 0

    async def member(self, messages):
        self.running += 1
        self.most = max(self.most, self.running)
        await asyncio.sleep(0.01)
        self.running -= 1
        return "ok"

    def blend(self):
        return blend(RunnableLambda(self.member), RunnableLambda(self.member), max_concurrency=2)


def test_max_concurrency_holds_over_a_batch():
    crowd = Crowd()
    asyncio.run(crowd.blend().abatch(["a", "b", "c"]))
    assert crowd.most == 2


def test_configured_copies_share_the_limit():
    crowd = Crowd()
    llm = crowd.blend()
    configurable = llm.configurable_fields(
        top_k=ConfigurableField(id="top_k"), max_concurrency=ConfigurableField(id="width")
    )

    async def all_at_once(*configured: dict):
        await asyncio.gather(llm.ainvoke("a"), *(configurable.ainvoke("b", {"configurable": c}) for c in configured))

    asyncio.run(all_at_once({"top_k": 1}, {"top_k": 2}, {"top_k": 2}))
    assert crowd.most == 2
    crowd.most = 0
    asyncio.run(all_at_once({"width": 1}, {"width": 1}))
    # the copies share a limit of their own
    assert crowd.most == 3


def test_batch_keeps_the_order():
    llm = blend(model(lambda call: f"you said {call.text}"))
    assert [m.text for m in llm.batch(["a", "b", "c"])] == ["you said a", "you said b", "you said c"]


# -- composition -------------------------------------------------------------------------------------------


def test_fallbacks_take_over_when_no_member_answers():
    llm = blend(model(ValueError("down"))).with_fallbacks([model("the fallback")])
    assert llm.invoke("Hi").text == "the fallback"


def test_retry_asks_the_whole_blend_again():
    llm = blend(model(ValueError("down"), "up")).with_retry(wait_exponential_jitter=False)
    assert llm.invoke("Hi").text == "up"


def test_fields_are_configurable_without_loading_the_ranker_again():
    ranker = FakeRanker()
    llm = blend(model("a", name="a"), model("b b", name="b"), model("c c c", name="c"), ranker=ranker,
                fuser=FakeFuser(), fuse_when="always")  # fmt: skip
    configurable = llm.configurable_fields(top_k=ConfigurableField(id="top_k"))
    message = configurable.invoke("Hi", {"configurable": {"top_k": 2}})
    assert message.response_metadata["blend"]["fused"] == ["c", "b"]
    assert configurable.prepare({"configurable": {"top_k": 2}})[0].ranker is ranker


def test_a_configured_blend_still_streams():
    """`configurable_fields` sets every field, and a `streaming` that is set to False would end streaming."""
    llm = blend(model("one two"), fuser=FakeFuser("x"), fuse_when="never").configurable_fields(
        top_k=ConfigurableField(id="top_k")
    )
    chunks = list(llm.stream("Hi", {"configurable": {"top_k": 2}}))
    assert len(chunks) > 1


# -- caching and counting -----------------------------------------------------------------------------------


def test_two_blends_do_not_share_a_cache_entry():
    cache = InMemoryCache()
    first = blend(model("from the first", name="a"), cache=cache)
    second = blend(model("from the second", name="a"), cache=cache)
    assert first.invoke("Hi").text == "from the first"
    assert second.invoke("Hi").text == "from the second"


@pytest.mark.parametrize("make", [lambda: RunnableLambda(lambda messages: "ok"), lambda: FunctionMember(str.upper)])
def test_members_that_do_not_identify_themselves_share_nothing(make):
    assert blend(make())._get_llm_string() != blend(make())._get_llm_string()


@pytest.mark.parametrize(
    "change",
    [
        {"ranker": FakeRanker()},
        {"ranker": "consensus"},
        {"fuser": "llm"},
        {"top_k": 2},
        {"quorum": 2},
        {"temperature": 0.1},
        {"stop": ["x"]},
        {"model": "other"},
        {"fuse_when": "never"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_every_setting_is_part_of_the_cache_key(change):
    members, ranker = [model("a", name="a"), model("b", name="b")], FakeRanker()
    one = BlendedLLM(llms=members, ranker=ranker, fuser=None)
    other = BlendedLLM(llms=members, **{"ranker": ranker, "fuser": None, **change})
    assert one._get_llm_string() != other._get_llm_string()


def test_a_cached_answer_is_found_again():
    member = model("ok")
    llm = blend(member, cache=InMemoryCache())
    assert llm.invoke("Hi").text == llm.invoke("Hi").text == "ok"
    assert len(member.calls) == 1


def test_tokens_are_counted_without_a_tokenizer(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    llm = blend(model("ok"))
    assert llm.get_num_tokens("eight characters, four to a token") == 9
    assert llm.get_num_tokens_from_messages([HumanMessage("Hello there")]) > 2
    with pytest.raises(ConfigurationError, match="custom_get_token_ids"):
        llm.get_token_ids("text")


def test_tokens_are_counted_by_members_own_tokenizers():
    llm = blend(model("x", custom_get_token_ids=list), model("y"))
    assert llm.get_num_tokens("four") == 4
    # three for the frame of each message
    turns = [HumanMessage("Hello"), AIMessage([{"type": "text", "text": "there"}])]
    assert llm.get_num_tokens_from_messages(turns) == (5 + 3) + (5 + 3)
    tool = {"type": "function", "function": {"name": "add", "description": "Adds.", "parameters": {}}}
    assert llm.get_num_tokens_from_messages(turns, tools=[tool]) == 16 + len(json.dumps(tool))


def test_usage_details_are_summed():
    used = {"input_tokens": 10, "output_tokens": 5, "total_tokens": 15}
    one = AIMessage("a", usage_metadata={**used, "input_token_details": {"cache_read": 3}})
    two = AIMessage("b b", usage_metadata={**used, "input_token_details": {"cache_read": 4}})
    usage = blend(model(one), model(two)).invoke("Hi").usage_metadata
    assert usage["total_tokens"] == 30
    assert usage["input_token_details"] == {"cache_read": 7}


def test_unknown_usage_is_not_zero():
    message = blend(model("a", usage=False)).invoke("Hi")
    assert message.usage_metadata is None
    assert message.response_metadata["blend"]["usage_known"] is False


def test_the_profile_is_what_all_members_can_do():
    one = model("x", profile={"max_input_tokens": 8000, "tool_calling": True, "structured_output": True})
    two = model("y", profile={"max_input_tokens": 4000, "tool_calling": True, "structured_output": False})
    assert blend(one, two.with_retry()).profile == {
        "max_input_tokens": 4000,
        "tool_calling": True,
        "structured_output": False,
    }
    assert blend(one, model("z")).profile is None


def test_one_stop_sequence_may_be_a_plain_text():
    member = model("The END of it")
    assert blend(member).bind(stop="END").invoke("q").text == "The "
    assert member.calls[0].options["stop"] == ["END"]
    LangChainMember(member).generate(Prompt((Message("user", "q"),), options={"stop": "END"}))
    assert member.calls[1].options["stop"] == ["END"]


# -- forms that a program reads ----------------------------------------------------------------------------------


def parsed(text: str, parser, request: str, way: str, **settings) -> list[str]:
    prompt = ChatPromptTemplate.from_messages([("system", parser.get_format_instructions()), ("user", "{request}")])
    members = [model(text, name="a"), model("Well, I would say this.", name="b")]
    fuser = FakeFuser("One would boil rice in water. Then one would drain it.")
    chain = prompt | blend(*members, fuser=fuser, fuse_when="always", **settings) | parser
    given = {"request": request}
    if way == "ainvoke":
        return asyncio.run(chain.ainvoke(given))
    if way == "stream":
        return [item for items in chain.stream(given) for item in items]
    return chain.invoke(given)


@pytest.mark.parametrize("way", ["invoke", "ainvoke", "stream"])
@pytest.mark.parametrize(
    ("parser", "text"),
    [
        (CommaSeparatedListOutputParser(), "pilaf, paella, rice pudding"),
        (NumberedListOutputParser(), "1. pilaf\n\n2. paella\n\n3. rice pudding"),
        (MarkdownListOutputParser(), "- pilaf\n- paella\n- rice pudding"),
    ],
)
def test_a_list_that_a_parser_reads_is_picked(parser, text, way):
    assert parsed(text, parser, "Dishes of rice?", way) == ["pilaf", "paella", "rice pudding"]


@pytest.mark.parametrize(("fuse_when", "fused"), [("always", False), (FusePolicy(fuse_forms=True), True)])
def test_the_policy_may_fuse_such_lists(fuse_when, fused):
    queries = "how is rice boiled\nhow long does rice take\nrice cooking time"
    members = [model(queries, name="a"), model("boil rice\ncook rice", name="b")]
    ranker = FakeRanker(temperature=1000)
    message = blend(*members, ranker=ranker, fuser=FakeFuser("Boil it."), fuse_when=fuse_when).invoke(
        "Rewrite the question in other words, separated by newlines: how do I boil rice?"
    )
    assert message.text == ("Boil it." if fused else queries)


def test_a_question_of_people_is_fused_though_one_model_wrote_a_list():
    members = [model("1. Boil water in a large pot\n2. Add rice", name="a"), model("Rinse it, then boil it.", name="b")]
    message = blend(*members, fuser=FakeFuser("Rinse and boil it."), fuse_when="always").invoke("How do I boil rice?")
    assert message.text == "Rinse and boil it."
