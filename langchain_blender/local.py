"""Members for LangChain from models on the caller's own machine, or from endpoints named in the environment."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from langchain_core.language_models import BaseChatModel

from blender_core.local import DEFAULT_MODELS, LocalModel, LocalServer, local_ensemble
from blender_core.members.endpoints import Endpoint, endpoints_from_environment
from blender_core.runtime.extras import require

__all__ = ["local_chat_models", "open_chat_models"]


@contextmanager
def open_chat_models(
    endpoints: Sequence[Endpoint] | None = None,
    *,
    models: Sequence[LocalModel] = DEFAULT_MODELS,
    max_tokens: int = 256,
    temperature: float | None = None,
    timeout: float = 120.0,
) -> Iterator[list[BaseChatModel]]:
    """Chat models of OpenAI-compatible endpoints, or local ones where no endpoint is named.

    Args:
        endpoints: The endpoints; default those of ``BLENDED_LLM_ENDPOINTS`` with the key in ``OPENAI_API_KEY``.
        models: Local models that are served where there is no endpoint.
        max_tokens: Longest answer in tokens.
        temperature: Sampling temperature; default 0 for local models and the server's own for endpoints.
        timeout: Seconds after which a request fails.

    Yields:
        One ``langchain_openai.ChatOpenAI`` for each model. Requests are not repeated on failure: the blend does that.

    Raises:
        ConfigurationError: ``BLENDED_LLM_ENDPOINTS`` holds something that is not ``URL:MODEL``.
        MissingExtraError: ``langchain-openai``, or for local models the ``demo`` extra, is not installed.
        DownloadError: A local model's file cannot be had.

    Examples:
        >>> from blender_core.members.endpoints import Endpoint
        >>> with open_chat_models([Endpoint("http://127.0.0.1:8080/v1", "qwen")]) as chat_models:
        ...     chat_models[0].name
        'qwen'
    """
    found = endpoints_from_environment() if endpoints is None else tuple(endpoints)
    if not found:
        with local_ensemble(models) as servers:
            yield local_chat_models(servers, max_tokens=max_tokens, temperature=temperature or 0.0, timeout=timeout)
        return
    openai = require("langchain_openai", feature="open_chat_models", extra="all")
    sampling = {} if temperature is None else {"temperature": temperature}
    yield [
        openai.ChatOpenAI(
            name=endpoint.model,
            model=endpoint.model,
            base_url=endpoint.base_url,
            api_key=endpoint.api_key,
            max_tokens=max_tokens,
            max_retries=0,
            stream_usage=True,
            **sampling,
            **_connections(timeout),
        )
        for endpoint in found
    ]


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
    return [
        openai.ChatOpenAI(
            name=server.model,
            model=server.model,
            base_url=server.base_url,
            api_key=server.api_key,
            max_tokens=max_tokens,
            temperature=temperature,
            max_retries=0,
            stream_usage=True,
            profile={"tool_calling": server.entry.calls_tools},
            # a base model continues text, it cannot be asked to fuse
            metadata={"follows_instructions": server.kind == "chat"},
            # on loopback no proxy is asked
            **_connections(timeout, trust_env=False),
        )
        for server in ensemble
    ]


def _connections(timeout: float, *, trust_env: bool = True) -> dict[str, Any]:
    """Clients that keep no connection: a kept one belongs to an event loop, and fails in the caller's next."""
    httpx = require("httpx", feature="local_chat_models", extra="all")
    options = {"limits": httpx.Limits(max_keepalive_connections=0), "trust_env": trust_env, "timeout": timeout}
    return {
        "timeout": timeout,
        "http_client": httpx.Client(**options),
        "http_async_client": httpx.AsyncClient(**options),
    }
