"""Whatever a part returns is checked where it enters: it becomes that part's error, and the report is strict JSON."""

from __future__ import annotations

import asyncio
import datetime
import enum
import json
import math
import re

import numpy as np
import pytest

from blender_core import (
    Answer,
    Blender,
    Budget,
    GatherPolicy,
    Member,
    OpenAIMember,
    Price,
    Ranking,
    ToolCall,
    Usage,
)
from blender_core.errors import RankerError
from blender_core.events import Thought
from blender_core.fuse import Decision, FusedText
from blender_core.rag import GroundedBlender, GroundedCandidate, GroundedRanker, Source, SourcedMember, rank_passages
from blender_core.rank import CombinedRanker, LLMJudge
from blender_core.testing import FakeMember, FakeRanker, Reply, ScriptedServer
from langchain_blender import BlendedLLM as LangChainBlend
from llamaindex_blender import BlendedLLM as LlamaIndexBlend

GOOD = "Paris is the capital of France, on the Seine."
NAN = math.nan


class Stop(enum.Enum):
    LENGTH = 1


def strict(result):
    """The report, read by a parser that knows no NaN."""
    return json.loads(json.dumps(result.to_dict(), allow_nan=False))


def called(**arguments):
    return Answer("", (ToolCall("look", arguments),))


ODD_ANSWERS = {
    "no answer": ("Lyon", "instead of an Answer"),
    "infinite argument": (called(where=[{"far": math.inf}]), r"where\[0\].far"),
    "bytes": (called(where=b"Lyon"), "bytes at where"),
    "date": (called(when=datetime.date(2026, 1, 1)), "date at when"),
    "array": (called(where=np.zeros(2)), "ndarray at where"),
    "number as key": (called(where={1: "a"}), "key 1 at where"),
    "id": (Answer("", (ToolCall("look", {}, 7),)), "id of tool call"),
    "negative usage": (Answer("Lyon", usage=Usage(-5, 1)), "input_tokens is -5"),
    "half a token": (Answer("Lyon", usage=Usage(1, 1.5)), "output_tokens is 1.5"),
    "usage as text": (Answer("Lyon", usage="many"), "usage is 'many'"),
    "details as text": (Answer("Lyon", usage=Usage(1, 1, output_details="ab")), "output_details is 'ab'"),
    "details of NaN": (Answer("Lyon", usage=Usage(1, 1, (("cached", NAN),))), "cached is nan"),
    "endless cost": (Answer("Lyon", cost=math.inf), "cost is inf"),
    "negative cost": (Answer("Lyon", cost=-1.0), "cost is -1.0"),
    "finish reason": (Answer("Lyon", finish_reason=NAN), "finish_reason is nan"),
    "model": (Answer("Lyon", model=5), "model is 5"),
    "refusal": (Answer("Lyon", refusal=True), "refusal is True"),
    "thoughts": (Answer("Lyon", thoughts=["hm"]), "thoughts is"),
    "likelihoods": (Answer("Lyon", logprobs=("A", "B")), "answer's"),
}


class Odd(Member):
    """Returns whatever it is given."""

    def __init__(self, returned, name="odd"):
        super().__init__(name, price=Price(1.0, 1.0))
        self.returned = returned

    def generate(self, prompt):
        return self.returned


class OddRanker:
    name = "odd"

    def __init__(self, make):
        self.make = make

    def rank(self, prompt, candidates):
        return self.make(len(candidates))


class OddFuser:
    name = "odd"

    def __init__(self, **parts):
        self.parts = parts

    def fuse(self, request):
        return FusedText("Both are cities.", "odd", **self.parts)


class Streaming(OddFuser):
    def stream(self, request):
        yield "Both are "
        yield from self.parts.get("thoughts", ())
        yield "cities."
        yield self.fuse(request)


