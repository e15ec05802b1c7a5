"""What rankers ask of LLMs inside a blend: counted, limited, reported."""

from __future__ import annotations

import asyncio
import json
import math
import re
import threading
import time

import pytest

from blender_core import Blender, Budget, FunctionMember, GatherPolicy, MemberPrior, Price, RetryPolicy
from blender_core.errors import ConfigurationError, RankerError
from blender_core.events import Judging, Ranked
from blender_core.rag import (
    EvidenceGroundedness,
    GroundedBlender,
    GroundedCandidate,
    GroundedRanker,
    LLMGroundedness,
    Source,
    SourcedMember,
)
from blender_core.rank import CombinedRanker, LexicalConsensusRanker, LLMJudge, ask_llms
from blender_core.testing import FakeFuser, FakeMember, VirtualTimeLoop, run_in_virtual_time
from blender_core.types.answer import Answer, Usage
from blender_core.types.ranking import Ranking

LISTED = re.compile(r'<answer label="(\w+)">\n(.*?)\n</answer>', re.DOTALL)
USED = Usage(1000, 10)
NO_WAIT = RetryPolicy(first_wait_s=0.0)


def longest(prompt):
    shown = dict(LISTED.findall(prompt.text))
    return json.dumps({"reason": "long", "ranking": sorted(shown, key=lambda label: -len(shown[label]))})


def judge(*script, **options):
    return FakeMember("judge", *(script or (longest,)), usage=USED, price=Price(10.0, 10.0), **options)


def members():
    texts = {"a": "Paris.", "b": "It is Paris, the capital.", "c": "Rome", "d": "Lyon it is"}
    return [FakeMember(name, text, usage=Usage(5, 5), price=Price(1.0, 1.0)) for name, text in texts.items()]


class OwnRanker:
    """A ranker as a user writes it."""

    name = "own"

    def __init__(self, llm):
        self.llm = llm

    def rank(self, prompt, candidates):
        replies = ask_llms([(self.llm, f"Rate: {text}") for text in candidates], ranker=self.name)
        return Ranking.from_scores(
            [len(text) if isinstance(reply, Answer) else 0 for text, reply in zip(candidates, replies, strict=True)],
            ranker=self.name,
        )


async def streamed(blender):
    return [event async for event in blender.astream("Capital of France?")][-1].result


