"""The whole call: rank, decide, fuse, and what is returned when a stage fails."""

import asyncio
import contextvars
import dataclasses
import gc
import json
import threading
import time

import pytest

from blender_core import Answer, Blender, Budget, FusePolicy, GatherPolicy, Prompt, Ranking, ToolCall, Usage
from blender_core.errors import ConfigurationError
from blender_core.events import Finished, FusionRejected, FusionStarted, MemberStarted, Ranked, Token
from blender_core.rank.registry import resolve_ranker
from blender_core.testing import FakeFuser, FakeMember, FakeRanker

LONG = "The sky is blue because air scatters short wavelengths of sunlight more than long ones. "
LONGER = LONG + " ".join(f"Point {n} adds detail {n * 7}." for n in range(40))


def three(**kwargs):
    return [
        FakeMember("a", "short", **kwargs),
        FakeMember("b", "a longer answer", **kwargs),
        FakeMember("c", "the longest answer of all", **kwargs),
    ]


def close_ranker(**kwargs):
    """A ranker that is never sure, so that the default policy fuses."""
    return FakeRanker(temperature=1000, **kwargs)


def test_the_best_is_picked_without_a_fuser():
    result = Blender(three(), ranker=FakeRanker(), fuser=None).blend("q")
    assert (result.text, result.winner, result.winner_index) == ("the longest answer of all", "c", 2)
    assert result.answer.text == result.text
    assert [record.rank for record in result.candidates] == [3, 2, 1]
    assert result.fused == ()


async def spelled(text):
    await asyncio.sleep(0)
    return f"{text} is spelled out"


class Speller:
    async def __call__(self, text):
        return await spelled(text)


@pytest.mark.parametrize("function", [spelled, Speller()], ids=["function", "object"])
def test_an_asynchronous_function_is_a_member(function):
    blender = Blender([function, lambda text: text], ranker=FakeRanker(), fuser=function, fuse_when="always")
    for result in (blender.blend("q"), asyncio.run(blender.ablend("q"))):
        assert [record.outcome.answer.text for record in result.candidates] == ["q is spelled out", "q"]
        assert result.text.endswith("is spelled out")


def test_top_k_answers_are_fused_best_first():
    result = Blender(three(), ranker=close_ranker(), fuser=FakeFuser(), top_k=2).blend("q")
    assert result.text == "the longest answer of all a longer answer"
    assert result.fused == ("c", "b")
    assert result.fuser == "fake"
    assert result.answer is None
    assert [record.fused for record in result.candidates] == [False, True, True]


def test_default_fuser_is_the_member_that_was_given_first():
    members = three()
    result = Blender(members, ranker=close_ranker(), top_k=2).blend("What?")
    assert (result.fuser, result.fused) == ("llm:a", ("c", "b"))
    assert [member.calls for member in members] == [2, 1, 1]
    asked = members[0].prompts[1].text
    assert "What?" in asked
    assert "a longer answer" in asked
    assert "untrusted" in asked


def test_any_llm_can_be_the_fuser():
    result = Blender(three(), ranker=close_ranker(), fuser=FakeMember("writer", "fused words")).blend("q")
    assert (result.text, result.fuser) == ("fused words", "llm:writer")


def test_clear_winner_is_not_fused():
    fuser = FakeFuser("fused")
    result = Blender(three(), ranker=FakeRanker(), fuser=fuser).blend("q")
    assert result.text == "the longest answer of all"
    assert "clear winner" in result.decision
    assert Blender(three(), ranker=FakeRanker(), fuser=fuser, fuse_when="always").blend("q").text == "fused"
    assert Blender(three(), ranker=close_ranker(), fuser=fuser, fuse_when="never").blend("q").fused == ()
    assert Blender(three(), ranker=close_ranker(), fuser=fuser, fuse_when=lambda context: False).blend("q").fused == ()
    off = FusePolicy(clear_winner=1.1)
    assert Blender(three(), ranker=FakeRanker(), fuser=fuser, fuse_when=off).blend("q").text == "fused"


@pytest.mark.parametrize(
    "text", ['{"city": "Paris", "country": "France"}', "```python\nprint(1)\n```", "def f(x):\n  pass"]
)
def test_code_and_json_are_not_fused(text):
    members = [FakeMember("a", text), FakeMember("b", "x")]
    assert Blender(members, ranker=close_ranker(), fuser=FakeFuser("fused")).blend("q").text == text


