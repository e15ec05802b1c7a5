"""Write two conversations with the same user turns as a prompt with two candidates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from blender_core.errors import ConfigurationError

__all__ = ["CONVERSATION_INSTRUCTION", "conversation_pair"]

# misspelt, because the published checkpoints were evaluated with it
CONVERSATION_INSTRUCTION = (
    "Finish the following coversation in each i-th turn by filling in <Response i> with your response."
)
"""The instruction before the conversation."""

Conversation = Sequence[Mapping[str, str]]


def conversation_pair(a: Conversation, b: Conversation) -> tuple[str, str, str]:
    r"""Write two conversations as a prompt and two candidates, as ``llm-blender`` 0.0.2 does.

    Args:
        a: Turns with ``role`` and ``content``; USER and ASSISTANT take turns, in either case.
        b: A conversation with the same user turns.

    Returns:
        Prompt (without the instruction), candidate of ``a``, candidate of ``b``.

    Raises:
        ConfigurationError: The roles do not alternate, or the user turns differ.

    Examples:
        >>> ask = {"role": "USER", "content": "hello"}
        >>> conversation_pair(
        ...     [ask, {"role": "ASSISTANT", "content": "hi"}], [ask, {"role": "ASSISTANT", "content": "what?"}]
        ... )
        ('USER: hello\nAssistant: <Response 1>', '<Response 1>: hi', '<Response 1>: what?')
    """
    for name, turns in (("first", a), ("second", b)):
        roles = [str(turn.get("role", "")).upper() for turn in turns]
        if not roles or roles != ["USER", "ASSISTANT"] * (len(roles) // 2):
            raise ConfigurationError(
                f"the {name} conversation has the roles {roles}; USER and ASSISTANT must take turns"
            )
    asked = [[turn["content"] for turn in turns[::2]] for turns in (a, b)]
    if asked[0] != asked[1]:
        raise ConfigurationError("the two conversations have different user turns; only the answers may differ")
    prompt = "\n".join(
        f"USER: {content}\nAssistant: <Response {number}>" for number, content in enumerate(asked[0], start=1)
    )
    first, second = (
        "\n".join(f"<Response {number}>: {turn['content']}" for number, turn in enumerate(turns[1::2], start=1))
        for turns in (a, b)
    )
    return prompt, first, second