def reports(llms):
    """The report of each face, read by a parser that knows no NaN."""
    settings = {"ranker": "longest", "fuser": None}
    blender = Blender(llms, **settings)
    yield strict(blender.blend("Q?"))
    yield strict(asyncio.run(blender.ablend("Q?")))
    yield strict(list(blender.stream("Q?"))[-1].result)
    message = LangChainBlend(llms=llms, report="full", **settings).invoke("Q?")
    yield json.loads(json.dumps(message.response_metadata, allow_nan=False))["blend"]
    response = LlamaIndexBlend(llms=llms, **settings).complete("Q?")
    yield json.loads(json.dumps(response.raw, allow_nan=False))["blend"]


@pytest.mark.parametrize("kind", ODD_ANSWERS)
def test_an_answer_that_cannot_be_used_is_its_members_error(kind):
    answer, reason = ODD_ANSWERS[kind]
    for report in reports([FakeMember("good", GOOD), Odd(answer)]):
        assert report["winner"] == "good"
        assert report["candidates"][1]["status"] == "error"
        assert re.search(reason, report["candidates"][1]["reason"])


def test_numbers_of_other_packages_become_plain_ones():
    usage = Usage(np.int64(3), np.float64(2.0), {"cached": np.int32(1)})
    arguments = {"x": np.float32(0.5), "n": np.int64(4), "l": (1, "two", None, True)}
    answer = Answer("", (ToolCall("look", arguments),), usage, np.float64(0.5), finish_reason=Stop.LENGTH)
    for report in reports([Odd(answer)]):
        record = report["candidates"][0]
        assert record["tool_calls"][0]["arguments"] == {"x": 0.5, "n": 4, "l": [1, "two", None, True]}
        assert record["usage"] == {"input_tokens": 3, "output_tokens": 2, "total_tokens": 5}
        assert (record["cost"], record["finish_reason"]) == (0.5, "LENGTH")
    sums = Blender([Odd(Answer("Lyon", usage=usage)), Odd(Answer("Lyon", usage=usage), "b")], fuser=None).blend("Q?")
    assert sums.usage.input_details == (("cached", 2),)


@pytest.mark.parametrize(
    "usage",
    [Usage(NAN, 1), Usage(-(10**9), 0), Usage(0, -1), Usage(math.inf, 1)],
    ids=["nan", "negative", "out", "inf"],
)
@pytest.mark.parametrize("budget", [Budget(max_tokens=30), Budget(max_cost=0.00003)], ids=["tokens", "cost"])
def test_usage_that_is_no_count_never_defeats_a_budget(usage, budget):
    llms = [Odd(Answer("Lyon", usage=usage)), Odd(Answer("Nice", usage=Usage(20, 20)), "spender"), Odd(GOOD, "last")]
    policy = GatherPolicy(budget=budget, max_concurrency=1)
    result = Blender(llms, ranker="longest", fuser=None, policy=policy).blend("Q?")
    assert result.usage == Usage(20, 20)
    assert "not started: budget" in result.candidates[2].reason


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda n: Ranking((1.0, 0.0), (1.0, 2.0), "odd"), "order"),
        (lambda n: Ranking((0, 0), (1.0, 2.0), "odd"), "order"),
        (lambda n: Ranking((1, 0), (NAN, 2.0), "odd"), "scores"),
        (lambda n: Ranking((1, 0), ("1", "2"), "odd"), "scores"),
        (lambda n: Ranking((1, 0), (1.0, 2.0), "odd", confidence=NAN), "confidence"),
        (lambda n: Ranking((1, 0), (1.0, 2.0), "odd", temperature=-1.0), "temperature"),
        (lambda n: Ranking((1, 0), (1.0, 2.0), "odd", comparisons=((0.0, 1.0),)), "comparisons"),
        (lambda n: Ranking((1, 0), (1.0, 2.0), "odd", comparisons=((0.0, 1.0), (0.0,))), "comparisons"),
        (lambda n: Ranking((1, 0), (1.0, 2.0), "odd", ties=((0, 5),)), "ties"),
        (lambda n: Ranking((1, 0), (1.0, 2.0), "odd", cut={0: NAN}), "cut"),
        (lambda n: Ranking((1, 0), (1.0, 2.0), "odd", cut=[3]), "cut"),
        (lambda n: Ranking((1, 0), (1.0, 2.0), "odd", evidence={"x": (1.0,)}), "evidence"),
        (lambda n: Ranking((1, 0), (1.0, 2.0), "odd", problems="many"), "problems"),
        (lambda n: [1.0, 2.0], "return a Ranking"),
    ],
)
def test_a_ranking_that_cannot_be_used_is_the_rankers_error(make, reason):
    llms = [FakeMember("a", "Lyon"), FakeMember("b", "Nice, I think.")]
    result = Blender(llms, ranker=OddRanker(make), fuser=None).blend("Q?")
    assert re.search(f"^ranker: RankerError: .*{reason}.*; ranked by agreement in words$", result.degraded[0])
    strict(result)
    combined = CombinedRanker([OddRanker(make), "longest"]).rank("Q?", ["Lyon", "Nice, I think."])
    assert (combined.best, len(combined.problems)) == (1, 1)
    with pytest.raises(RankerError, match=reason):
        GroundedRanker(OddRanker(make)).rank("Q?", [GroundedCandidate("Lyon"), GroundedCandidate("Nice")])
    with pytest.raises(RankerError, match=reason):
        rank_passages(OddRanker(make), "Q?", ["Lyon", "Nice"])


