"""LlamaIndex LLMs from models on the caller's own machine."""

from __future__ import annotations

from collections.abc import Iterable

from llama_index.core.llms import LLM

from blender_core.extras import require
from blender_core.local import LocalServer

__all__ = ["local_llms"]


def local_llms(
    ensemble: Iterable[LocalServer], *, max_tokens: int = 256, temperature: float = 0.0, timeout: float = 120.0
) -> list[LLM]:
    """Make a LlamaIndex LLM for each server of a local ensemble.

    Args:
        ensemble: The servers, from ``blender_core.local.local_ensemble``. They must stay open as long as the LLMs
            are used.
        max_tokens: Longest answer in tokens.
        temperature: Sampling temperature; 0 gives the same answer each time.
        timeout: Seconds after which a request fails.

    Returns:
        One ``OpenAILike`` for each server, in their order. Requests are not repeated on failure: on loopback that
        would not help.

    Raises:
        MissingExtraError: ``llama-index-llms-openai-like`` is not installed.
        CheckpointError: A server cannot load its model.
    """
    openai_like = require("llama_index.llms.openai_like", feature="local_llms", extra="all")
    return [
        openai_like.OpenAILike(
            model=server.model,
            api_base=server.base_url,
            api_key=server.api_key,
            is_chat_model=True,
            is_function_calling_model=server.entry.calls_tools,
            context_window=server.entry.context,
            max_tokens=max_tokens,
            temperature=temperature,
            timeout=timeout,
            max_retries=0,
            # a connection that is kept belongs to the event loop that opened it
            reuse_client=False,
        )
        for server in ensemble
    ]
