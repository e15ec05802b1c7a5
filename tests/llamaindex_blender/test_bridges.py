"""LangChain and LlamaIndex members side by side, from both adapters."""

import base64
import json
from types import MappingProxyType

import pytest
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.tools import tool
from llama_index.core.llms import ChatMessage, ImageBlock, MockLLM, TextBlock
from llama_index.core.tools import FunctionTool

from blender_core import Message, Prompt
from blender_core.errors import MemberError
from blender_core.members.openai_member import api_turns
from blender_core.testing import FakeMember, FakeRanker
from blender_core.types.media import Media
from langchain_blender import BlendedLLM as LangChainBlend
from langchain_blender.messages import to_messages as to_langchain
from langchain_blender.messages import to_prompt as from_langchain
from langchain_blender.testing import FakeChatModel
from llamaindex_blender import BlendedLLM, LlamaIndexMember
from llamaindex_blender.messages import calls_of_message, to_messages, to_prompt
from llamaindex_blender.testing import ScriptedLLM
from llamaindex_blender.tools import as_tool, describe, read_arguments

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
PNG_TEXT = base64.b64encode(PNG).decode()


def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


def calls_add(call):
    """LlamaIndex's half of the script: call add, then say the result."""
    last = call.messages[-1]
    if last.role == "tool":
        return f"The sum is {last.content}, says the LlamaIndex member."
    return ChatMessage(role="assistant", blocks=[{"block_type": "tool_call", "tool_call_id": "li", **ADD}])


ADD = {"tool_name": "add", "tool_kwargs": {"a": 2, "b": 3}}


def langchain_calls_add(call):
    """LangChain's half."""
    last = call.messages[-1]
    if isinstance(last, ToolMessage):
        assert last.tool_call_id == call.messages[-2].tool_calls[0]["id"]
        return f"The sum is {last.text}."
    return AIMessage("", tool_calls=[{"name": "add", "args": {"a": 2, "b": 3}, "id": "lc"}])


def test_tools_in_a_mixed_llamaindex_blend():
    members = [FakeChatModel(script=[langchain_calls_add]), ScriptedLLM(script=[calls_add], model="li")]
    blend = BlendedLLM(llms=members, ranker=FakeRanker(), fuser=None)
    answer = blend.predict_and_call([FunctionTool.from_defaults(add)], user_msg="2 + 3?")
    assert answer.response == "5"
    question = ChatMessage(content="2 + 3?")
    response = blend.chat_with_tools([FunctionTool.from_defaults(add)], chat_history=[question])
    assert "2 of 2 members called add" in response.raw["blend"]["decision"]
    (call,) = blend.get_tool_calls_from_response(response)
    result = ChatMessage(role="tool", content="5", additional_kwargs={"tool_call_id": call.tool_id})
    final = blend.chat_with_tools([FunctionTool.from_defaults(add)], chat_history=[question, response.message, result])
    texts = {record["text"] for record in final.raw["blend"]["candidates"]}
    assert texts == {"The sum is 5.", "The sum is 5, says the LlamaIndex member."}


def test_tools_in_a_mixed_langchain_blend():
    members = [FakeChatModel(script=[langchain_calls_add]), ScriptedLLM(script=[calls_add], model="li")]
    blend = LangChainBlend(llms=members, ranker=FakeRanker(), fuser=None).bind_tools([tool(add)])
    first = blend.invoke("2 + 3?")
    assert first.tool_calls[0]["args"] == {"a": 2, "b": 3}
    assert "2 of 2 members called add" in first.response_metadata["blend"]["decision"]
    history = [HumanMessage("2 + 3?"), first, ToolMessage("5", tool_call_id=first.tool_calls[0]["id"])]
    assert blend.invoke(history).text == "The sum is 5, says the LlamaIndex member."
    described = members[1].calls[0].options["tools"][0].metadata
    assert described.get_parameters_dict()["required"] == ["a", "b"]


