"""The OpenAI member against a real HTTP server on loopback, alone and inside the engine."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref

import pytest

pytest.importorskip("openai", reason="the demo extra is not installed")

import openai
from ranking_server import RankingServer

from blender_core import Blender, Budget, Price, Prompt, Status, ToolCall, Usage
from blender_core.errors import ConfigurationError, MemberError, QuorumError
from blender_core.events import Thought
from blender_core.gather.policy import GatherPolicy, RetryPolicy
from blender_core.members.openai_member import OpenAIMember, api_turns
from blender_core.testing import FakeMember
from blender_core.testing.scripted_server import Reply, ScriptedServer
from blender_core.types.media import Media
from blender_core.types.prompt import Message

PROMPT = Prompt.of("Why is the sky blue?")
FAST_RETRY = GatherPolicy(timeout=10, retry=RetryPolicy(retries=2, first_wait_s=0.01))


pytestmark = pytest.mark.usefixtures("no_key")


def member(server, model="m", **options):
    return OpenAIMember(model, base_url=server.base_url, **options)


async def collect(pieces):
    return [piece async for piece in pieces]


def test_answer_usage_and_model(serve):
    answer = member(serve(m=["Rayleigh."])).generate(PROMPT)
    assert (answer.text, answer.usage, answer.model, answer.finish_reason) == (
        "Rayleigh.",
        Usage(7, 3),
        "m",
        "stop",
    )


async def test_async_gives_the_same(serve):
    asked = member(serve(m=["Rayleigh."]))
    assert await asked.agenerate(PROMPT) == asked.generate(PROMPT)


def test_request_carries_turns_settings_and_known_options(serve):
    server = serve(m=["ok"])
    asked = member(server, max_tokens=50, temperature=0.5, request_options={"seed": 1})
    turns = Prompt.of([("system", "Be brief."), ("user", "Hi"), ("tool", "42")])
    asked.generate(turns.with_options(temperature=0.0, stop=["\n"], callbacks=object()))
    request = server.requests[0]
    assert request["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hi"},
        {"role": "user", "content": "Tool result: 42"},
    ]
    assert (request["max_tokens"], request["temperature"], request["seed"], request["stop"]) == (50, 0, 1, ["\n"])
    assert "callbacks" not in request


@pytest.mark.parametrize("asynchronous", [False, True])
def test_stream_adds_up_to_the_answer(serve, asynchronous):
    server = serve(m=["Light of short waves scatters most."])
    asked = member(server)
    pieces = asyncio.run(collect(asked.astream(PROMPT))) if asynchronous else list(asked.stream(PROMPT))
    *texts, answer = pieces
    assert len(texts) > 1
    assert "".join(texts) == answer.text == "Light of short waves scatters most."
    assert answer.usage == Usage(7, 3)
    assert server.requests[0]["stream_options"] == {"include_usage": True}


@pytest.mark.parametrize("way", ["generate", "stream", "astream"])
@pytest.mark.parametrize(
    "reply",
    [
        Reply("<think>\nShort waves scatter more.\n</think>\n\nBecause of scattering."),
        Reply("Because of scattering.", thoughts="Short waves scatter more."),
        Reply(
            parts=[
                {"type": "thinking", "thinking": [{"type": "text", "text": "Short waves scatter more."}]},
                {"type": "text", "text": "Because of scattering."},
            ]
        ),
    ],
    ids=["tag", "keyword", "part"],
)
def test_thoughts_are_told_from_the_answer(serve, reply, way):
    asked = member(serve(m=[reply]))
    if way == "generate":
        pieces = [asked.generate(PROMPT)]
    else:
        pieces = asyncio.run(collect(asked.astream(PROMPT))) if way == "astream" else list(asked.stream(PROMPT))
    *streamed, answer = pieces
    assert (answer.text, answer.thoughts) == ("Because of scattering.", "Short waves scatter more.")
    if way != "generate":
        assert "".join(piece for piece in streamed if isinstance(piece, str)) == answer.text
        thoughts = [piece.text for piece in streamed if isinstance(piece, Thought)]
        assert "".join(thoughts).strip() == answer.thoughts


@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize("text", ["<th", "a <"])
def test_what_might_have_been_a_thought_is_streamed_at_the_end(serve, asynchronous, text):
    asked = member(serve(m=[text]))
    pieces = asyncio.run(collect(asked.astream(PROMPT))) if asynchronous else list(asked.stream(PROMPT))
    *texts, answer = pieces
    assert "".join(texts) == answer.text == text


async def test_a_model_that_only_thought_has_given_no_answer(serve):
    server = serve(thinker=["<think>I never stop"], plain=["Scattering."])
    result = await Blender([member(server, "thinker"), member(server, "plain")], fuser=None).ablend("Why?")
    assert (result.winner, result.text) == ("plain", "Scattering.")
    assert [record.rank for record in result.candidates] == [None, 1]


def test_stream_without_usage_for_servers_that_refuse_it(serve):
    server = serve(m=["Hello there"])
    *_, answer = member(server, stream_usage=False).stream(PROMPT)
    assert "stream_options" not in server.requests[0]
    assert answer.usage is None


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_stream_that_breaks_off_is_no_answer(serve, asynchronous):
    asked = member(serve(m=[Reply("Light of short waves", breaks_off=True)]))
    with pytest.raises(MemberError, match="ended before the model was done"):
        asyncio.run(collect(asked.astream(PROMPT))) if asynchronous else list(asked.stream(PROMPT))


def test_a_fusion_that_breaks_off_is_not_returned(serve):
    fuser = member(serve(m=[Reply("Light of short waves scatters most, and the", breaks_off=True)]))
    members = [FakeMember("a", "Short waves scatter most."), FakeMember("b", "It is the scattering of light.")]
    blender = Blender(members, ranker="longest", fuser=fuser, fuse_when="always")
    result = list(blender.stream("Why is the sky blue?"))[-1].result
    assert (result.text, result.fused) == ("It is the scattering of light.", ())
    assert "ended before the model was done" in result.degraded[0]


def test_a_stream_of_a_server_that_never_says_why_it_stopped(serve):
    *_, answer = member(serve(m=[Reply("Rayleigh.", finish_reason=None)])).stream(PROMPT)
    assert (answer.text, answer.finish_reason, answer.usage) == ("Rayleigh.", None, Usage(7, 3))


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize(
    ("stated", "usage"),
    [
        ({}, None),
        ({"total_tokens": 5000}, None),
        ({"prompt_tokens": 4}, Usage(4, 0)),
        ({"prompt_tokens": "4", "completion_tokens": "2"}, None),
    ],
)
def test_usage_that_the_server_does_not_say_is_unknown(serve, stated, usage, streamed):
    asked = member(serve(m=[Reply("ok", usage=stated)]))
    answer = list(asked.stream(PROMPT))[-1] if streamed else asked.generate(PROMPT)
    assert answer.usage == usage


@pytest.mark.parametrize("streamed", [False, True])
def test_the_parts_of_the_usage(serve, streamed):
    stated = {
        "prompt_tokens": 90,
        "completion_tokens": 50,
        "prompt_tokens_details": {"cached_tokens": 64, "audio_tokens": 0, "cache_write_tokens": 8, "note": "x"},
        "completion_tokens_details": {"reasoning_tokens": 32, "audio_tokens": None},
    }
    asked = member(serve(m=[Reply("ok", usage=stated)]))
    answer = list(asked.stream(PROMPT))[-1] if streamed else asked.generate(PROMPT)
    assert answer.usage == Usage(90, 50, (("cache_read", 64), ("cache_write", 8)), (("reasoning", 32),))


def test_the_budget_keeps_its_reservation_where_the_usage_is_unknown(serve):
    server = serve(a=[Reply("ok", usage={"total_tokens": 5000})], b=["never asked"])
    policy = GatherPolicy(max_concurrency=1, budget=Budget(max_tokens=20))
    result = Blender([member(server, "a"), member(server, "b")], fuser=None, policy=policy).blend("a question " * 20)
    assert [str(record.status) for record in result.candidates] == ["ok", "cancelled"]


def test_texts_with_half_a_character_are_sent(serve):
    server = serve(m=["ok"])
    llm = member(server)
    llm.generate(Prompt.of([("system", "\ud83d\ude00 is whole"), ("user", "is \ud83d half?")]))
    assert [turn["content"] for turn in server.requests[0]["messages"]] == ["\U0001f600 is whole", "is \ufffd half?"]


TOOL_HISTORY = [
    {"role": "user", "content": "Weather?"},
    {
        "role": "assistant",
        "content": None,
        "tool_calls": [
            {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Oslo"}'}}
        ],
    },
    {"role": "tool", "tool_call_id": "c1", "content": "rain"},
]


def test_a_history_of_tool_calls_is_sent_as_such(serve):
    server = serve(m=["ok"])
    member(server).generate(Prompt.of(TOOL_HISTORY))
    assert server.requests[0]["messages"] == [
        TOOL_HISTORY[0],
        {**TOOL_HISTORY[1], "content": ""},
        TOOL_HISTORY[2],
    ]


@pytest.mark.parametrize("kept", [[0, 1], [0, 2]], ids=["no result", "no call"])
def test_calls_and_results_that_are_not_paired_are_sent_as_text(serve, kept):
    server = serve(m=["ok"])
    member(server).generate(Prompt.of([TOOL_HISTORY[index] for index in kept]))
    sent = server.requests[0]["messages"][1]
    assert sent in (
        {"role": "assistant", "content": '[calls weather({"city": "Oslo"})]'},
        {"role": "user", "content": "Tool result: rain"},
    )


@pytest.mark.parametrize("answered", [[], ["c1"], ["c2"], ["c1", "c2"]], ids=" ".join)
def test_calls_of_one_turn_are_sent_as_such_only_if_each_has_its_result(serve, answered):
    calls = [{**TOOL_HISTORY[1]["tool_calls"][0], "id": name} for name in ("c1", "c2")]
    results = [{**TOOL_HISTORY[2], "tool_call_id": name} for name in answered]
    server = serve(m=["ok"])
    member(server).generate(Prompt.of([TOOL_HISTORY[0], {**TOOL_HISTORY[1], "tool_calls": calls}, *results]))
    _, turn, *after = server.requests[0]["messages"]
    whole = len(answered) == 2
    assert ("tool_calls" in turn) is whole
    assert [each["role"] for each in after] == ["tool" if whole else "user"] * len(answered)


def test_images_are_sent_in_the_form_of_the_api(serve):
    server = serve(m=["ok"])
    parts = [
        {"type": "text", "text": "What are these?"},
        {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
    ]
    sound = Message("user", "[audio]", (Media("audio", data="AAAA"),))
    member(server).generate(Prompt.of([{"role": "user", "content": parts}, sound]))
    assert [turn["content"] for turn in server.requests[0]["messages"]] == [parts, "[audio]"]


@pytest.mark.parametrize("streamed", [False, True])
def test_tool_calls(serve, streamed):
    reply = Reply(tool_calls=(("weather", '{"city": "Oslo"}'), ("time", "")), finish_reason="tool_calls")
    asked = member(serve(m=[reply]))
    answer = list(asked.stream(PROMPT))[-1] if streamed else asked.generate(PROMPT)
    assert answer.tool_calls == (
        ToolCall("weather", {"city": "Oslo"}, "call_0"),
        ToolCall("time", {}, "call_1"),
    )


@pytest.mark.parametrize("streamed", [False, True])
def test_tool_arguments_as_an_object(serve, streamed):
    asked = member(serve(m=[Reply(tool_calls=(("weather", {"city": "Lima"}), ("now", {})))]))
    answer = list(asked.stream(PROMPT))[-1] if streamed else asked.generate(PROMPT)
    assert [(call.name, call.arguments) for call in answer.tool_calls] == [("weather", {"city": "Lima"}), ("now", {})]


@pytest.mark.parametrize("way", ["generate", "stream", "astream"])
@pytest.mark.parametrize(
    ("parts", "text", "thoughts"),
    [
        (
            [{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}, {"type": "text", "text": "Four."}],
            "Four.",
            "hm",
        ),
        (
            [
                {"type": "text", "text": "Lima "},
                {"type": "reference", "reference_ids": [1]},
                {"type": "text", "text": "it is"},
            ],
            "Lima it is",
            "",
        ),
        (
            ["<think>hm</think>", "Four", {"type": "output_text", "text": "."}, {"type": "text", "text": None}],
            "Four.",
            "hm",
        ),
    ],
)
def test_content_in_parts(serve, way, parts, text, thoughts):
    asked = member(serve(m=[Reply(parts=parts)]))
    if way == "generate":
        answer = asked.generate(PROMPT)
    else:
        *pieces, answer = list(asked.stream(PROMPT)) if way == "stream" else asyncio.run(collect(asked.astream(PROMPT)))
        assert "".join(piece for piece in pieces if isinstance(piece, str)) == text
    assert (answer.text, answer.thoughts) == (text, thoughts)


@pytest.mark.parametrize("arguments", ['{"city": ', '["Oslo"]'])
def test_tool_arguments_that_are_no_json_object(serve, arguments):
    with pytest.raises(MemberError, match="weather"):
        member(serve(m=[Reply(tool_calls=(("weather", arguments),))])).generate(PROMPT)


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize(
    "reply",
    [
        Reply(refusal="I will not."),
        Reply("Well, ", finish_reason="content_filter"),
        Reply("Well, ", finish_reason="SAFETY"),
    ],
    ids=["refusal", "filter", "another provider's filter"],
)
def test_refusals_are_marked(serve, reply, streamed):
    asked = member(serve(m=[reply]))
    answer = list(asked.stream(PROMPT))[-1] if streamed else asked.generate(PROMPT)
    assert answer.refusal == (reply.refusal or "removed by the provider's content filter")


@pytest.mark.parametrize(
    ("choice", "sent"),
    [
        ("any", "required"),
        ("auto", "auto"),
        ("required", "required"),
        (True, "required"),
        ("none", "none"),
        ("add", {"type": "function", "function": {"name": "add"}}),
    ],
)
def test_tool_choice_in_the_words_of_the_api(serve, choice, sent):
    server = serve(m=["x"])
    member(server).generate(PROMPT.with_options(tools=[], tool_choice=choice))
    assert server.requests[-1]["tool_choice"] == sent


def test_the_engine_retries_and_heeds_retry_after(serve):
    server = serve(m=[Reply("slow down", status=429, headers={"Retry-After": "0.2"}), Reply("oops", status=500), "ok"])
    result = Blender([member(server)], fuser=None, policy=FAST_RETRY).blend(PROMPT)
    outcome = result.candidates[0].outcome
    assert (outcome.attempts, result.text, len(server.requests)) == (3, "ok", 3)
    assert outcome.latency_s >= 0.2


BROKEN = {"code": "server_error", "message": "Provider disconnected", "metadata": {"raw": "out of memory"}}


@pytest.mark.parametrize("finish_reason", ["stop", "error"], ids=["at the top", "in the choice"])
@pytest.mark.parametrize(
    ("stated", "status", "attempts", "reason"),
    [
        ({"code": 429, "message": "slow down"}, Status.RATE_LIMITED, 3, "slow down"),
        ({"code": "503", "message": "no provider"}, Status.ERROR, 3, "no provider"),
        (BROKEN, Status.ERROR, 3, "Provider disconnected (out of memory)"),
        ({"code": 402, "message": "no credits"}, Status.ERROR, 1, "no credits"),
        ({"code": 403, "message": "flagged", "metadata": {"flagged_input": "x"}}, Status.REFUSED, 1, "flagged"),
    ],
)
def test_an_error_with_status_200(serve, finish_reason, stated, status, attempts, reason):
    server = serve(m=[Reply("Half an ans", error=stated, finish_reason=finish_reason)])
    result = Blender([member(server), FakeMember("b", "Blue.")], fuser=None, ranker="longest", policy=FAST_RETRY).blend(
        "Q"
    )
    record = result.candidates[0]
    assert (record.status, record.attempts) == (status, attempts)
    assert reason in record.reason


@pytest.mark.parametrize("finish_reason", ["stop", "error"], ids=["at the top", "in the choice"])
@pytest.mark.parametrize("way", ["whole", "streamed"])
def test_a_fuser_that_ends_in_an_error(serve, finish_reason, way):
    server = serve(m=[Reply("Half an ans", error={"code": 502, "message": "gone away"}, finish_reason=finish_reason)])
    blender = Blender(
        [FakeMember("a", "Blue it is."), FakeMember("b", "Blue.")],
        fuser=member(server),
        ranker="longest",
        fuse_when="always",
    )
    result = blender.blend("Q") if way == "whole" else list(blender.stream("Q"))[-1].result
    assert result.text == "Blue it is."
    assert "gone away" in result.degraded[0]


def test_an_answer_that_ends_in_an_error_is_asked_for_again(serve):
    server = serve(m=[Reply("Half an ans", finish_reason="error"), "A whole answer."])
    result = Blender([member(server)], fuser=None, policy=FAST_RETRY).blend("Q")
    assert (result.text, result.candidates[0].attempts) == ("A whole answer.", 2)


def test_the_member_itself_does_not_retry(serve):
    server = serve(m=[Reply("oops", status=500), "ok"])
    with pytest.raises(openai.InternalServerError):
        member(server).generate(PROMPT)
    assert len(server.requests) == 1


async def test_every_fault_at_once_and_still_an_answer(serve):
    server = serve(
        good=["Rayleigh scattering."],
        hang=[Reply(hang=True)],
        limited=[Reply("quota", status=429, code="insufficient_quota")],
        refuses=[Reply(refusal="No.")],
        empty=[Reply(" ")],
        broken=[Reply("bad", status=400)],
    )
    names = ["good", "hang", "limited", "refuses", "empty", "broken", "absent"]
    blender = Blender(
        [member(server, name, price=Price(1, 2)) for name in names],
        fuser=None,
        policy=GatherPolicy(timeout=2, retry=RetryPolicy(retries=0)),
    )
    result = await blender.ablend(PROMPT)
    assert result.winner == "good"
    assert [record.outcome.status for record in result.candidates] == [
        Status.OK,
        Status.TIMEOUT,
        Status.RATE_LIMITED,
        Status.REFUSED,
        Status.ERROR,
        Status.ERROR,
        Status.ERROR,
    ]
    assert result.candidates[0].outcome.cost == pytest.approx(13e-6)


@pytest.mark.parametrize("ask", ["blend", "stream"])
def test_a_server_that_stalls_keeps_no_thread(serve, ask):
    def waiting():
        return [thread for thread in threading.enumerate() if thread.name == "blended-llm-call"]

    before = waiting()
    server = serve(good=["One."] * 2, also=["Two."] * 2, hangs=[Reply(hang=True)] * 2)
    # the fuser hangs, too
    blender = Blender(
        [member(server, name) for name in ("good", "also", "hangs")],
        ranker="longest",
        fuser=member(server, "hangs"),
        fuse_when="always",
        timeout=0.5,
        max_retries=0,
    )
    result = blender.blend("q") if ask == "blend" else list(blender.stream("q"))[-1].result
    assert [record.outcome.status for record in result.candidates][2] is Status.TIMEOUT
    assert not result.fused
    left = [thread for thread in waiting() if thread not in before]
    for thread in left:
        # the client's own limit is ten minutes
        thread.join(60)
    assert not any(thread.is_alive() for thread in left)


async def test_a_proxy_in_the_environment_does_not_catch_loopback(serve, monkeypatch):
    for variable in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(variable, "http://127.0.0.1:9")
    llm = member(serve(m=["reached"]))
    assert llm.generate(PROMPT).text == (await llm.agenerate(PROMPT)).text == "reached"


def test_nobody_there():
    with ScriptedServer({}) as gone:
        url = gone.base_url
    blender = Blender([OpenAIMember("m", base_url=url)], fuser=None, policy=FAST_RETRY)
    with pytest.raises(QuorumError, match="Connection"):
        blender.blend(PROMPT)


def test_event_loops_one_after_the_other(serve):
    asked = member(serve(m=["ok"]))
    texts = [asyncio.run(asked.agenerate(PROMPT)).text for _ in range(3)]
    gc.collect()  # a connection left open would warn here, and warnings are errors
    assert texts == ["ok"] * 3


def test_a_loop_that_has_ended_is_not_kept(serve):
    asked = member(serve(m=["ok"]))

    async def call():
        await asked.agenerate(PROMPT)
        return weakref.ref(asyncio.get_running_loop())

    loop = asyncio.run(call())
    gc.collect()
    assert loop() is None


def test_event_loops_and_threads_at_once(serve):
    asked = member(serve(m=[Reply("ok", latency_s=0.05)]))
    texts: list[str] = []

    async def twice():
        answers = await asyncio.gather(asked.agenerate(PROMPT), asked.agenerate(PROMPT))
        texts.extend(answer.text for answer in answers)

    def work():
        asyncio.run(twice())
        texts.append(asked.generate(PROMPT).text)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    asked.close()
    assert texts == ["ok"] * 12


async def test_connections_of_a_loop_are_reused(serve):
    asked = member(serve(m=["ok"]))
    for _ in range(3):
        await asked.agenerate(PROMPT)
    assert len(asked._async_clients) == 1


async def test_leaving_a_stream_early_closes_it(serve):
    asked = member(serve(m=[Reply("one two three", between_s=0.05)]))
    pieces = asked.astream(PROMPT)
    assert await anext(pieces) == "one "
    await pieces.aclose()
    assert (await asked.agenerate(PROMPT)).text == "one two three"


def test_closed_member_can_be_asked_again(serve):
    asked = member(serve(m=["ok"]))
    asked.generate(PROMPT)
    asked.close()
    asked.close()
    assert asked.generate(PROMPT).text == "ok"


def test_fusing_streams_through_the_member(serve):
    server = serve(a=["Paris is the capital.", "Paris, the capital of France."], b=["It is Paris, in France."])
    blender = Blender([member(server, "a"), member(server, "b")], ranker="consensus", fuse_when="always")
    result = blender.blend("Capital of France?")
    assert set(result.fused) == {"a", "b"}
    assert result.usage == Usage(21, 9)


def test_a_key_is_needed_where_there_is_no_server_of_ones_own():
    with pytest.raises(ConfigurationError, match="OPENAI_API_KEY"):
        OpenAIMember("gpt")


@pytest.mark.parametrize(
    ("given", "sent"), [(None, "from-the-environment"), ("given", "given")], ids=["environment", "argument"]
)
def test_the_key_is_sent(monkeypatch, given, sent):
    monkeypatch.setenv("OPENAI_API_KEY", "from-the-environment")
    choice = {"index": 0, "message": {"role": "assistant", "content": "ok"}, "finish_reason": "stop"}
    completion = {"id": "1", "object": "chat.completion", "created": 0, "model": "m", "choices": [choice]}
    with RankingServer(completion) as server:
        assert OpenAIMember("m", base_url=server.url, api_key=given).generate(PROMPT).text == "ok"
    assert {name.lower(): value for name, value in server.requests[0][1].items()}["authorization"] == f"Bearer {sent}"


@pytest.mark.parametrize(
    "options",
    [{"client_options": {"max_retries": 3}}, {"request_options": {"messages": []}}],
    ids=["client", "request"],
)
def test_options_that_the_member_sets_itself(options):
    with pytest.raises(ConfigurationError, match="sets itself"):
        OpenAIMember("m", base_url="http://127.0.0.1:1/v1", **options)


@pytest.mark.parametrize(
    "setting", [{"max_tokens": 0}, {"temperature": -0.1}, {"temperature": "0"}, {"timeout": 0}], ids=repr
)
def test_a_number_that_no_request_takes_is_refused_by_its_name(setting):
    with pytest.raises(ConfigurationError, match=f"{next(iter(setting))} is .*must be"):
        OpenAIMember("m", base_url="http://127.0.0.1:9/v1", **setting)


def test_openai_itself_gets_the_newer_name_of_the_limit():
    request = OpenAIMember("gpt", api_key="k", max_tokens=5)._request(PROMPT)
    assert request["max_completion_tokens"] == 5
    assert "max_tokens" not in request


@pytest.mark.parametrize("price", [3, (1, 2), {"input": 1}])
def test_a_price_that_is_none_is_refused_when_the_member_is_made(price):
    with pytest.raises(ConfigurationError, match="write Price"):
        OpenAIMember("m", base_url="http://127.0.0.1:9/v1", price=price)


@pytest.mark.parametrize("wrong", [-0.1, float("nan"), "warm"])
def test_a_temperature_that_cannot_be_is_refused(wrong):
    with pytest.raises(ConfigurationError, match="temperature"):
        OpenAIMember("m", base_url="http://localhost:1/v1", temperature=wrong)


def test_calls_without_an_answer_are_not_sent():
    calls = (ToolCall("add", {}, "1"), ToolCall("add", {}, "2"))
    both = [Message("assistant", "", tool_calls=calls), Message("tool", "3", tool_call_id="1")]
    assert not any("tool_calls" in turn for turn in api_turns([Message("user", "?"), *both]))
    both.append(Message("tool", "4", tool_call_id="2"))
    assert len(api_turns([Message("user", "?"), *both])[1]["tool_calls"]) == 2
