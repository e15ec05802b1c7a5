"""Parts that hang, block or never end hold neither the call, nor the event loop, nor the calls after it."""

import asyncio
import threading

import pytest

from blender_core import Answer, Blender, FusionGuard, GatherPolicy, Member, RetryPolicy, SharedSemaphore
from blender_core.errors import QuorumError
from blender_core.fuse import FusedText
from blender_core.runtime.threads import RANKINGS
from blender_core.testing import FakeFuser, FakeMember, FakeRanker, run_in_virtual_time
from langchain_blender import BlendedLLM as LangChainBlend
from llamaindex_blender import BlendedLLM as LlamaIndexBlend


class Engine(Blender):
    def __init__(self, llms, **settings):
        super().__init__(llms, **settings)


FACES = {"engine": Engine, "langchain": LangChainBlend, "llamaindex": LlamaIndexBlend}
WAYS = ["sync", "async", "stream", "astream"]


async def listed(items):
    return [item async for item in items]


async def awaited_list(items):
    return [item async for item in await items]


def report_of(blend, way):
    """The text, and the report as JSON."""
    if isinstance(blend, Blender):
        result = {
            "sync": lambda: blend.blend("Q?"),
            "async": lambda: asyncio.run(blend.ablend("Q?")),
            "stream": lambda: list(blend.stream("Q?"))[-1].result,
            "astream": lambda: asyncio.run(listed(blend.astream("Q?")))[-1].result,
        }[way]()
        return result.text, result.to_dict()
    if isinstance(blend, LangChainBlend):
        pieces = {
            "sync": lambda: [blend.invoke("Q?")],
            "async": lambda: [asyncio.run(blend.ainvoke("Q?"))],
            "stream": lambda: list(blend.stream("Q?")),
            "astream": lambda: asyncio.run(listed(blend.astream("Q?"))),
        }[way]()
        reports = [piece.response_metadata["blend"] for piece in pieces if "blend" in piece.response_metadata]
        return "".join(piece.text for piece in pieces), reports[-1]
    last = {
        "sync": lambda: blend.complete("Q?"),
        "async": lambda: asyncio.run(blend.acomplete("Q?")),
        "stream": lambda: list(blend.stream_complete("Q?"))[-1],
        "astream": lambda: asyncio.run(awaited_list(blend.astream_complete("Q?")))[-1],
    }[way]()
    return last.text, last.raw["blend"]


async def deaf():
    """Heed no cancellation until long after its time; a test's loop waits for its end."""
    for _ in range(15):
        try:
            await asyncio.sleep(0.1)
        except asyncio.CancelledError:
            continue


class Deaf(Member):
    async def agenerate(self, prompt):
        await deaf()


class DeafFuser(FakeFuser):
    async def afuse(self, request):
        await deaf()

    async def astream(self, request):
        await deaf()
        yield FusedText("late", "deaf")


@pytest.fixture
def parts():
    """Parts that hang off the event loop, until the test ends."""
    over = threading.Event()

    def hang(*_args, **_settings):
        with pytest.raises(RuntimeError):
            # nothing here may stop the loop of the call
            asyncio.get_running_loop()
        over.wait(60)

    class Prior:
        blend = observe = staticmethod(hang)

    class Guard(FusionGuard):
        check = staticmethod(hang)

    class Ranker(FakeRanker):
        rank = staticmethod(hang)

    yield {
        "prior": {"member_prior": Prior()},
        "fuse_when": {"fuse_when": hang},
        "guard": {"guard": Guard(), "fuse_when": "always"},
        "ranker": {"ranker": Ranker(), "fuser": None},
        "accept": hang,
    }
    over.set()


# -- slots -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("face", FACES)
@pytest.mark.parametrize("way", WAYS)
def test_a_member_that_never_heeds_its_cancellation_gives_its_slot_back(face, way):
    members = [Deaf("deaf"), FakeMember("good", "Paris.")]
    blend = FACES[face](llms=members, ranker="longest", fuser=None, timeout=0.3, max_concurrency=1)
    assert [report_of(blend, way)[0] for _ in range(2)] == ["Paris.", "Paris."]


@pytest.mark.parametrize("streaming", [False, True])
async def test_a_fuser_that_never_heeds_its_cancellation_gives_its_slot_back(streaming):
    blender = Blender(
        [FakeMember("a", "one"), FakeMember("b", "second")],
        ranker=FakeRanker(temperature=1000),
        fuser=DeafFuser(),
        fuse_when="always",
        timeout=0.3,
        max_concurrency=1,
    )
    for _ in range(2):
        result = (await listed(blender.astream("Q?")))[-1].result if streaming else await blender.ablend("Q?")
        assert [candidate.status for candidate in result.candidates] == ["ok", "ok"]
        assert "fake was not done within 0.3 s" in result.degraded[0]


