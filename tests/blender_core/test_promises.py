"""Promises under hostile conditions: nothing holds the call, and after the quorum nothing raises."""

import asyncio
import copy
import pickle
import threading
import time

import pytest

from blender_core import (
    Answer,
    Blender,
    Budget,
    GatherPolicy,
    Member,
    Message,
    Prompt,
    Ranking,
    RetryPolicy,
    Status,
    ToolCall,
    Usage,
)
from blender_core.errors import ConfigurationError, MissingExtraError, QuorumError, RateLimitedError
from blender_core.fuse import FusedText
from blender_core.members.classify import classify
from blender_core.rank import registry
from blender_core.testing import FakeFuser, FakeMember, FakeRanker, run_in_virtual_time


class Panic(BaseException):
    """What extension modules raise when they panic."""


def pair():
    return [FakeMember("a", "one"), FakeMember("b", "second")]


def close_ranker(**kwargs):
    return FakeRanker(temperature=1000, **kwargs)


def seconds(function):
    began = time.monotonic()
    function()
    return time.monotonic() - began


# -- nothing holds the call ------------------------------------------------------------------------------


def test_a_member_that_never_heeds_its_cancellation_does_not_hold_a_synchronous_call():
    class Deaf(Member):
        async def agenerate(self, prompt):
            while True:
                try:
                    await asyncio.sleep(3)
                except asyncio.CancelledError:
                    continue

    blender = Blender([Deaf("deaf"), FakeMember("good", "ok")], ranker=FakeRanker(), timeout=0.2)
    assert seconds(lambda: blender.blend("q")) < 1.5
    assert seconds(lambda: list(blender.stream("q"))) < 1.5


def test_a_member_that_blocks_the_default_executor_does_not_hold_it_either():
    class Pooled(Member):
        async def agenerate(self, prompt):
            await asyncio.to_thread(time.sleep, 3)
            return Answer("late")

    blender = Blender([Pooled("pooled"), FakeMember("good", "ok")], ranker=FakeRanker(), timeout=0.2)
    assert seconds(lambda: blender.blend("q")) < 1.5


@pytest.mark.parametrize("streaming", [False, True])
async def test_a_fuser_that_never_heeds_its_cancellation_does_not_hold_the_call(streaming):
    async def hold():
        for _ in range(30):
            try:
                await asyncio.sleep(0.1)
            except asyncio.CancelledError:
                continue

    class Deaf(FakeFuser):
        async def afuse(self, request):
            await hold()

        async def astream(self, request):
            await hold()
            yield FusedText("late", "deaf")

    blender = Blender(pair(), ranker=close_ranker(), fuser=Deaf(), fuse_when="always", deadline=0.5)
    began = time.monotonic()
    if streaming:
        events = [event async for event in blender.astream("q")]
        result = events[-1].result
    else:
        result = await blender.ablend("q")
    assert time.monotonic() - began < 1.2
    assert "was not done within" in result.degraded[0]


def test_ctrl_c_inside_a_running_loop_ends_the_call(monkeypatch):
    ended = threading.Event()

    class Slow(Member):
        async def agenerate(self, prompt):
            try:
                await asyncio.sleep(30)
            finally:
                ended.set()

    import blender_core.runtime.threads as concurrency

    class Interrupted(concurrency.queue.Queue):
        def get(self, *args, **kwargs):
            time.sleep(0.2)
            raise KeyboardInterrupt

    async def cell():
        monkeypatch.setattr(concurrency.queue, "Queue", Interrupted)
        with pytest.raises(KeyboardInterrupt):
            Blender([Slow("slow")], ranker=FakeRanker()).blend("q")

    asyncio.run(cell())
    assert ended.wait(2)


def test_a_member_without_native_async_streams_in_a_thread():
    class Blocking(FakeMember):
        blocks_event_loop = True

        async def agenerate(self, prompt):
            raise AssertionError("called on the event loop")

        astream = Member.astream

    fuser = Blocking("blocking", "fused")
    events = list(Blender(pair(), ranker=close_ranker(), fuser=fuser, fuse_when="always").stream("q"))
    assert events[-1].result.text == "fused"

    async def collect():
        return [
            event
            async for event in Blender(pair(), ranker=close_ranker(), fuser=fuser, fuse_when="always").astream("q")
        ]

    assert asyncio.run(collect())[-1].result.text == "fused"


@pytest.mark.parametrize("text", ["\n" * 30_000, "`" * 30_000, "a " * 30_000])
def test_policies_and_guard_are_quick_on_odd_texts(text):
    members = [FakeMember("a", text + "x"), FakeMember("b", "y")]
    fuser = FakeFuser(lambda request: "word " * 20_000)
    assert seconds(lambda: list(Blender(members, ranker=close_ranker(), fuser=fuser).stream("q"))) < 5


