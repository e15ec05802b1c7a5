"""List every reader of bytes from outside, and what it is fed with; it reads that, or raises one clear error.

Inputs are texts and documents that were valid once, with random damage: NaN, huge numbers, deep brackets, lone
surrogates, wrong types, cut and doubled pieces.
"""

from __future__ import annotations

import copy
import json
import math
import tempfile
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from blender_core import Answer, Blender, GatherPolicy, MemberPrior, Prompt, Ranking, RetryPolicy, ToolCall, Usage
from blender_core.cli.prompt_rows import read_rows
from blender_core.errors import BlendError, CheckpointError
from blender_core.events import Finished
from blender_core.fuse import FusedText
from blender_core.rank.answer_features import FeatureNetwork
from blender_core.rank.embedded import EmbeddedSettings
from blender_core.rank.verdicts import expected_grade, expected_verdict, read_grade, read_ranking, read_verdict
from blender_core.testing import FakeFuser, FakeMember, FakeRanker
from blender_core.types.answer import token_logprobs
from blender_lab.data.json_lines import json_lines
from blender_lab.data.mixinstruct import MixCandidate, Verdict, read_mix
from blender_lab.data.preferences import read_records
from blender_lab.mix.journal import Journal

__all__ = ["READERS", "Reader"]


@dataclass(frozen=True, slots=True)
class Reader:
    """Pairs a reader with its inputs.

    Attributes:
        inputs: What it is fed with.
        read: Reads one input, and checks what came; a ``BlendError`` of a reader is an answer, too.
        errors: What else it may raise.
    """

    inputs: SearchStrategy[Any]
    read: Callable[[Any], object]
    errors: tuple[type[BaseException], ...] = (BlendError,)

    def check(self, value: Any) -> None:
        """Read an input; whatever is wrong raises.

        Args:
            value: The input.
        """
        said = "read"
        try:
            self.read(value)
        except self.errors as error:
            said = str(error)
        # a message must be readable, and not hold the whole file
        assert 0 < len(said) < 5000, f"a message of {len(said)} characters"


# -- inputs ----------------------------------------------------------------------------------------------

_DEEP: list[Any] = []
for _ in range(100):
    _DEEP = [_DEEP]
_odd = st.sampled_from(
    [
        None,
        True,
        "",
        "x",
        -1,
        0,
        0.5,
        1e308,
        10**400,
        math.nan,
        math.inf,
        [],
        {},
        [[]],
        {"a": 1},
        "\ud800",
        "\x00",
        _DEEP,
    ]
)
any_text = st.text(st.characters(exclude_categories=()), max_size=40)
any_json = st.recursive(
    _odd | st.integers() | st.floats() | any_text,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(any_text, inner, max_size=4),
    max_leaves=12,
)


def _places(document: Any) -> list[tuple[Any, Any]]:
    """Every container and key of a document."""
    found: list[tuple[Any, Any]] = []
    stack = [document]
    while stack:
        holder = stack.pop()
        keys = list(holder) if isinstance(holder, dict) else range(len(holder)) if isinstance(holder, list) else ()
        for key in keys:
            found.append((holder, key))
            stack.append(holder[key])
    return found


@st.composite
def damaged(draw: st.DrawFn, document: Any) -> Any:
    """Draw a document with one to three values replaced, removed, or moved elsewhere."""
    whole = copy.deepcopy(document)
    for _ in range(draw(st.integers(0, 3))):
        places = _places(whole)
        if not places:
            break
        holder, key = places[draw(st.integers(0, len(places) - 1))]
        how = draw(st.sampled_from(["replace", "replace", "remove", "move"]))
        if how == "replace":
            # a copy, because the next damage may lie in it
            holder[key] = copy.deepcopy(draw(any_json))
        elif how == "remove":
            del holder[key]
        else:
            other, place = places[draw(st.integers(0, len(places) - 1))]
            holder[key] = copy.deepcopy(other[place])
    return whole


