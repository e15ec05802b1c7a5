"""What a blend adds to the slowest of its members, beside what the frameworks' own parallel calls add.

All members end at the same moment, which is the worst case, and the ranker costs nothing. The contestants run in turn.

    python benchmarks/gather_overhead.py [--rounds 15] [--members 3 11 50]
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable
from typing import Any

from langchain_core.runnables import RunnableParallel
from llama_index.core.llms import CompletionResponse, CustomLLM, LLMMetadata

from blender_core.testing import FakeRanker
from langchain_blender import BlendedLLM as LangChainBlend
from langchain_blender.testing import FakeChatModel
from llamaindex_blender import BlendedLLM as LlamaIndexBlend

LATENCY_S = 0.2
QUESTION = "Why is the sky blue?"


class SleepingLLM(CustomLLM):
    """Answers after a while, on the event loop without blocking it."""

    text: str

    @property
    def metadata(self) -> LLMMetadata:
        """Name the model."""
        return LLMMetadata(model_name=self.text)

    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        """Answer, blocking."""
        time.sleep(LATENCY_S)
        return CompletionResponse(text=self.text)

    async def acomplete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        """Answer on the event loop."""
        await asyncio.sleep(LATENCY_S)
        return CompletionResponse(text=self.text)

    def stream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> Any:
        """Answer in one piece."""
        yield self.complete(prompt)


def langchain(texts: list[str]) -> dict[str, Callable[[], Any]]:
    members = [FakeChatModel(script=[text], latency_s=LATENCY_S) for text in texts]
    parallel = RunnableParallel(**{f"m{number}": member for number, member in enumerate(members)})
    blend = LangChainBlend(llms=members, fuser=None, ranker=FakeRanker())
    return {
        "RunnableParallel.ainvoke": lambda: parallel.ainvoke(QUESTION),
        "langchain BlendedLLM.ainvoke": lambda: blend.ainvoke(QUESTION),
        "RunnableParallel.invoke": lambda: parallel.invoke(QUESTION, config={"max_concurrency": len(texts)}),
        "langchain BlendedLLM.invoke": lambda: blend.invoke(QUESTION),
    }


def llamaindex(texts: list[str]) -> dict[str, Callable[[], Any]]:
    members = [SleepingLLM(text=text) for text in texts]
    blend = LlamaIndexBlend(llms=members, fuser=None, ranker=FakeRanker())

    async def together() -> None:
        await asyncio.gather(*(member.acomplete(QUESTION) for member in members))

    return {
        "gather(member.acomplete)": together,
        "llamaindex BlendedLLM.acomplete": lambda: blend.acomplete(QUESTION),
        "llamaindex BlendedLLM.complete": lambda: blend.complete(QUESTION),
    }


async def _awaited(made: Awaitable[Any]) -> None:
    await made


def timed(loop: asyncio.AbstractEventLoop, call: Callable[[], Any]) -> tuple[float, float]:
    """Return the milliseconds beyond the members' latency, and those of the processor."""
    began, computed = time.perf_counter(), time.process_time()
    made = call()
    if isinstance(made, Awaitable):
        loop.run_until_complete(_awaited(made))
    return 1e3 * (time.perf_counter() - began - LATENCY_S), 1e3 * (time.process_time() - computed)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--members", type=int, nargs="+", default=[3, 11, 50])
    arguments = parser.parse_args()
    loop = asyncio.new_event_loop()
    print("| members | call | adds, ms (median) | least | processor, ms |\n|---|---|---|---|---|")
    for count in arguments.members:
        texts = [f"answer {number} says {number * 7} birds" for number in range(count)]
        calls = langchain(texts) | llamaindex(texts)
        found: dict[str, list[tuple[float, float]]] = {name: [] for name in calls}
        for number in range(arguments.rounds + 1):
            for name, call in calls.items():
                sample = timed(loop, call)
                if number:
                    # the first call warms up
                    found[name].append(sample)
        for name, samples in found.items():
            added, computed = zip(*samples, strict=True)
            print(
                f"| {count} | {name} | {statistics.median(added):.1f} | {min(added):.1f} "
                f"| {statistics.median(computed):.1f} |"
            )


if __name__ == "__main__":
    main()
