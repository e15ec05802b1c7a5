"""The blend over engines with sources: whose sources a fusion reads and cites."""

import pytest

from blender_core import LLMFuser, MemberPrior, Ranking
from blender_core.errors import ConfigurationError
from blender_core.events import Token
from blender_core.rag import (
    GroundedBlender,
    GroundedCandidate,
    GroundedRanker,
    GroundedResult,
    Source,
    SourcedMember,
)

QUESTION = "Which port does the console listen on, and can it be changed?"
PORT = "The console listens on port 9443."
OPTION = "The console port 9443 can be changed with --port."
SAME = "The console listens on port 9443 [1]."
FUSED = "The console listens on port 9443 [1]. It can be changed with --port [3]."


def engine(name: str, answer: str, *texts: str) -> SourcedMember:
    sources = tuple(Source(text, id=text) for text in texts)
    return SourcedMember(name, lambda prompt: GroundedCandidate(answer, sources))


@pytest.mark.parametrize("way", ["blend", "ablend", "stream"])
async def test_of_engines_that_say_the_same_the_fuser_reads_the_sources_of_the_one_that_is_kept(way):
    read = []

    def fuse(prompt: str) -> str:
        read.extend(line for line in prompt.splitlines() if line.startswith("["))
        return FUSED

    blender = GroundedBlender(
        [
            engine("first, unsupported", SAME, "Cats are animals."),
            engine("supported", SAME, PORT, "Dogs bark."),
            engine("other", "Console port 9443 can be changed with --port [1].", OPTION),
        ],
        ranker="consensus",
        fuser=LLMFuser(fuse),
        fuse_when="always",
    )
    if way == "blend":
        result = blender.blend(QUESTION)
    elif way == "ablend":
        result = await blender.ablend(QUESTION)
    else:
        *_, last = blender.stream(QUESTION)
        result = last.result
    assert result.fused == ("supported", "other")
    assert read == [f"[1] {PORT}", "[2] Dogs bark.", f"[3] {OPTION}"]
    assert [f"[{linked.number}] {linked.source.text}" for linked in result.sources] == read
    assert (result.text, result.citations.cited) == (FUSED, (1, 3))


@pytest.mark.parametrize("way", ["stream", "astream"])
async def test_the_pieces_of_a_picked_text_that_ends_with_a_citation_are_the_whole_text(way):
    text = "The console listens on port 9443 [1]"
    blender = GroundedBlender([engine("a", text, PORT), engine("b", "Port 9443.", PORT)], ranker="longest", fuser=None)
    events = list(blender.stream(QUESTION)) if way == "stream" else [event async for event in blender.astream(QUESTION)]
    assert "".join(event.text for event in events if isinstance(event, Token)) == events[-1].result.text == text


def test_sources_share_the_characters_that_the_fuser_reads():
    read = []

    def fuse(prompt: str) -> str:
        read.extend(line for line in prompt.splitlines() if line.startswith("["))
        return FUSED

    long = [f"{start} " + "word " * 400 for start in (PORT, OPTION)]
    members = [engine("a", SAME, long[0]), engine("b", "Console port 9443 can be changed with --port [1].", long[1])]
    GroundedBlender(members, ranker="consensus", fuser=LLMFuser(fuse), fuse_when="always", source_characters=200).blend(
        QUESTION
    )
    assert [len(line.removeprefix(f"[{number}] ")) for number, line in enumerate(read, 1)] == [100, 100]


# -- the member prior ------------------------------------------------------------------------------------


def prior_for(strong: str, weak: str, ranker: str = "grounded-longest") -> MemberPrior:
    prior = MemberPrior()
    for _ in range(20):
        prior.observe([strong, weak], Ranking.from_scores([3.0, -3.0], ranker=ranker))
    return prior


def settled(prior: MemberPrior | None, *engines: SourcedMember) -> GroundedResult:
    ranker = GroundedRanker("longest", groundedness_weight=0.0)
    return GroundedBlender(list(engines), ranker=ranker, fuser=None, member_prior=prior).blend(QUESTION)


