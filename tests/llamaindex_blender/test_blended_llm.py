"""The blend as a LlamaIndex LLM: what is its own beyond the suite that every LLM passes."""

import asyncio
import json
import pickle
import threading
import time
from pathlib import Path

import llama_index
import pytest
from llama_index.core import Document, SummaryIndex
from llama_index.core.base.llms.types import ToolCallBlock
from llama_index.core.callbacks import CallbackManager, TokenCountingHandler
from llama_index.core.instrumentation.event_handlers.base import BaseEventHandler
from llama_index.core.instrumentation.events.llm import LLMChatEndEvent
from llama_index.core.instrumentation.span_handlers import SimpleSpanHandler
from llama_index.core.llms import ChatMessage, MockLLM
from llama_index.core.llms.mock import MockFunctionCallingLLM
from llama_index.core.prompts import PromptTemplate
from llama_index.core.utils import get_tokenizer
from llama_index_instrumentation import get_dispatcher
from pydantic import BaseModel

from blender_core import FusePolicy
from blender_core.errors import ConfigurationError, QuorumError
from blender_core.testing import FakeFuser, FakeMember, FakeRanker
from llamaindex_blender import BlendedLLM, LlamaIndexMember
from llamaindex_blender.blocking import blocks_event_loop
from llamaindex_blender.testing import ScriptedLLM

HELLO = [ChatMessage(content="Why is the sky blue?")]


def blend(*texts, **settings):
    members = [ScriptedLLM(script=[text], model=f"m{index}") for index, text in enumerate(texts)]
    return BlendedLLM(llms=members, **{"ranker": FakeRanker(), "fuser": FakeFuser(), **settings})


THREE = ("one", "one two", "one two three")


class Spans:
    """What instrumentation sees during a block."""

    def __enter__(self):
        self.handler = SimpleSpanHandler()
        get_dispatcher().add_span_handler(self.handler)
        return self

    def __exit__(self, *_exc):
        get_dispatcher().span_handlers.remove(self.handler)

    @property
    def tree(self):
        """Parent's name -> children's names."""
        names = {span.id_: span.id_.rsplit("-", 5)[0] for span in self.handler.completed_spans}
        found = {}
        for span in self.handler.completed_spans:
            found.setdefault(names.get(span.parent_id), []).append(names[span.id_])
        return found


CALLS = {
    "chat": lambda llm: llm.chat(HELLO),
    "achat": lambda llm: asyncio.run(llm.achat(HELLO)),
    "complete": lambda llm: llm.complete("Hi"),
    "acomplete": lambda llm: asyncio.run(llm.acomplete("Hi")),
    "stream_chat": lambda llm: list(llm.stream_chat(HELLO))[-1],
    "astream_chat": lambda llm: asyncio.run(_last(llm.astream_chat(HELLO))),
    "stream_complete": lambda llm: list(llm.stream_complete("Hi"))[-1],
    "astream_complete": lambda llm: asyncio.run(_last(llm.astream_complete("Hi"))),
}


async def _last(stream):
    return [piece async for piece in await stream][-1]


# -- the answer and its report ------------------------------------------------------------------------


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_every_call_fuses_and_reports(call):
    response = call(blend(*THREE, fuse_when="always"))
    text = response.text if hasattr(response, "text") else response.message.content
    assert text == "one two three one two one"
    report = response.raw["blend"]
    assert report == response.additional_kwargs["blend"]
    assert (report["winner"], report["fused"]) == ("m2", ["m2", "m1", "m0"])
    json.dumps(response.raw)


def test_a_failed_member_is_in_the_report_and_a_missed_quorum_names_it():
    response = blend("fine", ValueError("no such model")).chat(HELLO)
    assert response.raw["blend"]["candidates"][1]["status"] == "error"
    with pytest.raises(QuorumError, match=r"m1: error .*no such model"):
        blend("fine", ValueError("no such model"), quorum=2).chat(HELLO)


