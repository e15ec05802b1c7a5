"""Members for LangChain from models on the caller's own machine."""

from __future__ import annotations

from collections.abc import Iterable

from langchain_core.language_models import BaseChatModel

from blender_core.extras import require
from blender_core.local import LocalServer

__all__ = ["local_chat_models"]


def local_chat_models(
    ensemble: Iterable[LocalServer], *, max_tokens: int = 256, temperature: float = 0.0, timeout: float = 120.0
) -> list[BaseChatModel]:
    """Make a chat model for each server of a local ensemble.

    Args:
        ensemble: The servers, from `blender_core.local.local_ensemble`. They must stay open as long as the chat
            models are used.
        max_tokens: Longest answer in tokens.
        temperature: Sampling temperature; 0 gives the same answer each time.
        timeout: Seconds after which a request fails.

    Returns:
        One ``langchain_openai.ChatOpenAI`` for each server, in their order; its ``name`` and ``model`` are the
        model's name, its profile says whether it calls tools, its metadata whether it follows instructions. Requests
        are not repeated on failure: on loopback that would not help.

    Raises:
        MissingExtraError: ``langchain-openai`` is not installed.
        CheckpointError: A server cannot load its model.
    """
    openai = require("langchain_openai", feature="local_chat_models", extra="all")
    httpx = require("httpx", feature="local_chat_models", extra="all")
    # No connection is kept: a kept one belongs to an event loop, and fails in the caller's next. No proxy is asked.
    options = {"limits": httpx.Limits(max_keepalive_connections=0), "trust_env": False, "timeout": timeout}
    return [
        openai.ChatOpenAI(
            name=server.model,
            model=server.model,
            base_url=server.base_url,
            api_key=server.api_key,
            max_tokens=max_tokens,
            temperature=temperature,
            timeout=timeout,
            max_retries=0,
            stream_usage=True,
            profile={"tool_calling": server.entry.calls_tools},
            # a base model continues text, it cannot be asked to fuse
            metadata={"follows_instructions": server.kind == "chat"},
            http_client=httpx.Client(**options),
            http_async_client=httpx.AsyncClient(**options),
        )
        for server in ensemble
    ]
