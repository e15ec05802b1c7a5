"""Score answers with a reward model: a classifier with one logit, whose tokenizer has a chat template."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from blender_core.errors import ConfigurationError, RankerError
from blender_core.models.batches import run_in_halves, token_batches
from blender_core.models.conversations import (
    ConversationRow,
    ConversationTokenizer,
    shared_length,
    user_and_assistant_turns,
)
from blender_core.models.shared_prefix import forward_rows, is_causal, read_prefix
from blender_core.runtime.numbers import check_number
from blender_core.types.prompt import Prompt

__all__ = ["RewardModel"]


class RewardModel:
    """Scores answers in their conversation. Safe to use from several threads.

    Args:
        network: A transformers model with one label, on its device.
        tokenizer: Its tokenizer.
        max_tokens: Most tokens of a conversation.
        token_budget: Most tokens in a forward pass, padding included.

    Raises:
        CheckpointError: The chat template does not write turns of a user and an assistant.
        ConfigurationError: ``max_tokens`` is below 8, or too few for the chat template; or ``token_budget`` is below 1.
    """

    def __init__(self, network: Any, tokenizer: ConversationTokenizer, *, max_tokens: int, token_budget: int) -> None:
        check_number("max_tokens", max_tokens, least=8, whole=True)
        check_number("token_budget", token_budget, least=1, whole=True)
        self._network = network.eval()
        self._tokenizer = tokenizer
        self._max_tokens = max_tokens
        self._token_budget = token_budget
        self._causal = is_causal(network)
        config = network.config.get_text_config()
        # a template of another kind shows here, not at the first call
        row = tokenizer.encode([("user", "a")], "a", 2**31)
        if len(row.ids) > max_tokens:
            raise ConfigurationError(
                f"max_tokens is {max_tokens}, and the chat template alone takes {len(row.ids) - 2}; give more"
            )
        if config.pad_token_id is None or not 0 <= config.pad_token_id < config.vocab_size:
            # the network reads it to find the end of a row
            config.pad_token_id = tokenizer.pad_outside(row)
        self._pad: int | None = config.pad_token_id

    def score(self, prompt: Prompt, answers: Sequence[str]) -> tuple[list[float], dict[int, int]]:
        """Score answers to one prompt.

        Args:
            prompt: The conversation.
            answers: At least one, none blank.

        Returns:
            One logit for each, and the tokens cut off: by index of the answer, -1 is the prompt.

        Raises:
            RankerError: A row does not fit in memory or in the window, or the network failed.
        """
        turns = user_and_assistant_turns(prompt)
        rows = [self._tokenizer.encode(turns, answer, self._max_tokens) for answer in answers]
        logits = self._logits(rows)
        cut = {index: row.answer_cut for index, row in enumerate(rows) if row.answer_cut}
        prompt_cut = max(row.prompt_cut for row in rows)
        return logits, {-1: prompt_cut, **cut} if prompt_cut else cut

    def _logits(self, rows: Sequence[ConversationRow]) -> list[float]:
        import torch

        lengths = [len(row.ids) for row in rows]
        read, start = self._shared(rows)

        def run(part: Sequence[int]) -> list[float]:
            options = {"use_cache": bool(read)} if self._causal else {}
            ids = [rows[index].ids[start:] for index in part]
            try:
                output = forward_rows(self._network, ids, read=read, pad=self._pad or 0, **options)
            except torch.cuda.OutOfMemoryError:
                raise
            except (IndexError, RuntimeError, ValueError) as error:
                raise RankerError(
                    f"the reward model failed on {len(part)} texts of up to {lengths[part[0]]} tokens: {error}"
                ) from error
            return [float(value) for value in output.logits[:, 0].float().tolist()]

        def too_large(index: int) -> str:
            return (
                f"a conversation of {lengths[index]} tokens does not fit in the memory of {self._network.device}; "
                "lower max_tokens, or use device='cpu'"
            )

        logits = [math.nan] * len(rows)
        # without a pad token each row goes alone
        budget = self._token_budget if self._pad is not None else 1
        for batch in token_batches(lengths, budget):
            for part, values in run_in_halves(batch, run, too_large):
                for index, value in zip(part, values, strict=True):
                    logits[index] = value
        return logits

    def _shared(self, rows: Sequence[ConversationRow]) -> tuple[dict[str, Any], int]:
        """Read what all rows begin with once; return that, and its length."""
        if not self._causal or len(rows) < 2:
            return {}, 0
        # one token before the answer stays, so that no row is left empty
        start = min(shared_length([row.ids for row in rows]), *(row.head for row in rows)) - 1
        try:
            read = read_prefix(self._network, rows[0].ids[:start]) if start > 0 else {}
        except (IndexError, RuntimeError, ValueError) as error:
            raise RankerError(
                f"the reward model failed on a prompt of {start} tokens on {self._network.device}: {error}; if its "
                "memory is too small, lower max_tokens"
            ) from error
        return read, start if read else 0
