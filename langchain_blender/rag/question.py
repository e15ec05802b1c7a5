"""Read the question in a caller's input, and convert it to the input of each chain."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from langchain_core.language_models import BaseLanguageModel
from langchain_core.messages import BaseMessage, HumanMessage, convert_to_messages
from langchain_core.runnables import Runnable

from blender_core.errors import ConfigurationError
from blender_core.types.prompt import Prompt
from langchain_blender.composition import first_step
from langchain_blender.messages import to_prompt

__all__ = ["Asked", "as_given", "earlier_turns", "input_reader", "question_only", "question_prompt"]

_QUESTION_KEYS = ("input", "question", "query")
_HISTORY_KEY = "chat_history"
# the chain fills these itself, or the caller may
_OTHER_KEYS = frozenset({"context", "documents", _HISTORY_KEY})


@dataclass(frozen=True, slots=True)
class Asked:
    """Holds the caller's input.

    Attributes:
        input: The input, unchanged.
        question: The question in it.
    """

    input: Any
    question: str


def question_prompt(given: Any) -> Prompt:
    """Convert a caller's input to a prompt.

    Args:
        given: A question; or a dict with the question under ``input``, ``question`` or ``query``. The dict may have
            earlier turns under ``chat_history``.

    Returns:
        The prompt; ``native`` is an ``Asked``.

    Raises:
        ConfigurationError: There is no question in it; the message lists the keys.

    Examples:
        >>> question_prompt({"question": "Which port?"}).text
        'Which port?'
    """
    question = _question(given)
    read = to_prompt([*earlier_turns(given), HumanMessage(question)], {})
    return Prompt(read.messages, native=Asked(given, question))


def earlier_turns(given: Any) -> list[BaseMessage]:
    """Return the conversation before the question.

    Args:
        given: A caller's input; see ``question_prompt``.

    Returns:
        Copies of the turns under ``chat_history``, else of those before the last of ``messages``; oldest first. A
        history that is a text has no turns.

    Examples:
        >>> earlier_turns({"question": "Which port?", "chat_history": [("user", "Hi"), ("ai", "Hello")]})[1].text
        'Hello'
    """
    turns: Any = given.get(_HISTORY_KEY) if isinstance(given, Mapping) else None
    if not turns:
        asked = given.get("messages") if isinstance(given, Mapping) else given
        turns = asked[:-1] if isinstance(asked, Sequence) else ()
    if isinstance(turns, str) or not isinstance(turns, Sequence):
        return []
    return [turn.model_copy(deep=True) for turn in convert_to_messages(list(turns))]


def as_given(prompt: Prompt) -> Any:
    """Return the caller's input of a prompt."""
    given = _asked(prompt).input
    return dict(given) if isinstance(given, Mapping) else given


def question_only(prompt: Prompt) -> str:
    """Return the question of a prompt."""
    return _asked(prompt).question


def input_reader(
    runnable: Runnable[Any, Any], name: str, *, otherwise: Callable[[Prompt], Any] = as_given
) -> Callable[[Prompt], Any]:
    """Make the function from prompts to a chain's input, by the chain's input schema.

    Args:
        runnable: The chain.
        name: Its name, for messages.
        otherwise: What a chain without a schema gets; default is the caller's input.

    Returns:
        A function that can be pickled. A chain that takes a text or starts with a model gets the question. One that
        takes a dict gets the caller's dict, or the question under the one key that it asks for. An agent gets a list
        of messages.

    Raises:
        ConfigurationError: The chain asks for several keys, and none is known to be the question's. Pass
            ``RetrievalChainMember(chain, input=function)``.
    """
    if isinstance(first_step(runnable), BaseLanguageModel):
        return question_only
    try:
        schema = runnable.get_input_jsonschema()
    except Exception:
        # some runnables cannot describe their input
        return otherwise
    if schema.get("type") == "string":
        return question_only
    if schema.get("type") != "object":
        return otherwise
    properties = schema.get("properties") or {}
    wanted = [key for key in schema.get("required") or properties if key not in _OTHER_KEYS]
    if "messages" in properties and set(wanted) <= {"messages"}:
        return _as_messages
    key = wanted[0] if len(wanted) == 1 else next((usual for usual in _QUESTION_KEYS if usual in wanted), None)
    if wanted and key is None:
        raise ConfigurationError(
            f"{name} asks for {', '.join(wanted)}; wrap it: "
            f"RetrievalChainMember(chain, input=lambda prompt: {{{wanted[0]!r}: prompt.text, ...}})"
        )
    return partial(_under, key or _QUESTION_KEYS[0])


def _as_messages(prompt: Prompt) -> dict[str, Any]:
    return {"messages": _messages(prompt)}


def _under(key: str, prompt: Prompt) -> dict[str, Any]:
    asked = _asked(prompt)
    given = dict(asked.input) if isinstance(asked.input, Mapping) else {}
    return given if key in given else {**given, key: asked.question}


def _messages(prompt: Prompt) -> list[BaseMessage]:
    asked = _asked(prompt)
    return [*earlier_turns(asked.input), HumanMessage(asked.question)]


def _asked(prompt: Prompt) -> Asked:
    return prompt.native if isinstance(prompt.native, Asked) else Asked(prompt.text, prompt.text)


def _question(given: Any) -> str:
    if isinstance(given, str):
        return given
    if isinstance(given, Mapping):
        found = next((given[key] for key in _QUESTION_KEYS if isinstance(given.get(key), str)), None)
        if found is not None:
            return str(found)
        given = given.get("messages")
    if isinstance(given, Sequence) and given and isinstance(given[-1], BaseMessage):
        return str(given[-1].text)
    raise ConfigurationError(
        f"no question in {type(given).__name__}; pass a text, or a dict with it under {', '.join(_QUESTION_KEYS)}"
    )