def test_the_report_is_not_in_the_message_that_goes_on():
    assert blend(*THREE).chat(HELLO).message.additional_kwargs == {}


def test_a_refused_fusion_streams_the_best_answer_after_it():
    # the beginning is held back for the guard, so it takes some words
    fuser = FakeFuser(" ".join(f"word{n}" for n in range(60)), error=RuntimeError("gone"), fail_after=40)
    pieces = list(blend(*THREE, fuse_when="always", fuser=fuser).stream_chat(HELLO))
    text = pieces[-1].message.content
    assert "".join(piece.delta for piece in pieces) == text
    sent, answer = text.split("\n\n")
    assert answer == "one two three"
    assert pieces[-1].raw["blend"]["rejected_characters"] == len(sent) > 0
    assert all(piece.raw is None for piece in pieces[:-1])


def test_stop_ends_the_fused_text_whole_and_streamed():
    llm = blend("alpha END beta", "alpha gamma END", fuse_when="always", stop=["END"])
    whole = llm.chat(HELLO).message.content
    assert whole == "alpha gamma "
    assert "".join(piece.delta for piece in llm.stream_chat(HELLO)) == whole
    assert llm.chat(HELLO, stop="gamma").message.content == "alpha "


def test_options_reach_members():
    llm = blend("ok", temperature=0.5)
    llm.chat(HELLO, max_tokens=7, mirostat=2)
    assert llm.llms[0].calls[0].options == {"temperature": 0.5, "max_tokens": 7, "mirostat": 2}
    with pytest.raises(ConfigurationError, match="model='gpt'"):
        llm.chat(HELLO, model="gpt")


@pytest.mark.parametrize("name", ["frequency_penalty", "logit_bias", "presence_penalty", "seed", "top_p"])
def test_sampling_options_reach_members_of_both_kinds(name):
    other = FakeMember("b", "b")
    llm = blend("a")
    llm.llms.append(other)
    llm.complete("Why?", **{name: 1})
    assert llm.llms[0].calls[0].options[name] == 1
    if name != "logit_bias":
        assert other.prompts[0].options[name] == 1


@pytest.mark.parametrize(
    "text",
    [
        '{"a": 1}',
        'Here it is:\n```json\n{"a": 1}\n```',
        'Sure! {"a": {"b": [1, 2]}} Anything else?',
        "Thought: I need a tool.\nAction: add\nAction Input: {}",
        "YES",
        "The first is better. [[A]]",
        "YES, the context says so.",
        "4.5\nThe answer is right but a little short.",
        "The context fits.\n[RESULT] 3",
        "Doc: 1, Relevance: 9\nDoc: 2, Relevance: 3",
        "[2] > [1] > [3]",
        "SQLQuery: SELECT 1",
        "KEYWORDS: sky, blue",
    ],
)
def test_what_a_program_reads_is_never_fused(text):
    response = blend(text, text[:-1], fuse_when="always").chat(HELLO)
    assert response.message.content == text
    assert "picked and never fused" in response.raw["blend"]["decision"]


@pytest.mark.parametrize("text", ["No sky is blue at night.", "4 of 5 say so.", "See [1]; the answer: blue."])
def test_what_only_looks_alike_is_fused(text):
    assert blend(text, "Blue.", fuse_when="always").chat(HELLO).raw["blend"]["fused"]


# -- time ---------------------------------------------------------------------------------------------


class Sleeper(MockLLM):
    """Its asynchronous methods are synchronous inside, as with every CustomLLM."""

    def complete(self, prompt, formatted=False, **kwargs):
        THREADS.add(threading.get_ident())
        BARRIER.wait(timeout=20)
        return super().complete(prompt, formatted, **kwargs)


THREADS: set[int] = set()
BARRIER = threading.Barrier(3)


def test_members_that_block_the_loop_run_in_threads_side_by_side():
    llm = BlendedLLM(llms=[Sleeper(), Sleeper(), Sleeper()], ranker=FakeRanker(), fuser=None)
    # the barrier lets nobody go before all three are there
    response = asyncio.run(llm.achat(HELLO))
    assert all(record["status"] == "ok" for record in response.raw["blend"]["candidates"])
    assert len(THREADS) == 3
    assert threading.get_ident() not in THREADS


