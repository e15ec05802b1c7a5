"""Ask members for structured output, each in its own way, and read the answer that is picked."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from operator import itemgetter
from typing import Any, Literal, get_args

from langchain_core.language_models import BaseChatModel, BaseLanguageModel
from langchain_core.messages import BaseMessage, SystemMessage
from langchain_core.output_parsers import JsonOutputParser, PydanticOutputParser
from langchain_core.output_parsers.openai_tools import JsonOutputKeyToolsParser, PydanticToolsParser
from langchain_core.prompt_values import ChatPromptValue
from langchain_core.runnables import Runnable, RunnableMap, RunnablePassthrough, RunnableSequence
from langchain_core.runnables.base import RunnableBindingBase
from langchain_core.utils.function_calling import convert_to_openai_tool
from langchain_core.utils.pydantic import is_basemodel_subclass

from blender_core.errors import ConfigurationError
from blender_core.types.answer import Answer
from blender_core.types.prompt import Message, Prompt
from langchain_blender.tools import DescribedTool

__all__ = [
    "AskedSchema",
    "SchemaFormat",
    "SchemaTool",
    "asked_schema",
    "in_own_way",
    "read_by",
    "told",
    "with_json_text",
]

Method = Literal["function_calling", "json_mode", "json_schema"]


@dataclass(frozen=True, slots=True)
class AskedSchema:
    """Holds what a caller of ``with_structured_output`` asks for.

    Args:
        schema: A pydantic class, a ``TypedDict`` or a JSON schema; ``None`` for any JSON, in ``"json_mode"`` only.
        method: ``"function_calling"``, ``"json_schema"`` or ``"json_mode"``.
        strict: Whether providers hold the answer to the schema; ``None`` leaves that to each member.

    Raises:
        ConfigurationError: The method is unknown, or it needs a schema.
    """

    schema: Any
    method: Method = "function_calling"
    strict: bool | None = None

    def __post_init__(self) -> None:
        if self.method not in get_args(Method):
            raise ConfigurationError(f"method is {self.method!r}; use one of {', '.join(get_args(Method))}")
        if self.schema is None and self.method != "json_mode":
            raise ConfigurationError(f'method {self.method!r} needs a schema; only "json_mode" works without one')

    @property
    def name(self) -> str:
        """The schema's name; ``"output"`` if it has none."""
        if isinstance(self.schema, Mapping):
            inner = self.schema.get("json_schema", self.schema)
            return str(inner.get("name") or inner.get("title") or "output")
        return "output" if self.schema is None else str(convert_to_openai_tool(self.schema)["function"]["name"])

    @property
    def json_schema(self) -> Mapping[str, Any]:
        """The JSON schema, empty for any JSON."""
        if self.schema is None:
            return {}
        if isinstance(self.schema, Mapping):
            inner = self.schema.get("json_schema", self.schema)
            if isinstance(inner.get("schema"), Mapping):
                return dict(inner["schema"])
            if "type" in inner and "parameters" not in inner and "function" not in inner:
                return dict(inner)
        return dict(convert_to_openai_tool(self.schema)["function"].get("parameters") or {})

    def keywords(self) -> dict[str, Any]:
        """Return the keywords of a member's own ``with_structured_output``."""
        return {"method": self.method, **({} if self.strict is None else {"strict": self.strict})}

    def traced(self) -> dict[str, Any]:
        """Return what tracers show of a call that asks for this."""
        return {"kwargs": self.keywords(), "schema": self.schema if self.schema is not None else {}}


class SchemaTool(DescribedTool):
    """Holds a schema as a tool; each member is asked for it in its own way.

    Args:
        described: The tool in the OpenAI form.
        asked: What was asked for.
    """

    def __init__(self, described: Mapping[str, Any], asked: AskedSchema) -> None:
        super().__init__(described, asked.schema)
        self.asked = asked

    def __copy__(self) -> SchemaTool:
        return SchemaTool(self, self.asked)

    def __deepcopy__(self, _memo: Any) -> SchemaTool:
        return SchemaTool(self, self.asked)


class SchemaFormat(dict[str, Any]):
    """Holds a schema as the ``response_format`` of the OpenAI API; each member is asked for it in its own way.

    Args:
        asked: What was asked for.
    """

    def __init__(self, asked: AskedSchema) -> None:
        if asked.method == "json_mode":
            super().__init__(type="json_object")
        else:
            strict = {} if asked.strict is None else {"strict": asked.strict}
            # ``bind_tools`` of langchain-openai reads the schema alone, and names it by its title
            inner = {"name": asked.name, "schema": {"title": asked.name, **asked.json_schema}, **strict}
            super().__init__(type="json_schema", json_schema=inner)
        self.asked = asked

    def __copy__(self) -> SchemaFormat:
        return SchemaFormat(self.asked)

    def __deepcopy__(self, _memo: Any) -> SchemaFormat:
        return SchemaFormat(self.asked)

    def __reduce__(self) -> tuple[Any, ...]:
        return SchemaFormat, (self.asked,)


