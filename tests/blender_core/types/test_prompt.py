"""Prompts: turns in the OpenAI form are read whole or refused, and prompts can be copied."""

import copy
import json
import pickle

import pytest

from blender_core import Blender, Prompt, ToolCall
from blender_core.errors import ConfigurationError
from blender_core.testing import FakeMember
from blender_core.types.media import Media
from blender_core.types.prompt import Message

TEXT = {"type": "text", "text": "What is this?"}
IMAGE = {"type": "image_url", "image_url": {"url": "https://example.org/a.png", "detail": "low"}}


def call(name="weather", arguments='{"city": "Oslo"}', **more):
    return {"id": "c1", "type": "function", "function": {"name": name, "arguments": arguments}, **more}


def read(role="user", content=None, **more):
    return Prompt.of([{"role": role, "content": content, **more}]).messages[0]


def test_parts_of_text_are_one_text():
    assert read(content=[TEXT]) == Message("user", "What is this?")
    assert read(content=[TEXT, "And why?"]) == Message("user", "What is this?\nAnd why?")
    assert Prompt.of([("user", [TEXT])]).text == "What is this?"


def test_images_are_parts_and_leave_a_mark():
    inline = {"type": "image_url", "image_url": "data:image/png;base64,AAAA"}
    assert read(content=[TEXT, IMAGE, inline]) == Message(
        "user",
        "What is this?\n[image]\n[image]",
        (
            "What is this?",
            Media("image", url="https://example.org/a.png"),
            Media("image", data="AAAA", mime_type="image/png"),
        ),
    )


def test_tool_calls_and_their_results_are_read():
    asked = read("assistant", None, tool_calls=[call()])
    assert asked == Message(
        "assistant", '[calls weather({"city": "Oslo"})]', tool_calls=(ToolCall("weather", {"city": "Oslo"}, "c1"),)
    )
    spoken = read("assistant", "One moment.", tool_calls=[call(arguments={"city": "Oslo"})])
    assert (spoken.content, spoken.parts) == (
        'One moment.\n[calls weather({"city": "Oslo"})]',
        ("One moment.",),
    )
    assert Prompt.of([{"role": "assistant", "tool_calls": [call(arguments="")]}]).messages[0].tool_calls == (
        ToolCall("weather", {}, "c1"),
    )
    assert read("tool", "rain", tool_call_id="c1") == Message("tool", "rain", tool_call_id="c1")
    assert read("assistant", "Hi", tool_calls=None) == Message("assistant", "Hi")


@pytest.mark.parametrize(
    ("turn", "message"),
    [
        ({"role": "user", "content": None}, "content"),
        ({"role": "user"}, "content"),
        ({"role": "assistant", "content": None, "tool_calls": []}, "content"),
        ({"role": "user", "content": 5}, "int"),
        ({"role": "user", "content": [5]}, "part"),
        ({"role": "user", "content": [{"type": "text", "text": None}]}, "part"),
        ({"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": "AA"}}]}, "input_audio"),
        ({"role": "user", "content": [{"type": "image_url", "image_url": {}}]}, "image_url"),
        ({"role": "user", "content": [{"type": "image_url", "image_url": {"url": ""}}]}, "image"),
        ({"role": "user", "content": "x", "tool_calls": [call()]}, "assistant"),
        ({"role": "assistant", "content": "x", "tool_calls": "f"}, "tool_calls"),
        ({"role": "assistant", "content": "x", "tool_calls": [{"id": "c1"}]}, "tool call"),
        ({"role": "assistant", "content": "x", "tool_calls": [call(name=None)]}, "tool call"),
        ({"role": "assistant", "content": "x", "tool_calls": [call(arguments="{")]}, "weather"),
        ({"role": "assistant", "content": "x", "tool_calls": [call(arguments="[1]")]}, "weather"),
        ({"role": "assistant", "content": "x", "tool_calls": [call(arguments='{"a":' * 5000)]}, "weather"),
        (
            {"role": "assistant", "content": "x", "tool_calls": [call(arguments='{"a":' * 200 + "1" + "}" * 200)]},
            "deep",
        ),
        ({"role": "assistant", "content": "x", "tool_calls": [call(id=5)]}, "id"),
        ({"role": "tool", "content": "x", "tool_call_id": 5}, "tool_call_id"),
        ({"role": None, "content": "x"}, "role None"),
        (("user", None), "content"),
        (("user", "x", "y"), "turn"),
        (5, "turn"),
    ],
)
def test_turns_that_cannot_be_read_are_refused(turn, message):
    with pytest.raises(ConfigurationError, match=message):
        Prompt.of([turn])


def test_a_message_of_parts_alone_is_refused():
    with pytest.raises(ConfigurationError, match="list"):
        Message("user", [TEXT])


def test_parts_reach_members_ranker_and_fuser_as_text():
    members = [FakeMember("a", "A cat."), FakeMember("b", "It is a cat.")]
    blender = Blender(members, ranker="consensus", fuse_when="always", fuser=FakeMember("f", "A cat, it is."))
    result = blender.blend([{"role": "user", "content": [TEXT, IMAGE]}])
    assert (result.text, result.degraded) == ("A cat, it is.", ())


def test_prompts_can_be_pickled_and_copied():
    prompt = Prompt.of([("user", "Hi")]).with_options(stop=["\n"])
    for again in (pickle.loads(pickle.dumps(prompt)), copy.copy(prompt), copy.deepcopy(prompt)):
        assert again == prompt
        assert json.dumps(dict(again.options)) == '{"stop": ["\\n"]}'
        with pytest.raises(TypeError):
            again.options["stop"] = []