@pytest.mark.parametrize("held", [1, 2])
def test_a_slot_that_never_comes_free_is_waited_for_no_longer_than_a_member(held):
    semaphore = SharedSemaphore(2)
    members = [FakeMember("a", "one"), FakeMember("b", "second")]
    blender = Blender(members, ranker="longest", fuser=None, timeout=3, semaphore=semaphore)

    async def call():
        for _ in range(held):
            await semaphore.acquire()
        return await blender.ablend("Q?")

    if held == 1:
        assert run_in_virtual_time(call).text == "second"
    else:
        with pytest.raises(QuorumError, match="no slot came free within 3 s"):
            run_in_virtual_time(call)


def test_who_waits_in_a_queue_that_moves_is_not_given_up():
    members = [FakeMember(f"m{number}", "x" * number, latency_s=3) for number in range(1, 6)]
    blender = Blender(members, ranker="longest", fuser=None, timeout=4, max_concurrency=1)
    assert len(run_in_virtual_time(lambda: blender.ablend("Q?")).text) == 5


def test_a_cancelled_caller_frees_the_slots_of_members_that_go_on():
    semaphore = SharedSemaphore(1)
    deaf_one = Blender([Deaf("deaf")], fuser=None, semaphore=semaphore)
    good = Blender([FakeMember("good", "Paris.")], fuser=None, semaphore=semaphore, timeout=None)

    async def calls():
        task = asyncio.create_task(deaf_one.ablend("Q?"))
        await asyncio.sleep(1)
        task.cancel()
        await asyncio.wait([task])
        return await good.ablend("Q?")

    assert run_in_virtual_time(calls).text == "Paris."


def test_a_member_that_was_given_up_is_not_asked_again():
    class Rude(FakeMember):
        async def agenerate(self, prompt):
            try:
                return await super().agenerate(prompt)
            except asyncio.CancelledError:
                raise ConnectionError("reset") from None

    rude = Rude("rude", "late", latency_s=50)
    policy = GatherPolicy(timeout=1, retry=RetryPolicy(retries=3))
    blender = Blender([FakeMember("good", "Paris."), rude], ranker="longest", fuser=None, policy=policy, deadline=20)

    async def call():
        result = await blender.ablend("Q?")
        await asyncio.sleep(600)
        return result

    assert run_in_virtual_time(call).text == "Paris."
    assert rude.calls == 1


# -- the event loop and the deadline ---------------------------------------------------------------------------------


SAID = {
    "prior": "member prior: not ready",
    "fuse_when": "fuse_when: not ready",
    "guard": "fusion: fake was not done",
    "ranker": "ranker: not ready",
}
# each face and each way meets every part
HANGING = [
    (face, way, list(SAID)[(row + column) % len(SAID)])
    for row, face in enumerate(FACES)
    for column, way in enumerate(WAYS)
]


@pytest.mark.parametrize(("face", "way", "part"), HANGING)
def test_a_part_that_hangs_ends_with_the_deadline(parts, face, way, part):
    members = [FakeMember("a", "It is Paris, I think."), FakeMember("b", "It may be the city of Lyon.")]
    settings = {"ranker": FakeRanker(temperature=1000), "fuser": FakeFuser("It is Paris or Lyon, they think.")}
    blend = FACES[face](llms=members, deadline=1.2, **{**settings, **parts[part]})
    text, report = report_of(blend, way)
    # after the ranker has hung, there may be time to fuse
    fused = {"It is Paris or Lyon, they think."} if part == "ranker" else set()
    assert text in {"It is Paris, I think.", "It may be the city of Lyon.", *fused}
    assert [reason for reason in report["degraded_reasons"] if reason.startswith(SAID[part])]


@pytest.mark.parametrize("part", ["prior", "fuse_when", "accept"])
def test_without_a_deadline_a_part_has_the_time_of_a_member(parts, part):
    members = [FakeMember("a", "one"), FakeMember("b", "second one")]
    accept = parts["accept"] if part == "accept" else None
    settings = {} if part == "accept" else parts[part]
    blender = Blender(members, **{"ranker": FakeRanker(), "fuser": FakeFuser(), "timeout": 0.5, **settings})
    result = blender.blend("Q?", accept=accept)
    assert result.text == "second one"
    assert [reason for reason in result.degraded if "within 0.5 s" in reason]


