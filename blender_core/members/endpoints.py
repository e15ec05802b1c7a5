"""Name models of OpenAI-compatible servers in one line each, or serve local models."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from blender_core.errors import ConfigurationError
from blender_core.local import DEFAULT_MODELS, LocalModel, LocalServer, local_ensemble
from blender_core.types.answer import Price

if TYPE_CHECKING:
    from blender_core.members.openai_member import OpenAIMember

__all__ = [
    "ENDPOINTS_VARIABLE",
    "MAX_TOKENS",
    "SAMPLE_TEMPERATURE",
    "Endpoint",
    "endpoints_from_environment",
    "endpoints_of",
    "open_endpoints",
    "open_members",
]

ENDPOINTS_VARIABLE = "BLENDED_LLM_ENDPOINTS"
"""Environment variable that names endpoints, separated by spaces or commas."""

MAX_TOKENS = 512
"""Longest answer, in tokens, of the command line's members and of the adapters' local models."""

SAMPLE_TEMPERATURE = 0.7
"""Temperature of a local model's second and further answers, if it is named more than once."""

# a colon or slash must follow a port, so that a model's name may contain colons
_ENDPOINT = re.compile(r"(https?://(?:\[[^\]]+\]|[^/:]+)(?::\d+)?+)(/[^:]*)?:(.+)")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Describes one model of an OpenAI-compatible API.

    Attributes:
        base_url: Address of the API, such as ``http://127.0.0.1:8080/v1``; empty for OpenAI's.
        model: The model's name there.
        api_key: The key; ``"none"`` for servers that need none. Not shown by ``repr``.
        local: Whether it is served on this machine by ``local_ensemble``.
        calls_tools: Whether the model calls tools.
        follows_instructions: Whether it can be asked to fuse; a base model only continues text.
        context_window: Tokens of prompt and answer; ``None`` if unknown.
        sample: 0 for a local model's first answer, 1 and so on for further answers of the same model.
    """

    base_url: str
    model: str
    api_key: str = field(default="none", repr=False)
    local: bool = field(default=False, repr=False)
    calls_tools: bool = field(default=True, repr=False)
    follows_instructions: bool = field(default=True, repr=False)
    context_window: int | None = field(default=None, repr=False)
    sample: int = field(default=0, repr=False)

    @classmethod
    def parse(cls, text: str, *, api_key: str | None = None) -> Endpoint:
        """Read ``URL:MODEL``.

        Args:
            text: For example ``http://127.0.0.1:11434/v1:llama3:8b``. The default path is ``/v1``.
            api_key: The key; default none.

        Returns:
            The endpoint.

        Raises:
            ConfigurationError: The text has another form; the message gives an example.

        Examples:
            >>> Endpoint.parse("http://127.0.0.1:11434/v1:llama3:8b")
            Endpoint(base_url='http://127.0.0.1:11434/v1', model='llama3:8b')
            >>> Endpoint.parse("https://example.org:small").base_url
            'https://example.org/v1'
        """
        match = _ENDPOINT.fullmatch(text)
        if match is None:
            raise ConfigurationError(
                f"endpoint {text!r} is not URL:MODEL; write for example http://127.0.0.1:8080/v1:qwen"
            )
        host, path, model = match.groups()
        return cls(host + (path.rstrip("/") if path and path != "/" else "/v1"), model, api_key or "none")

    @classmethod
    def of(cls, server: LocalServer, sample: int = 0) -> Endpoint:
        """Describe a server of a local ensemble."""
        return cls(
            server.base_url,
            server.model,
            server.api_key,
            local=True,
            calls_tools=server.entry.calls_tools,
            follows_instructions=server.kind == "chat",
            context_window=server.context,
            sample=sample,
        )

    @property
    def name(self) -> str:
        """The member's name: the model's, with ``#2`` and so on for further answers."""
        return f"{self.model}#{self.sample + 1}" if self.sample else self.model

    def sampling(self, temperature: float | None) -> dict[str, Any]:
        """Choose how its answers are sampled.

        Args:
            temperature: The temperature that was asked for, if any.

        Returns:
            ``temperature`` and ``seed`` of its requests, as far as they are not left to the server. A local model
            answers greedily; its further answers are sampled, each with a seed of its own.
        """
        options: dict[str, Any] = {} if temperature is None else {"temperature": temperature}
        if not self.local:
            return options
        if not self.sample:
            return {"temperature": 0.0, **options}
        return {"temperature": SAMPLE_TEMPERATURE, "seed": self.sample, **options}

    def member(
        self,
        *,
        max_tokens: int | None = MAX_TOKENS,
        temperature: float | None = None,
        name: str | None = None,
        price: Price | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> OpenAIMember:
        """Make a member of it, or an LLM that judges.

        Args:
            max_tokens: Longest answer in tokens; ``None`` leaves it to the server.
            temperature: Sampling temperature; see ``sampling``.
            name: Shown in results; default is the endpoint's.
            price: Price of a million tokens; default 0 for a local model, else unknown.
            options: Further arguments of each request; they win.

        Returns:
            The member.

        Raises:
            ConfigurationError: A number or an option cannot be used.
            MissingExtraError: The ``demo`` extra is not installed.

        Examples:
            >>> Endpoint.parse("http://127.0.0.1:11434/v1:llama3:8b").member().name
            'llama3:8b'
        """
        from blender_core.members.openai_member import OpenAIMember

        request = {**self.sampling(temperature), **(options or {})}
        member = OpenAIMember(
            self.model,
            name=name or self.name,
            base_url=self.base_url or None,
            api_key=self.api_key,
            max_tokens=request.pop("max_tokens", max_tokens),
            temperature=request.pop("temperature", None),
            price=Price(0.0, 0.0) if price is None and self.local else price,
            context_window=self.context_window,
            request_options=request,
        )
        # a base model continues text, it cannot be asked to fuse or to judge
        member.follows_instructions = self.follows_instructions
        return member


def endpoints_of(servers: Iterable[LocalServer]) -> tuple[Endpoint, ...]:
    """Describe the servers of a local ensemble; a server that stands there again gives a further sample.

    Args:
        servers: The servers.

    Returns:
        One endpoint for each, in their order.
    """
    seen: Counter[str] = Counter()
    endpoints = []
    for server in servers:
        endpoints.append(Endpoint.of(server, seen[server.model]))
        seen[server.model] += 1
    return tuple(endpoints)


@contextmanager
def open_endpoints(
    endpoints: Sequence[Endpoint] | None = None, *, models: Sequence[LocalModel] = DEFAULT_MODELS
) -> Iterator[tuple[Endpoint, ...]]:
    """Open the named endpoints, or serve local models if none is named.

    Args:
        endpoints: The endpoints; default those of ``BLENDED_LLM_ENDPOINTS`` with the key in ``OPENAI_API_KEY``.
        models: Local models that are served if no endpoint is named.

    Yields:
        The endpoints. Local servers end with the context.

    Raises:
        ConfigurationError: A part of ``BLENDED_LLM_ENDPOINTS`` is not ``URL:MODEL``.
        MissingExtraError: Local models are needed and the ``demo`` extra is not installed.
        DownloadError: A local model's file cannot be downloaded.
    """
    found = endpoints_from_environment() if endpoints is None else tuple(endpoints)
    if found:
        yield found
        return
    with local_ensemble(models) as servers:
        yield endpoints_of(servers)


@contextmanager
def open_members(
    endpoints: Sequence[Endpoint] | None = None,
    *,
    models: Sequence[LocalModel] = DEFAULT_MODELS,
    max_tokens: int = MAX_TOKENS,
    temperature: float | None = None,
) -> Iterator[list[OpenAIMember]]:
    """Make members of OpenAI-compatible endpoints, or of local models if none is named.

    Args:
        endpoints: As in ``open_endpoints``.
        models: As in ``open_endpoints``.
        max_tokens: Longest answer in tokens.
        temperature: Sampling temperature. Default: 0 for local models, 0.7 for further answers of a model that is
            named again, and the server's own for endpoints.

    Yields:
        One member for each. Local servers end with the context.

    Raises:
        BlendError: As from ``open_endpoints``.

    Examples:
        >>> with open_members([Endpoint("http://127.0.0.1:8080/v1", "qwen")]) as members:
        ...     members[0].name
        'qwen'
    """
    with open_endpoints(endpoints, models=models) as opened:
        yield [endpoint.member(max_tokens=max_tokens, temperature=temperature) for endpoint in opened]


def endpoints_from_environment(environment: Mapping[str, str] | None = None) -> tuple[Endpoint, ...]:
    """Read the endpoints in ``BLENDED_LLM_ENDPOINTS``, with the key in ``OPENAI_API_KEY``.

    Args:
        environment: The variables; default ``os.environ``.

    Returns:
        The endpoints in their order; empty if the variable is not set.

    Raises:
        ConfigurationError: A part is not ``URL:MODEL``.

    Examples:
        >>> endpoints_from_environment({"BLENDED_LLM_ENDPOINTS": "http://a:1/v1:x, http://b/v1:y"})[1].base_url
        'http://b/v1'
    """
    found = os.environ if environment is None else environment
    named = found.get(ENDPOINTS_VARIABLE, "").replace(",", " ").split()
    return tuple(Endpoint.parse(text, api_key=found.get("OPENAI_API_KEY")) for text in named)