def test_a_ranking_of_numpy_numbers_is_taken():
    scores = np.array([0.5, 1.5], dtype=np.float32)
    ranker = OddRanker(lambda n: Ranking(tuple(np.argsort(-scores)), tuple(scores), "odd", np.float32(0.75)))
    result = Blender([FakeMember("a", "Lyon"), FakeMember("b", "Nice")], ranker=ranker, fuser=None).blend("Q?")
    assert (result.winner, result.degraded) == ("b", ())
    assert strict(result)["ranking"]["order"] == [1, 0]


@pytest.mark.parametrize(
    "parts",
    [
        {"usage": {"input_tokens": 1}},
        {"usage": Usage(-1, 1)},
        {"cost": "1$"},
        {"cost": NAN},
        {"cut": {2: 1}},
        {"cut": [1]},
        {"cut": {0: 0.5}},
        {"finish_reason": 4},
        {"thoughts": [Thought(5)]},
    ],
    ids=str,
)
@pytest.mark.parametrize("fuser", [OddFuser, Streaming])
def test_a_fused_text_that_cannot_be_used_is_the_fusers_error(parts, fuser):
    llms = [FakeMember("a", "Lyon is it."), FakeMember("b", "Nice is the town.")]
    blender = Blender(llms, ranker=FakeRanker(temperature=99.0), fuser=fuser(**parts), fuse_when="always")
    for result in (blender.blend("Q?"), list(blender.stream("Q?"))[-1].result):
        assert result.text == "Nice is the town."
        assert result.degraded[0].startswith("fusion: odd: ")
        assert re.search("usage|input_tokens is -1|cost|cut|finish_reason|thought", result.degraded[0])
        strict(result)


@pytest.mark.parametrize("returned", [None, "yes", NAN, Decision(True, 5)], ids=str)
def test_a_fuse_policy_that_says_neither_yes_nor_no(returned):
    llms = [FakeMember("a", "Lyon is it."), FakeMember("b", "Nice is the town.")]
    ranker = FakeRanker(temperature=99.0)
    result = Blender(llms, ranker=ranker, fuser=OddFuser(), fuse_when=lambda context: returned).blend("Q?")
    assert "return a Decision" in result.degraded[0]
    yes = Blender(llms, ranker=ranker, fuser=OddFuser(), fuse_when=lambda context: np.True_).blend("Q?")
    assert yes.text == "Both are cities."


@pytest.mark.parametrize("returned", [True, False, 0, NAN], ids=str)
def test_a_check_that_returns_no_reason(returned):
    llms = [FakeMember("a", "Lyon"), FakeMember("b", "Nice, I think.")]
    result = Blender(llms, ranker="longest", fuser=None).blend("Q?", accept=lambda answer: returned)
    assert result.winner == "b"
    assert "accept returned" in strict(result)["candidates"][0]["invalid"]