@pytest.mark.parametrize("way", WAYS)
def test_a_member_that_blocks_its_loop_is_named_or_does_no_harm(way, monkeypatch):
    released = threading.Event()
    slept = threading.local()

    class Blocks(Member):
        async def agenerate(self, prompt):
            if way in ("sync", "stream"):
                # in a thread of its own, it holds nobody
                released.wait(60)
            else:
                slept.seconds = 1.2
            return Answer("slept")

    # what the watch reads: the time, the time in which the thread computed, and how often it slept
    monkeypatch.setattr("blender_core.runtime.blocking._now", lambda: (getattr(slept, "seconds", 0.0), 0.0, 1))
    members = [FakeMember("good", "Paris it is."), Blocks("blocks")]
    blend = Engine(members, ranker="longest", fuser=None, timeout=0.5 if way in ("sync", "stream") else 60)
    text, report = report_of(blend, way)
    released.set()
    assert text == "Paris it is."
    blocked = [reason for reason in report["degraded_reasons"] if reason.startswith("blocks blocked the event loop")]
    assert bool(blocked) == (way in ("async", "astream"))
    assert [record["status"] for record in report["candidates"]] == ["ok", "ok" if blocked else "timeout"]
    members[1].blocks_event_loop = True
    assert not report_of(Engine(members, ranker="longest", fuser=None), way)[1]["degraded_reasons"]


def test_a_huge_text_is_streamed_in_few_pieces_and_compared_whole():
    words = [f"w{number}" for number in range(150_000)]
    members = [FakeMember("a", " ".join(words)), FakeMember("b", "  ".join(words))]
    *events, finished = Blender(members, ranker="consensus", fuser=None).stream("Q?")
    pieces = [event.text for event in events if type(event).__name__ == "Token"]
    assert "".join(pieces) == finished.result.text
    assert len(pieces) <= 1_001
    # they differ in white space alone
    assert len(set(finished.result.ranking.scores)) == 1


# -- rankings at the same time -----------------------------------------------------------------------------------------


class Counting(FakeRanker):
    """Notes how many rankings run at once; waits until so many do, or a moment."""

    def __init__(self, wanted):
        super().__init__()
        self.lock, self.all_in = threading.Lock(), threading.Event()
        self.running = self.peak = 0
        self.wanted = wanted

    def rank(self, prompt, candidates):
        with self.lock:
            self.running += 1
            self.peak = max(self.peak, self.running)
            if self.running == self.wanted:
                self.all_in.set()
        takes_turns = getattr(self, "computes_locally", True)
        self.all_in.wait(0.2 if self.wanted > RANKINGS.limit and takes_turns else 20)
        with self.lock:
            self.running -= 1
        return super().rank(prompt, candidates)


class Plain:
    """A ranker of a user, who has not heard of turns."""

    def __init__(self, inner):
        self.rank, self.name = inner.rank, "plain"


@pytest.mark.parametrize("computes_locally", [True, False, None])
async def test_so_many_rankings_compute_at_once(computes_locally):
    members = [FakeMember("a", "one"), FakeMember("b", "second")]
    ranker = Counting(RANKINGS.limit + 2)
    if computes_locally is not None:
        ranker.computes_locally = computes_locally
    blender = Blender(members, ranker=Plain(ranker) if computes_locally is None else ranker, fuser=None)
    results = await asyncio.gather(*(blender.ablend(f"{number}?") for number in range(RANKINGS.limit + 2)))
    assert not any(result.degraded for result in results)
    assert ranker.peak == RANKINGS.limit + (2 if computes_locally is False else 0)


async def test_a_ranking_that_hangs_or_was_cancelled_keeps_nobodys_turn(parts):
    members = [FakeMember("a", "one"), FakeMember("b", "second")]
    hanging = Blender(members, **parts["ranker"])
    late = [asyncio.create_task(hanging.ablend("Q?")) for _ in range(RANKINGS.limit + 3)]
    await asyncio.sleep(0.3)
    for task in late:
        task.cancel()
    await asyncio.wait(late)
    result = await Blender(members, ranker=FakeRanker(), fuser=None, deadline=5).ablend("Q?")
    assert (result.text, result.degraded) == ("second", ())


async def test_rankers_that_ask_a_blend_get_turns_for_it():
    members = [FakeMember("a", "one"), FakeMember("b", "second")]
    inner = Blender(members, ranker=FakeRanker(), fuser=None)

    class Asking(FakeRanker):
        def rank(self, prompt, candidates):
            everybody.wait(20)
            inner.blend(prompt)
            return super().rank(prompt, candidates)

    everybody = threading.Barrier(RANKINGS.limit)
    blender = Blender(members, ranker=Asking(), fuser=None)
    calls = [blender.ablend("Q?") for _ in range(RANKINGS.limit)]
    results = await asyncio.wait_for(asyncio.gather(*calls), 60)
    assert [result.text for result in results] == ["second"] * RANKINGS.limit
