"""A ranker that fails or is late, and what stays behind of it."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading

import pytest

from blender_core import Blender, MemberPrior
from blender_core.errors import DownloadError
from blender_core.rank import CombinedRanker
from blender_core.rank.embedded import EmbeddedRanker
from blender_core.rank.lexical_consensus import LexicalConsensusRanker
from blender_core.rank.run import never_works, run_ranking
from blender_core.testing import FakeMember

TEXTS = ["Paris", "It is Paris.", "Rome"]


class Failing:
    name = "failing"

    def __init__(self, error):
        self.error = error

    def rank(self, prompt, candidates):
        raise self.error


@pytest.mark.parametrize("deadline", [None, 60.0])
def test_a_rankers_own_limit_is_not_taken_for_the_deadline(deadline):
    blender = Blender(
        [lambda q: "Paris", lambda q: "Rome"],
        ranker=Failing(TimeoutError("the judge's server said nothing")),
        fuser=None,
        deadline=deadline,
    )
    (problem,) = blender.blend("Capital?").degraded
    assert "TimeoutError: the judge's server said nothing" in problem
    assert "deadline" not in problem


@pytest.mark.parametrize(
    "ranker",
    [
        Failing(ValueError("down")),
        CombinedRanker([Failing(ValueError("down")), Failing(TimeoutError("late"))]),
        "consensus",
    ],
    ids=["failing", "all parts failing", "the fallback itself"],
)
@pytest.mark.parametrize("texts", [["Rome", "Paris", "Oslo"], ["Rome it is", "It is Paris", "It may be Oslo"]])
def test_the_fallback_keeps_the_member_prior(ranker, texts):
    prior = MemberPrior.declared({"a": 0.2, "b": 0.9, "c": 0.5})
    members = [FakeMember(name, text) for name, text in zip("abc", texts, strict=True)]
    result = Blender(members, ranker=ranker, member_prior=prior, fuser=None).blend("Capital of France?")
    assert result.winner == "b"
    assert {"consensus", "prior"} <= set(result.candidates[0].evidence)
    # what stood in for the ranker is not learned from
    assert prior.prompts == (ranker == "consensus")


def test_a_late_ranker_is_replaced_and_said():
    release = threading.Event()

    class Hanging:
        name = "hanging"

        def rank(self, prompt, candidates):
            release.wait()

    run = asyncio.run(run_ranking(Hanging, LexicalConsensusRanker(), "Capital?", TEXTS, limit_s=0.2))
    release.set()
    assert run.problem == "ranker: not ready before the deadline; ranked by agreement in words"
    assert run.ranking.ranker == "consensus"


class Session:
    """A model that waits before each pass, and says that it was begun and how often."""

    def __init__(self):
        self.begun, self.release, self.passes = threading.Event(), threading.Event(), 0

    def run(self, names, feeds):
        import numpy as np

        self.passes += 1
        self.begun.set()
        self.release.wait()
        return [np.zeros(len(feeds["input_ids"]), dtype=np.float32)]


async def begin_and_cancel(begun, ranker, texts):
    ranking = asyncio.create_task(run_ranking(lambda: ranker, LexicalConsensusRanker(), "Why?", texts, limit_s=None))
    await asyncio.to_thread(begun.wait)
    ranking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await ranking


def test_the_embedded_ranker_stops_between_batches_when_nobody_waits():
    session = Session()
    ranker = EmbeddedRanker.load().with_session(session)
    asyncio.run(begin_and_cancel(session.begun, ranker, TEXTS))
    (left,) = [thread for thread in threading.enumerate() if thread.name == "blended-llm-compute"]
    session.release.set()
    left.join()
    assert session.passes == 1
    # called directly it goes on to its end
    ranker.rank("Why?", TEXTS)
    assert session.passes == 1 + len(TEXTS)


LEFT_BEHIND = """
import asyncio, threading
from blender_core.rank.embedded import EmbeddedRanker
from blender_core.rank.lexical_consensus import LexicalConsensusRanker
from blender_core.rank.run import run_ranking

ranker = EmbeddedRanker.load()
begun, native = threading.Event(), ranker._session

class Session:
    def run(self, names, feeds):
        begun.set()
        return native.run(names, feeds)

async def main():
    # many short passes: one of them ends while the interpreter goes away
    texts = [f"Answer {index}." for index in range(1000)]
    own = ranker.with_session(Session())
    ranking = asyncio.create_task(run_ranking(lambda: own, LexicalConsensusRanker(), "Why?", texts, limit_s=None))
    await asyncio.to_thread(begun.wait)
    ranking.cancel()

asyncio.run(main())
"""

HANGING = """
import threading
from blender_core import Blender
from blender_core.runtime import threads

class Hanging:
    name = "hanging"
    def rank(self, prompt, candidates):
        threading.Event().wait()

threads._EXIT_S = 0.1
hang = lambda question: threading.Event().wait()
members = [lambda q: "a", lambda q: "b", hang]
result = Blender(members, ranker=Hanging(), fuser=None, timeout=0.1, deadline=1.0).blend("q")
assert "not ready before the deadline" in result.degraded[0], result.degraded
"""


@pytest.mark.parametrize("code", [LEFT_BEHIND, HANGING], ids=["native code", "a ranker and a member that hang"])
def test_what_is_left_behind_neither_aborts_nor_holds_the_interpreter(code):
    ended = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert (ended.returncode, ended.stderr) == (0, "")


@pytest.mark.parametrize("may_pass", [True, False])
def test_a_download_that_failed_never_works_unless_it_may_pass(may_pass):
    assert never_works(DownloadError("no such file", may_pass=may_pass)) is (not may_pass)