def test_a_majority_for_the_best_answer_is_not_fused():
    members = [FakeMember("a", "Paris!"), FakeMember("b", " Paris!"), FakeMember("c", "Rome")]
    same = Blender(members, ranker=close_ranker(), fuser=FakeFuser("fused")).blend("q")
    assert same.text.strip() == "Paris!"
    assert same.decision == "picked: 67% of the answers are the same"
    off = FusePolicy(majority=1, fuse_short=True)
    assert Blender(members, ranker=close_ranker(), fuser=FakeFuser("fused"), fuse_when=off).blend("q").text == "fused"


@pytest.mark.parametrize("best", ["48", "(B)", "Paris.", "14 + 34 = 48"])
def test_a_short_answer_is_not_fused_unless_the_policy_says_so(best):
    members = [FakeMember("a", "It may be something else, but who knows?"), FakeMember("b", best)]

    def blend(**settings):
        shortest_first = FakeRanker(lambda text: -len(text), temperature=1000)
        return Blender(members, ranker=shortest_first, fuser=FakeFuser("fused"), **settings).blend("q")

    assert (blend().text, blend().decision) == (best, "picked: the best answer is short")
    assert blend(fuse_when=FusePolicy(fuse_short=True)).fused == ("b", "a")


def test_one_answer_or_equal_answers_are_not_fused():
    fuser = FakeFuser(error=AssertionError("asked to fuse"))
    one = Blender([FakeMember("a", "x"), FakeMember("b", ValueError())], ranker=close_ranker(), fuser=fuser).blend("q")
    assert (one.text, one.degraded, one.ranking, one.decision) == ("x", (), None, "picked: a single answer")
    same = Blender([FakeMember("a", "x y"), FakeMember("b", "x\ty")], ranker=close_ranker(), fuser=fuser).blend("q")
    assert (same.text, same.decision) == ("x y", "picked: all answers agree")


@pytest.mark.parametrize(
    ("fuser", "reason"),
    [
        (FakeFuser("  "), "empty"),
        (FakeFuser("I'm sorry, but I cannot merge these."), "apology"),
        (FakeFuser("so it goes on and on " * 30), "repeats"),
        (FakeFuser("Too short."), "a fraction"),
        (FakeFuser("The answer of candidate 2 is best."), "talks about"),
    ],
)
def test_a_bad_fusion_keeps_the_top_ranked_answer_and_is_no_fault(fuser, reason):
    members = [FakeMember("a", LONGER), FakeMember("b", "x")]
    result = Blender(members, ranker=close_ranker(), fuser=fuser, fuse_when="always").blend("q")
    assert (result.text, result.winner, result.fused, result.degraded) == (LONGER, "a", (), ())
    assert reason in result.fusion_refused
    assert result.to_dict()["fusion_refused"] == result.fusion_refused
    assert f"kept the best answer: {result.fusion_refused}" in repr(result)


@pytest.mark.parametrize(
    ("fuser", "reason"),
    [
        (FakeFuser(error=RuntimeError("CUDA out of memory")), "CUDA out of memory"),
        (FakeFuser("late", latency_s=5), "not done within"),
    ],
)
def test_a_fuser_that_fails_degrades_the_result(fuser, reason):
    members = [FakeMember("a", LONGER), FakeMember("b", "x")]
    blender = Blender(members, ranker=close_ranker(), fuser=fuser, fuse_when="always", deadline=2.0)
    result = blender.blend("q")
    assert (result.text, result.winner, result.fused, result.fusion_refused) == (LONGER, "a", (), None)
    assert reason in result.degraded[0]
    assert result.timings.total < 2.3


def test_a_failing_ranker_falls_back_to_agreement():
    members = [FakeMember("a", "Rome"), FakeMember("b", "It is Paris"), FakeMember("c", "Paris it is")]
    result = Blender(members, ranker=FakeRanker(error=MemoryError("no room")), fuser=None).blend("q")
    assert result.text == "It is Paris"
    assert "no room" in result.degraded[0]


def test_a_late_ranker_falls_back_within_the_deadline():
    result = Blender(three(), ranker=FakeRanker(latency_s=30), deadline=0.5).blend("q")
    assert result.timings.total < 1
    assert "deadline" in result.degraded[0]
    assert "ranked by agreement in words" in result.degraded[0]
    assert result.ranking.ranker == "consensus"


def test_a_ranker_with_the_wrong_number_of_scores_is_refused():
    class Wrong:
        name = "wrong"

        def rank(self, prompt, candidates):
            return Ranking.from_scores([1.0], ranker="wrong")

    assert "1 scores for 3 candidates" in Blender(three(), ranker=Wrong(), fuser=None).blend("q").degraded[0]


