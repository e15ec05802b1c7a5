"""Context windows: what a query engine is told, and who takes part in a call."""

import asyncio
import base64
import threading

import pytest
from llama_index.core import Document, SummaryIndex
from llama_index.core.base.llms.types import ImageBlock, TextBlock
from llama_index.core.llms import ChatMessage, CustomLLM, LLMMetadata, MockLLM
from llama_index.core.llms.mock import MockFunctionCallingLLM
from llama_index.core.utils import get_tokenizer

from blender_core import LLMFuser
from blender_core.errors import QuorumError
from blender_core.testing import FakeFuser, FakeMember, FakeRanker
from llamaindex_blender import BlendedLLM
from llamaindex_blender.testing import ScriptedLLM

QUESTION = "How hot does the kettle get?"
SMALL_PNG = b"iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
PICTURE = [ChatMessage(role="user", blocks=[TextBlock(text="What is this?"), ImageBlock(image=SMALL_PNG)])]


def model(window, *script, name="m", **settings):
    return ScriptedLLM(script=list(script or ["95 degrees."]), model=name, context_window=window, **settings)


@pytest.mark.parametrize(
    ("windows", "quorum", "told"),
    [
        ((1024, 8192, 131072), 1, 8192),
        ((1024, 8192), 1, 8192),
        ((1024, 1024, 8192), 1, 1024),
        ((1024, 8192, 131072), 3, 1024),
    ],
)
def test_one_small_window_does_not_shrink_the_prompt_for_all(windows, quorum, told):
    members = [model(window) for window in windows]
    assert BlendedLLM(llms=members, fuser=None, quorum=quorum).metadata.context_window == told
    assert BlendedLLM(llms=members, quorum=quorum, context_window=5000).metadata.context_window == 5000


@pytest.mark.parametrize("mode", ["compact", "refine", "tree_summarize", "accumulate"])
@pytest.mark.parametrize("window", [1000, 1100, 1280, 1536, 2048])
def test_a_query_engine_works_on_members_that_work_alone(window, mode):
    index = SummaryIndex.from_documents([Document(text="The kettle heats water up to 95 degrees Celsius. " * 40)])
    for members in ([model(window), model(window)], [model(8192, name="big"), model(window)]):
        alone = index.as_query_engine(llm=members[-1], response_mode=mode).query(QUESTION)
        blended = index.as_query_engine(llm=BlendedLLM(llms=members), response_mode=mode).query(QUESTION)
        assert "95" in str(alone)
        assert "95" in str(blended)


@pytest.mark.parametrize("streamed", [False, True])
def test_a_member_with_too_small_a_window_takes_no_part(streamed):
    small, big = model(900, name="small"), model(8192, name="big")
    llm = BlendedLLM(llms=[small, big], fuser=None, max_retries=0)
    long = "word " * 2000
    response = list(llm.stream_complete(long))[-1] if streamed else asyncio.run(llm.acomplete(long))
    record = response.raw["blend"]["candidates"][0]
    assert record["status"] == "too_long"
    assert "do not fit its window of 900" in record["reason"]
    assert response.raw["blend"]["usage_known"]
    assert not small.calls
    llm.complete("short")
    assert len(small.calls) == 1
    # the answer needs room too
    llm.complete("short", max_tokens=900)
    assert len(small.calls) == 1


