"""Promises under chaos: seeded schedules on virtual time; ``benchmarks/chaos.py`` runs more, and replays one."""

import gc
import itertools

import pytest
from faults.parts import Act
from faults.promises import run_schedule
from faults.schedule import CallPlan, MemberPlan, Schedule

BLOCK = 100


@pytest.fixture(scope="module", autouse=True)
def quick_search_for_what_a_call_left():
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.mark.parametrize("first", range(0, 1000, BLOCK))
def test_every_promise_holds_under_chaos(first):
    reports = [run_schedule(Schedule.of(seed)) for seed in range(first, first + BLOCK)]
    broken = [f"python benchmarks/chaos.py --seed {one.seed}: {line}" for one in reports for line in one.broken]
    assert not broken, "\n".join(broken)
    assert sum(report.fusions > 0 for report in reports) > BLOCK / 4
    kinds = set().union(*(report.kinds for report in reports))
    assert {"deaf", "slots", "prior", "stream", "judges", "budget", "ended by the caller"} <= kinds


@pytest.mark.parametrize(
    ("mode", "ranker", "fuser"),
    [("whole", "peers", "llm"), ("stream", Act(seconds=0.1), "stream"), ("stream", "consensus", "astream")],
)
def test_a_call_may_be_cancelled_at_every_turn_of_the_loop(mode, ranker, fuser):
    texts = ("It is Paris.", "One would say Paris.", "The capital of France is Paris.")
    members = tuple(
        MemberPlan((Act("reset"), Act(seconds=place / 10, text=text), Act(text=text)), blocking=place == 1)
        for place, text in enumerate(texts)
    )
    settings = {"timeout": 3.0, "deadline": 9.0, "quorum": 1, "retries": 2, "slots": 2, "shared_slots": False}
    settings |= {"grace": None, "max_tokens": None, "top_k": 3}
    for turn in itertools.count(1):
        call = CallPlan(mode, ends="cancel at turn", after=turn)
        report = run_schedule(
            Schedule(
                turn,
                members,
                ranker,
                True,
                fuser,
                (Act(seconds=0.2),),
                "learning",
                None,
                Act(),
                Act(),
                settings,
                (call,),
            )
        )
        assert not report.broken, f"cancelled at turn {turn}: {report.broken}\n{report.story}"
        if not report.ended:
            break
    # it got through gathering, ranking and fusing before the cancellation came too late
    assert turn > 20
    assert report.fusions == 1
