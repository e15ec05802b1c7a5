"""A loopback server whose models do what a prompt asks for: call a tool, answer in a form, else say a sentence."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from blender_core.testing import Reply, ScriptedServer

__all__ = ["Loopback"]

# what a prompt of a framework holds, and the answer in the form that it asks for
_FORMS: tuple[tuple[str, str], ...] = (
    (r"Action Input:", "Thought: I can answer without using any more tools.\nAnswer: The kettle heats to 95 degrees."),
    (r"\[\[A\]\]", "Assistant A names its source. [[A]]"),
    (r"Doc: 9, Relevance", "Doc: 1, Relevance: 9"),
    (r"passes the guidelines", '{"passing": true, "feedback": "It is fine."}'),
    (r"\[RESULT\]", "The answer fits the question. [RESULT] 2"),
    (r"between 1 and 5", "4.5\nThe answer is right, but a little short."),
    (r"YES or NO|Answer YES", "YES"),
    (r"choice: 1,", '[{"choice": 1, "reason": "It is about the kettle."}]'),
    (r"knowledge triplets", "(Kettle, heats to, 95 degrees)\n(Kettle, holds, one litre)"),
    (r"KEYWORDS:", "KEYWORDS: kettle, heat"),
    (r"<facts>", "<facts>\n<fact>The user likes tea.</fact>\n</facts>"),
    (r"one on each line", "How hot is it?\nHow much does it hold?"),
)


class Loopback(ScriptedServer):
    """Serves any model name; each model words its sentences in its own way."""

    def __init__(self) -> None:
        super().__init__({"none": "none"})

    def take(self, request: dict[str, Any]) -> Reply:
        """Record a request and make its reply."""
        self.requests.append(request)
        turns = request.get("messages") or [{"role": "user", "content": request.get("prompt", "")}]
        tools = request.get("tools") or []
        answered = any(turn["role"] == "tool" for turn in turns)
        if tools and request.get("tool_choice") != "none" and (not answered or _must(request)):
            function = _chosen(request, tools)
            arguments = json.dumps(_example(function.get("parameters") or {}))
            return Reply("", tool_calls=((function["name"], arguments),), finish_reason="tool_calls")
        schema = (request.get("response_format") or {}).get("json_schema", {}).get("schema")
        if schema:
            return Reply(json.dumps(_example(schema)))
        text = "\n".join(map(_text, turns))
        form = next((answer for pattern, answer in _FORMS if re.search(pattern, text)), None)
        if form is not None and not text.startswith("You are given a request and several candidate"):
            return Reply(form)
        return Reply(f"The kettle heats the water up to 95 degrees Celsius, as {request.get('model')} says.")


def _must(request: Mapping[str, Any]) -> bool:
    return request.get("tool_choice") not in (None, "auto", "none")


def _chosen(request: Mapping[str, Any], tools: list[dict[str, Any]]) -> dict[str, Any]:
    choice = request.get("tool_choice")
    wanted = choice["function"]["name"] if isinstance(choice, Mapping) and "function" in choice else None
    functions: list[dict[str, Any]] = [tool["function"] for tool in tools]
    return next((function for function in functions if function["name"] == wanted), functions[0])


def _text(turn: Mapping[str, Any]) -> str:
    content = turn.get("content") or ""
    return content if isinstance(content, str) else "\n".join(part.get("text", "") for part in content)


def _example(schema: Mapping[str, Any], whole: Mapping[str, Any] | None = None) -> Any:
    """The simplest value that meets a JSON schema."""
    whole = whole or schema
    if "$ref" in schema:
        return _example(whole["$defs"][schema["$ref"].rpartition("/")[2]], whole)
    for several in ("anyOf", "allOf", "oneOf"):
        if several in schema:
            return _example(schema[several][0], whole)
    if "enum" in schema:
        return schema["enum"][0]
    kind = schema.get("type", "object")
    if kind == "object":
        return {name: _example(part, whole) for name, part in (schema.get("properties") or {}).items()}
    if kind == "array":
        return [_example(schema.get("items") or {"type": "string"}, whole)]
    return {"string": "kettle", "integer": 1, "number": 1.0, "boolean": True}.get(kind)
