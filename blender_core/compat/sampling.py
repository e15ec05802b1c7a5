"""Sample n answers for each prompt from a transformers model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from blender_core.errors import ConfigurationError
from blender_core.runtime.numbers import check_number

__all__ = ["sample_candidates"]

# defaults of llm-blender 0.0.2
_SAMPLING: Mapping[str | None, Mapping[str, Any]] = {
    "top_k_sampling": {"do_sample": True, "top_k": 50, "temperature": 0.7},
    "top_p_sampling": {"do_sample": True, "top_p": 1.0, "temperature": 0.7},
    None: {},
}


def sample_candidates(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[str],
    *,
    n: int,
    sampling_mode: str | None,
    batch_size: int,
    generation: Mapping[str, Any],
) -> list[list[str]]:
    """Sample n answers for each prompt.

    Args:
        model: A transformers model with ``generate``.
        tokenizer: Its tokenizer. A decoder-only model needs one that pads on the left.
        prompts: The prompts.
        n: Answers for each.
        sampling_mode: ``"top_p_sampling"``, ``"top_k_sampling"`` or ``None`` (only ``generation``).
        batch_size: Prompts in a batch.
        generation: Arguments of ``generate``; they override the mode's.

    Returns:
        ``n`` texts for each prompt.

    Raises:
        ConfigurationError: The mode is unknown, ``n`` or ``batch_size`` is below one, or it is a model of vLLM.
    """
    if sampling_mode not in _SAMPLING:
        known = ", ".join(sorted(mode for mode in _SAMPLING if mode))
        raise ConfigurationError(f"sampling_mode {sampling_mode!r} is unknown; choose {known} or None")
    check_number("n", n, least=1, whole=True)
    check_number("batch_size", batch_size, least=1, whole=True)
    if type(model).__module__.split(".")[0] == "vllm":
        raise ConfigurationError(
            "this is a model of vLLM; sample with its own generate() and hand the texts to get_best_of_n"
        )
    options = {**_SAMPLING[sampling_mode], **generation, "num_return_sequences": n}
    if sampling_mode is not None:
        options["do_sample"] = True
    if "max_new_tokens" not in options:
        options.setdefault("max_length", tokenizer.model_max_length)
    texts: list[str] = []
    for start in range(0, len(prompts), batch_size):
        batch = tokenizer(list(prompts[start : start + batch_size]), return_tensors="pt", padding=True, truncation=True)
        # transformers before 5 also makes token_type_ids, which a decoder-only model does not take
        batch = {name: batch[name].to(model.device) for name in ("input_ids", "attention_mask")}
        ids = model.generate(**batch, **options)
        if not model.config.is_encoder_decoder:
            ids = ids[:, batch["input_ids"].shape[1] :]
        texts += tokenizer.batch_decode(ids, skip_special_tokens=True)
    return [texts[start : start + n] for start in range(0, len(texts), n)]