def test_checks_and_policies_that_were_written_as_coroutines():
    async def check(_given):
        return None

    llms = [FakeMember("a", "Lyon is it."), FakeMember("b", "Nice is the town.")]
    blender = Blender(llms, ranker=FakeRanker(temperature=99.0), fuser=OddFuser(), fuse_when=check)
    assert "fuse_when" in blender.blend("Q?").degraded[0]
    assert "accept returned <coroutine" in blender.blend("Q?", accept=check).degraded[0]


@pytest.mark.parametrize("blended", [None, (1.0, 2.0), Ranking((1, 0), (NAN, 1.0), "p")], ids=str)
def test_a_prior_that_returns_no_ranking(blended):
    class Prior:
        def blend(self, names, ranking, texts):
            return blended

        def observe(self, names, ranking):
            pass

    llms = [FakeMember("a", "Lyon"), FakeMember("b", "Nice, I think.")]
    result = Blender(llms, ranker="longest", fuser=None, member_prior=Prior()).blend("Q?")
    assert result.winner == "b"
    assert result.degraded[0].startswith("member prior: RankerError")


@pytest.mark.parametrize("scores", [[NAN, 1.0], [0.5], ["a", "b"], 0.5, [2.0, 0.5], np.ones((2, 2))], ids=str)
def test_a_measure_of_groundedness_that_cannot_be_used(scores):
    class Measure:
        name = "odd"

        def score(self, question, candidates):
            return scores

    def engine(text):
        return lambda prompt: GroundedCandidate(text, (Source("The port is 8080."),))

    engines = [SourcedMember(name, engine(text)) for name, text in (("a", "Port 8080."), ("b", "Port 9999 it is."))]
    ranker = GroundedRanker("longest", groundedness=Measure())
    result = GroundedBlender(engines, ranker=ranker, fuser=None).blend("Q?")
    assert "groundedness odd" in result.degraded[0]
    strict(result)


@pytest.mark.parametrize("sources", [None, ["text"], (Source(5),), (Source("text", id=NAN),)], ids=str)
def test_sources_that_cannot_be_used_are_their_engines_error(sources):
    engines = [
        SourcedMember("a", lambda prompt: GroundedCandidate("Port 8080.", (Source("The port is 8080."),))),
        SourcedMember("b", lambda prompt: GroundedCandidate("Port 9999.", sources)),
    ]
    result = GroundedBlender(engines, ranker="longest", fuser=None).blend("Q?")
    assert "give a tuple of Source" in strict(result)["candidates"][1]["reason"]


def test_sources_whose_metadata_do_not_compare_are_kept_apart():
    texts = [GroundedCandidate("Blue.", (Source("The sky is blue.", metadata={"v": np.zeros(2)}),)) for _ in range(2)]
    engines = [SourcedMember(str(place), lambda prompt, one=one: one) for place, one in enumerate(texts)]
    result = GroundedBlender(engines, ranker="longest", fuser=OddFuser(), fuse_when="always").blend("Q?")
    assert result.sources


def test_judges_are_checked_as_members_are():
    llms = [FakeMember("a", "Lyon"), FakeMember("b", "Nice, I think.")]
    judge = LLMJudge(Odd(Answer("Better: A", usage=Usage(NAN, 1)), "judge"))
    result = Blender(llms, ranker=judge, fuser=None).blend("Q?")
    assert "input_tokens is nan" in result.degraded[0]
    with pytest.raises(RankerError, match="input_tokens is nan"):
        judge.rank("Q?", ["Lyon", "Nice"])


def test_a_server_that_writes_nan():
    call = (("look", '{"x": NaN}'),)
    with ScriptedServer({"m": [Reply("", tool_calls=call)]}) as server:
        result = Blender([OpenAIMember("m", base_url=server.base_url), FakeMember("b", GOOD)], fuser=None).blend("Q?")
    assert "nan at x is no JSON" in strict(result)["candidates"][0]["reason"]
