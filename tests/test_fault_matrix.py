"""The fault matrix of docs/reliability.md: faults x engine, LangChain, LlamaIndex x four ways to call.

The members are real clients of a server on loopback. Each cell is a test. The table of the document is made of these
cases (``python benchmarks/fault_matrix.py``).
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from langchain_openai import ChatOpenAI
from llama_index.llms.openai_like import OpenAILike

from blender_core import Blender, CircuitBreaker, GatherPolicy, OpenAIMember, RetryPolicy
from blender_core.errors import QuorumError
from blender_core.testing import FakeFuser, FakeRanker, Reply, ScriptedServer
from langchain_blender import BlendedLLM as LangChainBlend
from llamaindex_blender import BlendedLLM as LlamaIndexBlend

DOCUMENT = Path(__file__).parents[1] / "docs" / "reliability.md"
GOOD, LONGER, SPARE = "It is blue.", "It is blue, by scattering.", "It is blue, because air scatters light."


@dataclass(frozen=True)
class Fault:
    """One row of the matrix: what goes wrong, and what must come."""

    what: str
    promise: str
    replies: tuple[Reply | str, ...] = (LONGER,)
    status: str = "ok"
    text: str = LONGER
    degraded: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    calls: int = 1
    reserve: bool = False
    raises: bool = False


def refused(promise: str, status: str, *replies: Reply | str, what: str, **more: Any) -> Fault:
    """A fault of a member: the other member's answer comes, and the record says why."""
    return Fault(what, promise, replies, status, GOOD, **more)


BUSY = {"message": "busy", "code": 502}
DOWN = Reply("overloaded", status=503)
FAULTS = (
    Fault("503 once", "asked again", (DOWN, LONGER)),
    Fault("429 once", "asked again after Retry-After", (Reply("slow", 429, {"Retry-After": "0.05"}), LONGER)),
    Fault("an error with status 200 once", "asked again", (Reply(error=BUSY, choices=False), LONGER)),
    Fault("finish reason error once", "asked again", (Reply("half", finish_reason="error"), LONGER)),
    refused("the other answers", "error", DOWN, what="503 for ever"),
    refused("the other answers", "rate_limited", Reply("over", status=429), what="429 for ever"),
    refused("the other answers; no retry", "error", Reply("wrong key", status=401), what="a wrong key"),
    refused("the other answers; no retry", "refused", Reply(refusal="I will not."), what="a refusal"),
    refused("the other answers", "error", Reply(""), what="an empty answer"),
    refused("the other answers; it is not waited for", "timeout", Reply(hang=True), what="no reply"),
    refused("skipped from the second call on", "skipped", DOWN, what="503 for ever, with a breaker", calls=2,
            settings={"breaker": CircuitBreaker}),
    Fault("503 for ever, with a reserve", "the reserve answers", (DOWN,), "error", SPARE, reserve=True),
    Fault("every member fails", "QuorumError names every cause", (DOWN,), raises=True),
    Fault("the ranker fails", "ranked by agreement; degraded", degraded="ranker", text="",
          settings={"ranker": lambda: FakeRanker(error=RuntimeError("broken"))}),
    Fault("the fuser fails", "the best answer; degraded", degraded="fusion",
          settings={"fuser": lambda: FakeFuser(error=ConnectionError("gone")), "fuse_when": lambda: "always"}),
    Fault("the fuser hangs", "the best answer; degraded", degraded="fusion",
          settings={"fuser": lambda: FakeFuser("late", latency_s=60), "fuse_when": lambda: "always",
                    "policy": lambda: policy(timeout=1.5)}),
)  # fmt: skip


def policy(timeout: float = 30.0) -> GatherPolicy:
    retry = RetryPolicy(retries=1, first_wait_s=0.01)
    return GatherPolicy(timeout=timeout, straggler_grace=1.0, retry=retry)


async def _all(pieces: Any) -> list[Any]:
    return [piece async for piece in pieces]


async def _awaited(pieces: Any) -> list[Any]:
    return [piece async for piece in await pieces]


Told = tuple[str, Mapping[str, Any]]


def _of_result(result: Any) -> Told:
    return result.text, result.to_dict()


def _of_message(message: Any) -> Told:
    return message.text, message.response_metadata["blend"]


def _of_chunks(chunks: list[Any]) -> Told:
    return "".join(chunk.text for chunk in chunks), chunks[-1].response_metadata["blend"]


def _of_response(response: Any) -> Told:
    return response.text, response.raw["blend"]


