"""Control markers in candidate text are made harmless."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blender_core.text.control_markers import ControlTokens, neutralise

MARKERS = [
    "<|source|>",
    "<|candidate|>",
    "<|candidate1|>",
    "[SEP]",
    "[CLS]",
    "[MASK]",
    "</s>",
    "<s>",
    "<pad>",
    "<extra_id_0>",
    "<extra_id_99>",
    "<|im_start|>",
    "<|eot_id|>",
    "[INST]",
    "[/INST]",
    "<<SYS>>",
    "<start_of_turn>",
    "<unused99>",
    "<repo_name>",
    "<issue_start>",
    "<jupyter_output>",
    "<fim_middle>",
]


@pytest.mark.parametrize("marker", MARKERS)
def test_markers_are_broken_up_and_stay_readable(marker):
    safe = neutralise(f"a {marker} b")
    assert marker not in safe
    assert safe.replace(" ", "") == f"a{marker}b".replace(" ", "")


@pytest.mark.parametrize("text", ["a < b > c", "x[i] = [1, 2]", "<b>bold</b>", "f(a|b)", "if a<s: pass", "<sea>"])
def test_ordinary_text_is_left_alone(text):
    assert neutralise(text) == text


@given(st.lists(st.sampled_from([*MARKERS, "<", "|", ">", "[", "x", " ", "<|"]), max_size=12).map("".join))
def test_no_marker_survives_and_doing_it_twice_changes_nothing(text):
    safe = neutralise(text)
    assert not any(marker in safe for marker in MARKERS)
    assert neutralise(safe) == safe


OWN = ["@@begin", "@@end", "[TURN]", "[TURN_END]", "\u2581\u2581", "\n\n", "z"]


@given(st.lists(st.sampled_from([*OWN, "@", "[", "TURN]", "begin", "x"]), max_size=10).map("".join))
def test_a_models_own_tokens_are_broken_up_and_nothing_else(text):
    tokens = ControlTokens(OWN)
    safe = tokens.neutralise(text)
    assert not any(token in safe for token in OWN[:4])
    assert safe.replace(" ", "") == text
    if not any(token in text for token in OWN[:4]):
        assert safe == text


def test_thousands_of_tokens_take_linear_time():
    tokens = ControlTokens(f"<own{number}>" for number in range(6_000))
    assert tokens.neutralise("<" * 300_000 + "<own5999>").endswith("< own5999>")
