"""Votes on tool calls."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blender_core import Answer, ToolCall
from blender_core.types.votes import normalised_call, vote_on_tool_calls

TEXT = Answer("text")


def calls(*pairs):
    return Answer("", tuple(ToolCall(name, arguments) for name, arguments in pairs))


def test_half_of_the_answers_is_enough():
    assert vote_on_tool_calls([TEXT, calls(("f", {}))]).winners == (1,)
    assert vote_on_tool_calls([TEXT, TEXT, calls(("f", {}))]) is None
    assert vote_on_tool_calls([TEXT]) is None


def test_the_order_of_calls_does_not_matter():
    a = calls(("f", {"x": 1}), ("g", {}))
    b = calls(("g", {}), ("f", {"x": 1}))
    assert vote_on_tool_calls([a, calls(("h", {})), b]).winners == (0, 2)


def test_ties_go_to_the_tool_with_more_support_then_to_the_earlier():
    members = [calls(("g", {"x": 1})), calls(("f", {"x": 1})), calls(("f", {"x": 2}))]
    assert vote_on_tool_calls(members).winners == (1,)
    tied = vote_on_tool_calls([TEXT, calls(("g", {})), calls(("f", {}))])
    assert tied.winners == (1,)
    assert tied.tied == (1, 2)
    assert vote_on_tool_calls([calls(("g", {})), calls(("g", {})), calls(("f", {}))]).tied == ()


def test_equal_arguments_in_other_clothes():
    same = [{"n": 3, "s": "a b"}, {"s": " a b\n", "n": 3.0}, {"n": "3", "s": "a b"}]
    assert len({normalised_call(ToolCall("f", arguments)) for arguments in same}) == 1
    big = [{"n": 1234567890123456789}, {"n": 1234567890123456790}, {"n": 10**400}]
    assert len({normalised_call(ToolCall("f", arguments)) for arguments in big}) == 3
    assert vote_on_tool_calls([calls(("f", {}), ("f", {})), calls(("f", {})), calls(("f", {}))]).winners == (1, 2)
    code = [{"code": "if x:\n    a()\nb()"}, {"code": "if x:\n    a()\n    b()"}]
    assert len({normalised_call(ToolCall("f", arguments)) for arguments in code}) == 2
    different = [{"n": True}, {"n": 1}, {"n": "01"}, {"n": None}, {"n": [1]}, {"n": {"n": 1}}]
    assert len({normalised_call(ToolCall("f", arguments)) for arguments in different}) == len(different)


def test_arguments_are_read_to_a_fixed_depth_whatever_the_stack_holds():
    def nested(levels):
        return {"a": nested(levels - 1)} if levels else [1]

    assert normalised_call(ToolCall("f", nested(90)))[1].endswith("[1]" + "}" * 90)
    with pytest.raises(ValueError, match="100 levels"):
        normalised_call(ToolCall("f", nested(110)))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(), json_values, max_size=4))
def test_normalising_takes_any_json_and_does_not_change_it(arguments):
    before = repr(arguments)
    name, first = normalised_call(ToolCall("f", arguments))
    assert (name, first) == normalised_call(ToolCall("f", dict(reversed(arguments.items()))))
    assert repr(arguments) == before
