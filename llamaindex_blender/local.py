"""LlamaIndex LLMs from models on the caller's own machine, or from endpoints named in the environment."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

from llama_index.core.llms import LLM

from blender_core.local import DEFAULT_MODELS, LocalModel, LocalServer, local_ensemble
from blender_core.members.endpoints import Endpoint, endpoints_from_environment
from blender_core.runtime.extras import require

__all__ = ["local_llms", "open_llms"]


@contextmanager
def open_llms(
    endpoints: Sequence[Endpoint] | None = None,
    *,
    models: Sequence[LocalModel] = DEFAULT_MODELS,
    max_tokens: int = 256,
    temperature: float | None = None,
    timeout: float = 120.0,
) -> Iterator[list[LLM]]:
    """LlamaIndex LLMs of OpenAI-compatible endpoints, or local ones where no endpoint is named.

    Args:
        endpoints: The endpoints; default those of ``BLENDED_LLM_ENDPOINTS`` with the key in ``OPENAI_API_KEY``.
        models: Local models that are served where there is no endpoint.
        max_tokens: Longest answer in tokens.
        temperature: Sampling temperature; default 0 for local models and that of ``OpenAILike`` for endpoints.
        timeout: Seconds after which a request fails.

    Yields:
        One ``OpenAILike`` for each model. Requests are not repeated on failure: the blend does that.

    Raises:
        ConfigurationError: ``BLENDED_LLM_ENDPOINTS`` holds something that is not ``URL:MODEL``.
        MissingExtraError: ``llama-index-llms-openai-like``, or for local models the ``demo`` extra, is not installed.
        DownloadError: A local model's file cannot be had.

    Examples:
        >>> from blender_core.members.endpoints import Endpoint
        >>> with open_llms([Endpoint("http://127.0.0.1:8080/v1", "qwen")]) as llms:
        ...     llms[0].metadata.model_name
        'qwen'
    """
    found = endpoints_from_environment() if endpoints is None else tuple(endpoints)
    if not found:
        with local_ensemble(models) as servers:
            yield local_llms(servers, max_tokens=max_tokens, temperature=temperature or 0.0, timeout=timeout)
        return
    openai_like = require("llama_index.llms.openai_like", feature="open_llms", extra="all")
    sampling = {} if temperature is None else {"temperature": temperature}
    yield [
        openai_like.OpenAILike(
            model=endpoint.model,
            api_base=endpoint.base_url,
            api_key=endpoint.api_key,
            is_chat_model=True,
            is_function_calling_model=True,
            max_tokens=max_tokens,
            timeout=timeout,
            max_retries=0,
            # a connection that is kept belongs to the event loop that opened it
            reuse_client=False,
            **sampling,
        )
        for endpoint in found
    ]


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
