"""One call of the blend as LlamaIndex makes it: messages and options become a prompt and a check."""

from __future__ import annotations

import contextvars
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from llama_index.core.base.llms.types import ChatMessage

from blender_core.errors import ConfigurationError
from blender_core.fuse.policy import Decision, FuseContext, FuseWhen, resolve_fuse_when
from blender_core.types.answer import Answer
from blender_core.types.prompt import Prompt
from llamaindex_blender.members import KNOWN_OPTIONS
from llamaindex_blender.messages import to_prompt
from llamaindex_blender.tools import acceptance, describe, normalised_choice

__all__ = ["PreparedCall", "prepare_call", "unless_read_by_machine"]

# what members of every framework understand
_SHARED_OPTIONS = frozenset({"frequency_penalty", "max_tokens", "presence_penalty", "seed", "temperature", "top_p"})
_FENCED = re.compile(r"```(?:json)?(.*?)```", re.DOTALL)
_AGENT_STEP = re.compile(r"^[ \t]*(?:Thought|Action|Action Input)[ \t]*:", re.MULTILINE)
_VERDICT = re.compile(r"\[\[\w+\]\]|\A\W*(?:yes|no|true|false|pass|fail)\W*\Z", re.IGNORECASE)
# forms that prompts of LlamaIndex ask for
_PARSED = {
    "a verdict": re.compile(r"\A\s*(?:YES|NO)\b"),
    "a score": re.compile(r"\A\s*\d+(?:\.\d+)?[ \t]*\n|\[RESULT\]"),
    "a ranking": re.compile(r"^Doc: ?\d+, Relevance: ?\d+|\[\d+\] ?> ?\[\d+\]", re.MULTILINE),
    "a labelled value": re.compile(r"^(?:ANSWER|JSONPath|KEYWORDS|SQLQuery):", re.MULTILINE),
}

_never_fuse: contextvars.ContextVar[bool] = contextvars.ContextVar("blended_llm_never_fuse_llama_index", default=False)


@dataclass(frozen=True, slots=True)
class PreparedCall:
    """A call that is ready to be made.

    Attributes:
        prompt: What is asked.
        accept: The check that a member's answer has to pass, or ``None``.
        context: The context to make the call in; the blend's span is the active one in it.
        stop: Stop sequences.
        parallel_tool_calls: Whether the answer may hold several tool calls.
    """

    prompt: Prompt
    accept: Callable[[Answer], str | None] | None
    context: contextvars.Context
    stop: tuple[str, ...]
    parallel_tool_calls: bool


def prepare_call(messages: Sequence[ChatMessage], options: Mapping[str, Any]) -> PreparedCall:
    """Make ready what one call needs.

    Args:
        messages: The conversation.
        options: Call options, ``tools`` and ``stop`` among them.

    Returns:
        The call.

    Raises:
        ConfigurationError: There are no messages, or an option that a blend cannot have.
    """
    if options.get("model") is not None:
        raise ConfigurationError(
            f"model={options['model']!r} cannot be set for a call: the members are different models; "
            "make a member with that model"
        )
    left = {name: value for name, value in options.items() if value is not None}
    tools = describe(left.pop("tools", ()))
    required = bool(left.pop("tool_required", False))
    choice = normalised_choice(left.pop("tool_choice", None), required=required)
    parallel = bool(left.pop("allow_parallel_tool_calls", True))
    stop = left.pop("stop", ())
    stop = (stop,) if isinstance(stop, str) else tuple(stop)
    shared = {name: left[name] for name in _SHARED_OPTIONS & left.keys()}
    # the rest of the shared ones is native too: not every LlamaIndex LLM takes them, but the caller of one writes them
    left = {name: value for name, value in left.items() if name not in KNOWN_OPTIONS}
    if stop:
        shared["stop"] = list(stop)
    if tools:
        shared["tools"] = tools
        if choice is not None:
            shared["tool_choice"] = choice
    prompt = to_prompt(messages, shared, native_options=left, parallel_tool_calls=parallel)
    context = contextvars.copy_context()
    context.run(_never_fuse.set, "response_format" in left)
    return PreparedCall(prompt, acceptance(tools, choice), context, stop, parallel)


def unless_read_by_machine(fuse_when: FuseWhen) -> Callable[[FuseContext], Decision]:
    """The fuse policy of a blend: what a program reads is picked, whatever the policy says.

    LlamaIndex asks for JSON, for the steps of a ReAct agent, for verdicts, scores and rankings in plain prompts, and
    parses what comes back. A fused text would lose that form.

    Args:
        fuse_when: The policy for everything else.

    Returns:
        A function that decides.

    Raises:
        ConfigurationError: ``fuse_when`` is not a policy.
    """
    decide = resolve_fuse_when(fuse_when)

    def call(context: FuseContext) -> Decision:
        form = "structured output" if _never_fuse.get() else _machine_form(context.candidates[0])
        if form is not None:
            return Decision(False, f"the best answer is {form}, which is picked and never fused")
        return decide(context)

    return call


def _machine_form(text: str) -> str | None:
    fenced = _FENCED.search(text)
    if any(_is_json(part) for part in (text, *(fenced.groups() if fenced else ()))):
        return "JSON"
    if _AGENT_STEP.search(text):
        return "an agent's step"
    if _VERDICT.search(text):
        return "a verdict"
    return next((name for name, form in _PARSED.items() if form.search(text)), None)


def _is_json(text: str) -> bool:
    stripped = text.strip()
    if stripped[:1] not in ("{", "["):
        return False
    try:
        json.loads(stripped)
    except ValueError:
        return False
    return True
