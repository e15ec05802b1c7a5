"""A script for fakes that calls tools as their schema asks, the way the official suites expect it of a model."""

from __future__ import annotations

import json
import re
import uuid
from typing import Any

from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.messages.tool import tool_call

from langchain_blender.testing import FakeCall


def follow_schema(style: str):
    """Text in its own style; a tool call where tools are bound and nothing is answered yet."""

    def step(call: FakeCall) -> str | AIMessage:
        tools = [tool["function"] for tool in call.options.get("tools") or []]
        choice = call.options.get("tool_choice")
        answered = isinstance(call.messages[-1], ToolMessage)
        if not tools and "as a JSON with" in call.text:
            # JSON mode: the prompt names the keys
            return json.dumps({key: f"some {key}, {style}" for key in re.findall(r"'(\w+)'", call.text)})
        if not tools or (answered and choice is None):
            return f"{style}: about {call.text[:40]!r}, a few words that differ in length {style}."
        named = next((tool for tool in tools if tool["name"] == choice), tools[0])
        question = next((m.text for m in reversed(call.messages) if isinstance(m, HumanMessage)), "")
        schema = named.get("parameters", {})
        args = {name: _value(name, part, str(question)) for name, part in (schema.get("properties") or {}).items()}
        return AIMessage("", tool_calls=[tool_call(name=named["name"], args=args, id=f"call_{uuid.uuid4().hex}")])

    return step


def _value(name: str, part: dict[str, Any], question: str) -> Any:
    kind = part.get("type") or next((p.get("type") for p in part.get("anyOf", [])), "string")
    if kind in ("integer", "number"):
        found = re.search(r"-?\d+", question)
        return int(found.group()) if found else 1
    if kind == "boolean":
        return True
    if kind == "array":
        return []
    quoted = re.search(r"'([^']+)'", question)
    return quoted.group(1) if quoted else f"some {name}"
