"""``with_structured_output`` reaches each member by the method that was asked for."""

from __future__ import annotations

import json
from typing import Any, TypedDict

import pytest
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage
from langchain_core.messages.tool import tool_call
from langchain_openai import ChatOpenAI
from pydantic import BaseModel, field_validator

from blender_core.errors import ConfigurationError
from blender_core.testing import FakeMember, FakeRanker, ScriptedServer
from langchain_blender import BlendedLLM
from langchain_blender.structured import AskedSchema
from langchain_blender.testing import FakeChatModel


class River(BaseModel):
    """A river."""

    name: str
    length_km: int

    @field_validator("length_km")
    @classmethod
    def _flows(cls, value: int) -> int:
        if value <= 0:
            raise ValueError("a river has a length")
        return value


class RiverDict(TypedDict):
    """A river."""

    name: str
    length_km: int


RHINE = {"name": "Rhine, from the Alps to the North Sea", "length_km": 1233}
TEXT = json.dumps(RHINE)
SCHEMAS = pytest.mark.parametrize(
    "schema", [River, RiverDict, River.model_json_schema()], ids=["pydantic", "typeddict", "json schema"]
)
JSON_METHODS = pytest.mark.parametrize("method", ["json_schema", "json_mode"])


def blend(*members: Any, **settings: Any) -> BlendedLLM:
    return BlendedLLM(llms=list(members), **{"ranker": FakeRanker(), "fuser": None, **settings})


def plain(answer: Any) -> Any:
    return answer.model_dump() if isinstance(answer, BaseModel) else answer


class OwnMethod(FakeChatModel):
    """A model without tools, whose own ``with_structured_output`` knows one method."""

    tools: bool = False
    knows: str = "json_schema"

    def with_structured_output(
        self, schema: Any, *, include_raw: bool = False, method: str = "function_calling"
    ) -> Any:
        if method != self.knows:
            raise ValueError(f"unknown method {method}")
        return self.bind(grammar=schema) | (lambda message: json.loads(message.text))


@pytest.fixture
def server():
    with ScriptedServer({"a": TEXT, "b": TEXT}) as server:
        yield server


def chat(server: ScriptedServer, name: str) -> ChatOpenAI:
    return ChatOpenAI(model=name, base_url=server.base_url, api_key="x", max_retries=0)


@SCHEMAS
@pytest.mark.parametrize(("method", "sent"), [("json_schema", "json_schema"), ("json_mode", "json_object")])
async def test_the_method_reaches_every_member(server, schema, method, sent):
    llm = blend(chat(server, "a"), chat(server, "b").with_retry(), FakeMember("engine", TEXT), temperature=0.5)
    structured = llm.with_structured_output(schema, method=method, include_raw=True)
    for answer in (structured.invoke("The Rhine?"), await structured.ainvoke("The Rhine?")):
        assert plain(answer["parsed"]) == RHINE
        assert isinstance(answer["parsed"], River) is (schema is River)
        assert answer["parsing_error"] is None
        assert json.loads(answer["raw"].text) == RHINE
        assert [c["status"] for c in answer["raw"].response_metadata["blend"]["candidates"]] == ["ok"] * 3
    assert [request["response_format"]["type"] for request in server.requests] == [sent] * 4
    assert not any("tools" in request for request in server.requests)
    assert {request["temperature"] for request in server.requests} == {0.5}


@SCHEMAS
@pytest.mark.parametrize("strict", [None, True])
async def test_tools_may_be_called_instead_of_an_answer_in_the_schema(server, schema, strict):
    described = {"type": "object", "properties": {"place": {"type": "string"}}, "required": ["place"]}
    look_up = {"name": "look_up", "parameters": {**described, "additionalProperties": False}, "strict": True}
    tools = [{"type": "function", "function": look_up}]
    options = {"method": "json_schema", "tools": tools, "include_raw": True, "strict": strict}
    structured = blend(chat(server, "a"), chat(server, "b")).with_structured_output(schema, **options)
    for answer in (structured.invoke("The Rhine?"), await structured.ainvoke("The Rhine?")):
        assert plain(answer["parsed"]) == RHINE
    assert [request["tools"][0]["function"]["name"] for request in server.requests] == ["look_up"] * 4
    formats = [request["response_format"]["json_schema"] for request in server.requests]
    assert [set(form["schema"]["properties"]) for form in formats] == [{"name", "length_km"}] * 4
    assert {form.get("strict") for form in formats} <= {strict, False}


@SCHEMAS
@JSON_METHODS
def test_members_without_tools_take_part(schema, method):
    own, told = OwnMethod(script=[TEXT], knows=method, model_name="own"), FakeChatModel(script=[TEXT], tools=False)
    history = [SystemMessage("Be brief."), HumanMessage("The Rhine?")]
    answer = blend(own, told).with_structured_output(schema, method=method).invoke(history)
    assert plain(answer) == RHINE
    assert own.calls[0].options["grammar"] == schema
    assert own.calls[0].messages == tuple(history)
    first, *rest = told.calls[0].messages
    assert rest == history[1:]
    # in JSON mode the caller's prompt says what to answer
    assert ("length_km" in first.text, first.text.startswith("Be brief.")) == (method == "json_schema", True)


