"""When the ranker is loaded: while the first call's members answer, or before, by `warm_up`, on every face."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from blender_core import Blender
from blender_core.errors import CheckpointError
from blender_core.rag import GroundedBlender
from blender_core.rank import EmbeddedRanker
from blender_core.testing import FakeRanker
from langchain_blender import BlendedLLM as LangChainBlend
from llamaindex_blender import BlendedLLM as LlamaIndexBlend


class Folder:
    """A folder of a ranker whose loading is counted, and may fail."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.begun = threading.Event()
        self.loads = 0
        self.broken = False

    def load(self, _name: str) -> FakeRanker:
        self.loads += 1
        self.begun.set()
        if self.broken:
            raise CheckpointError("the weights are cut short")
        return FakeRanker()


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Folder:
    (tmp_path / "ranker.json").write_text("{}", encoding="utf-8")
    found = Folder(str(tmp_path))
    monkeypatch.setattr(EmbeddedRanker, "load", found.load)
    return found


def longer(question: str) -> str:
    return question + ", and more"


FACES = {
    "Blender": lambda members, **settings: Blender(members, **settings),
    "GroundedBlender": lambda members, **settings: GroundedBlender(members, **settings),
    "LangChain": lambda members, **settings: LangChainBlend(llms=members, **settings),
    "LlamaIndex": lambda members, **settings: LlamaIndexBlend(llms=members, **settings),
}


@pytest.mark.parametrize("in_loop", [False, True], ids=["warm_up", "awarm_up"])
@pytest.mark.parametrize("face", FACES)
def test_a_face_loads_its_ranker_when_it_is_told_to(face, in_loop, folder):
    blend: Any = FACES[face]([str.upper, longer], ranker=folder.path, fuser=None)
    assert folder.loads == 0
    asyncio.run(blend.awarm_up()) if in_loop else blend.warm_up()
    assert folder.loads == 1


def test_a_ranker_that_cannot_be_loaded_is_told_by_warm_up(folder):
    folder.broken = True
    with pytest.raises(CheckpointError, match="cut short"):
        Blender([str.upper, longer], ranker=folder.path).warm_up()


@pytest.mark.parametrize("in_loop", [False, True], ids=["blend", "ablend"])
def test_the_first_call_loads_the_ranker_while_its_members_answer(in_loop, folder):
    def waiting(question: str) -> str:
        # answers only after the loading has begun
        return longer(question) if folder.begun.wait(60) else "too late"

    blender = Blender([waiting, str.upper], ranker=folder.path, fuser=None)
    result = asyncio.run(blender.ablend("q")) if in_loop else blender.blend("q")
    assert (result.text, result.degraded, folder.loads) == ("q, and more", (), 1)
    blender.blend("q")
    assert folder.loads == 1


def test_a_ranker_that_fails_in_the_background_is_told_by_the_call(folder):
    folder.broken = True
    asked = []
    blender = Blender([asked.append, str.upper, longer], ranker=folder.path, fuser=None, quorum=2)
    with pytest.raises(CheckpointError, match="the weights are cut short"):
        blender.blend("q")
    # later calls ask no member for answers that cannot be ranked
    count = len(asked)
    with pytest.raises(CheckpointError, match="the weights are cut short"):
        asyncio.run(blender.ablend("q"))
    assert len(asked) == count
    folder.broken = False
    assert blender.blend("q").degraded == ()


def test_a_single_member_needs_no_ranker(folder):
    assert Blender([str.upper], ranker=folder.path, fuser=None).blend("q").text == "Q"
    assert folder.loads == 0
