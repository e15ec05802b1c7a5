"""Providers' exceptions, read without importing the providers."""

import asyncio
import email.utils
import re
import time

import pytest

pytest.importorskip("openai", reason="the demo extra is not installed")

import httpx
import openai

from blender_core import Status
from blender_core.errors import UnsupportedError
from blender_core.gather.policy import RetryPolicy
from blender_core.members.classify import classify, http_status


def api_error(cls, status, body=None, **headers):
    request = httpx.Request("POST", "http://localhost/v1")
    response = httpx.Response(status, request=request, headers=headers)
    return cls("said no", response=response, body=body)


@pytest.mark.parametrize(
    ("error", "status", "retryable"),
    [
        (api_error(openai.RateLimitError, 429), Status.RATE_LIMITED, True),
        (api_error(openai.RateLimitError, 429, {"code": "insufficient_quota"}), Status.RATE_LIMITED, False),
        (api_error(openai.AuthenticationError, 401), Status.ERROR, False),
        (api_error(openai.BadRequestError, 400), Status.ERROR, False),
        (api_error(openai.BadRequestError, 400, {"code": "content_filter"}), Status.REFUSED, False),
        (api_error(openai.InternalServerError, 503), Status.ERROR, True),
        (api_error(openai.InternalServerError, 504), Status.TIMEOUT, True),
        (openai.APITimeoutError(httpx.Request("POST", "http://localhost")), Status.TIMEOUT, True),
        (openai.APIConnectionError(request=httpx.Request("POST", "http://localhost")), Status.ERROR, True),
        (httpx.ConnectError("refused"), Status.ERROR, True),
        (httpx.ReadTimeout("slow"), Status.TIMEOUT, True),
        (httpx.RemoteProtocolError("cut"), Status.ERROR, True),
        (TimeoutError(), Status.TIMEOUT, True),
        (ConnectionResetError(), Status.ERROR, True),
        (asyncio.CancelledError(), Status.CANCELLED, False),
        (KeyError("x"), Status.ERROR, False),
        (ValueError({"message": "busy", "code": 529}), Status.ERROR, True),
        (ValueError({"error": {"message": "busy", "code": "rate_limit_exceeded"}}), Status.RATE_LIMITED, True),
        (ValueError({"message": "no such model", "code": 404}), Status.ERROR, False),
        (RuntimeError("Event loop is closed"), Status.ERROR, False),
        (ValueError("the context of this question is unclear, 5 > 4"), Status.ERROR, False),
        (UnsupportedError("no tools"), Status.UNSUPPORTED, False),
    ],
)
def test_what_an_exception_means(error, status, retryable):
    failure = classify(error)
    assert (failure.status, failure.retryable) == (status, retryable)
    assert failure.reason


@pytest.mark.parametrize("code", [*range(400, 432), *range(500, 530)])
def test_which_statuses_may_pass(code):
    error = ValueError("no")
    error.status_code = code
    busy_or_down = {408, 409, 425, 429, 500, 502, 503, 504, 520, 522, 524, 529}
    assert classify(error).retryable is (code in busy_or_down)


@pytest.mark.parametrize(
    ("code", "status"),
    [(99, None), (100, 100), ("503", 503), (599, 599), (600, None), ("099", None), (1, None), ("rate_limit", None)],
)
def test_what_is_an_http_status(code, status):
    error = ValueError("no")
    error.status_code = code
    assert http_status(error) == http_status(ValueError({"code": code})) == status


class ContextOverflowError(Exception):
    """LangChain's, by its name."""


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            "request (50029 tokens) exceeds the available context size (4096 tokens)",
            "50,029 tokens do not fit .* 4,096",
        ),
        (
            "This model's maximum context length is 4097 tokens. However, you requested 4203 tokens (3703 in the "
            "messages, 500 in the completion)",
            "4,203 tokens .* 4,097",
        ),
        (
            "'max_tokens' is too large: 9000. This model's maximum context length is 4096 tokens and your request has "
            "30 input tokens (9000 > 4096 - 30)",
            "9,000 tokens .* 4,096",
        ),
        ("prompt (total length 25938) is too long to fit into the model (context length 4096)", "25,938 .* 4,096"),
        ("prompt is too long: 200251 tokens > 199999 maximum", "200,251 tokens .* 199,999"),
        ("input length and `max_tokens` exceed context limit: 190000 + 20000 > 200000", "prompt and answer .* 200,000"),
        (
            "The input token count (1,050,000) exceeds the maximum number of tokens allowed (1,048,576)",
            "1,050,000 .* 1,0",
        ),
        ("Prompt contains 40000 tokens, too large for model with 32768 maximum context length", "40,000 .* 32,768"),
        ("Input validation error: `inputs` must have less than 512 tokens. Given: 1002", "1,002 tokens .* 512"),
        ({"code": "context_length_exceeded"}, "prompt and answer do not fit its window"),
        (ContextOverflowError("no"), "prompt and answer do not fit its window"),
    ],
)
def test_what_does_not_fit_the_window_says_both_sizes(error, said):
    if isinstance(error, str):
        request = httpx.Request("POST", "http://localhost/v1")
        error = openai.BadRequestError(error, response=httpx.Response(400, request=request), body=None)
    elif isinstance(error, dict):
        error = api_error(openai.BadRequestError, 400, error)
    failure = classify(error)
    assert (failure.status, failure.retryable) == (Status.TOO_LONG, False)
    assert re.search(said, failure.reason)


def test_retry_after_in_seconds_milliseconds_and_as_a_date():
    assert classify(api_error(openai.RateLimitError, 429, None, **{"retry-after": "3"})).retry_after == 3
    assert classify(api_error(openai.RateLimitError, 429, None, **{"retry-after-ms": "250"})).retry_after == 0.25
    date = email.utils.formatdate(time.time() + 100, usegmt=True)
    assert 95 < classify(api_error(openai.RateLimitError, 429, None, **{"retry-after": date})).retry_after <= 100
    assert classify(api_error(openai.RateLimitError, 429, None, **{"retry-after": "soon"})).retry_after is None


def test_long_messages_become_one_short_line():
    reason = classify(ValueError("a\n" * 5000)).reason
    assert "\n" not in reason
    assert len(reason) < 400


def test_waits_grow_and_stay_within_the_jitter():
    import random

    policy = RetryPolicy(first_wait_s=1, max_wait_s=4, jitter=0.5)
    for attempt, base in [(1, 1), (2, 2), (3, 4), (9, 4)]:
        waits = [policy.wait_s(attempt, None, random.Random(seed)) for seed in range(50)]
        assert 0.5 * base <= min(waits) < max(waits) <= 1.5 * base
    assert policy.wait_s(1, 60, random.Random(0)) == 60
