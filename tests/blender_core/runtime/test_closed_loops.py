"""One client in several event loops, one after the other."""

import asyncio

import pytest

from blender_core import Answer, Blender
from blender_core.events import Finished
from blender_core.members.member import Member
from blender_core.testing import FakeMember


class Pool(Member):
    """Keeps one connection a loop, as an HTTP client does, and fails on one of a closed loop."""

    def __init__(self, text, idle=1, said="Event loop is closed"):
        super().__init__("pool")
        self.text = text
        self.idle = idle
        self.said = said
        self.calls = 0
        self.connections = []

    async def agenerate(self, prompt):
        self.calls += 1
        loop = asyncio.get_running_loop()
        if self.connections and self.connections[-1] is not loop:
            self.connections.pop()
            try:
                raise RuntimeError(self.said)
            except RuntimeError as error:
                raise ConnectionError("Connection error.") from error
        self.connections = [loop] * self.idle
        return Answer(self.text)

    async def astream(self, prompt):
        answer = await self.agenerate(prompt)
        yield answer.text
        yield answer


async def streamed(blender):
    return [event async for event in blender.astream("Q")][-1].result


@pytest.mark.parametrize("way", ["whole", "streamed", "sync"])
def test_connections_of_a_closed_loop_cost_no_try(way):
    member, fuser = Pool("Paris it is.", idle=7), Pool("Paris it is, on the Seine.")
    blender = Blender(
        [member, FakeMember("b", "Paris.")], fuser=fuser, ranker="longest", fuse_when="always", max_retries=0
    )
    for _ in range(3):
        if way == "sync":
            result = blender.blend("Q")
        else:
            result = asyncio.run(blender.ablend("Q") if way == "whole" else streamed(blender))
        assert result.text == "Paris it is, on the Seine."
        assert [record.attempts for record in result.candidates] == [1, 1]
        assert not result.degraded


@pytest.mark.parametrize("said", ["Event loop is closed", "got Future <f> attached to a different loop"])
def test_a_client_that_stays_bound_is_named_with_the_remedy(said):
    class Bound(Pool):
        async def agenerate(self, prompt):
            self.calls += 1
            raise RuntimeError(self.said)

    member = Bound("", said=said)
    result = asyncio.run(Blender([member, FakeMember("b", "Paris.")], fuser=None).ablend("Q"))
    record = result.candidates[0]
    assert (record.attempts, record.status.value) == (1, "error")
    assert "asyncio.run" in record.reason
    assert member.calls <= 100


def test_a_stream_that_has_begun_is_not_begun_anew():
    class Breaks(Pool):
        async def astream(self, prompt):
            self.calls += 1
            yield "Paris it is, on the Seine. " * 6
            raise RuntimeError("Event loop is closed")

    fuser = Breaks("")
    members = [FakeMember("a", "Paris it is."), FakeMember("b", "Paris.")]
    blender = Blender(members, fuser=fuser, ranker="longest", fuse_when="always")

    async def events():
        return [event async for event in blender.astream("Q")]

    finished = asyncio.run(events())[-1]
    assert isinstance(finished, Finished)
    assert (finished.result.text, fuser.calls) == ("Paris it is.", 1)