def test_everything_at_once_within_the_deadline():
    members = [
        FakeMember("hangs", hang=True),
        FakeMember("raises", RuntimeError("boom")),
        FakeMember("nothing", ""),
        FakeMember("good", "an answer", latency_s=0.1),
    ]
    began = time.monotonic()
    result = Blender(members, ranker=FakeRanker(), timeout=20, deadline=1.0).blend("q")
    assert result.text == "an answer"
    assert time.monotonic() - began < 1.2
    assert len(result.failed) == 3


def test_usage_is_summed_once_with_the_fusers():
    members = [FakeMember(n, n * 10, usage=Usage(10, 5)) for n in "ab"]
    result = Blender(
        members, ranker=close_ranker(), fuser=FakeFuser("ab", usage=Usage(20, 2)), fuse_when="always"
    ).blend("q")
    assert (result.usage, result.usage_known) == (Usage(40, 12), True)
    refused = Blender(
        members, ranker=close_ranker(), fuser=FakeFuser("I'm sorry.", usage=Usage(20, 2)), fuse_when="always"
    ).blend("q")
    assert (refused.usage, refused.usage_known, refused.is_degraded) == (Usage(40, 12), True, False)
    unknown = Blender([*members, FakeMember("c", ValueError())], ranker=close_ranker(), fuser=None).blend("q")
    assert (unknown.usage, unknown.usage_known) == (Usage(20, 10), False)


def call(city, text=""):
    return Answer(text, (ToolCall("weather", {"city": city}),))


def test_tool_calls_are_voted_on_and_returned_verbatim():
    first = call("Paris")
    members = [
        FakeMember("a", call("Rome")),
        FakeMember("b", first),
        FakeMember("c", call(" Paris ")),
        FakeMember("d", "no idea"),
    ]
    result = Blender(members, ranker=close_ranker(), fuser=FakeFuser(error=AssertionError())).blend("q")
    assert result.answer is first
    assert result.winner == "b"
    assert "2 of 4" in result.decision
    invalid = [record.invalid for record in result.candidates]
    assert invalid == ["outvoted on tool calls", None, None, "outvoted on tool calls"]


def test_tied_tool_calls_are_ranked_and_not_fused():
    members = [FakeMember("a", call("Rome")), FakeMember("b", call("a longer city")), FakeMember("c", "no idea")]
    result = Blender(members, ranker=close_ranker(), fuser=FakeFuser(error=AssertionError())).blend("q")
    assert result.winner == "b"
    assert result.text == ""
    assert [record.rank for record in result.candidates] == [2, 1, None]
    assert "1 of 3" in result.decision


def test_a_minority_that_calls_tools_is_set_aside():
    members = [FakeMember("a", call("Rome", "Let me look")), FakeMember("b", "text one"), FakeMember("c", "text two!")]
    result = Blender(members, ranker=FakeRanker(), fuser=None).blend("q")
    assert result.winner == "c"
    assert "outvoted" in result.candidates[0].invalid


def test_answers_that_are_not_accepted_are_set_aside():
    result = Blender(three(), ranker=FakeRanker(), fuser=None).blend(
        "q", accept=lambda answer: "too long" if len(answer.text) > 20 else None
    )
    assert result.winner == "b"
    assert result.candidates[2].invalid == "too long"
    none = Blender(three(), ranker=FakeRanker(), fuser=None).blend("q", accept=lambda answer: "never")
    assert none.winner == "c"
    assert "no answer was acceptable" in none.degraded[0]


@pytest.mark.parametrize("calls", [(0, 0, 0), (1, 0, 0), (1, 1, 0), (1, 2, 3)], ids=str)
def test_if_no_answer_is_acceptable_each_says_its_own_reason(calls):
    """Also if some were outvoted on tool calls: that is not why they cannot be used."""
    answers = [Answer(f"text {i}", (ToolCall("add", {"a": call}),) if call else ()) for i, call in enumerate(calls)]
    members = [FakeMember(name, answer) for name, answer in zip("abc", answers, strict=True)]
    result = Blender(members, ranker=FakeRanker(), fuser=None).blend("q", accept=lambda answer: f"no {answer.text}")
    assert [record.invalid for record in result.candidates] == ["no text 0", "no text 1", "no text 2"]
    assert result.degraded == ("no answer was acceptable: a: no text 0; b: no text 1; c: no text 2",)
    assert result.candidates[result.winner_index].rank == 1
    assert "not usable: no text" in result._repr_html_()


