"""Make LlamaIndex LLMs of local models, or of OpenAI-compatible endpoints."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from llama_index.core.llms import LLM

from blender_core.local import DEFAULT_MODELS, LocalModel, LocalServer
from blender_core.members.endpoints import MAX_TOKENS, Endpoint, endpoints_of, open_endpoints
from blender_core.runtime.extras import require

__all__ = ["local_llms", "open_llms"]


@contextmanager
def open_llms(
    endpoints: Sequence[Endpoint] | None = None,
    *,
    models: Sequence[LocalModel] = DEFAULT_MODELS,
    temperature: float | None = None,
    **options: Any,
) -> Iterator[list[LLM]]:
    """Make LLMs of OpenAI-compatible endpoints, or of local models if there are none.

    Args:
        endpoints: See ``blender_core.members.open_endpoints``.
        models: Local models that are served if there is no endpoint.
        temperature: Sampling temperature; default 0 for local models, 0.7 for further answers of a model that is
            named again, and that of ``OpenAILike`` for endpoints.
        **options: Further arguments of each ``OpenAILike``. Defaults are ``max_tokens=512`` and ``timeout=120.0``
            seconds.

    Yields:
        One ``OpenAILike`` for each model. It does not retry requests, because the blend does.

    Raises:
        MissingExtraError: ``llama-index-llms-openai-like`` is not installed; the message has the command.
        BlendError: What ``open_endpoints`` raises.

    Examples:
        >>> from blender_core.members.endpoints import Endpoint
        >>> with open_llms([Endpoint("http://127.0.0.1:8080/v1", "qwen")]) as llms:
        ...     llms[0].metadata.model_name
        'qwen'
    """
    # checked before local models start
    require("llama_index.llms.openai_like", feature="open_llms", extra="all")
    with open_endpoints(endpoints, models=models) as opened:
        yield [_llm(endpoint, temperature, options) for endpoint in opened]


def local_llms(ensemble: Iterable[LocalServer], *, temperature: float | None = None, **options: Any) -> list[LLM]:
    """Make an LLM for each server of a local ensemble.

    Args:
        ensemble: The servers, from ``blender_core.local.local_ensemble``. They must stay open as long as the LLMs
            are used.
        temperature: Sampling temperature; default 0, the same answer each time, and 0.7 for a server that stands in
            the ensemble again.
        **options: See ``open_llms``.

    Returns:
        One ``OpenAILike`` for each server, in their order.

    Raises:
        MissingExtraError: ``llama-index-llms-openai-like`` is not installed; the message has the command.
        CheckpointError: A server cannot load its model.
    """
    require("llama_index.llms.openai_like", feature="local_llms", extra="all")
    return [_llm(endpoint, temperature, options) for endpoint in endpoints_of(ensemble)]


def _llm(endpoint: Endpoint, temperature: float | None, options: dict[str, Any]) -> LLM:
    openai_like = require("llama_index.llms.openai_like", feature="an LLM of an endpoint", extra="all")
    own = endpoint.sampling(temperature)
    if "seed" in own:
        # the class has no field for it
        options = {**options, "additional_kwargs": {"seed": own.pop("seed"), **options.get("additional_kwargs", {})}}
    if endpoint.local:
        own["context_window"] = endpoint.context_window
    llm: LLM = openai_like.OpenAILike(
        # a local server answers to any name
        model=endpoint.name,
        api_base=endpoint.base_url,
        api_key=endpoint.api_key,
        is_chat_model=True,
        is_function_calling_model=endpoint.calls_tools,
        max_retries=0,
        # a kept connection belongs to the event loop that opened it
        reuse_client=False,
        **{"max_tokens": MAX_TOKENS, "timeout": 120.0, **own, **options},
    )
    return llm