# -- after the quorum nothing raises ---------------------------------------------------------------------


@pytest.mark.parametrize("error", [RuntimeError("x"), GeneratorExit(), Panic("x")])
def test_whatever_ranker_and_fuser_raise(error):
    result = Blender(pair(), ranker=FakeRanker(error=error), fuser=FakeFuser(error=error), fuse_when="always").blend(
        "q"
    )
    assert result.text
    assert type(error).__name__ in result.degraded[0]
    assert type(error).__name__ in result.degraded[1]


@pytest.mark.parametrize("returned", [None, "bare text", FusedText(None, "odd")])
def test_a_fuser_that_returns_something_else(returned):
    class Odd(FakeFuser):
        def fuse(self, request):
            return returned

    result = Blender(pair(), ranker=close_ranker(), fuser=Odd(), fuse_when="always").blend("q")
    assert result.text == "second"
    assert "where a FusedText" in result.degraded[0]


@pytest.mark.parametrize(
    "ranking",
    [
        None,
        Ranking.from_scores([float("nan")] * 2, ranker="nan"),
        Ranking.from_scores([1.0, 2.0], ranker="cut", cut={7: 3}),
    ],
)
def test_a_ranking_that_cannot_be_used(ranking):
    class Odd(FakeRanker):
        def rank(self, prompt, candidates):
            return ranking

    result = Blender(pair(), ranker=Odd(), fuser=None).blend("q")
    assert result.text in ("one", "second")
    assert "RankerError" in result.degraded[0]


def test_judgements_that_raise():
    def broken(_anything):
        raise ZeroDivisionError("oops")

    result = Blender(pair(), ranker=close_ranker(), fuser=FakeFuser(), fuse_when=broken).blend("q")
    assert (result.text, result.degraded) == ("second", ("fuse_when raised ZeroDivisionError: oops",))
    result = Blender(pair(), ranker=FakeRanker(), fuser=None).blend(
        "q", accept=lambda answer: broken(answer) if answer.text == "second" else None
    )
    assert result.winner == "a"
    assert "ZeroDivisionError" in result.candidates[1].invalid


def test_failures_whose_message_cannot_be_read_keep_their_cause():
    class Mute(Exception):
        def __str__(self):
            raise RuntimeError("no words")

    result = Blender([FakeMember("mute", Mute()), FakeMember("good", "ok")], ranker=FakeRanker()).blend("q")
    outcome = result.candidates[0].outcome
    assert outcome.status is Status.ERROR
    assert isinstance(outcome.error, Mute)
    error = RateLimitedError("slow down")
    error.response = type("R", (), {"headers": {"retry-after": "Wed, 21 Oct 99999999999 07:28:00 GMT"}})()
    assert classify(error).retry_after is None
    error.response.headers["retry-after"] = "inf"
    assert classify(error).retry_after is None


def test_a_refused_connection_is_no_refusal():
    failure = classify(ConnectionRefusedError("nobody there"))
    assert (failure.status, failure.retryable) == (Status.ERROR, True)


def test_members_that_cannot_call_tools_do_not_count_for_the_quorum_of_a_call_with_tools():
    call = Answer("", (ToolCall("add", {"a": 1}),))
    members = [FakeMember("able", call), lambda text: "in words", lambda text: "in other words"]
    asked = Prompt((Message("user", "q"),), options={"tools": [{"type": "function", "function": {"name": "add"}}]})
    result = Blender(members, ranker=FakeRanker(), fuser=None, quorum=3).blend(asked)
    assert [str(record.status) for record in result.candidates] == ["ok", "unsupported", "unsupported"]
    with pytest.raises(QuorumError, match="the quorum is 1"):
        Blender(members[1:], ranker=FakeRanker(), quorum=2).blend(asked)


# -- time, budget, semaphore ---------------------------------------------------------------------------------


def test_a_retry_that_cannot_fit_the_deadline_is_not_begun():
    busy = FakeMember("busy", RateLimitedError("quota", retry_after=30))
    result = Blender([*pair(), busy], ranker=FakeRanker(), fuser=None, deadline=2).blend("q")
    assert result.timings.gather < 0.5
    assert result.candidates[2].outcome.status is Status.RATE_LIMITED