def test_what_blocks_is_read_from_the_code():
    assert blocks_event_loop(MockLLM())
    assert blocks_event_loop(MockFunctionCallingLLM())
    assert not blocks_event_loop(ScriptedLLM())
    assert not blocks_event_loop(blend("x"))


def test_cancelling_a_call_cancels_its_members():
    member = ScriptedLLM(hang=True)
    llm = BlendedLLM(llms=[member], timeout=None)

    async def cancelled():
        task = asyncio.create_task(llm.achat(HELLO))
        while not member.calls:  # noqa: ASYNC110
            await asyncio.sleep(0)
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancelled())
    assert member.cancelled == 1


def test_a_member_that_hangs_does_not_hold_the_blend():
    members = [ScriptedLLM(script=["fine"]), ScriptedLLM(hang=True, model="stuck")]
    began = time.monotonic()
    response = BlendedLLM(llms=members, timeout=0.5).chat(HELLO)
    assert response.raw["blend"]["candidates"][1]["status"] == "timeout"
    assert time.monotonic() - began < 30


# -- what is seen of it -------------------------------------------------------------------------------


@pytest.mark.parametrize("call", CALLS, ids=CALLS)
def test_members_are_spans_under_the_blends(call):
    llm = BlendedLLM(
        llms=[ScriptedLLM(script=["a"], model="li"), FakeMember("core", "a b")], ranker=FakeRanker(), fuse_when="always"
    )
    with Spans() as spans:
        CALLS[call](llm)
    assert spans.tree[None] == [f"BlendedLLM.{call}"]
    below = spans.tree[f"BlendedLLM.{call}"]
    assert {name.split(".")[0] for name in below} == {"ScriptedLLM", "FakeMember"}
    # two candidates and the fuser, which is the member that was given first
    assert [name.split(".")[0] for name in below].count("ScriptedLLM") == 2


def test_members_events_are_marked():
    heard = []

    class Listener(BaseEventHandler):
        def handle(self, event, **_kwargs):
            if "blended_llm.member" in event.tags:
                heard.append((event.tags["blended_llm.member"], event.tags["blended_llm.role"]))

    listener = Listener()
    get_dispatcher().add_event_handler(listener)
    try:
        BlendedLLM(
            llms=[ScriptedLLM(script=["a"], model="x"), ScriptedLLM(script=["a b"], model="y")],
            ranker=FakeRanker(),
            fuse_when="always",
        ).chat(HELLO)
    finally:
        get_dispatcher().event_handlers.remove(listener)
    assert set(heard) == {("x", "candidate"), ("y", "candidate"), ("x", "fuser")}


def test_tokens_are_counted_once():
    counter = TokenCountingHandler(tokenizer=str.split)
    llm = blend("a", "a b", callback_manager=CallbackManager([counter]), fuser=None)
    for call in CALLS.values():
        counter.reset_counts()
        usage = call(llm).raw["usage"]
        assert len(counter.llm_token_counts) == 1
        assert counter.total_llm_token_count == usage["total_tokens"]


# -- settings and copies ------------------------------------------------------------------------------


def test_metadata_is_what_all_members_can_do():
    members = [ScriptedLLM(context_window=8000), ScriptedLLM(context_window=2000, tools=False), str.upper]
    metadata = BlendedLLM(llms=members, fuser=None).metadata
    assert (metadata.context_window, metadata.is_chat_model, metadata.model_name) == (8000, True, "blended-llm")
    assert metadata.is_function_calling_model
    assert not BlendedLLM(llms=members, quorum=2).metadata.is_function_calling_model
    assert BlendedLLM(llms=members, max_tokens=99).metadata.num_output == 99