def test_a_prompt_in_another_script_may_fit_though_the_tokenizer_counts_more():
    text = "Wie heiß wird er? 水壶最高可以加热到多少度" * 40
    count = len(get_tokenizer()(text))
    llm = BlendedLLM(llms=[model(count * 3 // 4), model(count // 3)], fuser=None)
    records = llm.complete(text).raw["blend"]["candidates"]
    assert [record["status"] for record in records] == ["ok", "too_long"]


def test_a_window_that_is_only_llamaindexs_default_excludes_nobody():
    long = "word " * 6000
    assert MockLLM().metadata.context_window == 3900
    assert BlendedLLM(llms=[MockLLM(max_tokens=1)], fuser=None).complete(long).text == "text"
    with pytest.raises(QuorumError, match=r"do not fit its window of 3,900.*Shorten the prompt"):
        BlendedLLM(llms=[model(3900)]).complete(long)


def test_the_fuser_is_one_whose_window_holds_the_answers():
    words = " ".join(f"word{number}" for number in range(200))
    small, big = model(700, words, name="small"), model(8192, f"{words} more", f"{words} fused", name="big")
    response = BlendedLLM(llms=[small, big], ranker=FakeRanker(), fuse_when="always").complete(QUESTION)
    assert response.text == f"{words} fused"
    report = BlendedLLM(
        llms=[model(8192, words), model(8192, f"{words} more")],
        ranker=FakeRanker(),
        fuser=model(700, name="little"),
        fuse_when="always",
    ).complete(QUESTION)
    assert report.text == f"{words} more"
    assert "nobody can fuse this: little: the prompt is too long" in report.raw["blend"]["decision"]
    assert not report.raw["blend"]["degraded"]


async def test_a_server_that_does_not_tell_its_window_holds_up_only_its_own_member():
    told = threading.Event()

    class Server(ScriptedLLM):
        @property
        def metadata(self):
            if made:
                told.wait(20)
            return super().metadata

    made = False
    members = [Server(model="mute", context_window=8192), model(8192), model(8192)]
    llm = BlendedLLM(llms=members, fuser=None, timeout=0.3, quorum=2)
    made = True
    turns = asyncio.create_task(asyncio.sleep(0.1))
    try:
        # it may be too long, so its window is read again
        response = await llm.achat([ChatMessage("word " * 2000)])
        # other tasks of the event loop went on
        assert turns.done()
        assert response.raw["blend"]["candidates"][0]["reason"] == "no answer within 0.3 s"
    finally:
        told.set()


# -- images -------------------------------------------------------------------------------------------


class TextOnly(CustomLLM):
    @property
    def metadata(self):
        return LLMMetadata(model_name="text-only")

    def complete(self, prompt, formatted=False, **kwargs):
        raise AssertionError("it sees no image")

    stream_complete = complete


async def test_an_image_question_is_fused_by_a_member_that_sees():
    writer = model(8192, "A red pixel.", "One red dot.", name="sees")
    llm = BlendedLLM(
        llms=[TextOnly(), model(8192, "It is a red pixel.", name="other"), writer],
        ranker=FakeRanker(),
        fuse_when="always",
        fuser=LLMFuser(writer),
    )
    response = await llm.achat(PICTURE)
    assert response.message.content == "One red dot."
    asked = writer.calls[-1].messages[-1]
    assert [block.image for block in asked.blocks if isinstance(block, ImageBlock)] == [SMALL_PNG]
    blind = response.raw["blend"]["candidates"][0]
    assert (blind["status"], "it reads no image" in blind["reason"]) == ("unsupported", True)


@pytest.mark.parametrize("fuser", [TextOnly(), str.upper])
def test_an_image_question_is_picked_if_nobody_who_sees_can_fuse(fuser):
    members = [model(8192, "A red pixel."), FakeMember("core", "Red.")]
    report = BlendedLLM(llms=members, ranker=FakeRanker(), fuser=fuser, fuse_when="always").chat(PICTURE)
    assert report.message.content == "A red pixel."
    assert "it reads no image" in report.raw["blend"]["decision"]
    assert not report.raw["blend"]["degraded"]
    # a fuser that says nothing about images is asked
    fused = BlendedLLM(llms=members, ranker=FakeRanker(), fuser=FakeFuser("fused"), fuse_when="always").chat(PICTURE)
    assert fused.message.content == "fused"


# -- blends in blends ---------------------------------------------------------------------------------


def test_nesting_reads_each_members_metadata_once():
    read = []

    class Counted(MockFunctionCallingLLM):
        @property
        def metadata(self):
            read.append(self)
            return super().metadata

    llm = BlendedLLM(llms=[Counted()], fuser=None)
    for _ in range(12):
        llm = BlendedLLM(llms=[llm, ScriptedLLM()], fuser=None, ranker="longest")
    assert llm.metadata.is_function_calling_model
    assert len(read) == 1


def test_each_member_reads_an_open_file_from_its_start(tmp_path):
    (tmp_path / "small.png").write_bytes(b"the bytes of a picture")
    heard = []

    def answer(call):
        heard.append(call.messages[-1].blocks[1].image.read())
        return "A dot."

    llms = [ScriptedLLM(script=[answer]), ScriptedLLM(script=[answer])]
    with (tmp_path / "small.png").open("rb") as file:
        file.read(4)
        blocks = [TextBlock(text="What is this?"), ImageBlock(image=file)]
        BlendedLLM(llms=llms, fuser=None).chat([ChatMessage(role="user", blocks=blocks)])
    assert heard == [b"the bytes of a picture"] * 2


def test_a_picture_in_a_file_reaches_a_member_of_the_engine(tmp_path):
    (tmp_path / "small.png").write_bytes(b"the bytes of a picture")
    member = FakeMember("engine", "A dot.")
    blocks = [TextBlock(text="What is this?"), ImageBlock(path=tmp_path / "small.png")]
    BlendedLLM(llms=[member], fuser=None).chat([ChatMessage(role="user", blocks=blocks)])
    (media,) = (part for part in member.prompts[0].messages[-1].parts if not isinstance(part, str))
    assert base64.b64decode(media.data) == b"the bytes of a picture"
