"""When answers are fused: each rule of the default policy, its bound, and how it is switched off."""

from __future__ import annotations

import pytest

from blender_core import FusePolicy, Prompt, Ranking
from blender_core.errors import ConfigurationError
from blender_core.fuse.policy import Decision, FuseContext, resolve_fuse_when, unless_read_by_program

PROSE = "Venus is the hottest planet of all, since its clouds keep the heat of the sun in."
OTHER = "The planet with the highest temperature is Venus, whose air holds the warmth back."
JSON = '{"planet": "Venus", "reason": "its clouds keep the heat of the sun in", "others": ["Mercury", "Mars"]}'
CODE = "def hottest(planets):\n    return max(planets, key=lambda planet: planet.temperature)"


def context(best=PROSE, *, confidence=0.6, **known):
    ranking = Ranking(order=(0, 1), scores=(1.0, 0.0), ranker="r", confidence=confidence)
    return FuseContext(Prompt.of("Which planet is hot?"), (best, OTHER), ranking, **known)


@pytest.mark.parametrize(
    ("case", "off", "reason"),
    [
        (context(confidence=0.9), {"clear_winner": 1.1}, "a clear winner (confidence 0.90)"),
        (context(ahead=2 / 3), {"far_ahead": 1.1}, "far ahead (probability 0.67)"),
        (context(agreement=0.6), {"majority": 1}, "60% of the answers are the same"),
        (context(JSON), {"fuse_forms": True}, "the best answer is JSON"),
        (context(CODE), {"fuse_code": True}, "the best answer holds code"),
        (context(f"As follows:\n\n```\n{PROSE}\n```"), {"fuse_code": True}, "the best answer holds code"),
        (context("Venus."), {"fuse_short": True}, "the best answer is short"),
    ],
)
def test_each_rule_and_its_switch(case, off, reason):
    decision = FusePolicy()(case)
    assert not decision.fuse
    assert reason in decision.reason
    assert FusePolicy(**off)(case).fuse


@pytest.mark.parametrize(
    "case",
    [
        context(),
        context(confidence=0.89),
        context(ahead=0.66),
        context(agreement=0.5),
        context(ahead_of_fuser=0.5),
        context(f"It is a planet.\n\n\n{CODE}"),
    ],
)
def test_below_every_bound_answers_are_fused(case):
    decision = FusePolicy()(case)
    assert decision.fuse
    # what is not known of an answer counts for nothing
    assert FusePolicy(majority=0.0)(context()).fuse
    assert "no clear winner" in decision.reason


def test_a_fuser_that_is_weaker_than_the_winner_does_not_write():
    assert "weaker than the winner (probability 0.51)" in FusePolicy()(context(ahead_of_fuser=0.51)).reason


@pytest.mark.parametrize("clear_winner", [0.49, 0, -1])
def test_a_confidence_below_one_half_does_not_exist(clear_winner):
    assert FusePolicy(clear_winner=0.5).clear_winner == 0.5
    with pytest.raises(ConfigurationError, match=r"of at least 0\.5"):
        FusePolicy(clear_winner=clear_winner)


@pytest.mark.parametrize(
    ("setting", "fuse", "reason"),
    [
        ("auto", False, "the best answer is short"),
        ("always", True, 'fuse_when="always"'),
        ("never", False, 'fuse_when="never"'),
        (lambda one: True, True, "fuse_when said so"),
        (lambda one: False, False, "fuse_when said so"),
        (lambda one: Decision(True, "mine"), True, "mine"),
    ],
)
def test_settings_become_decisions(setting, fuse, reason):
    assert resolve_fuse_when(setting)(context("Venus.")) == Decision(fuse, reason)
    for resolve in (resolve_fuse_when, unless_read_by_program):
        with pytest.raises(ConfigurationError, match="fuse_when is 'often'"):
            resolve("often")


@pytest.mark.parametrize(("setting", "fused"), [("always", False), (FusePolicy(fuse_forms=True), True)])
def test_what_a_program_reads_is_picked_unless_forms_are_fused(setting, fused):
    decide = unless_read_by_program(setting)
    assert decide(context(JSON)).fuse is fused
    assert decide(context()).fuse