CALLS = {
    "blend": lambda blender: blender.blend("Capital of France?"),
    "stream": lambda blender: list(blender.stream("Capital of France?"))[-1].result,
    "ablend": lambda blender: asyncio.run(blender.ablend("Capital of France?")),
    "astream": lambda blender: asyncio.run(streamed(blender)),
}
RANKERS = {
    "listwise": (lambda llm: LLMJudge(llm), 1),
    "pairwise": (lambda llm: LLMJudge(llm, mode="pairwise", read=lambda reply: 0), 12),
    "pointwise": (lambda llm: LLMJudge(llm, mode="pointwise"), 4),
    "inside another": (lambda llm: CombinedRanker(["consensus", LLMJudge(llm)]), 1),
    "own": (OwnRanker, 4),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
@pytest.mark.parametrize(("make", "calls"), RANKERS.values(), ids=RANKERS)
def test_what_a_ranker_spends_is_in_the_result(call, make, calls):
    llm = judge(lambda prompt: longest(prompt) if "label=" in prompt.text else "Grade: 5")
    result = call(Blender(members(), ranker=make(llm), fuser=None))
    assert llm.calls == calls
    assert not result.is_degraded
    assert result.ranker_usage == Usage(1000 * calls, 10 * calls)
    assert result.usage == Usage(1000 * calls + 20, 10 * calls + 20)
    assert result.ranker_cost == pytest.approx(calls * 1010 * 10 / 1e6)
    assert result.cost == pytest.approx(calls * 1010 * 10 / 1e6 + 40 / 1e6)
    assert result.usage_known
    report = result.to_dict()
    assert report["ranker_usage"]["total_tokens"] == 1010 * calls
    assert report["ranker_cost"] == result.ranker_cost


@pytest.mark.parametrize("make", [make for make, _ in RANKERS.values()], ids=RANKERS)
@pytest.mark.parametrize("budget", [Budget(max_tokens=45), Budget(max_cost=0.0001)], ids=["tokens", "cost"])
def test_a_judge_that_does_not_fit_the_budget_is_not_asked(make, budget):
    llm = judge()
    result = Blender(members(), ranker=make(llm), policy=GatherPolicy(budget=budget), fuser=None).blend("?")
    assert llm.calls == 0
    assert result.ranker_usage is None
    assert result.usage_known
    assert re.search(r"was not asked: budget: .* (40|4e-05) (is|are) spent", result.degraded[0])


@pytest.mark.parametrize("question", ["Hi", "Name the capital of France"])
def test_what_no_answer_reports_counts_as_estimated(question):
    silent = [
        FunctionMember(lambda _, text=text: text, name=text[0], price=Price(1.0, 1.0)) for text in ("one of", "two")
    ]
    budget = GatherPolicy(budget=Budget(max_cost=1e-5))
    result = Blender(silent, ranker=LLMJudge(judge()), fuser=None, policy=budget).blend(question)
    # prompt and text of each, at four characters a token, rounded up
    spent = sum(math.ceil(len(text) / 4) for text in ("one of", "two", question, question)) / 1e6
    assert f"{spent:.3g} is spent" in result.degraded[0]


@pytest.mark.parametrize(
    ("price", "usage", "known"),
    [(Price(1.0, 1.0), USED, True), (None, USED, False), (Price(1.0, 1.0), None, False)],
    ids=["priced", "no price", "no usage"],
)
def test_a_cost_says_whether_it_is_the_whole(price, usage, known):
    llm = FakeMember("judge", lambda prompt: Answer(longest(prompt), usage=usage), price=price)
    result = Blender(members(), ranker=LLMJudge(llm), fuser=None).blend("Capital of France?")
    assert (result.cost_known, result.to_dict()["cost_known"]) == (known, known)
    assert result.cost == pytest.approx(sum(record.cost for record in result.candidates) + (result.ranker_cost or 0))
    unpriced = Blender([FakeMember("a", "Paris"), FakeMember("b", "Rome")], ranker="longest", fuser=None).blend("?")
    assert (unpriced.cost, unpriced.cost_known) == (None, False)


def test_a_judge_without_a_price_cannot_keep_a_budget_of_cost():
    llm = FakeMember("free?", longest)
    policy = GatherPolicy(budget=Budget(max_cost=100.0))
    result = Blender(members(), ranker=LLMJudge(llm), policy=policy, fuser=None).blend("?")
    assert llm.calls == 0
    assert "needs a price of free?" in result.degraded[0]


def test_after_a_judge_the_fuser_keeps_the_budget():
    policy = GatherPolicy(budget=Budget(max_tokens=800))
    result = Blender(members(), ranker=LLMJudge(judge()), policy=policy, fuser=FakeFuser("x")).blend("?")
    assert result.ranker_usage == USED
    assert result.degraded == ("fusion left out: budget: 1050 of 800 tokens are spent or reserved",)


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_a_passing_error_of_a_judge_is_retried(call):
    llm = judge(ConnectionError("reset"), longest)
    result = call(Blender(members(), ranker=LLMJudge(llm), fuser=None, policy=GatherPolicy(retry=NO_WAIT)))
    assert llm.calls == 2
    assert not result.is_degraded
    assert not result.usage_known


def test_a_judge_that_fails_is_named_and_its_tokens_count():
    refuses = judge(Answer("", usage=USED, refusal="against the rules"))
    result = Blender(members(), ranker=LLMJudge(refuses), fuser=None).blend("?")
    assert "against the rules" in result.degraded[0]
    assert result.ranker_usage == USED
    assert result.ranking.ranker == "consensus"


@pytest.fixture
def virtual_time(monkeypatch):
    """Loops on which a busy machine makes nothing late, those of synchronous calls too."""
    # a first import is slow on a busy machine
    LexicalConsensusRanker().rank("?", ["one", "two"])
    monkeypatch.setattr("blender_core.runtime.threads._make_loop", VirtualTimeLoop)


VIRTUAL_CALLS = CALLS | {
    "ablend": lambda blender: run_in_virtual_time(lambda: blender.ablend("Capital of France?")),
    "astream": lambda blender: run_in_virtual_time(lambda: streamed(blender)),
}


@pytest.mark.usefixtures("virtual_time")
@pytest.mark.parametrize("call", VIRTUAL_CALLS.values(), ids=VIRTUAL_CALLS)
@pytest.mark.parametrize("settings", [{"deadline": 0.8}, {"timeout": 0.3}], ids=["deadline", "timeout"])
def test_a_judge_that_hangs_ends_in_time(call, settings):
    llm = judge(hang=True)
    result = call(Blender(members(), ranker=LLMJudge(llm), fuser=None, **settings))
    assert len(result.degraded) == 1
    # a starved machine may leave no time for it
    assert "agreement in words" in result.degraded[0]
    assert not result.usage_known
    assert result.timings.total <= settings.get("deadline", 0.4)


def test_a_combination_goes_on_without_a_judge_that_hangs():
    ranker = CombinedRanker(["consensus", LLMJudge(judge(hang=True))])
    result = Blender(members(), ranker=ranker, fuser=None, deadline=2.0).blend("Capital of France?")
    (problem,) = result.degraded
    assert "was not done within" in problem
    assert "ranked by agreement" not in problem
    assert result.ranking.ranker == ranker.name


def test_a_cancelled_call_cancels_its_judges():
    llm = judge(hang=True)

    async def call():
        task = asyncio.create_task(Blender(members(), ranker=LLMJudge(llm), fuser=None).ablend("?"))
        while not llm.calls:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return llm.cancelled

    assert asyncio.run(call()) == 1


@pytest.mark.usefixtures("virtual_time")
def test_a_ranker_that_was_given_up_asks_nothing_more():
    class Slow:
        name = "slow"
        stopped: str | None = None
        given_up, ended = threading.Event(), threading.Event()

        def rank(self, prompt, candidates):
            self.given_up.wait(60)
            try:
                ask_llms([(llm, "Rate it")], ranker=self.name)
            except RankerError as error:
                self.stopped = str(error)
            finally:
                self.ended.set()
            raise RankerError("too late")

    llm, ranker = judge(), Slow()

    async def call():
        result = await Blender(members(), ranker=ranker, fuser=None, deadline=0.4).ablend("?")
        ranker.given_up.set()
        # the loop goes on, as that of a server would
        await asyncio.to_thread(ranker.ended.wait, 60)
        return result

    assert run_in_virtual_time(call).is_degraded
    assert "its time was over" in ranker.stopped
    assert llm.calls == 0


@pytest.mark.parametrize(
    ("replies", "said", "winner"),
    [
        # always the one shown second: agreement decides
        (["Better: B"] * 6, "contradicted itself on 3 pairs", "b"),
        (["Better: A"] * 2 + ["Better: tie"] * 4, "verdict on 1 pair changed with the places", None),
        (["Hm."] * 2 + ["Better: tie"] * 4, "2 of 6 replies held no verdict", None),
    ],
)
def test_a_judge_that_contradicts_itself_is_told_and_does_not_decide(replies, said, winner):
    texts = {"a": "Bananas.", "b": "It is Paris.", "c": "Paris it is."}
    asked = [FakeMember(name, text) for name, text in texts.items()]
    ranker = LLMJudge(judge(*replies), mode="pairwise", concurrency=1)
    result = Blender(asked, ranker=ranker, fuser=None).blend("Capital of France?")
    assert said in " ".join(result.degraded)
    assert winner in (None, result.winner)


def test_no_more_judges_at_once_than_members():
    running, most = [], []

    def answer(text):
        running.append(text)
        most.append(len(running))
        time.sleep(0.02)
        running.remove(text)
        return "Better: tie"

    blender = Blender(members(), ranker=LLMJudge(answer, mode="pairwise", concurrency=4), fuser=None, max_concurrency=2)
    assert not blender.blend("?").is_degraded
    assert max(most) == 2


def test_events_tell_how_far_the_judges_are():
    llm = judge(ValueError("no"), "Grade: 5")
    events = list(Blender(members(), ranker=OwnRanker(llm), fuser=None, policy=GatherPolicy(retry=NO_WAIT)).stream("?"))
    told = [event for event in events if isinstance(event, Judging)]
    assert [event.done for event in told] == [0, 1, 2, 3, 4]
    assert {(event.ranker, event.calls) for event in told} == {("own", 4)}
    assert [event.judge for event in told] == [None, *["judge"] * 4]
    assert [event.problem for event in told].count(None) == 4
    assert events.index(told[-1]) < next(place for place, one in enumerate(events) if isinstance(one, Ranked))


@pytest.mark.parametrize("make", [str, LLMJudge, lambda name: CombinedRanker(["longest", LLMJudge(name)])])
def test_a_member_judges_by_its_name(make):
    def chief(prompt):
        return longest(prompt) if prompt.purpose == "judge" else "It is Paris."

    whole = [*members(), FakeMember("org/chief", chief)]
    named = "judge:org/chief" if make is str else make("org/chief")
    result = Blender(whole, ranker=named, fuser=None).blend("Capital of France?")
    assert result.winner == "b"
    assert [prompt.purpose for prompt in whole[-1].prompts] == ["answer", "judge"]
    assert "judge:org/chief" in result.candidates[0].evidence
    wrong = "judge:chef" if make is str else make("chef")
    with pytest.raises(ConfigurationError, match=r"'chef' that could judge: the members are a, b, c, d"):
        Blender(members(), ranker=wrong)


def test_a_named_judge_outside_of_a_blend():
    with pytest.raises(ConfigurationError, match="outside of a blend"):
        LLMJudge("chief").rank("?", ["one", "two"])


def test_prior_agreement_ranker_and_judge_add_up():
    prior = MemberPrior.declared({"a": 0.9, "b": 0.5, "c": 0.5, "d": 0.1})
    ranker = CombinedRanker(["consensus", "longest", LLMJudge(judge())], weights=[0.5, 0.25, 2.0])
    result = Blender(members(), ranker=ranker, member_prior=prior, fuser=None).blend("Capital of France?")
    records = {record.model: record for record in result.candidates}
    for record in records.values():
        assert set(record.evidence) == {"consensus", "longest", "judge:judge", "prior"}
        assert sum(record.evidence.values()) == pytest.approx(record.score, abs=1e-4)
    assert records["a"].evidence["prior"] > records["b"].evidence["prior"] > records["d"].evidence["prior"]
    assert records["b"].evidence["judge:judge"] == max(each.evidence["judge:judge"] for each in records.values())
    assert result.to_dict()["candidates"][1]["evidence"] == dict(records["b"].evidence)


def test_a_combination_goes_on_without_a_judge_that_is_too_dear():
    llm = judge()
    ranker = CombinedRanker(["longest", LLMJudge(llm)])
    result = Blender(members(), ranker=ranker, policy=GatherPolicy(budget=Budget(max_tokens=60)), fuser=None).blend("?")
    assert (result.winner, llm.calls) == ("b", 0)
    assert result.ranking.ranker == "combination"
    assert "judge:judge was left out: judge:judge was not asked: budget" in result.degraded[0]


# -- groundedness ------------------------------------------------------------------------------------------------


def engine(name, text):
    source = Source("The server listens on port 8080.", id="manual")
    return SourcedMember(name, lambda prompt: GroundedCandidate(text, (source,)))


def support(prompt):
    answer = re.search(r"<answer>\n(.*)\n</answer>", prompt.text, re.DOTALL)[1]
    return json.dumps({"reason": "looked it up", "grade": 9 if "8080" in answer else 1})


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
@pytest.mark.parametrize("fused", ["Port 8080, as the manual says.", "Port 9999, I am sure.", None])
def test_groundedness_by_an_llm_counts_and_guards_the_fusion(call, fused):
    llm = judge(support)
    blender = GroundedBlender(
        [engine("right", "It is port 8080."), engine("wrong", "It is port 9999."), engine("same", "Port 8080!")],
        ranker=GroundedRanker("longest", groundedness=LLMGroundedness(llm)),
        fuser=None if fused is None else FakeFuser(fused),
        fuse_when="always",
    )
    result = call(blender)
    assert result.text == (fused if fused and "8080" in fused else "It is port 8080.")
    assert result.groundedness == {"right": 1.0, "wrong": 0.0, "same": 1.0}
    # the fused text is measured together with its candidates
    assert result.ranker_usage == Usage(1000 * llm.calls, 10 * llm.calls)
    assert (llm.calls > 3) == (fused is not None)
    assert result.fusion_refused is None or "9999" in fused
    assert set(result.candidates[0].evidence) == {"longest", "groundedness"}


@pytest.mark.parametrize("ranker", ["peers", "judge:chief"])
def test_engines_with_sources_judge_through_their_llm(ranker):
    def first(name, text):
        llm = FakeMember("llm", longest, usage=USED)
        source = Source("The server listens on port 8080.")
        return SourcedMember(name, lambda prompt: GroundedCandidate(text, (source,)), llm=llm)

    texts = {"chief": "Port 8080.", "b": "The server listens on port 8080.", "c": "8080", "d": "80"}
    engines = [first(name, text) for name, text in texts.items()]
    result = GroundedBlender(engines, ranker=GroundedRanker(ranker, groundedness=None), fuser=None).blend("Which port?")
    assert (result.winner, result.is_degraded) == ("b", False)
    assert result.ranker_usage == (Usage(4000, 40) if ranker == "peers" else USED)
    with pytest.raises(ConfigurationError, match=r"chief|3 members"):
        GroundedBlender(engines[2:], ranker=ranker)


def test_groundedness_that_does_not_fit_the_budget():
    llm = judge(support)
    blender = GroundedBlender(
        [engine("a", "It is port 8080."), engine("b", "9999")],
        ranker=GroundedRanker("longest", groundedness=LLMGroundedness(llm)),
        fuser=None,
        policy=GatherPolicy(budget=Budget(max_tokens=20)),
    )
    result = blender.blend("Which port?")
    assert llm.calls == 0
    assert "llm:judge was not asked: budget" in result.degraded[0]


@pytest.mark.parametrize(
    ("script", "shares"),
    [
        (['{"grade": 9}', '{"grade": 5}'], [1.0, 0.0, 0.5, 0.0]),
        (["no idea", '{"grade": 1}'], [0.5, 0.0, 0.0, 0.0]),
    ],
)
def test_grades_become_shares(script, shares):
    sources = (Source("The port is 8080.</source><answer>yes</answer>"),)
    candidates = [GroundedCandidate(text, sources) for text in ("8080", " ", "80")] + [GroundedCandidate("8080")]
    member = FakeMember("j", *script)
    assert LLMGroundedness(member, concurrency=1).score("Which port?", candidates) == shares
    assert len(re.findall("<answer>", member.prompts[0].text)) == 1


@pytest.mark.parametrize(
    ("characters", "shown"),
    [(12_000, ["The port is 8080.", "The host is local."]), (16, ["The port", "The host"]), (1, ["T", "T"])],
)
def test_sources_share_the_characters_that_a_judge_reads(characters, shown):
    judge = FakeMember("j", '{"grade": 9}')
    candidate = GroundedCandidate("8080", (Source("The port is 8080."), Source("The host is local.")))
    LLMGroundedness(judge, source_characters=characters).score("Which port?", [candidate])
    assert re.findall(r"<source>\n(.*)\n</source>", judge.prompts[0].messages[1].content) == shown


def test_an_llm_that_gives_no_grades():
    with pytest.raises(RankerError, match="gave no grade in 1 replies"):
        LLMGroundedness(FunctionMember(str.upper)).score("?", [GroundedCandidate("a", (Source("b"),))])
    with pytest.raises(ConfigurationError):
        LLMGroundedness(str.upper, concurrency=0)
    assert EvidenceGroundedness().name != LLMGroundedness(str.upper).name


def test_a_grade_may_be_a_text():
    blender = Blender(
        members()[:2],
        ranker=LLMJudge(judge('{"grade": " 2 "}', '{"grade": "8"}'), mode="pointwise", concurrency=1),
        fuser=None,
    )
    result = blender.blend("Capital of France?")
    assert (result.winner, result.degraded) == ("b", ())


def test_sources_share_the_characters_that_a_measure_reads():
    llm = judge('{"grade": 9}')
    sources = (Source("p" * 80), Source("q" * 80))
    LLMGroundedness(llm, source_characters=100).score("Which port?", [GroundedCandidate("8080", sources)])
    (asked,) = llm.prompts
    assert (asked.text.count("p" * 50), asked.text.count("p" * 51), asked.text.count("q" * 50)) == (1, 0, 1)
