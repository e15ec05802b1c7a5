"""A KeyboardInterrupt or SystemExit of any part ends the call and reaches its caller; the event loop goes on."""

import asyncio

import pytest

from blender_core import Answer, Blender, FusionGuard, Member, MemberPrior
from blender_core.rag import GroundedBlender, GroundedCandidate, GroundedRanker, Source, SourcedMember
from blender_core.rank import LLMJudge
from blender_core.runtime.program_end import carrying
from blender_core.runtime.threads import await_in_thread, call_in_thread, iterate_in_thread, run_sync, stream_sync
from blender_core.testing import FakeFuser, FakeMember, FakeRanker
from langchain_blender import BlendedLLM as LangChainBlend
from llamaindex_blender import BlendedLLM as LlamaIndexBlend

ENDS = [KeyboardInterrupt, SystemExit]


class Raises:
    """Whatever it is asked for, it ends the program."""

    name = "raises"
    computes_locally = True

    def __init__(self, end):
        self.end = end

    def __call__(self, *_args, **_kwargs):
        raise self.end("enough")

    rank = score = __call__


class Guard(FusionGuard):
    def __init__(self, end):
        super().__init__()
        object.__setattr__(self, "end", end)

    def check(self, *_args, **_kwargs):
        raise self.end("enough")


class Native(Member):
    """Ends the program on the event loop."""

    def __init__(self, end):
        super().__init__("native")
        self.end = end

    async def agenerate(self, prompt):
        raise self.end("enough")


class Prior(MemberPrior):
    def __init__(self, end):
        super().__init__()
        self.end = end

    def blend(self, *_args, **_kwargs):
        raise self.end("enough")


class Streams(FakeFuser):
    def __init__(self, end):
        super().__init__()
        self.end = end

    def stream(self, request):
        yield "A first word"
        raise self.end("enough")

    def fuse(self, request):
        raise self.end("enough")

    afuse = None
    astream = None


class Unable(FakeFuser):
    def __init__(self, end):
        super().__init__()
        self.end = end

    def why_not(self, request):
        raise self.end("enough")


def close():
    return FakeRanker(temperature=1000)


PARTS = {
    "member": lambda end: {"llms": [FakeMember("a", "one"), Raises(end)]},
    "native member": lambda end: {"llms": [FakeMember("a", "one"), Native(end)]},
    "ranker": lambda end: {"ranker": Raises(end)},
    "judge": lambda end: {"ranker": LLMJudge(Raises(end))},
    "prior": lambda end: {"member_prior": Prior(end)},
    "fuse_when": lambda end: {"fuse_when": Raises(end)},
    "guard": lambda end: {"guard": Guard(end)},
    "fuser": lambda end: {"fuser": Streams(end)},
    "fuser that cannot say": lambda end: {"fuser": Unable(end)},
}


def settings(part, end):
    usual = {
        "llms": [FakeMember("a", "one"), FakeMember("b", "second")],
        "ranker": close(),
        "fuser": FakeFuser(),
        "fuse_when": "always",
        "timeout": 20.0,
    }
    return usual | PARTS[part](end)


async def listed(items):
    return [item async for item in items]


async def listed_later(items):
    return [item async for item in await items]


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("part", PARTS)
def test_the_caller_of_the_engine_gets_it_and_its_loop_goes_on(part, end):
    given = settings(part, end)
    blend = Blender(given.pop("llms"), **given)
    with pytest.raises(end, match="enough"):
        blend.blend("Q?")
    with pytest.raises(end, match="enough"):
        list(blend.stream("Q?"))

    async def caller():
        with pytest.raises(end, match="enough"):
            await blend.ablend("Q?")
        with pytest.raises(end, match="enough"):
            await listed(blend.astream("Q?"))
        # inside of a loop, as in Jupyter
        with pytest.raises(end, match="enough"):
            blend.blend("Q?")
        return "goes on"

    assert asyncio.run(caller()) == "goes on"