ASK = "Why is the sky blue?"
WAYS: dict[str, dict[str, Callable[[Any, Any], Told]]] = {
    "engine": {
        "sync": lambda blend, run: _of_result(blend.blend(ASK)),
        "async": lambda blend, run: _of_result(run(blend.ablend(ASK))),
        "stream": lambda blend, run: _of_result([*blend.stream(ASK)][-1].result),
        "async stream": lambda blend, run: _of_result(run(_all(blend.astream(ASK)))[-1].result),
    },
    "LangChain": {
        "sync": lambda llm, run: _of_message(llm.invoke(ASK)),
        "async": lambda llm, run: _of_message(run(llm.ainvoke(ASK))),
        "stream": lambda llm, run: _of_chunks([*llm.stream(ASK)]),
        "async stream": lambda llm, run: _of_chunks(run(_all(llm.astream(ASK)))),
    },
    "LlamaIndex": {
        "sync": lambda llm, run: _of_response(llm.complete(ASK)),
        "async": lambda llm, run: _of_response(run(llm.acomplete(ASK))),
        "stream": lambda llm, run: _of_response([*llm.stream_complete(ASK)][-1]),
        "async stream": lambda llm, run: _of_response(run(_awaited(llm.astream_complete(ASK)))[-1]),
    },
}
MODELS: dict[str, Callable[[str, str], Any]] = {
    "engine": lambda url, model: OpenAIMember(model, base_url=url),
    "LangChain": lambda url, model: ChatOpenAI(model=model, base_url=url, api_key="key", max_retries=0),
    "LlamaIndex": lambda url, model: OpenAILike(
        model=model, api_base=url, api_key="key", max_retries=0, is_chat_model=True
    ),
}
BLENDS: dict[str, Callable[..., Any]] = {
    "engine": lambda llms, **settings: Blender(llms, **settings),
    "LangChain": lambda llms, **settings: LangChainBlend(llms=llms, **settings),
    "LlamaIndex": lambda llms, **settings: LlamaIndexBlend(llms=llms, **settings),
}


async def _close(models: list[Any]) -> None:
    """Close the frameworks' asynchronous clients in their loop; they do not close themselves."""
    for model in models:
        client = getattr(model, "root_async_client", None) or getattr(model, "_aclient", None)
        if client is not None:
            await client.close()


def check(fault: Fault, face: str, way: str) -> None:
    """Play a fault on one face, and assert its promise."""
    script = {"faulty": fault.replies, "good": DOWN if fault.raises else GOOD, "spare": SPARE}
    with ScriptedServer(script) as server, asyncio.Runner() as runner:
        models = [MODELS[face](server.base_url, model) for model in script]
        faulty, good, spare = models
        settings: dict[str, Any] = {"ranker": FakeRanker, "fuser": lambda: None, "policy": policy, **fault.settings}
        made = {name: make(failures=1) if make is CircuitBreaker else make() for name, make in settings.items()}
        blend = BLENDS[face]([faulty, good], reserves=[spare] if fault.reserve else [], **made)
        try:
            if fault.raises:
                with pytest.raises(QuorumError, match=r"0 of 2 .* faulty: error .* good: error"):
                    WAYS[face][way](blend, runner.run)
                return
            for _ in range(fault.calls):
                text, report = WAYS[face][way](blend, runner.run)
        finally:
            runner.run(_close(models))
    # LlamaIndex's client drops what a provider says of a refusal
    lost = (face, fault.status) == ("LlamaIndex", "refused")
    assert report["candidates"][0]["status"] == ("error" if lost else fault.status)
    assert report["candidates"][0]["reason"] or fault.status == "ok"
    assert text == fault.text or (not fault.text and text in (GOOD, LONGER))
    assert [reason.split()[0].rstrip(":") for reason in report["degraded_reasons"]] == [fault.degraded] * bool(
        fault.degraded
    )


def table(cell: Callable[[Fault, str, str], str] = lambda *_case: "yes") -> str:
    """Write the matrix as Markdown; a cell is one face, its ways in order."""
    lines = [
        "| fault | promise | " + " | ".join(f"{face}: {', '.join(WAYS[face])}" for face in WAYS) + " |",
        "|---|---" + "|---" * len(WAYS) + "|",
    ]
    for fault in FAULTS:
        cells = [", ".join(cell(fault, face, way) for way in WAYS[face]) for face in WAYS]
        lines.append(f"| {fault.what} | {fault.promise} | {' | '.join(cells)} |")
    return "\n".join(lines)


@pytest.mark.parametrize("way", WAYS["engine"])
@pytest.mark.parametrize("face", WAYS)
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.what)
def test_a_fault_keeps_its_promise(fault, face, way):
    check(fault, face, way)


def test_the_document_shows_this_matrix():
    assert table() in DOCUMENT.read_text(encoding="utf-8")


def test_every_promise_of_the_document_names_tests_that_exist():
    page = DOCUMENT.read_text(encoding="utf-8")
    rows = page.partition("## The promises")[2].partition("## ")[0].splitlines()
    promises = [row for row in rows if row.startswith("| ") and not row.startswith("| promise")]
    assert len(promises) > 10
    for row in promises:
        named = re.findall(r"`([\w/]+\.py)::(\w+)`", row)
        assert named, f"no test holds this promise: {row}"
        for path, test in named:
            source = (DOCUMENT.parents[1] / "tests" / path).read_text(encoding="utf-8")
            assert re.search(rf"def {test}\(", source), f"{path} has no {test}"