@st.composite
def damaged_bytes(draw: st.DrawFn, documents: list[Any]) -> bytes:
    """Draw lines of damaged JSON whose bytes are damaged, too."""
    lines = [json.dumps(draw(damaged(one))) for one in documents]
    data = "\n".join(lines).encode() + draw(st.sampled_from([b"\n", b"", b"\n\n", b"\r\n"]))
    for _ in range(draw(st.integers(0, 2))):
        start = draw(st.integers(0, len(data)))
        end = draw(st.integers(start, min(len(data), start + 30)))
        junk = st.sampled_from([b"", b"\xff", b"\x00", b"\n", b'"', b"{", b"[" * 3000, b"9" * 5000, b"NaN", b"\\ud800"])
        data = data[:start] + draw(junk | st.binary(max_size=8)) + data[end:]
    return draw(st.sampled_from([b"", b"", b"", b"\xef\xbb\xbf", b"\xff\xfe"])) + data


def words(*known: str) -> SearchStrategy[str]:
    """Draw texts made of known pieces and of anything."""
    return st.lists(st.sampled_from(known) | any_text, max_size=12).map("".join)


# -- judges ----------------------------------------------------------------------------------------------

_replies = words(
    "Better: A", "[[B]]", "[[", "]]", "{", "}", '{"ranking": ["A", "B"]}', '"ranking":', '"grade":', "Grade: 7", "9/10",
    "A > B = C", ">", "=", " ", "\n", "<think>", "</think>", "answer ", "the second is better", "tie", "_" * 50,
    "*" * 50, "1", "99", '{"grade": NaN}', '{"grade": 1e999}', '{"a":' * 60, "[" * 500, "{" * 500, "not ", "first",
)  # fmt: skip


def _judged(reply: str) -> None:
    assert read_verdict(reply) in (1, 0, -1, None)
    labels = ("A", "B", "C")
    ranking = read_ranking(reply, labels)
    if ranking is not None:
        assert sorted(label for group in ranking.groups for label in group) == list(labels)
    grade = read_grade(reply, 1, 9)
    if grade is not None:
        assert 1 <= grade[0] <= 9
        assert isinstance(grade[0], int)


_logprobs = damaged(
    [{"token": "A", "logprob": -0.1, "top_logprobs": [{"token": "B", "logprob": -2.5}]}, {"token": "7", "logprob": -1}]
)


def _probable(content: Any) -> None:
    answer = Answer("Better: A", logprobs=token_logprobs(content))
    for verdict in (1, 0, -1):
        assert -1.0 <= expected_verdict(answer, verdict) <= 1.0
    assert 1.0 <= expected_grade(answer, 7, 1, 9) <= 9.0


# -- what members say ------------------------------------------------------------------------------------


def _reported(blender: Blender, prompt: Any = "q") -> None:
    """Make a call and its report."""
    result = blender.blend(prompt)
    assert isinstance(result.text, str)
    json.dumps(result.to_dict(), allow_nan=False)
    repr(result)
    result._repr_html_()


def _answers(data: dict[str, Any]) -> None:
    calls = tuple(ToolCall(call["name"], call["arguments"], call["id"]) for call in data["calls"])
    usage = Usage(*data["usage"]) if isinstance(data["usage"], list) and len(data["usage"]) == 2 else data["usage"]
    said = Answer(
        data["text"],
        calls,
        usage=usage,
        cost=data["cost"],
        model=data["model"],
        finish_reason=data["finish_reason"],
        thoughts=data["thoughts"],
    )
    _reported(Blender([FakeMember("odd", said), FakeMember("even", "fine")], ranker="consensus", fuser=None))


_answer = {
    "text": "hello",
    "calls": [{"name": "add", "arguments": {"a": 1, "b": [2]}, "id": "c1"}],
    "usage": [3, 4],
    "cost": 0.5,
    "model": "m",
    "finish_reason": "stop",
    "thoughts": "hm",
}
_COMPLETE = ("name", "arguments", "id")


def _is_answer(data: Any) -> bool:
    """Whether an answer can be made of it at all; the classes of the engine take anything."""
    if not isinstance(data, dict) or not data.keys() >= _answer.keys() or not isinstance(data["calls"], list):
        return False
    return all(isinstance(call, dict) and all(name in call for name in _COMPLETE) for call in data["calls"])