def test_the_window_has_room_for_the_answers_that_are_fused():
    members = [ScriptedLLM(context_window=4096) for _ in range(5)]
    assert BlendedLLM(llms=members, max_tokens=100).metadata.context_window == 4096 - 3 * 100 - 256
    assert BlendedLLM(llms=members, max_tokens=100, top_k=2).metadata.context_window == 4096 - 2 * 100 - 256
    assert BlendedLLM(llms=members, max_tokens=2000).metadata.context_window == 2000 + 800
    for settings in ({"fuser": None}, {"fuser": FakeFuser()}, {"fuse_when": "never"}):
        assert BlendedLLM(llms=members, **settings).metadata.context_window == 4096


def test_fusions_fit_where_a_query_engine_fills_the_window():
    tokens = get_tokenizer()

    class Strict(ScriptedLLM):
        def chat(self, messages, **options):
            length = sum(len(tokens(message.content)) for message in messages)
            if length + 200 > 2000:
                raise ValueError(f"context_length_exceeded: {length} + 200 > 2000")
            return super().chat(messages, **options)

    members = [
        Strict(
            script=[" ".join(f"an answer of number {number + part}" for part in range(40))] * 200,
            model=f"m{number}",
            context_window=2000,
        )
        for number in range(3)
    ]
    llm = BlendedLLM(llms=members, ranker="longest", fuse_when="always", max_retries=0, max_tokens=200)
    text = " ".join(f"word {number}" for number in range(3000))
    engine = SummaryIndex.from_documents([Document(text=text)]).as_query_engine(llm=llm, response_mode="compact")
    reports = []

    class Listener(BaseEventHandler):
        def handle(self, event, **_kwargs):
            if isinstance(event, LLMChatEndEvent) and "blended_llm.member" not in event.tags:
                reports.append(event.response.raw["blend"])

    listener = Listener()
    get_dispatcher().add_event_handler(listener)
    try:
        engine.query("Which number?")
    finally:
        get_dispatcher().event_handlers.remove(listener)
    assert len(reports) > 2
    assert all(report["fused"] and not report["degraded"] for report in reports)


class Down(ScriptedLLM):
    """Asks its server for its metadata, as Ollama does."""

    up: bool = False

    @property
    def metadata(self):
        if not self.up:
            raise ConnectionError("server is down")
        return super().metadata


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_a_member_that_cannot_say_what_it_is_costs_its_answer_alone(call):
    llm = BlendedLLM(llms=[ScriptedLLM(script=["Blue light."]), Down()], ranker="longest", max_retries=0)
    assert llm.metadata.is_function_calling_model
    report = call(llm).raw["blend"]
    assert [(one["model"], one["status"]) for one in report["candidates"]] == [("scripted", "ok"), ("Down", "error")]
    llm.llms[1].up = True
    assert llm.members[1][1].context_window == ScriptedLLM().context_window


def test_a_member_that_goes_down_is_what_it_was():
    member = LlamaIndexMember(Down(up=True, context_window=2000))
    assert member.context_window == 2000
    member.llm.up = False
    assert member.context_window == 2000
    assert member.can_call_tools([])


def test_arguments_in_the_history_that_cannot_be_read():
    block = ToolCallBlock(tool_name="add", tool_kwargs='{"a": 1, ', tool_call_id="1")
    history = [
        *HELLO,
        ChatMessage(role="assistant", blocks=[block]),
        ChatMessage(role="tool", content="bad arguments", additional_kwargs={"tool_call_id": "1"}),
        ChatMessage(content="Try again."),
    ]
    llm = blend("fine")
    assert llm.chat(history).message.content == "fine"
    assert llm.llms[0].calls[0].messages[1].blocks[0].tool_kwargs == '{"a": 1, '


def test_settings_that_cannot_work_are_reported_at_once():
    for settings, message in (
        ({"rankr": "longest"}, "did you mean ranker"),
        ({"top_k": 0}, "top_k is 0"),
        ({"quorum": 3}, "quorum is 3"),
        ({"llms": [object()]}, "not an LLM"),
    ):
        with pytest.raises(ValueError, match=message):
            BlendedLLM(**{"llms": [MockLLM()], **settings})


