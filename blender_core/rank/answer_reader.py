"""A frozen pretrained model that turns an answer, read after its prompt, into one vector.

The middle layers of a language model know much about an answer that its last layer, made for the next token, has
thrown away. What is kept: the mean state over the answer's tokens, and the state that has seen everything (the last
token of a decoder, the first of an encoder).
"""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from blender_core.errors import ConfigurationError, RankerError
from blender_core.models.batches import token_batches
from blender_core.models.bfloat16 import computes_bfloat16
from blender_core.models.gguf import gguf_file
from blender_core.models.loading import loading, require_transformers

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Vectors = npt.NDArray[np.float32]

__all__ = ["AnswerReader", "ReaderSettings"]

_PRECISIONS = ("bfloat16", "float16", "float32")


@dataclass(frozen=True, slots=True)
class ReaderSettings:
    """What decides the vectors of a reader.

    Attributes:
        model: A name in the catalogue of local models, a GGUF file, or an encoder's or decoder's folder or hub name.
        layers: Use the lowest so many layers; 0 uses all. Fewer are faster, and the middle ones often tell more.
        prompt_tokens: Most tokens of a prompt; its middle is left out where it is longer.
        answer_tokens: The same for an answer.
        precision: Of the forward pass: ``"bfloat16"``, ``"float16"`` or ``"float32"``. A CPU without instructions for
            bfloat16 takes float32 in its place, which is faster there and differs by rounding.
    """

    model: str
    layers: int = 0
    prompt_tokens: int = 96
    answer_tokens: int = 224
    precision: str = "bfloat16"

    def __post_init__(self) -> None:
        if self.layers < 0 or min(self.prompt_tokens, self.answer_tokens) < 8:
            raise ConfigurationError(
                f"layers={self.layers}, prompt_tokens={self.prompt_tokens}, answer_tokens={self.answer_tokens}: layers "
                "are 0 or more, tokens at least 8"
            )
        if self.precision not in _PRECISIONS:
            raise ConfigurationError(f"precision {self.precision!r} is unknown; use one of {', '.join(_PRECISIONS)}")


