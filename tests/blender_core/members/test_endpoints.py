"""Endpoints in one line: what they are called, how they are sampled, and which are opened."""

from __future__ import annotations

import pytest

from blender_core.errors import ConfigurationError
from blender_core.members.endpoints import (
    ENDPOINTS_VARIABLE,
    SAMPLE_TEMPERATURE,
    Endpoint,
    endpoints_from_environment,
    open_endpoints,
)


@pytest.mark.parametrize(
    ("text", "base_url", "model"),
    [
        ("http://127.0.0.1:8080/v1:qwen", "http://127.0.0.1:8080/v1", "qwen"),
        ("http://127.0.0.1:8080/:qwen", "http://127.0.0.1:8080/v1", "qwen"),
        ("https://host:small", "https://host/v1", "small"),
        ("http://[::1]:8080/api/:a:b", "http://[::1]:8080/api", "a:b"),
    ],
)
def test_a_line_names_server_and_model(text, base_url, model):
    endpoint = Endpoint.parse(text)
    assert (endpoint.base_url, endpoint.model, endpoint.name) == (base_url, model, model)
    assert (endpoint.local, endpoint.api_key) == (False, "none")


@pytest.mark.parametrize("text", ["", "qwen", "http://host", "http://host/v1", "ftp://host:m", "http://host/v1:"])
def test_a_line_of_another_form_is_refused(text):
    with pytest.raises(ConfigurationError, match="is not URL:MODEL"):
        Endpoint.parse(text)


@pytest.mark.parametrize(
    ("local", "sample", "temperature", "sampling"),
    [
        (False, 0, None, {}),
        (False, 0, 0.2, {"temperature": 0.2}),
        (True, 0, None, {"temperature": 0.0}),
        (True, 0, 0.2, {"temperature": 0.2}),
        (True, 2, None, {"temperature": SAMPLE_TEMPERATURE, "seed": 2}),
        (True, 2, 0.2, {"temperature": 0.2, "seed": 2}),
    ],
)
def test_a_further_answer_has_its_own_name_and_seed(local, sample, temperature, sampling):
    endpoint = Endpoint("http://127.0.0.1:1/v1", "m", local=local, sample=sample)
    assert endpoint.name == ("m#3" if sample == 2 else "m")
    assert endpoint.sampling(temperature) == sampling


def test_what_is_given_is_opened_instead_of_what_the_environment_names(monkeypatch):
    monkeypatch.setenv(ENDPOINTS_VARIABLE, "http://a:1/v1:x, http://b:2/v1:y")
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    with open_endpoints() as found:
        assert [(one.model, one.api_key) for one in found] == [("x", "secret"), ("y", "secret")]
        assert found == endpoints_from_environment()
    own = Endpoint("http://c:3/v1", "z")
    with open_endpoints([own]) as found:
        assert found == (own,)
