"""One call of the blend as LangChain makes it: messages, options and run become a prompt in a context."""

from __future__ import annotations

import contextvars
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from langchain_core.messages import BaseMessage

from blender_core.errors import ConfigurationError
from blender_core.fuse.policy import Decision, FuseContext, FuseWhen, resolve_fuse_when
from blender_core.types.answer import Answer
from blender_core.types.prompt import Prompt
from langchain_blender.messages import to_prompt
from langchain_blender.tools import acceptance, wants_structure
from langchain_blender.tracing import BlendRun

__all__ = ["PreparedCall", "prepare_call", "unless_structured"]

_never_fuse: contextvars.ContextVar[bool] = contextvars.ContextVar("blended_llm_never_fuse", default=False)


@dataclass(frozen=True, slots=True)
class PreparedCall:
    """A call that is ready to be made.

    Attributes:
        prompt: What is asked.
        accept: The check that a member's answer has to pass, or ``None``.
        context: The context to make the call in.
        stop: Stop sequences.
    """

    prompt: Prompt
    accept: Callable[[Answer], str | None] | None
    context: contextvars.Context
    stop: tuple[str, ...]


def prepare_call(
    messages: Sequence[BaseMessage], stop: str | Sequence[str] | None, options: dict[str, Any], run: BlendRun
) -> PreparedCall:
    """Make ready what one call needs.

    Args:
        messages: The conversation.
        stop: Stop sequences; a plain text is one.
        options: Call options, ``tools`` among them.
        run: The run.

    Returns:
        The call.

    Raises:
        ConfigurationError: An option that a blend cannot have.
    """
    if "model" in options:
        raise ConfigurationError(
            f"model={options['model']!r} cannot be set for a call: the members are different models; "
            "bind it to a member, as in BlendedLLM(llms=[llm.bind(model=...), ...])"
        )
    # LangChain's own switch between stream and invoke; members are gathered whole
    asked = {key: value for key, value in options.items() if key != "stream" and value is not None}
    sequences = (stop,) if stop and isinstance(stop, str) else tuple(stop or ())
    if sequences:
        asked["stop"] = list(sequences)
    context = run.context()
    context.run(_never_fuse.set, wants_structure(asked, run.schema))
    return PreparedCall(to_prompt(messages, asked), acceptance(asked, run.schema), context, sequences)


def unless_structured(fuse_when: FuseWhen) -> Callable[[FuseContext], Decision]:
    """The fuse policy of a blend: structured output is picked whatever the policy says.

    Args:
        fuse_when: The policy for everything else.

    Returns:
        A function that decides.

    Raises:
        ConfigurationError: ``fuse_when`` is not a policy.
    """
    decide = resolve_fuse_when(fuse_when)

    def call(context: FuseContext) -> Decision:
        if _never_fuse.get():
            return Decision(False, "structured output is picked, never fused")
        return decide(context)

    return call