def test_an_assigned_field_takes_effect():
    llm = blend("a", "a b", fuser=None)
    assert llm.complete("?").text == "a b"
    llm.ranker = FakeRanker(lambda text: -len(text))
    assert llm.complete("?").text == "a"


def test_settings_come_from_the_environment(monkeypatch):
    monkeypatch.setenv("BLENDED_LLM_RANKER", "consensus")
    monkeypatch.setenv("BLENDED_LLM_TIMEOUT", "12.5")
    llm = BlendedLLM(llms=[MockLLM()])
    assert (llm.ranker, llm.timeout, llm.top_k) == ("consensus", 12.5, 3)


def test_to_dict_and_back():
    llm = BlendedLLM(llms=[MockLLM(max_tokens=2)], ranker="longest", fuser=None, fuse_when=FusePolicy())
    data = json.loads(llm.to_json())
    assert data["llms"][0]["class_name"] == "MockLLM"
    again = BlendedLLM.from_dict(data)
    assert again.complete("?").text == "text text"
    foreign = BlendedLLM(llms=[str.upper]).to_dict()["llms"]
    assert foreign[0]["name"] == "upper"
    with pytest.raises(ValueError, match="cannot be made from its serialised form"):
        BlendedLLM(llms=foreign)


def test_a_blend_that_cannot_be_pickled_says_so():
    with pytest.raises(ConfigurationError, match="cannot be pickled: its llms"):
        pickle.dumps(BlendedLLM(llms=[lambda text: text]))
    llm = blend("a", fuse_when=lambda context: False)
    with pytest.raises(ConfigurationError, match="cannot be pickled: its fuse_when"):
        pickle.dumps(llm)
    assert llm.complete("?").text == "a"
    assert pickle.loads(pickle.dumps(blend("a", fuse_when="never"))).fuse_when == "never"


def test_an_llm_that_fuses_comes_back_from_its_dict():
    llm = BlendedLLM.from_dict(BlendedLLM(llms=[MockLLM()], fuser=MockLLM(max_tokens=3)).to_dict())
    assert llm.fuser.max_tokens == 3


def test_a_blend_of_blends():
    inner = blend("a", "a b", fuser=None)
    response = BlendedLLM(llms=[inner, ScriptedLLM(script=["a b c"])], ranker=FakeRanker(), fuser=None).chat(HELLO)
    assert response.message.content == "a b c"
    assert response.raw["usage"]["completion_tokens"] == 6


def test_importable_as_part_of_llamaindex():
    from llama_index.llms.blender import BlendedLLM as Shim

    assert Shim is BlendedLLM
    root = Path(__file__).parents[2] / "llama_index"
    assert str(root) in list(llama_index.__path__)
    # a file of that name would hide LlamaIndex itself
    assert not list(root.glob("__init__.py")) + list(root.glob("llms/__init__.py"))


class Joke(BaseModel):
    setup: str
    number: int


def test_an_object_inside_a_text_reaches_the_program_that_asked_for_it():
    scripts = ('Sure! {"setup": "a", "number": 1}', 'Here it is: {"setup": "long", "number": 2} Enjoy.')
    llm = BlendedLLM(
        llms=[ScriptedLLM(script=script, tools=False) for script in scripts],
        ranker="longest",
        fuser=FakeFuser("FUSED"),
        fuse_when="always",
    )
    joke = Joke(setup="long", number=2)
    assert llm.structured_predict(Joke, PromptTemplate("{q}"), q="A joke?") == joke
    assert llm.as_structured_llm(Joke).complete("A joke?").raw == joke
    # braces that hold no object are no reason
    plain = [ScriptedLLM(script=f"Use braces {{like this}} {word}.", tools=False) for word in ("here", "there")]
    llm = BlendedLLM(llms=plain, ranker="longest", fuser=FakeFuser("FUSED"), fuse_when="always")
    assert llm.complete("?").text == "FUSED"
