"""The list methods say what llm-blender 0.0.2 says."""

from __future__ import annotations

import numpy as np
import pytest

import blender_core.compat as llm_blender
from blender_core.errors import ConfigurationError

MODES = ["[A,B]+[B,A]", "[A,B]", "[B,A]"]


def agree(ours, golden):
    assert str(ours.dtype) == golden["dtype"]
    np.testing.assert_allclose(ours, np.array(golden["values"]), atol=1e-4, rtol=0)


def call(given):
    return {"inputs": given["inputs"], "candidates": given["candidates"], "instructions": given["instructions"]}


def test_rank(blender, given, says):
    agree(blender.rank(**call(given)), says["rank"]["ranks"])
    agree(blender.rank(**call(given), return_scores=True, batch_size=3), says["rank"]["scores"])
    agree(blender.rank(given["inputs"], given["candidates"], return_scores=True), says["rank"]["plain"])
    agree(blender.rank(**call(given), return_scores=True, **given["lengths"]), says["rank"]["cut"])


@pytest.mark.parametrize("mode", MODES)
def test_compare(mode, blender, given, says):
    sides = [[texts[side] for texts in given["candidates"]] for side in (0, 1)]
    arguments = {"instructions": given["instructions"], "mode": mode}
    agree(blender.compare(given["inputs"], *sides, **arguments, return_logits=True), says["compare"][mode]["logits"])
    agree(blender.compare(given["inputs"], *sides, **arguments), says["compare"][mode]["better"])


@pytest.mark.parametrize("mode", MODES)
def test_one_comparison_may_be_the_other_one_turned(mode, blender):
    logits = blender.compare(["Hi"] * 3, ["a", "the work", "a"], ["the work", "a", "a"], return_logits=True, mode=mode)
    alone = [
        blender.compare(["Hi"], [a], [b], return_logits=True, mode=mode)[0]
        for a, b in [("a", "the work"), ("the work", "a"), ("a", "a")]
    ]
    np.testing.assert_allclose(logits, alone, atol=1e-5)


@pytest.mark.parametrize("mode", ["longest", "shortest", "median_length", "first", "last"])
def test_rank_with_ref(mode, blender, given, says):
    agree(blender.rank_with_ref(**call(given), ref_mode=mode), says["rank_with_ref"][mode]["ranks"])
    scores = blender.rank_with_ref(**call(given), ref_mode=mode, return_scores=True)
    agree(scores, says["rank_with_ref"][mode]["scores"])
    # the spelling in the old README
    np.testing.assert_array_equal(scores, blender.rank_with_ref(**call(given), mode=mode, return_scores=True))


def test_rank_with_own_references(blender, given, says):
    references = says["own references"]["references"]
    scores = blender.rank_with_ref(**call(given), ref_candidates=references, return_scores=True)
    agree(scores, says["own references"]["scores"])


@pytest.mark.parametrize("mode", MODES)
def test_compare_conversations(mode, blender, given, says):
    logits = blender.compare_conversations(*given["conversations"], return_logits=True, mode=mode)
    agree(logits, says["compare_conversations"][mode])


def test_roles_may_be_written_in_lower_case(blender, given):
    upper = given["conversations"]
    lower = [[[{**turn, "role": turn["role"].lower()} for turn in turns] for turns in side] for side in upper]
    expected = blender.compare_conversations(*upper, return_logits=True)
    np.testing.assert_array_equal(blender.compare_conversations(*lower, return_logits=True), expected)


def test_lists_of_different_length_give_lists(blender):
    ranks = blender.rank(["Hi", "Bye"], [["a", "the work"], ["a", "the work", "any"]])
    assert [row.tolist() for row in ranks] == [
        blender.rank(["Hi"], [["a", "the work"]])[0].tolist(),
        blender.rank(["Bye"], [["a", "the work", "any"]])[0].tolist(),
    ]


def test_the_batch_does_not_change_what_is_cut(blender, given):
    """In the reference a long neighbour shortens the candidates."""
    alone = blender.rank(given["inputs"][2:3], given["candidates"][2:3], return_scores=True, **given["lengths"])
    long = [" ".join(given["candidates"][2][0].split() * 4)]
    beside = blender.rank(
        given["inputs"][2:3] + long, [given["candidates"][2]] * 2, return_scores=True, **given["lengths"]
    )
    np.testing.assert_allclose(beside[0], alone[0], atol=1e-5)


@pytest.mark.parametrize(
    ("method", "arguments", "match"),
    [
        ("rank", (["Hi"], []), "1 inputs and 0 lists"),
        ("rank", (["Hi"], [[]]), "candidates 0"),
        ("rank", ("Hi", ["a"]), "one string"),
        ("rank", (["Hi"], [["a"]], ["x", "y"]), "2 instructions for 1"),
        ("compare", (["Hi"], ["a"], []), "0 candidates_B"),
        ("compare_conversations", ([[]], []), "0 conversations_b"),
        ("compare_conversations", ([[{"role": "USER", "content": "a"}]], [[]]), "take turns"),
    ],
)
def test_lists_that_do_not_fit(method, arguments, match, blender):
    with pytest.raises(ConfigurationError, match=match):
        getattr(blender, method)(*arguments)


def test_unknown_words(blender):
    with pytest.raises(ConfigurationError, match=r"mode '\[A\]'"):
        blender.compare(["Hi"], ["a"], ["b"], mode="[A]")
    with pytest.raises(ConfigurationError, match="ref_mode 'best'"):
        blender.rank_with_ref(["Hi"], [["a"]], ref_mode="best")
    with pytest.raises(ConfigurationError, match="unknown keywords max_length"):
        blender.rank(["Hi"], [["a", "b"]], max_length=3)
    with pytest.raises(ConfigurationError, match="0 ref_candidates"):
        blender.rank_with_ref(["Hi"], [["a"]], ref_candidates=[])


def test_different_user_turns(blender):
    def talk(asked):
        return [{"role": "USER", "content": asked}, {"role": "ASSISTANT", "content": "x"}]

    with pytest.raises(ConfigurationError, match="different user turns"):
        blender.compare_conversations([talk("a")], [talk("b")])


def test_nothing_is_loaded():
    with pytest.raises(ConfigurationError, match="loadranker"):
        llm_blender.Blender().rank(["Hi"], [["a", "b"]])
    with pytest.raises(ConfigurationError, match="loadfuser"):
        llm_blender.Blender().fuse(["Hi"], [["a", "b"]])
