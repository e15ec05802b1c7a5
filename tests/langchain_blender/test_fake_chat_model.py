"""The script of the LangChain test double: one step, or several in order."""

import pytest
from langchain_core.messages import AIMessage

from langchain_blender.testing import FakeChatModel


@pytest.mark.parametrize(
    ("script", "texts"),
    [
        ("text", ["text", "text"]),
        (AIMessage("message"), ["message", "message"]),
        (lambda call: call.text.upper(), ["HI", "HI"]),
        (["a", "b"], ["a", "b", "b"]),
        (("a", "b"), ["a", "b", "b"]),
    ],
    ids=["text", "message", "function", "list", "tuple"],
)
def test_one_step_is_a_script(script, texts):
    model = FakeChatModel(script=script)
    assert [model.invoke("Hi").text for _ in texts] == texts


def test_one_exception_is_a_script():
    with pytest.raises(ConnectionError, match="reset"):
        FakeChatModel(script=ConnectionError("reset")).invoke("Hi")