class AnswerReader:
    """Reads answers with a frozen model. Safe to call from several threads. Make one with :meth:`load`.

    Args:
        network: A transformers model without a head, in evaluation mode.
        tokenizer: Its tokenizer, which splits special tokens in texts.
        settings: What it was loaded with.
        tokens_per_batch: Padded tokens in one forward pass; bounds the memory.
    """

    def __init__(self, network: Any, tokenizer: Any, settings: ReaderSettings, *, tokens_per_batch: int = 2048) -> None:
        self._network = network
        self._tokenizer = tokenizer
        self._settings = settings
        self._tokens_per_batch = tokens_per_batch
        # a decoder has no token that stands for the whole text before it was read
        self._decoder = tokenizer.cls_token_id is None or tokenizer.sep_token_id is None

    @classmethod
    def load(cls, settings: ReaderSettings, *, device: str = "auto", tokens_per_batch: int = 2048) -> AnswerReader:
        """Load the model.

        Args:
            settings: Which model, and how it reads.
            device: ``"auto"`` (CUDA, else MPS, else CPU) or a torch device.
            tokens_per_batch: Padded tokens in one forward pass; bounds the memory.

        Returns:
            The reader.

        Raises:
            CheckpointError: The model cannot be loaded.
            ConfigurationError: It has fewer layers than are asked for, or the device is not there.
            DownloadError: It cannot be had.
            MissingExtraError: torch, transformers or gguf is not installed.
        """
        require_transformers("AnswerReader.load")
        import torch
        from transformers import AutoModel, AutoTokenizer

        from blender_core.models.devices import resolve_device

        file = gguf_file(settings.model, feature="AnswerReader.load")
        where = str(file.parent) if file is not None else os.fspath(Path(settings.model).expanduser())
        if file is None and not Path(where).is_dir():
            where = settings.model
        source: dict[str, Any] = {} if file is None else {"gguf_file": file.name}
        with loading(settings.model, "as a model that reads answers"):
            tokenizer = AutoTokenizer.from_pretrained(where, split_special_tokens=True, **source)
            network: Any = AutoModel.from_pretrained(where, dtype=torch.float32, **source)
        _keep_layers(network, settings)
        network.eval().requires_grad_(False)
        place = resolve_device(device)
        imitated = settings.precision == "bfloat16" and not computes_bfloat16(place)
        network.to(place, torch.float32 if imitated else getattr(torch, settings.precision))
        return cls(network, tokenizer, settings, tokens_per_batch=tokens_per_batch)

    @property
    def settings(self) -> ReaderSettings:
        """What it was loaded with."""
        return self._settings

    def vectors(self, prompt: str, answers: Sequence[str]) -> Vectors:
        """Read answers to one prompt.

        Args:
            prompt: The prompt.
            answers: The answers.

        Returns:
            One row an answer: float32, shape (answers, 2 * hidden size).

        Raises:
            RankerError: The model gave a number that is not finite.
        """
        import numpy as np
        import torch

        start, end = self._frame(prompt)
        bodies = [self._body(answer) for answer in answers]
        read = self._read_prompt(start) if self._decoder and len(bodies) > 1 else {}
        before = [] if read else start
        rows = [[*before, *body, *end] for body in bodies]
        found: list[Any] = [None] * len(rows)
        for batch in token_batches([len(row) for row in rows], self._tokens_per_batch):
            states = self._states([rows[index] for index in batch], read)
            for line, index in enumerate(batch):
                own = states[line, : len(rows[index])].float()
                summary = own[-1] if self._decoder else own[0]
                mean = own[len(before) : len(before) + len(bodies[index])].mean(0)
                found[index] = torch.cat([mean, summary]).cpu().numpy()
        vectors: Vectors = np.stack(found) if found else np.zeros((0, 0), np.float32)
        if not np.isfinite(vectors).all():
            raise RankerError(f"{self._settings.model} gave states that are not finite; use precision = 'float32'")
        return vectors

    def _read_prompt(self, start: list[int]) -> dict[str, Any]:
        """Keys and values of what all answers share, which a decoder reads once, as its argument; empty without."""
        import torch
        from transformers import DynamicCache

        with torch.inference_mode():
            output = self._network(input_ids=torch.tensor([start], device=self._network.device), use_cache=True)
        # transformers renames past_key_values to cache, in the output and in the call
        return {name: value for name, value in output.items() if isinstance(value, DynamicCache)}

    def _states(self, rows: Sequence[list[int]], read: Mapping[str, Any]) -> Any:
        """States of the top layer, shape [rows, longest row, hidden size]."""
        import torch

        ids = torch.zeros(len(rows), max(map(len, rows)), dtype=torch.long)
        mask = torch.zeros_like(ids)
        for line, row in enumerate(rows):
            ids[line, : len(row)] = torch.tensor(row)
            mask[line, : len(row)] = 1
        # a copy, as a forward pass writes into it
        read = copy.deepcopy(dict(read))
        for cache in read.values():
            cache.batch_repeat_interleave(len(rows))
            mask = torch.cat([mask.new_ones(len(rows), cache.get_seq_length()), mask], dim=1)
        options = {"use_cache": bool(read)} if self._decoder else {}
        device = self._network.device
        with torch.inference_mode():
            output = self._network(input_ids=ids.to(device), attention_mask=mask.to(device), **read, **options)
        return output.last_hidden_state

    def _frame(self, prompt: str) -> tuple[list[int], list[int]]:
        """Token ids before and after an answer."""
        question = _without_middle(self._ids(prompt), self._settings.prompt_tokens)
        if self._decoder:
            return [*self._ids("Question:\n"), *question, *self._ids("\n\nAnswer:\n")], []
        separator = int(self._tokenizer.sep_token_id)
        return [int(self._tokenizer.cls_token_id), *question, separator], [separator]

    def _body(self, answer: str) -> list[int]:
        return _without_middle(self._ids(answer), self._settings.answer_tokens) or self._ids("-")

    def _ids(self, text: str) -> list[int]:
        return list(self._tokenizer(text, add_special_tokens=False)["input_ids"])


def _without_middle(ids: list[int], room: int) -> list[int]:
    tail = room // 2
    return ids if len(ids) <= room else ids[: room - tail] + ids[len(ids) - tail :]


def _keep_layers(network: Any, settings: ReaderSettings) -> None:
    """Take the upper layers off."""
    import torch

    stack = max(
        (module for module in network.modules() if isinstance(module, torch.nn.ModuleList)),
        key=len,
        default=torch.nn.ModuleList(),
    )
    if settings.layers > len(stack):
        raise ConfigurationError(f"layers is {settings.layers}; {settings.model} has {len(stack)} layers")
    if settings.layers:
        del stack[settings.layers :]
        for name in ("num_hidden_layers", "n_layer"):
            if hasattr(network.config, name):
                setattr(network.config, name, settings.layers)