def test_members_that_cannot_call_tools_say_so():
    members = [ScriptedLLM(script=[calls_add], model="able"), MockLLM(), str.upper]
    blend = BlendedLLM(llms=members, ranker=FakeRanker())
    report = blend.chat_with_tools([FunctionTool.from_defaults(add)], user_msg="2 + 3?").raw["blend"]
    reasons = {record["model"]: record["reason"] for record in report["candidates"]}
    assert reasons["able"] is None
    assert "cannot call tools" in reasons["MockLLM"]
    assert "cannot call tools" in reasons["upper"]
    with pytest.warns(UserWarning, match="MockLLM cannot call tools"):
        LangChainBlend(llms=[FakeChatModel(), MockLLM()], ranker=FakeRanker()).bind_tools([tool(add)])


def test_arguments_that_do_not_fit_are_set_aside():
    def broken(call):
        block = {"block_type": "tool_call", "tool_name": "add", "tool_kwargs": {"a": "two", "b": "three"}}
        return ChatMessage(role="assistant", blocks=[block])

    members = [ScriptedLLM(script=[broken], model="broken"), ScriptedLLM(script=[calls_add], model="right")]
    response = BlendedLLM(llms=members, ranker=FakeRanker()).chat_with_tools(
        [FunctionTool.from_defaults(add)], user_msg="2 + 3?"
    )
    assert response.raw["blend"]["winner"] == "right"
    # the first of two
    assert response.raw["blend"]["candidates"][0]["invalid"].startswith("add: a: Input should be a valid integer")


@pytest.mark.parametrize("form", ["image", "path", "url"])
def test_images_reach_members_of_both_kinds_from_llamaindex(form, tmp_path):
    langchain, llamaindex = FakeChatModel(script=["ok"]), ScriptedLLM(script=["ok"])
    (tmp_path / "dot.png").write_bytes(PNG)
    given = {"image": PNG, "path": tmp_path / "dot.png", "url": f"data:image/png;base64,{PNG_TEXT}"}
    image = ImageBlock(**{form: given[form]}, image_mimetype="image/png")
    message = ChatMessage(role="user", blocks=[TextBlock(text="What is it?"), image])
    BlendedLLM(llms=[langchain, llamaindex], ranker=FakeRanker(), fuser=None).chat([message])
    assert llamaindex.calls[0].messages == (message,)
    assert langchain.calls[0].messages[0].content == [
        {"type": "text", "text": "What is it?"},
        {"type": "image", "base64": PNG_TEXT, "mime_type": "image/png"},
    ]


def test_images_reach_members_of_both_kinds_from_langchain():
    langchain, llamaindex = FakeChatModel(script=["ok"]), ScriptedLLM(script=["ok"])
    url = f"data:image/png;base64,{base64.b64encode(PNG).decode()}"
    content = [{"type": "text", "text": "What is it?"}, {"type": "image_url", "image_url": {"url": url}}]
    LangChainBlend(llms=[langchain, llamaindex], ranker=FakeRanker(), fuser=None).invoke([HumanMessage(content)])
    assert langchain.calls[0].messages[0].content == content
    text, image = llamaindex.calls[0].messages[0].blocks
    assert text.text == "What is it?"
    assert image.resolve_image().read() == PNG


@pytest.mark.parametrize("kind", ["audio", "file", "image", "video"])
def test_media_there_and_back(kind):
    data = base64.b64encode(b"content").decode()
    media = Media(kind, data, None, {"file": "application/pdf"}.get(kind, f"{kind}/x"), "n" if kind == "file" else None)
    prompt = Prompt((Message("user", f"Look[{kind}]", ("Look", media)),))
    through_llamaindex = to_prompt(to_messages(prompt), {})
    through_langchain = from_langchain(to_langchain(prompt), {})
    assert through_llamaindex.messages[0].parts == prompt.messages[0].parts
    assert through_langchain.messages[0].parts == prompt.messages[0].parts