def _rankings(data: dict[str, Any]) -> None:
    class Odd(FakeRanker):
        def rank(self, prompt: str, candidates: Any) -> Any:
            ranking = Ranking.from_scores([1.0, 0.5], ranker="odd")
            for name, value in data.items():
                # a ranker of the user's own may make anything
                object.__setattr__(ranking, name, value)
            return ranking

    members = [FakeMember("a", "one two"), FakeMember("b", "two three")]
    _reported(Blender(members, ranker=Odd(), fuser=None))


_ranking = {
    "order": [0, 1],
    "scores": [1.0, 0.5],
    "ranker": "odd",
    "confidence": 0.7,
    "comparisons": [[0.0, 1.0], [-1.0, 0.0]],
    "ties": [[0, 1]],
    "cut": {"0": 3},
    "temperature": 1.0,
    "evidence": {"odd": [0.5, -0.5]},
    "reasons": ["so"],
    "problems": ["none"],
}


def _fused(data: list[Any]) -> None:
    class Odd(FakeFuser):
        def fuse(self, request: Any) -> Any:
            text, fuser, usage, cost, cut, reason = [*data, *[None] * 6][:6]
            return FusedText(text, fuser, Usage(*usage) if isinstance(usage, list) else usage, cost, cut, reason)

    members = [FakeMember("a", "one two"), FakeMember("b", "two three")]
    _reported(Blender(members, ranker=FakeRanker(temperature=1000), fuser=Odd(), fuse_when="always"))


# -- what servers send -----------------------------------------------------------------------------------


