"""Turn a conversation into the token ids of a model with a chat template.

The template's own pieces become control tokens. The texts stay plain text: no turn can be added from inside of one.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from blender_core.errors import CheckpointError, RankerError
from blender_core.models.segments import common_length
from blender_core.models.tokenizers import SealedTokenizer, read_tokenizer
from blender_core.types.prompt import Prompt

__all__ = ["ConversationRow", "ConversationTokenizer", "Turn", "shared_length", "user_and_assistant_turns"]

Turn = tuple[str, str]
"""Role, ``"user"`` or ``"assistant"``, and text."""

# white space is a token of its own in some vocabularies, and no control token
_SPACE = " \t\r\n\u2581"
_OMISSION = " ... "


@dataclass(frozen=True, slots=True)
class ConversationRow:
    """Holds a conversation with its last answer, ready for the model.

    Attributes:
        ids: Token ids.
        head: Number of ids before the answer, at most; they do not depend on it.
        prompt_cut: Tokens of the turns before the answer that did not fit.
        answer_cut: Tokens of the answer that did not fit.
    """

    ids: list[int]
    head: int
    prompt_cut: int = 0
    answer_cut: int = 0


def user_and_assistant_turns(prompt: Prompt) -> list[Turn]:
    r"""Write a conversation as turns of a user and an assistant, as reward models were trained.

    Instructions of the system and outputs of tools become turns of the user, in front of the user's own text.

    Args:
        prompt: The conversation.

    Returns:
        Turns whose roles alternate; the first and the last are the user's. A conversation that begins or ends with the
        assistant becomes one turn that shows it.

    Examples:
        >>> user_and_assistant_turns(Prompt.of([("system", "Be brief."), ("user", "Hi"), ("assistant", "Hello"),
        ...                                     ("user", "Bye")]))
        [('user', 'Be brief.\n\nHi'), ('assistant', 'Hello'), ('user', 'Bye')]
    """
    turns: list[Turn] = []
    for message in prompt.messages:
        role = "assistant" if message.role == "assistant" else "user"
        if turns and turns[-1][0] == role:
            turns[-1] = (role, f"{turns[-1][1]}\n\n{message.content}")
        else:
            turns.append((role, message.content))
    # templates want the user first, and the answer needs a turn of its own
    return turns if turns[0][0] == turns[-1][0] == "user" else [("user", prompt.text)]


def shared_length(rows: Sequence[Sequence[int]]) -> int:
    """Count the ids with which all rows begin.

    Examples:
        >>> shared_length([[1, 2, 3], [1, 2, 4, 5]])
        2
    """
    length = 0
    for ids in zip(*rows, strict=False):
        if len(set(ids)) > 1:
            break
        length += 1
    return length


class ConversationTokenizer:
    """Encodes conversations by a tokenizer's chat template. Safe to use from several threads.

    Args:
        tokenizer: A fast transformers tokenizer with a chat template.
        source: Where it came from, for messages.

    Raises:
        CheckpointError: It has no chat template, or is no fast tokenizer.
    """

    def __init__(self, tokenizer: Any, source: str) -> None:
        backend = getattr(tokenizer, "backend_tokenizer", None)
        if backend is None or not tokenizer.chat_template:
            lacks = "no fast tokenizer" if backend is None else "no chat template"
            raise CheckpointError(f"{source} has {lacks}; add the tokenizer.json and chat template of its base model")
        self._tokenizer = tokenizer
        self._source = source
        definition = json.loads(backend.to_str())
        template = str(tokenizer.get_chat_template())
        plain = [token["content"] for token in definition.get("added_tokens", []) if not token.get("special")]
        # such as <think>: control tokens to the model, though the file does not say so
        unmarked = [name for name in plain if name.strip(_SPACE) and name in template]
        self._sealed = SealedTokenizer(definition, extra=unmarked, source=source)
        special = [token["content"] for token in definition.get("added_tokens", []) if token.get("special")]
        self._names = sorted({*special, *unmarked}, key=len, reverse=True)
        self._control = re.compile("|".join(map(re.escape, self._names)) or r"(?!)")
        # the tokenizer adds them if the template does not write them
        self._before, self._after = _frame(read_tokenizer(json.dumps(definition), source))

    def pad_outside(self, row: ConversationRow) -> int | None:
        """Find a token that fills up rows and is not the last one of any.

        Models take the last token that is no padding. So the token that ends a row must not be the padding's.

        Args:
            row: Any row; all end alike, or with a text, which holds no control token.

        Returns:
            The tokenizer's own pad token if it can be it, else another control token; ``None`` if there is none.
        """
        own = self._tokenizer.pad_token_id
        ids = [self._sealed.control_id(name) for name in self._names]
        return next((one for one in [own, *ids] if one is not None and one != row.ids[-1]), None)

    def encode(self, turns: Sequence[Turn], answer: str, max_tokens: int) -> ConversationRow:
        """Encode a conversation that ends in an answer.

        If it is too long, the answer loses its end, the longest turns lose their middle. Each side may use the room
        that the other leaves, and gets half if both are too long.

        Args:
            turns: The turns before the answer, roles alternate, the last is the user's.
            answer: The assistant's answer.
            max_tokens: Most tokens, control tokens included.

        Returns:
            The row.

        Raises:
            CheckpointError: The chat template does not write turns of a user and an assistant.
            RankerError: The template alone does not fit ``max_tokens``.
        """
        texts = [text for _, text in turns]
        ids, head = self._ids(turns, texts, answer)
        if len(ids) <= max_tokens:
            return ConversationRow(ids, head)
        spans = [self._sealed.spans(text) for text in texts]
        answer_spans = self._sealed.spans(answer)
        lengths = [len(one) for one in spans]
        room = max_tokens - (len(ids) - sum(lengths) - len(answer_spans))
        while room > 0:
            answer_room = min(len(answer_spans), max(room // 2, room - sum(lengths)))
            limit = common_length(lengths, room - answer_room)
            cut = [_without_middle(text, places, limit) for text, places in zip(texts, spans, strict=True)]
            kept = answer if answer_room == len(answer_spans) else answer[: answer_spans[answer_room][0]]
            ids, head = self._ids(turns, cut, kept)
            if len(ids) <= max_tokens:
                return ConversationRow(
                    ids,
                    head,
                    sum(max(0, length - limit) for length in lengths),
                    len(answer_spans) - answer_room,
                )
            # marks of omission, and words that were cut apart, cost a few tokens
            room -= len(ids) - max_tokens
        raise RankerError(
            f"a conversation of {len(turns) + 1} turns does not fit {max_tokens} tokens; raise max_tokens, or use a "
            "model with a larger window"
        )

    def _ids(self, turns: Sequence[Turn], texts: Sequence[str], answer: str) -> tuple[list[int], int]:
        """Return the ids of the whole row, and how many of them do not depend on the answer."""
        written = [*texts, answer]
        roles = [*(role for role, _ in turns), "assistant"]
        marks = [secrets.token_hex(16) for _ in written]
        # templates strip white space, so they get that of the text
        contents = [_around(text, mark) for text, mark in zip(written, marks, strict=True)]
        rendered = self._render(
            [{"role": role, "content": content} for role, content in zip(roles, contents, strict=True)]
        )
        places = [rendered.find(mark) for mark in marks]
        if places != sorted(places) or any(rendered.count(mark) != 1 for mark in marks):
            raise CheckpointError(
                f"the chat template of {self._source} does not write the turns of a user and an assistant once and in "
                "order; it is no reward model for answers"
            )
        head, line = "", ""
        plain = rendered
        for mark, text in zip(marks, written, strict=True):
            plain = plain.replace(mark, text.strip())
            piece, _, rendered = rendered.partition(mark)
            head = line + self._live(piece)
            line = head + text.strip()
        whole = line + self._live(rendered)
        shown = self._shown(roles, written, plain)
        if shown is not None:
            whole, head = self._live(shown), self._live(shown[: max(0, shown.rfind(answer.strip()))])
        ids = self._sealed.encode(whole)
        # a text may melt into the piece before it
        shared = shared_length([ids, self._sealed.encode(head)])
        before = [] if ids[: len(self._before)] == self._before else self._before
        after = [] if ids[len(ids) - len(self._after) :] == self._after else self._after
        return [*before, *ids, *after], len(before) + shared

    def _shown(self, roles: Sequence[str], texts: Sequence[str], plain: str) -> str | None:
        """Render the texts themselves, for a template that looks at them; ``None`` if there is no need.

        A text that spells a control token is never rendered so.
        """
        if any(self._control.search(text) for text in texts):
            return None
        shown = self._render([{"role": role, "content": text} for role, text in zip(roles, texts, strict=True)])
        return None if shown == plain else shown

    def _render(self, messages: list[dict[str, str]]) -> str:
        try:
            return str(self._tokenizer.apply_chat_template(messages, tokenize=False))
        except Exception as error:  # templates raise jinja's errors
            raise CheckpointError(
                f"the chat template of {self._source} cannot write turns of a user and an assistant "
                f"({type(error).__name__}: {error}); it is no reward model for answers"
            ) from error

    def _live(self, piece: str) -> str:
        """Spell the control tokens in a piece of the template so that they are read as such."""
        return self._control.sub(lambda match: self._sealed.spelling(match[0]), piece)


def _frame(plain: Any) -> tuple[list[int], list[int]]:
    """Find the special tokens that a tokenizer puts before and behind a text."""
    encoding = plain.encode("a", add_special_tokens=True)
    own = [index for index, special in enumerate(encoding.special_tokens_mask) if not special] or [0]
    return encoding.ids[: own[0]], encoding.ids[own[-1] + 1 :]


def _around(text: str, mark: str) -> str:
    start = len(text) - len(text.lstrip())
    end = len(text.rstrip()) if text.strip() else len(text)
    return f"{text[:start]}{mark}{text[end:]}"


def _without_middle(text: str, spans: Sequence[tuple[int, int]], limit: int) -> str:
    if len(spans) <= limit:
        return text
    tail = limit // 2
    start = text[: spans[limit - tail][0]]
    return start + _OMISSION + (text[spans[-tail][0] :] if tail else "")
