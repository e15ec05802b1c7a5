"""Tool calls are voted on and returned as they are; structured output is checked, picked, never fused."""

from __future__ import annotations

import copy
import pickle
import typing
import warnings
from typing import TypedDict

import pytest
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.messages.tool import tool_call
from langchain_core.output_parsers import StrOutputParser
from langchain_core.runnables import RunnableBinding, RunnableWithFallbacks
from langchain_core.tools import tool
from pydantic import BaseModel, Field, field_validator

from blender_core.errors import ConfigurationError, QuorumError
from blender_core.testing import FakeFuser, FakeMember, FakeRanker
from langchain_blender import BlendedLLM
from langchain_blender.acceptance import violation
from langchain_blender.testing import FakeChatModel
from langchain_blender.tools import convert_tools, normalised_choice


@tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


def calls(name: str = "add", text: str = "", **args) -> AIMessage:
    return AIMessage(text, tool_calls=[tool_call(name=name, args=args, id=f"call_{name}")])


def model(*script, name: str = "m", **settings) -> FakeChatModel:
    return FakeChatModel(script=list(script), model_name=name, **settings)


def blend(*members, **settings) -> BlendedLLM:
    return BlendedLLM(
        llms=list(members), **{"report": "full", "ranker": FakeRanker(), "fuser": FakeFuser("fused"), **settings}
    )


def record(message: AIMessage, name: str) -> dict:
    return next(c for c in message.response_metadata["blend"]["candidates"] if c["model"] == name)


# -- tool calls ----------------------------------------------------------------------------------------------


def test_the_calls_with_the_most_votes_win_and_are_not_fused():
    llm = blend(model(calls(a=1, b=9), name="a"), model(calls(a=1, b=2), name="b"), model(calls(b=2.0, a=1), name="c"))
    message = llm.bind_tools([add]).invoke("1 and 2")
    assert [(call["name"], call["args"]) for call in message.tool_calls] == [("add", {"a": 1, "b": 2})]
    assert message.tool_calls[0]["id"] == "call_add"
    assert message.response_metadata["blend"]["fused"] == []
    assert record(message, "a")["invalid"] == "outvoted on tool calls"


def test_text_beside_a_tool_call_is_kept():
    message = blend(model(calls(text="Let me see.", a=1, b=2))).bind_tools([add]).invoke("1 and 2")
    assert message.text == "Let me see."
    assert message.tool_calls


def test_streamed_tool_calls_are_the_same():
    llm = blend(model(calls(a=1, b=2)), model(calls(a=1, b=2)), fuse_when="always").bind_tools([add])
    chunks = list(llm.stream("1 and 2"))
    total = chunks[0] + chunks[1:]
    assert total.tool_calls == llm.invoke("1 and 2").tool_calls
    assert [bool(chunk.usage_metadata) for chunk in chunks].count(True) == 1
    assert chunks[-1].chunk_position == "last"


def test_a_call_of_an_unknown_tool_or_with_wrong_arguments_is_set_aside():
    llm = blend(
        model(calls("subtract", a=1), name="a"),
        model(calls(a="one", b=2), name="b"),
        model(calls(a=1, b=2), name="c"),
    )
    message = llm.bind_tools([add]).invoke("1 and 2")
    assert message.tool_calls[0]["args"] == {"a": 1, "b": 2}
    assert "not among the tools" in record(message, "a")["invalid"]
    assert "a: 'one' is not of type 'integer'" in record(message, "b")["invalid"]


def test_text_is_set_aside_where_a_call_is_required():
    llm = blend(model("I would rather talk about it", name="a"), model("Me too, at length", name="b"),
                model(calls(a=1, b=2), name="c"))  # fmt: skip
    message = llm.bind_tools([add], tool_choice="any").invoke("1 and 2")
    assert message.tool_calls
    assert "tool call was required" in record(message, "a")["invalid"]


def broken_call(text: str = "") -> AIMessage:
    return AIMessage(text, invalid_tool_calls=[{"name": "add", "args": "a is 1", "id": "1", "error": "not JSON"}])


@pytest.mark.parametrize("text", ["", "Let me add them, that is easy."])
def test_a_tool_call_that_cannot_be_parsed_is_set_aside(text):
    message = blend(model(broken_call(text), name="a"), model("x", name="b")).bind_tools([add]).invoke("Hi")
    assert "cannot be parsed" in record(message, "a")["invalid"]
    assert (message.text, message.invalid_tool_calls) == ("x", [])


