"""A chat model whose inner calls are its child runs."""

# No `from __future__ import annotations`: pydantic and LangChain resolve these annotations at run time.

import contextlib
from collections.abc import AsyncIterator, Iterator
from typing import Any, Self, cast

from langchain_core.caches import BaseCache
from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.globals import get_llm_cache
from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatResult
from langchain_core.runnables import RunnableConfig

from langchain_blender.answer_cache import WholeAnswersCache
from langchain_blender.tracing import RUN_KEYWORD, TraceCandidates, open_run

__all__ = ["ChildRunChatModel"]


_NOT_CHOICES = frozenset({"thread_id", "checkpoint_id", "checkpoint_ns", "checkpoint_map"})


class ChildRunChatModel(BaseChatModel):
    """Opens its run at every entry point and carries it, as a keyword, to where the work is done.

    Attributes:
        trace_candidates: Who sees inner calls as child runs: ``"tracers"``, ``"all"`` handlers, or ``"none"``.
    """

    trace_candidates: TraceCandidates = "tracers"

    def invoke(
        self,
        input: LanguageModelInput,
        config: RunnableConfig | None = None,
        *,
        stop: list[str] | None = None,
        **kwargs: Any,
    ) -> AIMessage:
        """Answer. See the class for what the message holds."""
        config, kwargs = self._opened(config, kwargs)
        return super().invoke(input, config, stop=stop, **kwargs)

    async def ainvoke(
        self,
        input: LanguageModelInput,
        config: RunnableConfig | None = None,
        *,
        stop: list[str] | None = None,
        **kwargs: Any,
    ) -> AIMessage:
        """Answer; members run on the event loop where they are written for it, else in threads."""
        config, kwargs = self._opened(config, kwargs)
        return await super().ainvoke(input, config, stop=stop, **kwargs)

    def stream(
        self,
        input: LanguageModelInput,
        config: RunnableConfig | None = None,
        *,
        stop: list[str] | None = None,
        **kwargs: Any,
    ) -> Iterator[AIMessageChunk]:
        """Answer in chunks. See the class for what streams."""
        config, kwargs = self._opened(config, kwargs)
        yield from super().stream(input, config, stop=stop, **kwargs)

    async def astream(
        self,
        input: LanguageModelInput,
        config: RunnableConfig | None = None,
        *,
        stop: list[str] | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[AIMessageChunk]:
        """Answer in chunks, without blocking the event loop."""
        config, kwargs = self._opened(config, kwargs)
        async with contextlib.aclosing(cast(Any, super().astream(input, config, stop=stop, **kwargs))) as chunks:
            async for chunk in chunks:
                yield chunk

    def stream_events(
        self,
        input: LanguageModelInput,
        config: RunnableConfig | None = None,
        *,
        version: Any = "v2",
        stop: list[str] | None = None,
        **kwargs: Any,
    ) -> Any:
        """Answer in typed events; see ``BaseChatModel.stream_events``."""
        if version == "v3":
            config, kwargs = self._opened(config, kwargs)
        return super().stream_events(input, config, version=version, stop=stop, **kwargs)

    def astream_events(
        self,
        input: LanguageModelInput,
        config: RunnableConfig | None = None,
        *,
        version: Any = "v2",
        stop: list[str] | None = None,
        **kwargs: Any,
    ) -> Any:
        """Answer in typed events; see ``BaseChatModel.astream_events``."""
        if version == "v3":
            config, kwargs = self._opened(config, kwargs)
        return super().astream_events(input, config, version=version, stop=stop, **kwargs)

    def _opened(self, config: RunnableConfig | None, kwargs: dict[str, Any]) -> tuple[RunnableConfig, dict[str, Any]]:
        if RUN_KEYWORD in kwargs:
            return config or {}, kwargs
        structured = kwargs.get("ls_structured_output_format") or kwargs.get("structured_output_format") or {}
        config, run = open_run(config, self.trace_candidates, structured.get("schema"))
        return config, {**kwargs, RUN_KEYWORD: run}

    # the base class stores every answer; a copy of the model, with a cache that is choosy, makes it store whole ones

    def _generate_with_cache(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        return BaseChatModel._generate_with_cache(self._choosy(), messages, stop, run_manager, **kwargs)

    async def _agenerate_with_cache(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        return await BaseChatModel._agenerate_with_cache(self._choosy(), messages, stop, run_manager, **kwargs)

    def _choosy(self) -> Self:
        cache = self.cache if isinstance(self.cache, BaseCache) else get_llm_cache()
        if self.cache is False or cache is None:
            return self
        return self.model_copy(update={"cache": WholeAnswersCache(cache)})

    # the run travels as a keyword; neither traces nor cache keys may see it

    def _get_invocation_params(self, stop: list[str] | None = None, **kwargs: Any) -> dict[str, Any]:
        kwargs.pop(RUN_KEYWORD, None)
        return super()._get_invocation_params(stop=stop, **kwargs)

    def _get_llm_string(self, stop: list[str] | None = None, **kwargs: Any) -> str:
        run = kwargs.pop(RUN_KEYWORD, None)
        key = super()._get_llm_string(stop=stop, **kwargs)
        # members answer by what is configurable; a thread's id and the framework's own entries do not matter
        configurable = {} if run is None else run.config.get("configurable", {})
        chosen = sorted((k, v) for k, v in configurable.items() if not k.startswith("__") and k not in _NOT_CHOICES)
        return f"{key}|{chosen}" if chosen else key