@pytest.mark.parametrize(
    ("settings", "decision"),
    [
        ({"fuse_when": "always"}, 'fused: fuse_when="always"'),
        ({"fuse_when": "never"}, 'picked: fuse_when="never"'),
        ({"fuser": FakeFuser("  ")}, "picked: the fused text was refused (it was tried: "),
        ({"fuser": FakeFuser(error=ValueError("down"))}, "picked: the fused text could not be made (it was tried: "),
    ],
    ids=["fused", "picked", "refused", "failed"],
)
def test_the_decision_says_whether_it_was_fused(settings, decision):
    given = {"ranker": close_ranker(), "fuser": FakeFuser("one two three"), "fuse_when": "always", **settings}
    result = Blender(three(), **given).blend("q")
    assert result.decision.startswith(decision)
    assert result.decision.startswith("fused") is bool(result.fused)


def test_events_in_order_and_tokens_add_up():
    async def collect(blender):
        return [event async for event in blender.astream("q")]

    events = asyncio.run(collect(Blender(three(), ranker=close_ranker(), fuser=FakeFuser("one two three"))))
    kinds = [type(event) for event in events]
    assert kinds[:3] == [MemberStarted] * 3
    assert kinds.index(Ranked) < kinds.index(FusionStarted) < kinds.index(Token)
    assert kinds[-1] is Finished
    assert kinds.count(Finished) == 1
    ranked = events[kinds.index(Ranked)]
    assert (ranked.best_member, ranked.best_text) == ("c", "the longest answer of all")
    assert "".join(event.text for event in events if isinstance(event, Token)) == events[-1].result.text


def test_a_picked_answer_streams_in_pieces_that_add_up():
    events = list(Blender([FakeMember("a", LONG * 2)], ranker=FakeRanker()).stream("q"))
    pieces = [event.text for event in events if isinstance(event, Token)]
    assert len(pieces) > 3
    assert "".join(pieces) == LONG * 2


def tokens_after_rejection(events):
    place = next(n for n, event in enumerate(events) if isinstance(event, FusionRejected))
    return events[place], "".join(event.text for event in events[place:] if isinstance(event, Token))


def test_fusion_that_breaks_before_anything_was_sent_streams_the_best_answer():
    blender = Blender(three(), ranker=close_ranker(), fuser=FakeFuser("w " * 50, error=OSError("cut"), fail_after=3))
    rejected, rest = tokens_after_rejection(list(blender.stream("q")))
    assert rejected.streamed == 0
    assert rest == "the longest answer of all"


def test_fusion_that_breaks_in_the_middle_says_how_much_was_sent():
    words = " ".join(f"word{n}" for n in range(100))
    members = [FakeMember("a", LONG), FakeMember("b", LONGER)]
    blender = Blender(members, ranker=close_ranker(), fuser=FakeFuser(words, error=OSError("cut"), fail_after=60))
    events = list(blender.stream("q"))
    rejected, rest = tokens_after_rejection(events)
    assert rejected.streamed > 100
    assert rest == events[-1].result.text == LONGER
    assert events[-1].result.is_degraded


def test_a_caller_that_leaves_while_the_call_fails_is_told_nothing(caplog):
    """The error of the call belongs to nobody then; asyncio would log that it was never retrieved."""

    async def left():
        events = Blender([FakeMember("a", ValueError("bad"))], fuser=None).astream("q")
        await anext(events)
        # the call fails meanwhile
        await asyncio.sleep(0.2)
        await events.aclose()

    asyncio.run(left())
    gc.collect()
    assert not caplog.records


def test_leaving_a_stream_early_cancels_the_members():
    members = [FakeMember("fast", "x"), FakeMember("slow", "y", latency_s=60)]

    async def leave():
        stream = Blender(members, ranker=FakeRanker()).astream("q")
        async for event in stream:
            if not isinstance(event, MemberStarted):
                break
        await stream.aclose()
        return [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]

    assert asyncio.run(leave()) == []
    assert members[1].cancelled == 1
    before = threading.active_count()
    for _event in Blender([FakeMember("slow", "y", latency_s=0.3)], ranker=FakeRanker()).stream("q"):
        break
    time.sleep(0.5)
    assert threading.active_count() <= before


def test_sync_call_inside_a_running_loop():
    async def notebook_cell():
        return Blender(three(), ranker=FakeRanker(), fuser=None).blend("q").winner

    assert asyncio.run(notebook_cell()) == "c"


def test_context_variables_reach_members_in_threads():
    variable = contextvars.ContextVar("variable", default="unset")
    variable.set("set")
    result = Blender([lambda text: variable.get()], ranker=FakeRanker()).blend("q")
    assert result.text == "set"