@pytest.mark.parametrize("streamed", [False, True])
def test_if_no_tool_call_can_be_parsed_the_agent_sees_it_as_of_one_model(streamed):
    """A model's agent goes on, and tells the model of the call in the next turn."""
    steps = broken_call("Let me see."), "Sorry, it is 3."
    llm = blend(model(*steps, name="a"), model(*steps, name="b")).bind_tools([add])
    if streamed:
        chunks = list(llm.stream("1 and 2"))
        message = chunks[0] + chunks[1:]
    else:
        message = llm.invoke("1 and 2")
    assert [(call["name"], call["args"], call["id"]) for call in message.invalid_tool_calls] == [("add", "a is 1", "1")]
    assert message.response_metadata["blend"]["degraded"]
    assert llm.invoke([HumanMessage("1 and 2"), message, ToolMessage("broken", tool_call_id="1")]).text == steps[1]


def test_members_bind_tools_in_their_own_way():
    one, two = model(calls(a=1, b=2)), model(calls(a=1, b=2))
    llm = blend(one, two.with_retry()).bind_tools([add], tool_choice="required", strict=True)
    llm.invoke("1 and 2", temperature=0.5)
    for member in (one, two):
        options = member.calls[0].options
        assert options["tools"][0]["function"]["name"] == "add"
        assert options["tools"][0]["function"]["strict"] is True
        assert options["tool_choice"] == "any"
        assert options["strict"] is True
        assert options["temperature"] == 0.5


class Receiver(FakeChatModel):
    """Keeps what it was given to bind."""

    given: list = Field(default_factory=list)

    def bind_tools(self, tools, **kwargs):
        self.given.append((list(tools), kwargs))
        return super().bind_tools(tools, **kwargs)


def divide(a: int, b: int) -> float:
    """Divide two numbers."""
    return a / b


class Multiply(BaseModel):
    """Multiply two numbers."""

    a: int
    b: int


ANTHROPIC_FORM = {"name": "power", "description": "Raise.", "input_schema": {"type": "object", "properties": {}}}
WITH_EXTRAS = add.model_copy(update={"extras": {"cache_control": {"type": "ephemeral"}, "defer_loading": True}})


@pytest.mark.parametrize(
    "given",
    [WITH_EXTRAS, divide, Multiply, ANTHROPIC_FORM, {"type": "web_search_20250305", "name": "web_search"}],
    ids=["tool", "function", "class", "dict", "provider's own"],
)  # fmt: skip
@pytest.mark.parametrize("nested", [False, True], ids=["flat", "nested"])
def test_members_are_given_the_callers_own_tools(given, nested):
    members = [Receiver(script=["x"]), Receiver(script=["y"])]
    llm = blend(blend(members[0]), members[1].with_retry()) if nested else blend(*members)
    bound = llm.bind_tools([given, divide], strict=True, response_format=Multiply)
    llm.bind(**copy.deepcopy(bound.kwargs)).invoke("x")
    for member in members:
        tools, options = member.given[-1]
        assert tools == [given, divide]
        assert isinstance(given, dict) or tools[0] is given
        assert options == {"strict": True, "response_format": Multiply}


def test_an_agent_without_tools_binds_options_that_only_bind_tools_reads():
    member = Receiver(script=['{"a": 1, "b": 2}'])
    blend(member).bind_tools([], strict=True, response_format=Multiply).invoke("x")
    assert member.given[-1] == ([], {"strict": True, "response_format": Multiply})


def test_a_bound_blend_can_be_pickled():
    bound = pickle.loads(pickle.dumps(blend(model(calls(a=1, b=2))).bind_tools([divide, add])))
    assert bound.invoke("1 and 2").tool_calls[0]["args"] == {"a": 1, "b": 2}


def test_members_that_cannot_call_tools_take_no_part_and_that_is_said():
    able, unable = model(calls(a=1, b=2), name="able"), model("x", name="unable", tools=False)
    parsed = model("x", name="parsed") | StrOutputParser()
    weak = model("x", name="weak", profile={"tool_calling": False})
    with pytest.warns(UserWarning, match="unable, parsed, weak cannot call tools"):
        llm = blend(able, unable, parsed, weak).bind_tools([add])
    message = llm.invoke("1 and 2")
    assert message.tool_calls
    assert "cannot call tools" in record(message, "unable")["reason"]
    assert unable.calls == ()


