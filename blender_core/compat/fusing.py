"""A GenFuser whose instruction and generation arguments come with the call, as in ``llm-blender``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from blender_core.compat.configs import GenFuserConfig
from blender_core.errors import CheckpointError
from blender_core.extras import require
from blender_core.fuse.gen_fuser import GenFuser
from blender_core.fuse.protocol import FusionInput
from blender_core.sealed_tokenizer import SealedTokenizer

__all__ = ["CompatFuser"]


@dataclass(frozen=True, slots=True)
class _InstructedLayout:
    tokenizer: SealedTokenizer
    instruction: str

    def harmless(self, text: str) -> str:
        return text

    def spans(self, text: str) -> list[tuple[int, int]]:
        return self.tokenizer.spans(text)

    def decode(self, ids: Sequence[int]) -> str:
        return self.tokenizer.decode(ids)

    def assemble(self, prompt: str, candidates: Sequence[str]) -> list[int]:
        parts = [f"Instruction: {self.instruction}", f"Input: {prompt}"]
        parts += [
            f"Candidate {position}: {self.tokenizer.spelling(f'<extra_id_{position}>')}:{text}"
            for position, text in enumerate(candidates)
        ]
        parts.append("Summarize candidates into a better one for the given instruction:")
        return self.tokenizer.encode(self.tokenizer.spelling("</s>").join(parts))


class CompatFuser:
    """A loaded T5 fuser.

    Args:
        model: A transformers encoder-decoder.
        tokenizer: Its tokenizer.
        config: Lengths.
    """

    def __init__(self, model: Any, tokenizer: SealedTokenizer, config: GenFuserConfig) -> None:
        self._model = model
        self._tokenizer = tokenizer
        self._config = config

    @classmethod
    def load(cls, config: GenFuserConfig, device: str) -> CompatFuser:
        """Load a checkpoint.

        Args:
            config: Where from, and how.
            device: ``"auto"`` or a torch device.

        Returns:
            The fuser.

        Raises:
            CheckpointError: It cannot be read as a T5 fuser.
            ConfigurationError: The device or the dtype is unknown.
            MissingExtraError: torch or transformers is not installed.
        """
        for module in ("torch", "transformers"):
            require(module, feature="Blender.loadfuser", extra="torch")
        import transformers
        from transformers.utils.hub import cached_file

        from blender_core.rank.pairrm.scorer import resolve_device, resolve_dtype

        place = resolve_device(device)
        options: dict[str, Any] = {"dtype": resolve_dtype(config.torch_dtype, place), "cache_dir": config.cache_dir}
        quantised = config.load_in_4bit or config.load_in_8bit
        if quantised:
            require("bitsandbytes", feature="load_in_4bit and load_in_8bit", extra="torch")
            options |= {
                "device_map": "auto",
                "quantization_config": transformers.BitsAndBytesConfig(  # type: ignore[no-untyped-call]
                    load_in_4bit=config.load_in_4bit, load_in_8bit=config.load_in_8bit
                ),
            }
        try:
            model: Any = transformers.AutoModelForSeq2SeqLM.from_pretrained(config.model_name, **options)
            path = cached_file(config.model_name, "tokenizer.json", cache_dir=config.cache_dir)
        except (OSError, ValueError) as error:
            raise CheckpointError(f"{config.model_name} cannot be loaded as a fuser: {error}") from error
        if not quantised:
            model = model.to(place)
        return cls(model.eval(), SealedTokenizer.from_file(Path(str(path))), config)

    def fuse(
        self, prompt: str, candidates: Sequence[str], instruction: str = "", generation: Mapping[str, Any] | None = None
    ) -> str:
        """Write one text from the candidates.

        Args:
            prompt: The input.
            candidates: Best first; not changed.
            instruction: Stands in a field of its own.
            generation: Arguments of ``generate``, and ``candidate_max_length``.

        Returns:
            The text.

        Raises:
            FusionError: The window is too small, or nothing was written.
        """
        options = dict(generation or {})
        limit = options.pop("candidate_max_length", None) or self._config.candidate_maxlength
        options = {"num_beams": 4, "max_new_tokens": limit, **options}
        fuser = GenFuser(
            self._model,
            _InstructedLayout(self._tokenizer, instruction),
            max_length=self._config.max_length,
            candidate_max_length=limit,
            generation=options,
        )
        return fuser.fuse(FusionInput(prompt, tuple(candidates))).text