def test_one_blender_serves_many_threads_at_once():
    blender = Blender([lambda text: text * 2, lambda text: text * 3], ranker=FakeRanker(), fuser=None)
    texts: dict[int, str] = {}

    def work(number):
        texts[number] = blender.blend(f"<{number}>").text

    threads = [threading.Thread(target=work, args=(n,)) for n in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert texts == {n: f"<{n}>" * 3 for n in range(12)}


def test_async_calls_leave_the_event_loop_free():
    async def main():
        beats = 0

        async def heart():
            nonlocal beats
            while True:
                beats += 1
                await asyncio.sleep(0.01)

        task = asyncio.create_task(heart())
        members = [FakeMember("a", "x", latency_s=0.3)]
        await Blender(
            [*members, lambda text: (time.sleep(0.3), "blocking")[1]], ranker=FakeRanker(latency_s=0.2), fuser=None
        ).ablend("q")
        task.cancel()
        return beats

    assert asyncio.run(main()) > 15


def test_members_with_one_name_are_told_apart():
    blender = Blender([FakeMember("m", "x"), FakeMember("m", "y"), FakeMember("m#2", "z")], fuser=None)
    assert [name for name, _ in blender.members] == ["m", "m#3", "m#2"]


def test_result_as_json_and_as_text():
    result = Blender([*three(), FakeMember("d", ValueError("x"))], ranker=FakeRanker(), fuser=None).blend("q")
    data = json.loads(json.dumps(result.to_dict()))
    assert data["winner"] == "c"
    assert data["degraded"] is False
    assert {"model", "text", "status", "score", "rank", "latency_s"} <= set(data["candidates"][0])
    assert data["candidates"][3]["status"] == "error"
    assert set(data["timings_s"]) == {"gather", "rank", "fuse", "total"}
    assert "3/4 answered" in repr(result)


def test_conversations_are_flattened_for_the_ranker():
    seen = []

    class Spy(FakeRanker):
        def rank(self, prompt, candidates):
            seen.append(prompt)
            return super().rank(prompt, candidates)

    turns = [("user", "Hi"), ("assistant", "Hello"), ("user", "Bye")]
    Blender(three(), ranker=Spy(), fuser=None).blend(turns)
    assert seen == ["User: Hi\nAssistant: Hello\nUser: Bye"]
    assert turns == [("user", "Hi"), ("assistant", "Hello"), ("user", "Bye")]


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"top_k": 0}, "top_k is 0"),
        ({"deadline": 0}, "deadline is 0"),
        ({"quorum": 4}, "quorum is 4 but there are 3"),
        ({"timeout": -1}, "timeout is -1"),
        ({"fuse_when": "sometimes"}, "fuse_when is 'sometimes'"),
        ({"fuser": "magic"}, "fuser is 'magic'"),
        ({"ranker": 3}, "ranker is int"),
        ({"gather_share": 1}, "gather_share is 1"),
        ({"policy": GatherPolicy(budget=Budget(max_cost=1))}, "max_cost=1 cannot be kept: no price for"),
    ],
)
def test_settings_that_cannot_work_are_refused_with_the_remedy(kwargs, message):
    with pytest.raises(ConfigurationError, match=message):
        Blender(three(), **kwargs)


def test_no_members_and_unknown_members():
    with pytest.raises(ConfigurationError, match="no members"):
        Blender([])
    with pytest.raises(ConfigurationError, match=r"builtins\.int"):
        Blender([3])
    with pytest.raises(ConfigurationError, match="no ranker is called 'best'"):
        resolve_ranker("best")


def test_quorum_policy_and_prompt_checks():
    with pytest.raises(ConfigurationError, match="at least 1"):
        GatherPolicy(quorum=0)
    with pytest.raises(ConfigurationError, match="role 'robot'"):
        Prompt.of([("robot", "x")])
    with pytest.raises(ConfigurationError, match="no messages"):
        Prompt.of([])


def test_prompt_of_bare_text_names_the_right_constructor():
    with pytest.raises(ConfigurationError, match=r"not of str; Prompt\.of"):
        Prompt("What is the capital of France?")  # type: ignore[arg-type]


@pytest.mark.parametrize(("structured", "fused"), [(True, ()), (False, ("a", "b"))])
def test_what_a_program_reads_is_picked_whatever_the_policy(structured, fused):
    seen = []

    def always(context):
        seen.append(context.prompt)
        return True

    prompt = dataclasses.replace(Prompt.of("Give me JSON."), structured=structured)
    members = [FakeMember("a", '{"n": 1}'), FakeMember("b", '{"n": 2}')]
    result = Blender(members, ranker="consensus", fuser=FakeFuser("fused"), fuse_when=always).blend(prompt)
    assert set(result.fused) == set(fused)
    assert (result.decision == "picked: structured output is picked, never fused") is structured
    # the policy sees the whole prompt
    assert seen == ([] if structured else [prompt])
