"""Tell callback handlers of a blend's call once, and count its tokens as those of a plain LLM.

LlamaIndex gives the handlers of ``Settings.callback_manager`` to every LLM. A handler of blend and member alike would
hear of the member's call too, and add its tokens to the blend's sum.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextvars import ContextVar

from llama_index.core.base.llms.base import BaseLLM
from llama_index.core.base.llms.types import ChatMessage, ChatResponse
from llama_index.core.callbacks import CallbackManager
from llama_index.core.callbacks.base_handler import BaseCallbackHandler
from llama_index.core.utilities.token_counting import TokenCounter

from blender_core.types.answer import Usage

__all__ = ["estimated_usage", "handlers_of_blend", "leave_to_blend"]

handlers_of_blend: ContextVar[tuple[BaseCallbackHandler, ...]] = ContextVar("blended_llm_handlers", default=())
"""The handlers that hear of the running call from the blend."""


class _QuietManager(CallbackManager):
    """The manager of a member; inside a call of a blend it leaves out the blend's handlers."""

    def __init__(self, manager: CallbackManager) -> None:
        self._manager = CallbackManager([])
        super().__init__([])
        self._manager = manager

    @property
    def handlers(self) -> list[BaseCallbackHandler]:
        known, told = self._manager.handlers, handlers_of_blend.get()
        return [handler for handler in known if not _among(handler, told)] if told else known

    @handlers.setter
    def handlers(self, handlers: list[BaseCallbackHandler]) -> None:
        self._manager.handlers = handlers


def _among(handler: BaseCallbackHandler, handlers: Sequence[BaseCallbackHandler]) -> bool:
    # not by equality: a handler may define its own
    return any(handler is one for one in handlers)


def leave_to_blend(llm: BaseLLM) -> None:
    """Make a member's LLM silent towards handlers that hear of the running call from the blend.

    Args:
        llm: The member's LLM. Only if it shares a handler with the blend, it gets a manager that works as before
            outside of blends.
    """
    manager, told = llm.callback_manager, handlers_of_blend.get()
    if not isinstance(manager, _QuietManager) and any(_among(handler, told) for handler in manager.handlers):
        llm.callback_manager = _QuietManager(manager)


def estimated_usage(messages: Sequence[ChatMessage], response: ChatResponse) -> Usage | None:
    """Estimate the tokens of a call that reported none, as LlamaIndex's token counting does for a plain LLM.

    Args:
        messages: The conversation.
        response: The response.

    Returns:
        The tokens; ``None`` if no handler listens to the blend, or if the messages cannot be counted.
    """
    if not handlers_of_blend.get():
        return None
    counter = TokenCounter()
    try:
        read = counter.estimate_tokens_in_messages(list(messages))
    except Exception:
        # it reads files to count images; that must not cost the answer
        return None
    return Usage(read, counter.get_string_tokens(str(response)), estimated=True)
