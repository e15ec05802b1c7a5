"""Models behind OpenAI-compatible servers, named in one line each."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from blender_core.errors import ConfigurationError

__all__ = ["ENDPOINTS_VARIABLE", "Endpoint", "endpoints_from_environment"]

ENDPOINTS_VARIABLE = "BLENDED_LLM_ENDPOINTS"
"""Environment variable that names endpoints, separated by blanks or commas."""

# a port is digits that a further colon or slash follows, so that a model's name may hold colons
_ENDPOINT = re.compile(r"(https?://(?:\[[^\]]+\]|[^/:]+)(?::\d+)?+)(/[^:]*)?:(.+)")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One model behind an OpenAI-compatible API.

    Attributes:
        base_url: Address of the API, such as ``http://127.0.0.1:8080/v1``.
        model: The model's name there.
        api_key: The key; ``"none"`` for servers that ask for none. Not shown in the representation.
    """

    base_url: str
    model: str
    api_key: str = field(default="none", repr=False)

    @classmethod
    def parse(cls, text: str, *, api_key: str | None = None) -> Endpoint:
        """Read ``URL:MODEL``.

        Args:
            text: For example ``http://127.0.0.1:11434/v1:llama3:8b``. Without a path, ``/v1`` is taken.
            api_key: The key; default none.

        Returns:
            The endpoint.

        Raises:
            ConfigurationError: The text is not of this form.

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


def endpoints_from_environment(environment: Mapping[str, str] | None = None) -> tuple[Endpoint, ...]:
    """Read the endpoints in ``BLENDED_LLM_ENDPOINTS``, with the key in ``OPENAI_API_KEY``.

    Args:
        environment: Where to look; default ``os.environ``.

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