@JSON_METHODS
def test_answers_are_checked_by_the_schema_and_each_reason_is_kept(method):
    texts = ['{"name": "Rhine"}', '{"name": "Rhine", "length_km": -1}', "The Rhine.", f"Here:\n```json\n{TEXT}\n```"]
    llm = blend(*(FakeChatModel(script=[text], tools=False) for text in texts))
    answer = llm.with_structured_output(River, method=method, include_raw=True).invoke("The Rhine?")
    assert plain(answer["parsed"]) == RHINE
    wrong, negative, words, fenced = (c["invalid"] for c in answer["raw"].response_metadata["blend"]["candidates"])
    assert "Field required" in wrong
    assert "a river has a length" in negative
    assert "not JSON" in words
    assert fenced is None


def test_a_member_that_calls_a_tool_instead_of_answering_in_json_counts():
    call = AIMessage("", tool_calls=[tool_call(name="River", args=RHINE, id="1")])

    class CallsATool(FakeChatModel):
        def with_structured_output(self, schema: Any, *, method: str) -> Any:
            return self.bind_tools([schema]) | (lambda message: message)

    llm = blend(CallsATool(script=[call]))
    assert llm.with_structured_output(River, method="json_schema").invoke("The Rhine?") == River(**RHINE)


def test_a_models_own_way_to_call_a_function_is_used():
    """Providers refuse a forced call of a model that thinks; its own class knows that."""

    class Thinks(FakeChatModel):
        def with_structured_output(
            self, schema: Any, *, include_raw: bool = False, method: str = "", **kwargs: Any
        ) -> Any:
            return self.bind_tools([schema], thinks=True, **kwargs) | (lambda message: message)

    call = AIMessage("", tool_calls=[tool_call(name="River", args=RHINE, id="1")])
    member = Thinks(script=[call])
    llm = blend(member, blend(Thinks(script=[call])), temperature=0.1)
    assert llm.with_structured_output(River, strict=True).invoke("The Rhine?") == River(**RHINE)
    options = member.calls[0].options
    assert "tool_choice" not in options
    assert (options["thinks"], options["strict"], options["temperature"]) == (True, True, 0.1)


@pytest.mark.parametrize("method", ["function_calling", "json_schema", "json_mode"])
async def test_a_typeddict_streams_partial_objects(method):
    call = AIMessage("", tool_calls=[tool_call(name="RiverDict", args=RHINE, id="1")])
    structured = blend(
        FakeChatModel(script=[call if method == "function_calling" else TEXT])
    ).with_structured_output(RiverDict, method=method)  # fmt: skip
    for parts in (list(structured.stream("The Rhine?")), [part async for part in structured.astream("The Rhine?")]):
        assert len(parts) > 2
        assert parts[-1] == RHINE
        assert all(RHINE["name"].startswith(part.get("name", "")) for part in parts)
        assert RHINE["name"] != parts[0].get("name")


def test_json_mode_works_without_a_schema(server):
    assert blend(chat(server, "a")).with_structured_output(method="json_mode").invoke("A river as JSON") == RHINE


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"schema": River, "method": "jsonschema"}, "method is 'jsonschema'; use one of function_calling, json_mode"),
        ({"schema": None, "method": "json_schema"}, "needs a schema"),
        ({"schema": River}, 'no member can call tools: fake; add one that can, or pass method="json_schema"'),
    ],
)
def test_what_cannot_be_asked_for_is_refused(arguments, message):
    with pytest.raises(ConfigurationError, match=message):
        blend(FakeChatModel(tools=False)).with_structured_output(**arguments)


def test_a_schema_that_names_no_tool_is_refused_by_what_it_lacks():
    llm = BlendedLLM(llms=[FakeChatModel()])
    schema = {"type": "object", "properties": {"city": {"type": "string"}}}
    with pytest.raises(ConfigurationError, match='give the JSON schema a "title"'):
        llm.with_structured_output(schema)
    llm.with_structured_output(schema | {"title": "City"})


PARAMETERS = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
FUNCTION = {"name": "River", "description": "A river.", "parameters": PARAMETERS}


@pytest.mark.parametrize(
    ("schema", "name"),
    [
        ({"title": "River", **PARAMETERS}, "River"),
        (PARAMETERS, "output"),
        ({"name": "River", "schema": PARAMETERS}, "River"),
        ({"type": "json_schema", "json_schema": {"name": "River", "schema": PARAMETERS}}, "River"),
        (FUNCTION, "River"),
        (None, "output"),
    ],
)
def test_every_form_of_a_schema_is_read(schema, name):
    asked = AskedSchema(schema, "json_mode")
    found = {key: value for key, value in asked.json_schema.items() if key != "title"}
    assert (asked.name, found) == (name, {} if schema is None else PARAMETERS)
    assert AskedSchema({"type": "function", "function": FUNCTION}).json_schema == PARAMETERS