def test_no_member_that_can_call_tools_is_an_error():
    unable = blend(model("x", tools=False))
    for members in ([model("x", tools=False)], [unable], [model("x", tools=False).with_fallbacks([model("y")])]):
        with pytest.raises(ConfigurationError, match="no member can call tools"):
            blend(*members).bind_tools([add])


def test_a_fallback_that_cannot_call_tools_is_left_out():
    down = model(ValueError("down"))
    llm = blend(down.with_fallbacks([model("in words", tools=False), model(calls(a=1, b=2))])).bind_tools([add])
    assert llm.invoke("1 and 2").tool_calls


def test_a_blend_inside_a_blend_calls_tools():
    llm = blend(blend(model(calls(a=1, b=2)))).bind_tools([add], tool_choice="add")
    assert llm.invoke("1 and 2").tool_calls[0]["args"] == {"a": 1, "b": 2}


def test_a_member_of_the_engine_may_ignore_tools():
    llm = blend(model(calls(a=1, b=2)), FakeMember("engine", "in words"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert llm.bind_tools([add]).invoke("1 and 2").tool_calls


def test_with_fallbacks_keeps_its_fallbacks_when_tools_are_bound():
    """`RunnableWithFallbacks` binds each model only if `bind_tools` is annotated with what it can resolve."""
    assert typing.get_type_hints(BlendedLLM.bind_tools)["return"]
    llm = blend(model(ValueError("down"))).with_fallbacks([model(calls(a=1, b=2))]).bind_tools([add])
    assert isinstance(llm, RunnableWithFallbacks)
    assert llm.invoke("1 and 2").tool_calls
    assert isinstance(blend(model("x")).bind_tools([add]), RunnableBinding)


def test_a_call_without_an_id_gets_one():
    nameless = AIMessage("", tool_calls=[tool_call(name="add", args={"a": 1, "b": 2}, id=None)])
    assert blend(model(nameless)).bind_tools([add]).invoke("x").tool_calls[0]["id"]


def test_tool_results_in_the_history_reach_members_and_the_ranker():
    member = model("It is 3.")
    history = [HumanMessage("1 and 2?"), calls(a=1, b=2), ToolMessage("3", tool_call_id="call_add")]
    message = blend(member, model("3", name="b")).bind_tools([add]).invoke(history)
    assert member.calls[0].messages == tuple(history)
    assert message.text in ("fused", "It is 3.")


def test_a_providers_own_tool_is_left_as_it_is():
    assert convert_tools([{"google_search": {}}]) == [{"google_search": {}}]


@pytest.mark.parametrize("choice", ["web_search", "any", {"type": "tool", "name": "web_search"}])
def test_a_providers_own_tool_may_be_required_and_answered_in_text(choice):
    search = {"type": "web_search_20250305", "name": "web_search"}
    message = blend(model("It rains, says the web.")).bind_tools([add, search], tool_choice=choice).invoke("Weather?")
    assert record(message, "m")["invalid"] is None
    required = blend(model("It is 3.")).bind_tools([add, search], tool_choice="add").invoke("1 and 2")
    assert "tool call was required" in record(required, "m")["invalid"]


@pytest.mark.parametrize("choice", [3, {"type": "something"}])
def test_an_unknown_tool_choice_is_refused(choice):
    with pytest.raises(ConfigurationError, match="tool_choice"):
        normalised_choice(choice)


# -- structured output -----------------------------------------------------------------------------------------


class Joke(BaseModel):
    """A joke."""

    setup: str = Field(description="how it begins")
    punchline: str = Field(description="how it ends")

    @field_validator("punchline")
    @classmethod
    def _is_short(cls, value: str) -> str:
        if len(value) > 10:
            raise ValueError("too long to be funny")
        return value


class JokeDict(TypedDict):
    """A joke."""

    setup: str
    punchline: str


DEFINITIONS = {"$defs": {"A": {"type": "string"}}}
GOOD = {"setup": "Knock", "punchline": "Who?"}


@pytest.mark.parametrize(
    ("schema", "name"), [(Joke, "Joke"), (JokeDict, "JokeDict"), (Joke.model_json_schema(), "Joke")],
    ids=["pydantic", "typeddict", "json schema"],
)  # fmt: skip
def test_only_answers_that_meet_the_schema_are_ranked(schema, name):
    llm = blend(
        model(calls(name, setup="a"), name="incomplete"),
        model(calls(name, setup=1, punchline=["x"]), name="mistyped"),
        model("A joke in words", name="words"),
        model(calls(name, **GOOD), name="good"),
        fuse_when="always",
    )
    answer = llm.with_structured_output(schema, include_raw=True).invoke("Joke!")
    assert answer["parsing_error"] is None
    assert (answer["parsed"].model_dump() if isinstance(answer["parsed"], Joke) else answer["parsed"]) == GOOD
    blended = answer["raw"].response_metadata["blend"]
    assert blended["winner"] == "good"
    assert all(record(answer["raw"], other)["invalid"] for other in ("incomplete", "mistyped", "words"))


def test_different_answers_that_meet_the_schema_are_ranked():
    llm = blend(
        model(calls("Joke", setup="a", punchline="b"), name="short"),
        model(calls("Joke", setup="a", punchline="the best"), name="best"),
        model(calls("Joke", setup="an answer that is longer but wrong"), name="incomplete"),
        fuse_when="always",
    )
    answer = llm.with_structured_output(Joke, include_raw=True).invoke("Joke!")
    assert answer["parsed"].punchline == "the best"
    assert (record(answer["raw"], "best")["rank"], record(answer["raw"], "short")["rank"]) == (1, 2)
    assert record(answer["raw"], "incomplete")["rank"] is None


def test_validators_of_a_pydantic_class_are_asked():
    llm = blend(
        model(calls("Joke", setup="a", punchline="far too long to be funny"), name="long"),
        model(calls("Joke", setup="a", punchline="far too long to be funny"), name="long too"),
        model(calls("Joke", **GOOD), name="good"),
    )
    answer = llm.with_structured_output(Joke, include_raw=True).invoke("Joke!")
    assert answer["parsed"] == Joke(**GOOD)
    assert "too long to be funny" in record(answer["raw"], "long")["invalid"]


def test_a_structured_answer_streams():
    chunks = list(blend(model(calls("JokeDict", **GOOD))).with_structured_output(JokeDict).stream("Joke!"))
    assert chunks[-1] == GOOD


def test_an_answer_that_no_member_could_give_is_marked_degraded():
    llm = blend(model(calls("Joke", setup="a")), model("words"))
    answer = llm.with_structured_output(Joke, include_raw=True).invoke("Joke!")
    assert answer["parsing_error"] is not None
    assert answer["raw"].response_metadata["blend"]["degraded"]


@pytest.mark.parametrize("schema", [Joke, Joke.model_json_schema()], ids=["pydantic", "json schema"])
def test_a_providers_own_structured_output_is_checked_and_never_fused(schema):
    response_format = schema if isinstance(schema, type) else {"type": "json_schema", "json_schema": {"schema": schema}}
    llm = blend(
        model('{"setup": "a much longer answer that the ranker likes"}', name="incomplete"),
        model('{"setup": "Knock", "punchline": "Who?"}', name="good"),
        model('{"setup": "Knock", "punchline": "Me"}', name="short"),
        fuse_when="always",
    )
    message = llm.invoke("Joke!", response_format=response_format)
    assert message.response_metadata["blend"]["winner"] == "good"
    assert message.response_metadata["blend"]["fused"] == []
    assert "never fused" in message.response_metadata["blend"]["decision"]
    assert record(message, "incomplete")["invalid"]


def test_a_blend_inside_a_structured_blend_still_decides_for_itself():
    inner = blend(model("one"), model("two words"), fuse_when="always", model="inner")
    outer = blend(inner, model('{"a": 1}', name="json"))
    message = outer.invoke("x", response_format={"type": "json_object"})
    assert message.response_metadata["blend"]["winner"] == "json"


@pytest.mark.parametrize(
    ("value", "schema", "problem"),
    [
        (1, {"type": "integer"}, None),
        (1.0, {"type": "integer"}, None),
        (True, {"type": "integer"}, "True is not of type 'integer'"),
        (3, {"maximum": 2}, "3 is greater than the maximum of 2"),
        ("ab", {"maxLength": 1}, "'ab' is too long"),
        (None, {"anyOf": [{"type": "string"}, {"type": "null"}]}, None),
        ({"a": 1}, {"additionalProperties": False}, "Additional properties are not allowed ('a' was unexpected)"),
        ({"b": [{"c": "x"}]}, {"properties": {"b": {"items": {"properties": {"c": {"type": "null"}}}}}},
         "b[0].c: 'x' is not of type 'null'"),
        ({"a": 1}, {"properties": {"a": {"$ref": "#/$defs/A"}}, **DEFINITIONS}, "a: 1 is not of type 'string'"),
    ],
)  # fmt: skip
def test_schema_violations_are_named(value, schema, problem):
    assert violation(value, schema) == problem


def test_a_violation_by_a_long_value_is_told_in_short():
    assert len(violation("x" * 10_000, {"type": "integer"})) <= 200


@pytest.mark.parametrize(
    ("schema", "problem"),
    [
        ({"type": "OBJECT"}, "the schema is not valid at type"),
        ({"pattern": "("}, "the schema is not valid at pattern"),
        ({"$ref": "#/$defs/B"}, "leads nowhere"),
        ({"$ref": "http://127.0.0.1:9/schema"}, "leads nowhere"),
    ],
)
def test_a_schema_that_cannot_be_used_is_told_of_every_answer(schema, problem):
    for value in ({"a": 1}, 3, "x"):
        assert problem in violation(value, schema)


@pytest.mark.parametrize("schema", [{"$ref": "#"}, {"anyOf": [{"$ref": "#"}]}])
def test_a_schema_without_end_is_told_and_stops_nobody(schema):
    assert "refers to itself without end" in violation({"a": 1}, schema)
    tree = {"type": "object", "properties": {"child": {"$ref": "#"}}, "required": []}
    assert violation({"child": {"child": {}}}, tree) is None
    assert violation({"child": {"child": 3}}, tree) == "child.child: 3 is not of type 'object'"


# -- arguments as the tool takes them ----------------------------------------------------------------------------


@tool
def measure(length: float, times: int | None = None, rough: bool = False, parts: list[int] | None = None) -> str:
    """Measure something."""
    return f"{length} {times} {rough} {parts}"


AS_TEXT = {"length": "1.5", "times": "2", "rough": "true", "parts": ["3", 4]}


def test_numbers_written_as_text_are_the_tools_numbers():
    llm = blend(
        model(calls(a="1", b="2"), name="a"), model(calls(a=1, b=2), name="b"), model(calls(a=9, b=9), name="c")
    ).bind_tools([add])
    message = llm.invoke("1 and 2")
    assert message.response_metadata["blend"]["winner"] == "a"
    assert message.tool_calls[0]["args"] == {"a": "1", "b": "2"}
    assert add.invoke(message.tool_calls[0]["args"]) == 3


def test_texts_in_nested_and_optional_arguments_are_read_too():
    message = blend(model(calls("measure", **AS_TEXT), name="a")).bind_tools([measure]).invoke("Measure")
    assert not message.response_metadata["blend"]["degraded"]
    assert message.tool_calls[0]["args"] == AS_TEXT
    assert measure.invoke(AS_TEXT) == "1.5 2 True [3, 4]"


@pytest.mark.parametrize("wrong", [{"length": "long"}, {"length": "1", "times": "1.5"}, {"length": "1", "rough": "2"}])
def test_texts_that_are_no_such_values_are_set_aside(wrong):
    llm = blend(model(calls("measure", **wrong), name="wrong"), model(calls("measure", length=1), name="right"))
    message = llm.bind_tools([measure]).invoke("Measure")
    assert message.response_metadata["blend"]["winner"] == "right"
    assert record(message, "wrong")["invalid"]


def test_a_number_in_text_has_to_be_within_its_limits():
    schema = {"properties": {"a": {"type": "integer", "maximum": 5}}, "propertyNames": {"maxLength": 2}}
    assert violation({"a": "3"}, schema, lenient=True) is None
    assert violation({"a": "7"}, schema, lenient=True) == "a: 7 is greater than the maximum of 5"
    assert violation({"a": "3"}, {"propertyNames": {"type": "integer"}}, lenient=True)
    assert violation({"a": "3"}, schema) == "a: '3' is not of type 'integer'"


def test_a_dict_of_structured_output_is_checked_to_the_letter():
    schema = {"title": "Age", "type": "object", "properties": {"years": {"type": "integer"}}, "required": ["years"]}
    llm = blend(model(calls("Age", years="39, or so"), name="a"), model(calls("Age", years="39"), name="b"),
                model(calls("Age", years=39), name="c"))  # fmt: skip
    assert llm.with_structured_output(schema).invoke("How old?") == {"years": 39}


# -- members that cannot be given the tools ------------------------------------------------------------------------


def broken_model(error: Exception, name: str) -> FakeChatModel:
    class Broken(FakeChatModel):
        def bind_tools(self, tools, **kwargs):
            raise error

    return Broken(script=["in words"], model_name=name)


@pytest.mark.parametrize("error", [ValueError("no tools here"), TypeError("no tools here"), AttributeError("no tools")])
def test_a_member_whose_bind_tools_fails_takes_no_part_and_the_reason_is_said(error):
    with pytest.warns(UserWarning, match=f"broken cannot call tools and take no part.*{type(error).__name__}: {error}"):
        llm = blend(broken_model(error, "broken"), model(calls(a=1, b=2), name="able")).bind_tools([add])
    message = llm.invoke("1 and 2")
    assert message.tool_calls
    assert record(message, "broken")["status"] == "unsupported"
    assert str(error) in record(message, "broken")["reason"]


def test_where_no_member_can_be_given_the_tools_the_reason_is_said():
    with pytest.raises(ConfigurationError, match=r"no member can call tools: broken.*no tools here"):
        blend(broken_model(ValueError("no tools here"), "broken")).bind_tools([add])


def test_a_fallback_whose_bind_tools_fails_is_left_out():
    down = model(ValueError("down"))
    fallbacks = [broken_model(ValueError("no tools"), "broken"), model(calls(a=1, b=2))]
    assert blend(down.with_fallbacks(fallbacks)).bind_tools([add]).invoke("1 and 2").tool_calls


def test_call_options_do_not_go_through_bind_tools():
    class Narrow(FakeChatModel):
        def bind_tools(self, tools, *, tool_choice=None, strict=None):
            return super().bind_tools(tools, tool_choice=tool_choice, bound_strict=strict)

    narrow = Narrow(script=[calls(a=1, b=2)])
    llm = blend(narrow, temperature=0.2).bind_tools([add], tool_choice="any", strict=True).bind(stop=["END"], seed=3)
    assert llm.invoke("1 and 2").tool_calls
    options = narrow.calls[0].options
    assert {key: options[key] for key in ("temperature", "seed", "stop", "tool_choice", "bound_strict")} == {
        "temperature": 0.2, "seed": 3, "stop": ["END"], "tool_choice": "any", "bound_strict": True,
    }  # fmt: skip


@pytest.mark.filterwarnings("ignore:.*cannot call tools and take no part")
def test_the_quorum_of_a_call_with_tools_is_out_of_the_members_that_take_part():
    words = [model("in words", name=name, tools=False) for name in ("x", "y")]
    llm = blend(model(calls(a=1, b=2), name="able"), *words, quorum=2, max_retries=0)
    message = llm.bind_tools([add]).invoke("1 and 2")
    assert message.tool_calls
    assert [c["status"] for c in message.response_metadata["blend"]["candidates"]] == [
        "ok",
        "unsupported",
        "unsupported",
    ]
    assert message.response_metadata["blend"]["usage_known"]
    assert llm.invoke("In words?").text


@pytest.mark.filterwarnings("ignore:.*cannot call tools and take no part")
def test_members_that_take_part_still_have_to_meet_the_quorum():
    able = [model(calls(a=1, b=2), name="able"), model(ValueError("down"), name="down")]
    llm = blend(*able, model("in words", name="words", tools=False), quorum=3, max_retries=0).bind_tools([add])
    with pytest.raises(QuorumError, match="the quorum is 2"):
        llm.invoke("1 and 2")


def test_with_fallbacks_keeps_its_fallbacks_for_structured_output():
    llm = blend(model(ValueError("down")), max_retries=0).with_fallbacks([blend(model(calls("Joke", **GOOD)))])
    assert llm.with_structured_output(Joke).invoke("Joke!") == Joke(**GOOD)