def test_a_declared_engine_wins_between_supported_answers():
    engines = [engine("long", f"{PORT} [1].", PORT), engine("short", "Console port 9443 [1].", PORT)]
    assert settled(None, *engines).winner == "long"
    result = settled(MemberPrior.declared({"short": 0.8, "long": 0.5}), *engines)
    assert (result.winner, result.degraded) == ("short", ())


def test_a_prior_decides_between_supported_answers():
    engines = engine("long", SAME + " It listens there.", PORT), engine("short", SAME, PORT)
    assert settled(None, *engines).winner == "long"
    result = settled(prior_for("short", "long"), *engines)
    assert result.winner == "short"
    assert result.degraded == ()
    assert set(result.groundedness) == {"long", "short"}


def test_a_strong_member_without_support_stays_behind():
    off_topic = "Bananas are yellow, and so are lemons and most buses [1]."
    engines = engine("strong", off_topic, PORT), engine("weak", SAME, PORT)
    prior = prior_for("strong", "weak")
    result = settled(prior, *engines)
    assert (result.winner, result.unsupported, result.degraded) == ("weak", ("strong",), ())
    assert prior.prompts == 21


def test_a_flawed_answer_moves_behind_and_the_call_keeps_what_it_knows():
    loop = "The console listens on the port 9443 of it. " * 30
    result = settled(None, engine("repeats", loop, PORT), engine("says", SAME, PORT), engine("off", "Bananas.", PORT))
    assert (result.winner, result.degraded) == ("says", ())
    assert set(result.groundedness) == {"repeats", "says", "off"}
    order = sorted(result.candidates, key=lambda record: record.rank)
    # only a loop is worse than an answer that its sources do not support
    assert [record.outcome.member for record in order] == ["says", "off", "repeats"]
    assert result.unsupported == ("off",)


@pytest.mark.parametrize("broken", [False, True])
def test_answers_that_are_not_accepted_are_left_out_with_their_sources(broken):
    def accept(answer):
        if "not accepted" not in answer.text:
            return None
        if broken:
            raise ValueError("cannot be read")
        return "too long"

    engines = [engine("long", f"{PORT} This is not accepted [1].", PORT), engine("short", SAME, OPTION, PORT)]
    ranker = GroundedRanker("longest", groundedness_weight=0.0)
    result = GroundedBlender([*engines, engine("other", "Port 9443.", PORT)], ranker=ranker, fuser=None).blend(
        QUESTION, accept=accept
    )
    assert (result.winner, result.degraded) == ("short", ())
    assert set(result.groundedness) == {"short", "other"}
    assert [linked.source.text for linked in result.sources] == [OPTION, PORT]


def test_a_prior_that_knows_nothing_changes_nothing():
    engines = engine("long", f"{PORT} [1].", PORT), engine("off", "Bananas are yellow, and so are lemons [1].", PORT)
    plain, known = settled(None, *engines), settled(MemberPrior(), *engines)
    assert known.ranking == plain.ranking
    assert (known.unsupported, known.degraded) == (("off",), ())


def test_an_unknown_ranker_inside_is_refused_at_once():
    with pytest.raises(ConfigurationError, match="nonsense"):
        GroundedRanker("nonsense")


@pytest.mark.parametrize("returned", ["a text", None, 3])
def test_a_fuser_that_returns_something_else_is_named_with_it(returned):
    class Odd:
        name = "odd"

        def fuse(self, request):
            return returned

    engines = [engine("port", SAME, PORT), engine("option", "It can be changed with --port [1].", OPTION)]
    ranker = GroundedRanker("longest", groundedness_weight=0.0)
    result = GroundedBlender(engines, ranker=ranker, fuser=Odd(), fuse_when="always").blend(QUESTION)
    assert result.fused == ()
    (problem,) = result.degraded
    assert "odd" in problem
    assert type(returned).__name__ in problem