def asked_schema(options: Mapping[str, Any]) -> AskedSchema | None:
    """Return the schema that a call asks for by ``with_structured_output``.

    Args:
        options: The call options.

    Returns:
        The schema; ``None`` if the call asks for none.
    """
    stated = options.get("response_format")
    if isinstance(stated, SchemaFormat):
        return stated.asked
    return next((tool.asked for tool in options.get("tools") or () if isinstance(tool, SchemaTool)), None)


def in_own_way(model: Runnable[Any, Any], asked: AskedSchema, options: Mapping[str, Any]) -> Runnable[Any, Any] | None:
    """Ask a model for structured output by its own ``with_structured_output``.

    Args:
        model: The model.
        asked: What was asked for.
        options: Further call options.

    Returns:
        A runnable that returns the model's message; ``None`` if the model has no way of its own.
    """
    own = getattr(model, "with_structured_output", None)
    if own is None or _only_inherits(model):
        return None
    try:
        chain = own(asked.schema, **asked.keywords())
        if isinstance(chain, RunnableSequence) and _is_bound_model(chain.first):
            # the parser is left out: the message is checked, ranked and read later
            return chain.first.bind(**options) if options else chain.first
        # the model is made at its call, or the class wraps it
        return own(asked.schema, include_raw=True, **asked.keywords(), **options) | itemgetter("raw")  # type: ignore[no-any-return]
    except Exception:
        # the class does not know this method, or not with this schema
        return None


def _only_inherits(model: Runnable[Any, Any]) -> bool:
    """Whether it has the base class's method only, which ignores the method and calls a tool."""
    if isinstance(model, BaseChatModel):
        return type(model).with_structured_output is BaseChatModel.with_structured_output
    return isinstance(model, BaseLanguageModel)


def _is_bound_model(runnable: Runnable[Any, Any]) -> bool:
    return isinstance(runnable, RunnableBindingBase) and isinstance(runnable.bound, BaseLanguageModel)


def told(prompt: Prompt, asked: AskedSchema) -> Prompt:
    """Tell a model without a way of its own the schema in words.

    Args:
        prompt: The prompt.
        asked: What was asked for.

    Returns:
        The prompt with the schema in its system turn. In ``"json_mode"`` it is unchanged, because there the caller's
        prompt says what to answer.
    """
    if asked.method == "json_mode":
        return prompt
    schema = json.dumps(asked.json_schema, ensure_ascii=False)
    rule = f"Answer with JSON only, without any other text. It must meet this JSON schema:\n{schema}"
    head, *rest = prompt.messages
    if head.role == "system":
        turns = (Message("system", f"{head.content}\n\n{rule}"), *rest)
    else:
        turns = (Message("system", rule), *prompt.messages)
    native = prompt.native
    if isinstance(native, ChatPromptValue):
        native = ChatPromptValue(messages=_with_rule(native.messages, rule))
    return replace(prompt, messages=turns, native=native)


def _with_rule(messages: Any, rule: str) -> list[BaseMessage]:
    first, *rest = messages
    if isinstance(first, SystemMessage):
        return [SystemMessage(f"{first.text}\n\n{rule}"), *rest]
    return [SystemMessage(rule), *messages]


def with_json_text(answer: Answer, asked: AskedSchema | None) -> Answer:
    """Write an answer to a question for JSON as text, if the member gave it as a tool call.

    Models that do not know a method call a tool instead.

    Args:
        answer: The answer.
        asked: What was asked for, or ``None``.

    Returns:
        The answer, with the arguments of the call as its text.
    """
    if asked is None or asked.method == "function_calling" or answer.text.strip():
        return answer
    call = next((call for call in answer.tool_calls if call.name == asked.name), None)
    if call is None:
        return answer
    text = json.dumps(dict(call.arguments), ensure_ascii=False)
    return replace(answer, text=text, tool_calls=(), native=None, finish_reason="stop")


def read_by(llm: Runnable[Any, Any], asked: AskedSchema, *, include_raw: bool) -> Runnable[Any, Any]:
    """Read the blended message by the schema.

    Args:
        llm: The blend with the schema bound.
        asked: What was asked for.
        include_raw: Whether to return the message and parsing errors too.

    Returns:
        A runnable whose output meets the schema. With ``include_raw`` its output is a dict of ``raw``, ``parsed`` and
        ``parsing_error``.
    """
    parser: Runnable[Any, Any] = _parser(asked)
    if not include_raw:
        return llm | parser
    parsed = RunnablePassthrough.assign(parsed=itemgetter("raw") | parser, parsing_error=lambda _: None)
    unread = RunnablePassthrough.assign(parsed=lambda _: None)
    return RunnableMap(raw=llm) | parsed.with_fallbacks([unread], exception_key="parsing_error")


def _parser(asked: AskedSchema) -> Runnable[Any, Any]:
    schema = asked.schema
    is_class = isinstance(schema, type) and is_basemodel_subclass(schema)
    if asked.method != "function_calling":
        return PydanticOutputParser(pydantic_object=schema) if is_class else JsonOutputParser()
    if is_class:
        return PydanticToolsParser(tools=[schema], first_tool_only=True)
    return JsonOutputKeyToolsParser(key_name=asked.name, first_tool_only=True)
