"""The script of the LlamaIndex test double: one step, or several in order."""

import pytest
from llama_index.core.base.llms.types import ChatMessage, MessageRole

from llamaindex_blender.testing import ScriptedLLM


@pytest.mark.parametrize(
    ("script", "texts"),
    [
        ("text", ["text", "text"]),
        (ChatMessage(role=MessageRole.ASSISTANT, content="message"), ["message", "message"]),
        (lambda call: call.text.upper(), ["HI", "HI"]),
        (["a", "b"], ["a", "b", "b"]),
        (("a", "b"), ["a", "b", "b"]),
    ],
    ids=["text", "message", "function", "list", "tuple"],
)
def test_one_step_is_a_script(script, texts):
    llm = ScriptedLLM(script=script)
    assert [llm.complete("Hi").text for _ in texts] == texts


def test_one_exception_is_a_script():
    with pytest.raises(ConnectionError, match="reset"):
        ScriptedLLM(script=ConnectionError("reset")).complete("Hi")
