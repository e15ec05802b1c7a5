"""Fuse the best candidates with a local generation model, GenFuser."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Unpack

from blender_core.errors import CheckpointError, ConfigurationError, FusionError
from blender_core.fuse.gen_fuser_prompt import ChatLayout, FittedInput, FusionLayout, PaperLayout, PublishedLayout, fit
from blender_core.fuse.protocol import FusedText, FusionInput
from blender_core.models.loading import (
    LoadOptions,
    checkpoint_file,
    hub_options,
    load_model,
    load_tokenizer,
    loading,
    optional_file,
    require_transformers,
    takes_load_options,
)
from blender_core.models.tokenizers import SealedTokenizer
from blender_core.runtime.numbers import check_number
from blender_core.runtime.outside import read_json
from blender_core.runtime.threads import stop_if_given_up
from blender_core.types.answer import Usage
from blender_core.types.prompt import unreadable

__all__ = [
    "SETTINGS_FILE",
    "GenFuser",
    "GenFuserSettings",
    "stored_settings",
]

SETTINGS_FILE = "gen_fuser.json"
"""Name of the settings file in a trained fuser's folder."""


@dataclass(frozen=True, slots=True)
class GenFuserSettings:
    """Holds the defaults of `GenFuser.from_pretrained` for one trained fuser.

    Attributes:
        prompt_format: The layout it was trained on.
        max_length: Most tokens of the input.
        candidate_max_length: Most tokens of one candidate; ``None`` for the layout's default.
        generation: Arguments of ``generate``.
    """

    prompt_format: str = "auto"
    max_length: int | None = None
    candidate_max_length: int | None = None
    generation: Mapping[str, Any] = field(default_factory=dict)

    def save(self, folder: str | Path) -> Path:
        """Write the settings into a model's folder.

        Args:
            folder: The folder.

        Returns:
            The file.
        """
        path = Path(folder) / SETTINGS_FILE
        path.write_text(json.dumps(dataclasses.asdict(self), indent=2) + "\n", encoding="utf-8")
        return path

    @classmethod
    def load(cls, path: str | Path) -> GenFuserSettings:
        """Read the settings.

        Args:
            path: The file.

        Returns:
            The settings.

        Raises:
            CheckpointError: The file is missing or holds no settings of a fuser.
        """
        try:
            return cls(**read_json(Path(path).read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError) as error:
            raise CheckpointError(f"{path} holds no settings of a fuser: {error}") from error


def stored_settings(name_or_path: str, load: LoadOptions) -> GenFuserSettings:
    """Read the settings in a model's folder or repository.

    Args:
        name_or_path: A folder or a hub repository.
        load: Options of the download.

    Returns:
        The settings; empty ones without a settings file, as for the published fusers.

    Raises:
        CheckpointError: The settings file cannot be read.
    """
    found = optional_file(name_or_path, SETTINGS_FILE, load)
    return GenFuserSettings() if found is None else GenFuserSettings.load(found)


# gen_fuser/config.py of the reference
_PUBLISHED_WINDOW, _PUBLISHED_CANDIDATE = 1024, 128
_PUBLISHED_GENERATION: Mapping[str, Any] = {"num_beams": 4, "max_new_tokens": 128}
_FORMATS = ("auto", "published", "paper", "chat")
_CHAT_GENERATION: Mapping[str, Any] = {"num_beams": 1, "max_new_tokens": 512, "do_sample": False}


class GenFuser:
    """Fuses with a local generation model (LLM-Blender, Jiang et al. 2023, section 4).

    Make one with ``from_pretrained``: a T5 model such as ``llm-blender/gen_fuser_3b`` gets the layout it was
    trained on, a decoder-only model its chat template. May be called from several threads.

    Attributes:
        computes_locally: ``True``; see ``Fuser``.

    Examples:
        ```python
        fuser = GenFuser.from_pretrained("llm-blender/gen_fuser_3b")
        fuser.fuse(FusionInput("What is 2 + 2?", ("4", "It is four."))).text
        ```
    """

    computes_locally = True

    def __init__(
        self,
        model: Any,
        layout: FusionLayout,
        *,
        max_length: int,
        candidate_max_length: int | None,
        generation: Mapping[str, Any],
        name: str = "gen-fuser",
        stop: Sequence[str] = (),
    ) -> None:
        """Make a fuser from loaded parts; ``from_pretrained`` does this for you.

        Args:
            model: A transformers model with ``generate``.
            layout: How its input is written.
            max_length: Most tokens of the input.
            candidate_max_length: Most tokens of one candidate; ``None`` is no limit.
            generation: Arguments of ``generate``.
            name: Shown in results.
            stop: The text ends before the first of these strings.

        Raises:
            ConfigurationError: A length is below one, or ``stop`` is no list of strings.
        """
        if isinstance(stop, str) or not all(isinstance(text, str) and text for text in stop):
            raise ConfigurationError(f"stop is {stop!r}; give a list of strings, none empty")
        check_number("max_length", max_length, least=1, whole=True, none="no limit")
        check_number("candidate_max_length", candidate_max_length, least=1, whole=True, none="no limit")
        self._model = model
        self._layout = layout
        self._max_length = max_length
        self._candidate_max_length = candidate_max_length
        self._generation = dict(generation)
        self._stop = tuple(stop)
        self._name = name

    @classmethod
    @takes_load_options()
    def from_pretrained(
        cls,
        name_or_path: str | os.PathLike[str],
        *,
        name: str | None = None,
        max_length: int | None = None,
        candidate_max_length: int | None = None,
        generation: Mapping[str, Any] | None = None,
        stop: Sequence[str] = (),
        prompt_format: str = "auto",
        device_map: str | Mapping[str, Any] | None = None,
        quantization: str | None = None,
        **load: Unpack[LoadOptions],
    ) -> GenFuser:
        """Load ``llm-blender/gen_fuser_3b``, another T5 model, or a decoder-only chat model.

        A model that ``blended-llm train fuser`` made stores its lengths, format and ``generation`` in
        ``gen_fuser.json``; they replace the defaults below.

        Args:
            name_or_path: A folder or a hub repository.
            name: Shown in results; default the last part of ``name_or_path``.
            max_length: Most tokens of the input. Default 1,024 for T5 as published; for a decoder-only model
                its window less ``max_new_tokens``.
            candidate_max_length: Most tokens of one candidate. Default 128 for T5 as published, else no limit
                but the window.
            generation: Arguments of transformers' ``generate``, over the defaults: ``num_beams=4,
                max_new_tokens=128`` for T5 as published, greedy ``max_new_tokens=512`` for a decoder-only model.
                ``max_time`` (seconds) bounds a call; ``do_sample=True`` with ``temperature`` and ``top_p`` samples
                (torch's global generator decides, so call ``torch.manual_seed`` to repeat a run).
            stop: The text ends before the first of these strings.
            prompt_format: ``"published"`` (as ``Blender.fuse`` of ``llm-blender`` 0.0.2 does for T5),
                ``"paper"`` (as its ``fuse_infer.py`` does), ``"chat"`` (a chat template around the prompt of
                ``LLMFuser``). ``"auto"`` is published for T5, chat for a decoder-only model.
            device_map: Spreads a model over devices, as in transformers, for example ``"auto"``; ``device`` is then
                not used. Needs ``accelerate`` (extra ``quantization``).
            quantization: ``"8bit"`` or ``"4bit"``, by ``bitsandbytes`` (extra ``quantization``); ``None`` for full
                weights. Tested on a CPU only.
            **load: Options of the download and of the run: ``blender_core.models.loading.LoadOptions``. Here the dtype
                ``"auto"`` is bfloat16 on CUDA, as published, else float32.

        Returns:
            The fuser.

        Raises:
            CheckpointError: The model cannot be loaded.
            ConfigurationError: The device, the dtype, a length, the format or the quantization cannot work.
            DownloadError: The repository cannot be downloaded.
            MissingExtraError: torch, transformers, or a package for ``device_map`` or ``quantization`` is missing.
        """
        if prompt_format not in _FORMATS:
            raise ConfigurationError(f"prompt_format {prompt_format!r} is unknown; choose one of {', '.join(_FORMATS)}")
        require_transformers("GenFuser.from_pretrained")
        import transformers

        from blender_core.models.devices import resolve_device

        if load["dtype"] == "auto":
            # T5 overflows in float16, so that is never the default
            load["dtype"] = "bfloat16" if resolve_device(load["device"]).type == "cuda" else "float32"
        path = os.fspath(name_or_path)
        with loading(path, "as a fuser"):
            config = transformers.AutoConfig.from_pretrained(path, trust_remote_code=False, **hub_options(load))
            stored = stored_settings(path, load)
            prompt_format = stored.prompt_format if prompt_format == "auto" else prompt_format
            model = load_model(
                "AutoModelForSeq2SeqLM" if config.is_encoder_decoder else "AutoModelForCausalLM",
                path,
                load,
                purpose="as a fuser",
                device_map=device_map,
                quantization=quantization,
                config=config,
            )
            published = prompt_format in ("published", "paper") or (
                prompt_format == "auto" and config.is_encoder_decoder
            )
            layout: FusionLayout
            if published:
                # transformers 5 rebuilds T5's tokenizer and changes its ids, so the file is read as it is
                tokenizer = SealedTokenizer.from_file(checkpoint_file(path, "tokenizer.json", load))
                layout = PaperLayout(tokenizer) if prompt_format == "paper" else PublishedLayout(tokenizer)
            else:
                layout = ChatLayout(load_tokenizer(path, load))
        defaults = _defaults(config, stored, generation or {})
        return cls(
            model,
            layout,
            max_length=defaults.max_length if max_length is None else max_length,
            candidate_max_length=(
                defaults.candidate_max_length if candidate_max_length is None else candidate_max_length
            ),
            generation=defaults.generation,
            name=name or Path(path).resolve().name,
            stop=stop,
        )

    @property
    def name(self) -> str:
        """Short name, shown in results."""
        return self._name

    def __repr__(self) -> str:
        return f"GenFuser(name={self._name!r}, max_length={self._max_length}, generation={self._generation})"

    def why_not(self, request: FusionInput) -> str | None:
        """Tell why it cannot fuse answers: it reads no images, sound and files."""
        return None if request.conversation is None else unreadable(request.conversation)

    def fuse(self, request: FusionInput) -> FusedText:
        """Write one text from the candidates.

        Args:
            request: The prompt and the candidates, best first.

        Returns:
            The fused text. ``cut`` counts the tokens that did not fit; ``finish_reason`` is ``"stop"``, or ``"length"``
            if ``max_new_tokens`` or ``max_time`` ended it. A blend then returns the best candidate.

        Raises:
            FusionError: The window is too small, the device ran out of memory, or nothing was written.
        """
        return self.fuse_batch([request])[0]

    def fuse_batch(self, requests: Sequence[FusionInput], *, batch_size: int = 8) -> list[FusedText]:
        """Write one text for each request, several in one run of the model.

        Shorter inputs are padded, so texts can differ from those of ``fuse`` if two words are about equally
        likely.

        Args:
            requests: Prompts with their candidates.
            batch_size: Most requests in one run.

        Returns:
            The fused texts, in order.

        Raises:
            ConfigurationError: ``batch_size`` is below 1.
            FusionError: As in ``fuse``.
        """
        from blender_core.fuse.gen_fuser_decoding import generate_batch

        check_number("batch_size", batch_size, least=1, whole=True)
        fitted = [self._fit(request) for request in requests]
        # inputs of similar length together: little padding
        order = sorted(range(len(fitted)), key=lambda index: -len(fitted[index].ids))
        fused: dict[int, FusedText] = {}
        for start in range(0, len(order), batch_size):
            part = order[start : start + batch_size]
            written = generate_batch(
                self._model, [fitted[index].ids for index in part], self._generation, stopped=self._stopped()
            )
            for index, one in zip(part, written, strict=True):
                fused[index] = self._result(fitted[index], one.ids, one.finish_reason)
        return [fused[index] for index in range(len(fitted))]

    def stream(self, request: FusionInput) -> Iterator[str | FusedText]:
        """Write one text piece by piece.

        Beam search cannot be streamed, so this writes with one beam and ignores ``num_beams``.

        Args:
            request: The prompt and the candidates, best first.

        Yields:
            Pieces of text, then the whole result. Closing the iterator stops the model.

        Raises:
            FusionError: As in ``fuse``.
        """
        from blender_core.fuse.gen_fuser_decoding import finish_reason, stream_ids

        fitted = self._fit(request)
        written: list[int] = []
        shown = ""
        options = {**self._generation, "num_beams": 1}
        with contextlib.closing(stream_ids(self._model, fitted.ids, options)) as ids:
            for token_id in ids:
                stop_if_given_up()
                written.append(token_id)
                text, stopped = self._until_stop(self._layout.decode(written))
                if stopped:
                    break
                # the last word may still change while its letters come in
                stable = text[: text.rfind(" ") + 1] if not text.endswith("\n") else text
                # and a possible beginning of a stop string must wait
                stable = stable[: len(text) - _begun(text, self._stop)]
                if len(stable) > len(shown) and stable.startswith(shown):
                    yield stable[len(shown) :]
                    shown = stable
        result = self._result(fitted, written, finish_reason(self._model, options, written), lead=shown)
        if len(result.text) > len(shown):
            yield result.text[len(shown) :]
        yield result

    def _fit(self, request: FusionInput) -> FittedInput:
        if not request.candidates:
            raise FusionError("there are no candidates to fuse")
        return fit(
            self._layout,
            request.prompt,
            request.candidates,
            window=self._max_length,
            candidate_max_length=self._candidate_max_length,
        )

    def _stopped(self) -> Callable[[list[int]], bool] | None:
        return (lambda ids: self._until_stop(self._layout.decode(ids))[1]) if self._stop else None

    def _until_stop(self, text: str) -> tuple[str, bool]:
        found = [place for place in (text.find(stop) for stop in self._stop) if place >= 0]
        return (text[: min(found)], True) if found else (text, False)

    def _result(self, fitted: FittedInput, written: list[int], reason: str | None, *, lead: str = "") -> FusedText:
        text, stopped = self._until_stop(self._layout.decode(written))
        # streamed text cannot be taken back, trailing white space included
        text = text if lead else text.strip()
        if not text.strip():
            raise FusionError(
                f"{self._name} wrote nothing ({len(written)} tokens); the input had {len(fitted.ids)} tokens"
            )
        reason = "stop" if stopped else reason
        return FusedText(text, self._name, Usage(len(fitted.ids), len(written)), cut=fitted.cut, finish_reason=reason)


class _Defaults(NamedTuple):
    max_length: int
    candidate_max_length: int | None
    generation: dict[str, Any]


def _defaults(config: Any, stored: GenFuserSettings, generation: Mapping[str, Any]) -> _Defaults:
    """Choose the folder's settings, else those published for T5, else the rest of the window."""
    usual = _PUBLISHED_GENERATION if config.is_encoder_decoder else _CHAT_GENERATION
    options = {**usual, **stored.generation, **generation}
    candidate = stored.candidate_max_length or (_PUBLISHED_CANDIDATE if config.is_encoder_decoder else None)
    if stored.max_length is not None:
        window = stored.max_length
    elif config.is_encoder_decoder:
        window = _PUBLISHED_WINDOW
    else:
        window = getattr(config, "max_position_embeddings", 2048) - options["max_new_tokens"]
    return _Defaults(window, candidate, options)


def _begun(text: str, stop: Sequence[str]) -> int:
    """Return the length of the longest end of a text that a stop string begins with."""
    return max((size for word in stop for size in range(1, len(word)) if text.endswith(word[:size])), default=0)