@pytest.mark.parametrize("end", ENDS)
def test_an_answers_check_ends_the_program(end):
    blend = Blender([FakeMember("a", "one"), FakeMember("b", "second")], ranker=close(), fuser=None)

    async def caller():
        with pytest.raises(end, match="enough"):
            await blend.ablend("Q?", accept=Raises(end))
        with pytest.raises(end, match="enough"):
            await listed(blend.astream("Q?", accept=Raises(end)))
        return "goes on"

    assert asyncio.run(caller()) == "goes on"
    with pytest.raises(end, match="enough"):
        blend.blend("Q?", accept=Raises(end))
    with pytest.raises(end, match="enough"):
        list(blend.stream("Q?", accept=Raises(end)))


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("kind", [LangChainBlend, LlamaIndexBlend])
def test_the_caller_of_an_adapter_gets_it(kind, part):
    blend = kind(**settings(part, SystemExit))
    if kind is LangChainBlend:
        ways = [
            lambda: blend.invoke("Q?"),
            lambda: asyncio.run(blend.ainvoke("Q?")),
            lambda: list(blend.stream("Q?")),
            lambda: asyncio.run(listed(blend.astream("Q?"))),
        ]
    else:
        ways = [
            lambda: blend.complete("Q?"),
            lambda: asyncio.run(blend.acomplete("Q?")),
            lambda: list(blend.stream_complete("Q?")),
            lambda: asyncio.run(listed_later(blend.astream_complete("Q?"))),
        ]
    for way in ways:
        with pytest.raises(SystemExit, match="enough"):
            way()


@pytest.mark.parametrize("kind", [LangChainBlend, LlamaIndexBlend])
def test_a_blend_in_a_blend_hands_it_on(kind):
    inner = kind(llms=[FakeMember("a", "one"), Raises(SystemExit)], ranker=close(), fuser=None)
    outer = Blender([FakeMember("b", "two"), inner], ranker=close(), fuser=None)
    with pytest.raises(SystemExit, match="enough"):
        outer.blend("Q?")
    # LangChain asks in a task of its own, which ends the loop
    with pytest.raises(SystemExit, match="enough"):
        asyncio.run(outer.ablend("Q?"))


def test_the_other_members_are_cancelled():
    ended = []

    class Slow(Member):
        async def agenerate(self, prompt):
            try:
                await asyncio.sleep(30)
            finally:
                ended.append("slow")
            return Answer("late")

    async def caller():
        with pytest.raises(SystemExit):
            await Blender([Slow("slow"), Native(SystemExit)], ranker=close(), fuser=None).ablend("Q?")
        return list(ended)

    assert asyncio.run(caller()) == ["slow"]


def test_a_measure_of_groundedness_ends_the_program():
    def engine(name):
        candidate = GroundedCandidate("Paris. [1]", (Source("Paris is the capital of France."),))
        return SourcedMember(name, lambda prompt: candidate)

    ranker = GroundedRanker("longest", groundedness=Raises(SystemExit))
    blend = GroundedBlender([engine("a"), engine("b")], ranker=ranker, fuser=None)
    with pytest.raises(SystemExit, match="enough"):
        blend.blend("Capital of France?")


@pytest.mark.parametrize("end", ENDS)
def test_every_bridge_hands_it_on(end):
    def leave():
        raise end("enough")

    async def aleave():
        raise end("enough")

    def items():
        yield 1
        raise end("enough")

    async def aitems():
        yield 1
        raise end("enough")

    async def caller():
        with pytest.raises(end, match="enough"):
            await call_in_thread(leave)
        with pytest.raises(end, match="enough"):
            await await_in_thread(aleave)
        with pytest.raises(end, match="enough"):
            await listed(iterate_in_thread(items))
        with pytest.raises(end, match="enough"):
            run_sync(aleave)
        return "goes on"

    assert asyncio.run(caller()) == "goes on"
    with pytest.raises(end, match="enough"):
        run_sync(aleave)
    with pytest.raises(end, match="enough"):
        list(stream_sync(aitems))


async def test_a_task_that_is_cancelled_before_its_first_step_leaves_nothing_behind():
    async def work():
        return "done"

    task = asyncio.create_task(carrying(work))
    task.cancel()
    # a coroutine that was never awaited would be a warning, which is an error here
    with pytest.raises(asyncio.CancelledError):
        await task
