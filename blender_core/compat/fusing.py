"""Fuse with T5; instructions and generation arguments come with the call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from blender_core.compat.configs import GenFuserConfig
from blender_core.errors import ConfigurationError, FusionError
from blender_core.fuse.gen_fuser_prompt import PublishedLayout, fit
from blender_core.models.loading import LoadOptions, checkpoint_file, load_model, loading, require_transformers
from blender_core.models.tokenizers import SealedTokenizer
from blender_core.runtime.numbers import check_number

__all__ = ["CompatFuser"]


class CompatFuser:
    """Fuses with a loaded T5 model.

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
            config: The source and the options.
            device: ``"auto"`` or a torch device.

        Returns:
            The fuser.

        Raises:
            CheckpointError: It cannot be read as a T5 fuser.
            ConfigurationError: The device or the dtype is unknown, or both 4 and 8 bits are requested.
            DownloadError: The repository cannot be downloaded.
            MissingExtraError: torch, transformers, or a package for 8- and 4-bit weights is missing.
        """
        require_transformers("Blender.loadfuser")
        if config.load_in_4bit and config.load_in_8bit:
            raise ConfigurationError("load_in_4bit and load_in_8bit are both set; choose one")
        load: LoadOptions = {"device": device, "dtype": config.torch_dtype, "cache_dir": config.cache_dir}
        quantization = "4bit" if config.load_in_4bit else "8bit" if config.load_in_8bit else None
        with loading(config.model_name, "as a fuser"):
            model = load_model(
                "AutoModelForSeq2SeqLM", config.model_name, load, purpose="as a fuser", quantization=quantization
            )
            tokenizer = SealedTokenizer.from_file(checkpoint_file(config.model_name, "tokenizer.json", load))
        return cls(model, tokenizer, config)

    def fuse_batches(
        self,
        prompts: Sequence[str],
        candidates: Sequence[Sequence[str]],
        instructions: Sequence[str],
        *,
        batch_size: int,
        generation: Mapping[str, Any] | None = None,
    ) -> list[str]:
        """Write one text from the candidates of each prompt.

        Args:
            prompts: The inputs.
            candidates: The candidates of each, best first; not changed.
            instructions: One for each input.
            batch_size: Most inputs in one run of the model.
            generation: Arguments of ``generate``, and ``candidate_max_length``.

        Returns:
            The texts, in order.

        Raises:
            ConfigurationError: ``batch_size`` is below 1.
            FusionError: The window is too small, or nothing was written.
        """
        from blender_core.fuse.gen_fuser_decoding import generate_batch

        check_number("batch_size", batch_size, least=1, whole=True)
        options = dict(generation or {})
        limit = options.pop("candidate_max_length", None) or self._config.candidate_maxlength
        options = {"num_beams": 4, "max_new_tokens": limit, **options}
        inputs = [
            fit(
                PublishedLayout(self._tokenizer, instruction),
                prompt,
                texts,
                window=self._config.max_length,
                candidate_max_length=limit,
            ).ids
            for prompt, texts, instruction in zip(prompts, candidates, instructions, strict=True)
        ]
        fused = []
        for start in range(0, len(inputs), batch_size):
            for written in generate_batch(self._model, inputs[start : start + batch_size], options):
                # not stripped, as in the old package
                fused.append(self._tokenizer.decode(written.ids))
                if not fused[-1].strip():
                    raise FusionError(f"the fuser wrote nothing for input {len(fused) - 1} ({len(written.ids)} tokens)")
        return fused
