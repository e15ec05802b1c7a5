"""How long the engine waits before it asks again, and which settings of that can work."""

from __future__ import annotations

import math
import random

import pytest

from blender_core import RetryPolicy
from blender_core.errors import ConfigurationError


def waits(policy, attempt=1, retry_after=None):
    return [policy.wait_s(attempt, retry_after, random.Random(seed)) for seed in range(200)]


@pytest.mark.parametrize(
    ("settings", "attempt", "lowest", "highest"),
    [
        ({"first_wait_s": 0.05}, 1, 0.025, 0.075),
        ({"first_wait_s": 0.05}, 3, 0.1, 0.3),
        ({"first_wait_s": 0.0}, 5, 0.0, 0.0),
        ({"first_wait_s": 1.0, "max_wait_s": 3.0, "jitter": 0.1}, 4, 2.7, 3.3),
        ({"first_wait_s": 0.2, "jitter": 1.0}, 1, 0.0, 0.4),
    ],
)
def test_waits_are_spread_over_their_whole_range(settings, attempt, lowest, highest):
    drawn = waits(RetryPolicy(**settings), attempt)
    assert min(drawn) == pytest.approx(lowest, abs=0.02 * highest)
    assert max(drawn) == pytest.approx(highest, rel=0.02)


def test_a_wait_is_as_long_as_the_provider_asked_for():
    assert min(waits(RetryPolicy(first_wait_s=0.1), retry_after=0.12)) == 0.12
    assert min(waits(RetryPolicy(max_wait_s=2), retry_after=30)) == 30


@pytest.mark.parametrize("name", ["retries", "first_wait_s", "max_wait_s", "jitter"])
@pytest.mark.parametrize("value", [-1, -0.01, math.nan])
def test_a_setting_below_zero_is_refused(name, value):
    with pytest.raises(ConfigurationError, match=f"{name} is {value}"):
        RetryPolicy(**{name: value})


def test_the_share_of_jitter_ends_at_one():
    assert (RetryPolicy(jitter=0).jitter, RetryPolicy(jitter=1).jitter) == (0, 1)
    with pytest.raises(ConfigurationError, match=r"jitter is 1\.01"):
        RetryPolicy(jitter=1.01)