def test_grace_starts_with_answers_that_can_be_used():
    members = [FakeMember("quick", "no"), FakeMember("slow", "yes", latency_s=2)]
    blender = Blender(members, ranker=FakeRanker(), fuser=None, policy=GatherPolicy(straggler_grace=0.5))
    accept = {"no": "not this", "yes": None}

    async def call():
        return await blender.ablend("q", accept=lambda answer: accept[answer.text])

    assert run_in_virtual_time(call).winner == "slow"


def test_the_budget_is_looked_at_again_after_a_wait():
    flaky = FakeMember("flaky", ConnectionError("reset"), "ok")
    spender = FakeMember("spender", "ok", latency_s=0.2, usage=Usage(1000, 1000))
    policy = GatherPolicy(budget=Budget(max_tokens=500), retry=RetryPolicy(first_wait_s=1, jitter=0))

    async def call():
        return await Blender([flaky, spender], ranker=FakeRanker(), fuser=None, policy=policy).ablend("q")

    result = run_in_virtual_time(call)
    assert flaky.calls == 1
    assert "no retry: budget" in result.candidates[0].outcome.reason


def test_the_fuser_takes_a_slot_and_a_waiting_member_gives_its_slot_away():
    running, peak = 0, 0

    class Counting(Member):
        async def agenerate(self, prompt):
            nonlocal running, peak
            running, peak = running + 1, max(peak, running + 1)
            await asyncio.sleep(1)
            running -= 1
            return Answer(self.name * len(prompt.text))

    blender = Blender(
        [Counting("a"), Counting("b")],
        ranker=close_ranker(),
        fuse_when="always",
        policy=GatherPolicy(max_concurrency=1),
    )

    async def both():
        return await asyncio.gather(blender.ablend("q"), blender.ablend("qq"))

    run_in_virtual_time(both)
    assert peak == 1
    busy, idle = FakeMember("busy", RateLimitedError("x", retry_after=10), "ok"), FakeMember("idle", "ok")
    policy = GatherPolicy(max_concurrency=1)

    async def call():
        return await Blender([busy, idle], ranker=FakeRanker(), fuser=None, policy=policy).ablend("q")

    assert run_in_virtual_time(call).candidates[1].outcome.latency_s < 1


def test_an_answer_in_time_is_kept_when_the_loop_is_late():
    class Nested(Member):
        async def agenerate(self, prompt):
            await asyncio.gather(asyncio.sleep(0.1))
            return Answer("in time")

    class Blocking(Member):
        async def agenerate(self, prompt):
            await asyncio.sleep(0.08)
            time.sleep(0.15)  # noqa: ASYNC251 - a member that blocks the loop
            return Answer("x")

    result = asyncio.run(
        Blender([Nested("n"), Blocking("b")], ranker=FakeRanker(), fuser=None, timeout=0.15).ablend("q")
    )
    assert result.candidates[0].outcome.ok


def test_usage_is_unknown_after_a_failed_attempt():
    members = [FakeMember("flaky", ConnectionError("reset"), "ok")]
    assert not Blender(members, ranker=FakeRanker(), fuser=None).blend("q").usage_known


# -- settings, records -----------------------------------------------------------------------------------


def test_a_misspelt_ranker_is_refused_at_once():
    with pytest.raises(ConfigurationError, match="no ranker is called 'embeded'"):
        Blender(pair(), ranker="embeded")


def test_a_named_ranker_is_loaded_once_for_all_threads(monkeypatch):
    loads = []

    def load():
        loads.append(1)
        time.sleep(0.1)
        return FakeRanker()

    monkeypatch.setitem(registry._MAKERS, "slow-to-load", load)
    threads = [threading.Thread(target=registry.resolve_ranker, args=("slow-to-load",)) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert loads == [1]


def test_whole_and_streamed_fusions_are_the_same_text():
    blender = Blender(pair(), ranker=close_ranker(), fuser=FakeFuser("\n\n fused text \n"), fuse_when="always")
    assert blender.blend("q").text == list(blender.stream("q"))[-1].result.text == "fused text"


def test_errors_can_be_pickled_and_blenders_copied():
    with pytest.raises(QuorumError) as caught:
        Blender([FakeMember("a", ValueError("x"))], ranker=FakeRanker()).blend("q")
    again = pickle.loads(pickle.dumps(caught.value))
    assert (str(again), again.needed) == (str(caught.value), 1)
    extra = pickle.loads(pickle.dumps(MissingExtraError("feature", "module", "extra")))
    assert (extra.feature, extra.extra) == ("feature", "extra")
    copied = copy.deepcopy(Blender([lambda text: "x"], ranker="longest", policy=GatherPolicy(max_concurrency=2)))
    assert copied.blend("q").text == "x"