def test_usage_is_summed_over_members_of_both_kinds():
    members = [FakeChatModel(script=["a b"]), ScriptedLLM(script=["a b c"]), FakeMember("core", "a b c d")]
    settings = {"ranker": FakeRanker(), "fuser": None}
    usage = BlendedLLM(llms=members, **settings).complete("one two").raw["usage"]
    assert usage == {"prompt_tokens": 6, "completion_tokens": 9, "total_tokens": 15}
    assert LangChainBlend(llms=members, **settings).invoke("one two").usage_metadata["total_tokens"] == 15


@pytest.mark.parametrize("required", [False, True])
def test_a_required_tool_is_required_of_members_of_both_kinds(required):
    members = [FakeChatModel(script=[langchain_calls_add]), ScriptedLLM(script=[calls_add], model="li")]
    blend = BlendedLLM(llms=members, ranker=FakeRanker(), fuser=None)
    blend.chat_with_tools([FunctionTool.from_defaults(add)], user_msg="2 + 3?", tool_required=required)
    langchain, llamaindex = (member.calls[0].options for member in members)
    assert (langchain.get("tool_choice"), llamaindex["tool_required"]) == ("any" if required else None, required)


def test_messages_go_to_members_without_one_providers_form_of_calls():
    blend = BlendedLLM(llms=[ScriptedLLM(script=[calls_add])], fuser=None)
    message = blend.chat_with_tools([FunctionTool.from_defaults(add)], user_msg="?").message
    assert calls_of_message(message)[0].arguments == {"a": 2, "b": 3}
    assert message.additional_kwargs["tool_calls"][0]["function"]["name"] == "add"
    assert to_messages(to_prompt([message], {}))[0].additional_kwargs == {}


def test_a_foreign_tools_fields_are_required_or_have_their_default():
    properties = {"city": {"type": "string"}, "days": {"type": "integer", "default": 3}, "_unit": {"type": "string"}}
    parameters = {"type": "object", "properties": properties, "required": ["city", "_unit"]}
    schema = as_tool({"type": "function", "function": {"name": "weather", "parameters": parameters}}).metadata.fn_schema
    fields = {field.alias or name: field for name, field in schema.model_fields.items()}
    assert {name: field.is_required() for name, field in fields.items()} == {"city": True, "days": False, "_unit": True}
    assert fields["days"].default == 3


def test_text_beside_a_tool_call_reaches_members_of_every_kind():
    call = AIMessage("Let me see.", tool_calls=[{"name": "add", "args": {"a": 2, "b": 3}, "id": "c1"}])
    prompt = from_langchain([HumanMessage("2 + 3?"), call, ToolMessage("5", tool_call_id="c1")], {})
    assert to_messages(prompt)[1].content == "Let me see."
    assert api_turns(prompt.messages)[1]["content"] == "Let me see."
    back = to_prompt(to_messages(prompt), {})
    assert to_langchain(back)[1].text == api_turns(back.messages)[1]["content"] == "Let me see."


def test_a_tool_without_a_schema_reaches_a_llamaindex_member():
    answer = LlamaIndexMember(ScriptedLLM(script=[calls_add])).generate(
        Prompt.of("?").with_options(tools=[{"type": "function", "function": {"name": "add"}}], tool_choice="any")
    )
    assert answer.tool_calls[0].name == "add"


@pytest.mark.parametrize(
    ("arguments", "read"),
    [({"a": 2}, {"a": 2}), ('{"a": 2}', {"a": 2}), ("", {}), (None, {}), ("[2]", None), ("{", None)],
)
def test_arguments_of_a_call_in_every_form(arguments, read):
    if read is not None:
        assert read_arguments(arguments, "add") == read
        return
    with pytest.raises(MemberError, match="the arguments of tool call 'add' are not"):
        read_arguments(arguments, "add")


def test_a_described_tool_may_be_any_mapping():
    tool = MappingProxyType({"type": "function", "function": {"name": "add"}})
    assert json.loads(json.dumps(describe([tool]))) == [{"type": "function", "function": {"name": "add"}}]
