"""Make LangChain chat models of local models, or of OpenAI-compatible endpoints."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

from langchain_core.language_models import BaseChatModel

from blender_core.local import DEFAULT_MODELS, LocalModel, LocalServer
from blender_core.members.endpoints import MAX_TOKENS, Endpoint, endpoints_of, open_endpoints
from blender_core.runtime.extras import require

__all__ = ["local_chat_models", "open_chat_models"]


@contextmanager
def open_chat_models(
    endpoints: Sequence[Endpoint] | None = None,
    *,
    models: Sequence[LocalModel] = DEFAULT_MODELS,
    max_tokens: int = MAX_TOKENS,
    temperature: float | None = None,
    timeout: float = 120.0,
) -> Iterator[list[BaseChatModel]]:
    """Make chat models of OpenAI-compatible endpoints, or of local models if there are none.

    Args:
        endpoints: See ``blender_core.members.open_endpoints``.
        models: Local models that are served if there is no endpoint.
        max_tokens: Longest answer in tokens.
        temperature: Sampling temperature; default 0 for local models, 0.7 for further answers of a model that is
            named again, and the server's own for endpoints.
        timeout: Seconds after which a request fails.

    Yields:
        One ``langchain_openai.ChatOpenAI`` for each model. It does not retry requests, because the blend does.

    Raises:
        MissingExtraError: ``langchain-openai`` is not installed; the message has the command.
        BlendError: What ``open_endpoints`` raises.

    Examples:
        >>> from blender_core.members.endpoints import Endpoint
        >>> with open_chat_models([Endpoint("http://127.0.0.1:8080/v1", "qwen")]) as chat_models:
        ...     chat_models[0].name
        'qwen'
    """
    # checked before local models start
    require("langchain_openai", feature="open_chat_models", extra="all")
    with open_endpoints(endpoints, models=models) as opened:
        yield [_chat_model(endpoint, max_tokens, temperature, timeout) for endpoint in opened]


def local_chat_models(
    ensemble: Iterable[LocalServer],
    *,
    max_tokens: int = MAX_TOKENS,
    temperature: float | None = None,
    timeout: float = 120.0,
) -> list[BaseChatModel]:
    """Make a chat model for each server of a local ensemble.

    Args:
        ensemble: The servers, from ``blender_core.local.local_ensemble``. They must stay open as long as the chat
            models are used.
        max_tokens: Longest answer in tokens.
        temperature: Sampling temperature; default 0, the same answer each time, and 0.7 for a server that stands in
            the ensemble again.
        timeout: Seconds after which a request fails.

    Returns:
        One ``langchain_openai.ChatOpenAI`` for each server, in their order. Its ``name`` and ``model`` are the
        model's name. Its profile says whether it calls tools, its metadata whether it follows instructions.

    Raises:
        MissingExtraError: ``langchain-openai`` is not installed; the message has the command.
        CheckpointError: A server cannot load its model.
    """
    require("langchain_openai", feature="local_chat_models", extra="all")
    return [_chat_model(endpoint, max_tokens, temperature, timeout) for endpoint in endpoints_of(ensemble)]


def _chat_model(endpoint: Endpoint, max_tokens: int, temperature: float | None, timeout: float) -> BaseChatModel:
    openai = require("langchain_openai", feature="a chat model of an endpoint", extra="all")
    httpx = require("httpx", feature="a chat model of an endpoint", extra="all")
    options = endpoint.sampling(temperature)
    if endpoint.local:
        options |= {
            "profile": {"tool_calling": endpoint.calls_tools},
            "metadata": {"follows_instructions": endpoint.follows_instructions},
        }
    connections = {
        # a kept connection belongs to its event loop, and fails in the next one
        "limits": httpx.Limits(max_keepalive_connections=0),
        # a proxy of the environment cannot reach this machine's loopback
        "trust_env": not endpoint.local,
        "timeout": timeout,
    }
    model: BaseChatModel = openai.ChatOpenAI(
        name=endpoint.name,
        model=endpoint.model,
        base_url=endpoint.base_url,
        api_key=endpoint.api_key,
        max_tokens=max_tokens,
        max_retries=0,
        stream_usage=True,
        timeout=timeout,
        http_client=httpx.Client(**connections),
        http_async_client=httpx.AsyncClient(**connections),
        **options,
    )
    return model