class _RawServer:
    """Answers every request on loopback with the same bytes, and closes the connection."""

    def __init__(self) -> None:
        self.kind, self.body = "application/json", b""
        raw = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                self.send_response(200)
                self.send_header("Content-Type", raw.kind)
                self.end_headers()
                with suppress(OSError):
                    self.wfile.write(raw.body)

            def log_message(self, format: str, *arguments: Any) -> None:
                """Write nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1"


@cache
def _served() -> tuple[_RawServer, Any]:
    from blender_core.members.openai_member import OpenAIMember

    server = _RawServer()
    return server, OpenAIMember("m", base_url=server.url, api_key="none")


def _replied(body: bytes) -> None:
    server, member = _served()
    server.kind, server.body = "application/json", body
    policy = GatherPolicy(retry=RetryPolicy(retries=0))
    _reported(Blender([member, FakeMember("even", "fine")], ranker="consensus", fuser=None, policy=policy))


def _streamed(body: bytes) -> None:
    server, member = _served()
    server.kind, server.body = "text/event-stream", body
    members = [FakeMember("a", "one two"), FakeMember("b", "two three")]
    blender = Blender(members, ranker=FakeRanker(temperature=1000), fuser=member, fuse_when="always")
    *_, last = blender.stream("q")
    assert isinstance(last, Finished)
    json.dumps(last.result.to_dict(), allow_nan=False)


def _chunk(delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "finish_reason": finish, "logprobs": None}
    return {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}


_function = {"name": "add", "arguments": '{"a": 1}'}
_chunks = [
    _chunk({"role": "assistant", "content": "Both "}),
    _chunk({"reasoning_content": "hm"}),
    _chunk({"content": [{"type": "text", "text": "say it"}]}),
    _chunk({"tool_calls": [{"index": 0, "id": "c1", "type": "function", "function": _function}]}),
    _chunk({}, "stop"),
    {**_chunk({}), "choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}},
]
_message = {
    "role": "assistant",
    "content": "hello",
    "refusal": None,
    "reasoning_content": "hm",
    "tool_calls": [{"id": "c1", "type": "function", "function": _function}],
}
_completion = {
    "id": "x",
    "object": "chat.completion",
    "created": 1,
    "model": "m",
    "choices": [{"index": 0, "message": _message, "finish_reason": "stop", "logprobs": {"content": []}}],
    "usage": {"prompt_tokens": 3, "completion_tokens": 4, "prompt_tokens_details": {"cached_tokens": 1}},
}


def _as_events(data: bytes) -> bytes:
    return b"".join(b"data: " + line + b"\n\n" for line in data.split(b"\n")) + b"data: [DONE]\n\n"


# -- files -----------------------------------------------------------------------------------------------


@cache
def _folder() -> Path:
    return Path(tempfile.mkdtemp(prefix="blended-llm-fuzz-"))


def _file(name: str, read: Callable[[Path], object]) -> Callable[[bytes], object]:
    def check(data: bytes) -> object:
        path = _folder() / name
        path.write_bytes(data)
        return read(path)

    return check


def _prior_document() -> dict[str, Any]:
    prior = MemberPrior.declared({"a": 0.6, "b": 0.3, "c": 0.1})
    for scores in ([1.0, 0.5, 0.2], [0.1, 0.9, 0.4]):
        prior.observe(["a", "b", "c"], Ranking.from_scores(scores, ranker="fake"))
    prior.judge("a", "b")
    prior.judge_answers(["a", "b"], Ranking.from_scores([1.0, 0.5], ranker="fake"), [1.0, 0.0], prompt="q")
    return dict(prior.to_dict())


def _use_prior(prior: MemberPrior) -> None:
    ranking = prior.blend(["a", "b", "z"], Ranking.from_scores([1.0, 0.5, 0.2], ranker="fake"))
    assert all(map(math.isfinite, ranking.scores)), ranking.scores
    assert sorted(prior.strongest_first(["a", "b", "z"])) == ["a", "b", "z"]
    assert 0.0 <= prior.preference("a", "b") <= 1.0
    prior.observe(["a", "b"], Ranking.from_scores([0.4, 0.6], ranker="fake"))
    repr(prior)
    json.dumps(prior.to_dict(), allow_nan=False)


def _journal_documents() -> list[Any]:
    path = _folder() / "first.journal"
    path.unlink(missing_ok=True)
    with Journal(path, {"seed": 0}) as journal:
        journal.add_answer("1", "Hi?", MixCandidate("a", "Hello"))
        journal.add_verdict("judge", "Which?", next(iter(Verdict)), "Better: A")
    return [json.loads(line) for line in path.read_text().splitlines()]


def _use_journal(path: Path) -> None:
    with Journal(path, {"seed": 0}) as journal:
        found = journal.answer("1", "Hi?", "a")
        assert found is None or isinstance(found, MixCandidate)
        journal.verdict("judge", "Which?")
        len(journal)


_mix = {
    "id": "1",
    "instruction": "Say hi",
    "input": "now",
    "output": "hi",
    "candidates": [
        {"model": "a", "text": "hello", "scores": {"bleu": 0.5}},
        {"model": "b", "text": "hi", "scores": {}},
    ],
    "cmp_results": {"a,b": "A is better"},
}
_preference = {
    "id": "7",
    "source": "s",
    "instruction": "p",
    "candidates": [{"text": "a", "model": "m", "score": 0.5}, {"text": "b", "score": 0.7}],
    "comparisons": [[0, 1, "A"]],
    "teacher": [[0, 1, 0.5]],
    "meta": {"subset": "x"},
}
_row = {"instruction": "Say hi", "input": "now", "candidates": [{"text": "hello", "model": "a"}, "hi"], "id": 3}


def _safetensors(data: bytes) -> None:
    from blender_core.rank.pairrm.checkpoint import read_tensors

    folder = _folder() / "checkpoint"
    folder.mkdir(exist_ok=True)
    (folder / "model.safetensors").write_bytes(data)
    read_tensors(folder)


@st.composite
def _tensor_files(draw: st.DrawFn) -> bytes:
    tensors = {"w": {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]}, "__metadata__": {"format": "pt"}}
    header = json.dumps(draw(damaged(tensors))).encode()
    length = draw(st.just(len(header)) | st.sampled_from([0, 1, 2**31, 2**63 - 1, 2**64 - 1]) | st.integers(0, 200))
    return length.to_bytes(8, "little") + header + draw(st.just(bytes(16)) | st.binary(max_size=20))


def _ranker_document() -> dict[str, Any]:
    import blender_core.rank

    path = Path(blender_core.rank.__file__).with_name("embedded_weights") / "ranker.json"
    return dict(json.loads(path.read_text(encoding="utf-8")))


def _use_settings(data: Any) -> None:
    if not isinstance(data, dict):
        return
    settings = EmbeddedSettings.from_dict(data)
    assert isinstance(settings.network, FeatureNetwork)
    assert settings.max_tokens > 0, settings
    assert settings.temperature > 0, settings


# -- conversations ---------------------------------------------------------------------------------------

_call = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}
_turns = [
    {"role": "system", "content": "Be brief."},
    {
        "role": "user",
        "content": [
            {"type": "text", "text": "What?"},
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
        ],
    },
    {"role": "assistant", "content": None, "tool_calls": [_call]},
    {"role": "tool", "content": "42", "tool_call_id": "c1"},
]
_blocks = [
    {"type": "text", "text": "What is this?"},
    {"type": "image", "base64": "AAAA", "mime_type": "image/png", "extras": {"filename": "a.png"}},
    {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
    {"type": "thinking", "thinking": "hm", "signature": "s"},
    {"type": "reasoning", "summary": [{"text": "so"}]},
    {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
    {"type": "tool_use", "name": "add", "input": {"a": 1}, "id": "c1"},
    {"type": "file", "file": {"file_id": "f"}},
    "text",
]
_metadata = {
    "finish_reason": "stop",
    "token_usage": {"prompt_tokens": 3, "completion_tokens": 4, "cost": 0.1},
    "model_name": "m",
    "logprobs": {"content": [{"token": "A", "logprob": -0.1, "top_logprobs": [{"token": "B", "logprob": -2.5}]}]},
    "stop_reason": "end_turn",
    "safety_ratings": [],
}
_tool_call = {"name": "add", "args": {"a": 1}, "id": "c1", "type": "tool_call"}


def _read_turns(turns: Any) -> None:
    prompt = Prompt.of(turns)
    prompt.text.encode("utf-8", "surrogatepass")
    from blender_core.members.openai_member import api_turns

    json.dumps(api_turns(prompt.messages), allow_nan=True).encode()


def _langchain_prompt(content: Any) -> None:
    from langchain_core.messages import AIMessage, HumanMessage

    from langchain_blender.messages import from_turn, to_messages, to_prompt

    try:
        messages = [HumanMessage(content), AIMessage(content)]
        [message.content_blocks for message in messages]
    except (AttributeError, KeyError, TypeError, ValueError):
        # LangChain itself refuses it
        return
    prompt = to_prompt(messages, {})
    assert isinstance(prompt.text, str)
    to_messages(prompt)
    [from_turn(turn) for turn in prompt.messages]


def _langchain_answer(data: dict[str, Any]) -> None:
    from langchain_core.language_models import FakeMessagesListChatModel
    from langchain_core.messages import AIMessage

    from langchain_blender import BlendedLLM

    try:
        message = AIMessage(**data)
        model = FakeMessagesListChatModel(responses=[message])
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError):
        return
    BlendedLLM(llms=[model, FakeMember("even", "fine")], ranker="consensus", fuser=None).invoke("q")


def _llamaindex_prompt(data: dict[str, Any]) -> None:
    from llama_index.core.llms import ChatMessage

    from llamaindex_blender.messages import calls_of_message, to_messages, to_prompt

    try:
        message = ChatMessage(**data)
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError):
        return
    prompt = to_prompt([message], {})
    assert isinstance(prompt.text, str)
    to_messages(prompt)
    calls_of_message(message)


def _llamaindex_answer(data: dict[str, Any]) -> None:
    from llama_index.core.llms import ChatMessage, ChatResponse

    from llamaindex_blender import BlendedLLM
    from llamaindex_blender.testing import ScriptedLLM

    try:
        message = ChatMessage(role="assistant", content="hello", additional_kwargs=data["kwargs"])
        response = ChatResponse(message=message, raw=data["raw"])
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError):
        return
    llm = BlendedLLM(llms=[ScriptedLLM(script=[response]), FakeMember("even", "fine")], ranker="consensus", fuser=None)
    llm.chat([ChatMessage(role="user", content="q")])


_llamaindex_raw = {
    "kwargs": {"tool_calls": [_call], "thinking": "hm", "refusal": None},
    "raw": {
        "usage": {"prompt_tokens": 3, "completion_tokens": 4, "cost": 0.1},
        "model": "m",
        "choices": [{"finish_reason": "stop", "message": {"refusal": None}, "logprobs": None}],
    },
}
_llamaindex_message = {
    "role": "assistant",
    "content": "hello",
    "additional_kwargs": {"tool_calls": [_call], "tool_call_id": "c1"},
    "blocks": [
        {"block_type": "text", "text": "hello"},
        {"block_type": "image", "url": "https://x/y.png", "image": "AAAA", "image_mimetype": "image/png"},
        {"block_type": "tool_call", "tool_name": "add", "tool_kwargs": '{"a": 1}', "tool_call_id": "c1"},
        {"block_type": "thinking", "content": "hm", "additional_information": {}},
        {"block_type": "document", "url": "https://x/y.pdf", "title": "t"},
    ],
}


def _mappings(strategy: SearchStrategy[Any]) -> SearchStrategy[Any]:
    return strategy.filter(lambda data: isinstance(data, dict) and all(isinstance(key, str) for key in data))


READERS: dict[str, Reader] = {
    "replies of judges": Reader(_replies, _judged, ()),
    "log-probabilities": Reader(_logprobs, _probable, ()),
    "answers": Reader(damaged(_answer).filter(_is_answer), _answers, ()),
    "rankings": Reader(
        damaged(_ranking).filter(lambda data: isinstance(data, dict) and data.keys() <= _ranking.keys()), _rankings, ()
    ),
    "fused texts": Reader(
        damaged(["both", "odd", [1, 2], 0.5, {"0": 3}, "stop"]).filter(lambda data: isinstance(data, list)), _fused, ()
    ),
    "replies of servers": Reader(damaged_bytes([_completion]), _replied, ()),
    "SSE streams": Reader(damaged_bytes(_chunks).map(_as_events), _streamed, ()),
    "member priors": Reader(damaged(_prior_document()), lambda data: _use_prior(MemberPrior.from_dict(data))),
    "prior files": Reader(
        damaged_bytes([_prior_document()]), _file("prior.json", lambda path: _use_prior(MemberPrior.load(path)))
    ),
    "journals": Reader(damaged_bytes(_journal_documents()), _file("j.journal", _use_journal)),
    "JSON lines": Reader(damaged_bytes([_row, _mix]), _file("rows.jsonl", lambda path: list(json_lines(path)))),
    "prompt rows": Reader(
        damaged_bytes([_row, _row]), _file("p.jsonl", lambda path: list(read_rows(str(path), needs_candidates=False)))
    ),
    "candidate rows": Reader(
        damaged_bytes([_row, _row]), _file("c.jsonl", lambda path: list(read_rows(str(path), needs_candidates=True)))
    ),
    "MixInstruct": Reader(
        damaged_bytes([_mix]), _file("mix.jsonl", lambda path: [one.to_dict() for one in read_mix(path)])
    ),
    "preferences": Reader(damaged_bytes([_preference]), _file("pairs.jsonl", lambda path: list(read_records(path)))),
    "ranker.json": Reader(damaged(_ranker_document()), _use_settings, (CheckpointError,)),
    "safetensors": Reader(_tensor_files(), _safetensors, (CheckpointError,)),
    "turns": Reader(damaged(_turns), _read_turns),
    "LangChain contents": Reader(damaged(_blocks), _langchain_prompt),
    "LangChain answers": Reader(
        _mappings(
            damaged({"content": _blocks, "response_metadata": _metadata, "tool_calls": [_tool_call]})
            | damaged({"content": "hi", "additional_kwargs": {"tool_calls": [_call]}, "usage_metadata": {}})
        ),
        _langchain_answer,
        (),
    ),
    "LlamaIndex contents": Reader(_mappings(damaged(_llamaindex_message)), _llamaindex_prompt),
    "LlamaIndex answers": Reader(_mappings(damaged(_llamaindex_raw)), _llamaindex_answer, ()),
}
