"""Load transformers models: the only place that decides device, dtype and errors.

Weights come from safetensors if a checkpoint has them, else from a ``.bin`` file that holds only tensors. A
checkpoint's own code is never run. A checkpoint with missing weights is rejected.
"""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, TypeVar

from blender_core.errors import BlendError, CheckpointError, DownloadError
from blender_core.models.hub import cached_folder, may_pass
from blender_core.models.placement import model_placement
from blender_core.models.tokenizers import check_growth
from blender_core.runtime.extras import require
from blender_core.runtime.keywords import takes_keywords
from blender_core.runtime.outside import is_panic, read_json

if TYPE_CHECKING:
    from blender_core.models.conversations import ConversationTokenizer
    from blender_core.models.encoder import EncoderModel

__all__ = [
    "EncoderOptions",
    "LoadOptions",
    "check_placement",
    "check_tokenizer",
    "checked_config",
    "checkpoint_file",
    "has_chat_template",
    "hub_options",
    "load_conversation_model",
    "load_encoder",
    "load_model",
    "load_tokenizer",
    "loading",
    "optional_file",
    "quiet_loading",
    "require_transformers",
    "takes_load_options",
]

_lock = threading.Lock()
_REPORTERS = ("transformers.modeling_utils", "transformers.configuration_utils")
_REPORT = re.compile(r"LOAD REPORT|You are using a model of type")
_quiet_threads: list[int] = []
_previous: list[Callable[..., Any] | None] = []


@contextlib.contextmanager
def quiet_loading() -> Iterator[None]:
    """Hide what transformers tells of loading in the current thread: progress, and reports of weights.

    Missing weights become errors here. Progress bars of downloads and of other threads stay.
    """
    from transformers.utils import logging as own_logging

    # transformers before 5 has no such hook
    set_hook = getattr(own_logging, "set_tqdm_hook", lambda hook: None)
    thread = threading.get_ident()
    with _lock:
        if not _quiet_threads:
            _previous.append(set_hook(_hook))
            for name in _REPORTERS:
                logging.getLogger(name).addFilter(_tells_more)
        _quiet_threads.append(thread)
    try:
        yield
    finally:
        with _lock:
            _quiet_threads.remove(thread)
            if not _quiet_threads:
                set_hook(_previous.pop())
                for name in _REPORTERS:
                    logging.getLogger(name).removeFilter(_tells_more)


def _tells_more(record: logging.LogRecord) -> bool:
    """Let a record pass, unless it is a report on loading in a quiet thread."""
    return not (threading.get_ident() in _quiet_threads and _REPORT.search(record.getMessage()))


def _hook(make: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    from transformers.utils import logging as own_logging

    if kwargs.get("desc") == "Loading weights" and threading.get_ident() in _quiet_threads:
        make = own_logging.EmptyTqdm
    previous = _previous[-1] if _previous else None
    return make(*args, **kwargs) if previous is None else previous(make, args, kwargs)


def _without_gguf_bar() -> None:
    """Hide the progress bar of reading a GGUF file in quiet threads; no hook reaches it."""
    reader: Any = importlib.import_module("transformers.modeling_gguf_pytorch_utils")
    make = getattr(reader, "tqdm", None)
    if make is None or getattr(make, "is_quiet", False):
        return

    def bar(rows: Iterable[Any], *args: Any, **kwargs: Any) -> Any:
        return rows if threading.get_ident() in _quiet_threads else make(rows, *args, **kwargs)

    bar.is_quiet = True  # type: ignore[attr-defined]
    reader.tqdm = bar


Function = TypeVar("Function", bound=Callable[..., Any])

_DEFAULTS: dict[str, Any] = {
    "revision": None,
    "device": "auto",
    "dtype": "auto",
    "cache_dir": None,
    "local_files_only": False,
    "max_tokens": None,
    "token_budget": 4096,
}
_MOST_LAYERS = 10_000
# position ids of these models start after the pad id
_OFFSET_POSITIONS = {"camembert", "longformer", "mpnet", "roberta", "xlm-roberta", "xlm-roberta-xl"}


class LoadOptions(TypedDict, total=False):
    """Keywords that every ``from_pretrained`` takes.

    Attributes:
        revision: Branch, tag or commit of the repository; default its main branch.
        device: ``"auto"`` (CUDA, else MPS, else CPU; the default) or a torch device such as ``"cuda:1"``.
        dtype: ``"auto"`` (the default), ``"float32"``, ``"float16"`` or ``"bfloat16"``. ``"auto"`` is float32 on a
            CPU, else float16; for a model made in bfloat16 it is bfloat16, or float32 if the device has none. Metrics
            default to ``"float32"``.
        cache_dir: Cache folder of the hub; default huggingface_hub's.
        local_files_only: Use the cache only, like ``HF_HUB_OFFLINE=1``; default ``False``.
    """

    revision: str | None
    device: str
    dtype: str
    cache_dir: str | os.PathLike[str] | None
    local_files_only: bool


class EncoderOptions(LoadOptions, total=False):
    """Keywords of every encoder's ``from_pretrained``: `LoadOptions` and two sizes.

    Attributes:
        max_tokens: Context window in tokens, special tokens included; longer texts are cut. Default: ``max_seq_length``
            of a sentence-transformers folder, else the model's window.
        token_budget: Most tokens in a forward pass, padding included. It bounds the memory.
    """

    max_tokens: int | None
    token_budget: int


def takes_load_options(
    options: type[LoadOptions] = LoadOptions, **defaults: str | int
) -> Callable[[Function], Function]:
    """Fill in the defaults of load options, and show their keywords in the signature.

    Args:
        options: ``LoadOptions`` or ``EncoderOptions``.
        **defaults: Defaults that differ from those of ``options``.

    Returns:
        A decorator for a function that ends in ``**load: Unpack[...]`` of the same options.

    Examples:
        >>> from typing import Unpack
        >>> @takes_load_options(dtype="float32")
        ... def load(path: str, **load: Unpack[LoadOptions]) -> str:
        ...     return f"{path} on {load['device']} in {load['dtype']}"
        >>> load("folder", device="cpu")
        'folder on cpu in float32'
    """
    filled = {name: defaults.get(name, _DEFAULTS[name]) for name in options.__annotations__}
    return takes_keywords(options, defaults=filled, fill=True)


def hub_options(load: LoadOptions) -> dict[str, Any]:
    """Pick the options that transformers' ``from_pretrained`` and ``cached_file`` take.

    Examples:
        >>> hub_options({"revision": "main", "device": "cpu"})
        {'revision': 'main', 'cache_dir': None, 'local_files_only': False}
    """
    return {name: load.get(name, _DEFAULTS[name]) for name in ("revision", "cache_dir", "local_files_only")}


def require_transformers(feature: str) -> None:
    """Check that torch and transformers are installed.

    Args:
        feature: Name of the caller, for the message.

    Raises:
        MissingExtraError: One of them is not installed; install ``blended-llm[torch]``.
    """
    for module in ("torch", "transformers"):
        require(module, feature=feature, extra="torch")


@contextlib.contextmanager
def loading(path: str, purpose: str) -> Iterator[None]:
    """Load quietly, and turn errors of transformers and the hub into this package's errors.

    Args:
        path: The folder or repository that is loaded.
        purpose: Follows "cannot be loaded" in the message, for example ``"with AutoModel"``.

    Raises:
        CheckpointError: The checkpoint cannot be loaded.
        DownloadError: The repository cannot be downloaded.

    Examples:
        >>> with loading("nobody/nothing", "as an example"):
        ...     raise OSError("no such repository")
        Traceback (most recent call last):
        ...
        blender_core.errors.DownloadError: nobody/nothing cannot be loaded as an example: OSError: no such repository. \
Check the name and the connection, or pass a folder.
    """
    try:
        with quiet_loading():
            yield
    except BlendError:
        raise
    except BaseException as error:  # transformers and the hub raise many types, tokenizers panic
        if not isinstance(error, Exception) and not is_panic(error):
            raise
        message = f"{path} cannot be loaded {purpose}: {_reason(error, is_folder=Path(path).is_dir())}"
        if isinstance(error, OSError) and not Path(path).is_dir():
            raise DownloadError(
                f"{message.rstrip('.')}. Check the name and the connection, or pass a folder.",
                may_pass=may_pass(error),
            ) from error
        raise CheckpointError(message) from error


def _reason(error: BaseException, *, is_folder: bool) -> str:
    """Say in one line why something cannot be loaded; transformers' advice is not for users of a ranker."""
    said = " ".join(str(error).split())
    if "does not recognize this architecture" in said or "trust_remote_code" in said:
        return "the installed transformers does not know its architecture, and a checkpoint's own code is never run"
    kind = re.search(r"Unrecognized configuration class <class '[\w.]*?(\w+)'> for this kind of AutoModel: (\w+)", said)
    if kind is not None:
        return f"its config is a {kind[1]}, and {kind[2]} reads none"
    missing = re.search(r"does not appear to have a file named (\S+?)\.? ", f"{said} ")
    if is_folder and missing is not None:
        return f"there is no {missing[1]} in the folder"
    if "Couldn't instantiate the backend tokenizer" in said or "Can't load tokenizer" in said:
        return "there is no tokenizer.json that fits it; add that of its base model"
    return f"{type(error).__name__}: {said}"


def check_placement(load: LoadOptions) -> None:
    """Check device and dtype, so that nothing is fetched in vain.

    Raises:
        ConfigurationError: One of them is unknown or unavailable.
    """
    from blender_core.models.devices import resolve_device, resolve_dtype

    resolve_dtype(load.get("dtype", _DEFAULTS["dtype"]), resolve_device(load.get("device", _DEFAULTS["device"])))


def checkpoint_file(name_or_path: str, filename: str, load: LoadOptions) -> Path:
    """Find one file of a folder, or fetch it from a repository.

    Args:
        name_or_path: A folder or a hub repository.
        filename: Name of the file.
        load: Load options; revision and cache apply.

    Returns:
        The file.

    Raises:
        OSError: The file is missing or cannot be downloaded; `loading` turns that into an error of this package.
    """
    from transformers.utils.hub import cached_file

    return Path(str(cached_file(name_or_path, filename, **hub_options(load))))


def optional_file(name_or_path: str, filename: str, load: LoadOptions) -> Path | None:
    """Find one file; return ``None`` if it is missing or the hub does not answer.

    Args:
        name_or_path: A folder or a hub repository.
        filename: Name of the file.
        load: Load options; revision and cache apply.

    Returns:
        The file, or ``None``.
    """
    from transformers.utils.hub import cached_file

    found = cached_file(
        name_or_path,
        filename,
        _raise_exceptions_for_missing_entries=False,
        _raise_exceptions_for_connection_errors=False,
        _raise_exceptions_for_gated_repo=False,
        **hub_options(load),
    )
    return None if found is None else Path(str(found))


def checked_config(name_or_path: str, load: LoadOptions) -> dict[str, Any]:
    """Read a checkpoint's config; refuse one whose network would take for ever to build.

    Args:
        name_or_path: A folder or a hub repository.
        load: Load options; revision and cache apply.

    Returns:
        The contents of ``config.json``; empty without one, as for a GGUF file.

    Raises:
        CheckpointError: It holds no object, or asks for too many layers.
    """
    found = optional_file(name_or_path, "config.json", load)
    config = read_json(found.read_text(encoding="utf-8")) if found is not None else {}
    if not isinstance(config, dict):
        raise CheckpointError(f"{found} holds no object, but a JSON {type(config).__name__}")
    for name, value in config.items():
        if "layer" in name and isinstance(value, int) and value > _MOST_LAYERS:
            raise CheckpointError(f"{found} asks for {value:,} layers ({name}); at most {_MOST_LAYERS:,} are built")
    return config


def check_tokenizer(name_or_path: str, load: LoadOptions) -> None:
    """Refuse a tokenizer that could abort the process, before a library reads it.

    Args:
        name_or_path: A folder or a hub repository.
        load: Load options; revision and cache apply.

    Raises:
        CheckpointError: See `blender_core.models.tokenizers.check_growth`.
    """
    found = optional_file(name_or_path, "tokenizer.json", load)
    if found is not None:
        check_growth(read_json(found.read_text(encoding="utf-8")), str(found))


def load_tokenizer(name_or_path: str, load: LoadOptions, **options: Any) -> Any:
    """Load a transformers tokenizer.

    Args:
        name_or_path: A folder or a hub repository.
        load: Load options; revision and cache apply.
        **options: More arguments of ``AutoTokenizer.from_pretrained``.

    Returns:
        The tokenizer.
    """
    from transformers import AutoTokenizer

    check_tokenizer(name_or_path, load)
    return AutoTokenizer.from_pretrained(name_or_path, trust_remote_code=False, **hub_options(load), **options)


def load_model(
    family: str,
    name_or_path: str,
    load: LoadOptions,
    *,
    purpose: str,
    unused: tuple[str, ...] = (),
    device_map: str | Mapping[str, Any] | None = None,
    quantization: str | None = None,
    **options: Any,
) -> Any:
    """Load a transformers model onto its device, in evaluation mode.

    Args:
        family: A class of transformers, for example ``"AutoModelForMaskedLM"``.
        name_or_path: A folder or a hub repository.
        load: Load options: revision, cache, device and dtype.
        purpose: Follows "cannot be loaded" in messages, for example ``"as a fuser"``.
        unused: Prefixes of weights that may be missing, because nothing reads them.
        device_map: Spreads the model over devices, as in transformers.
        quantization: ``"8bit"`` or ``"4bit"``; ``None`` for full weights.
        **options: More arguments of the class's ``from_pretrained``.

    Returns:
        The model.

    Raises:
        CheckpointError: The checkpoint is of another kind, or weights are missing.
        ConfigurationError: The device, the dtype or the quantization is unknown or unavailable.
        DownloadError: The repository cannot be downloaded.
        MissingExtraError: ``device_map`` or ``quantization`` needs a package that is not installed.
    """
    import transformers

    from blender_core.models.devices import resolve_device, resolve_dtype

    device = resolve_device(load.get("device", _DEFAULTS["device"]))
    wanted = load.get("dtype", _DEFAULTS["dtype"])
    with loading(name_or_path, purpose):
        config = checked_config(name_or_path, load)
    dtype = resolve_dtype(wanted, device, made_in=_made_in(config) if wanted == "auto" else None)
    placed = model_placement(device_map, quantization, device=load.get("device", _DEFAULTS["device"]), dtype=dtype)
    if "gguf_file" in options:
        _without_gguf_bar()
    with loading(name_or_path, purpose):
        model, report = getattr(transformers, family).from_pretrained(
            cached_folder(name_or_path, hub_options(load)),
            dtype=dtype,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
            trust_remote_code=False,
            weights_only=True,
            **placed,
            **hub_options(load),
            **options,
        )
        missing = sorted(key for key in report["missing_keys"] if not key.startswith(unused))
        if missing:
            raise CheckpointError(
                f"{name_or_path} cannot be loaded {purpose}: it has no weights for {', '.join(missing[:4])} "
                f"({len(missing)} missing); it is damaged, or no checkpoint for {family}"
            )
        wrong = [f"{key} is {list(found)}, not {list(size)}" for key, found, size in report["mismatched_keys"]]
        if wrong:
            raise CheckpointError(
                f"{name_or_path} cannot be loaded {purpose}: {', '.join(sorted(wrong)[:4])} ({len(wrong)} of another "
                f"size); {_why_other_size(report['mismatched_keys'], options.get('num_labels'))}"
            )
        # accelerate and bitsandbytes have already placed the model
        return (model if placed else model.to(device)).eval()


def _why_other_size(mismatched: Iterable[tuple[str, Sequence[int], Sequence[int]]], labels: int | None) -> str:
    # two labels are transformers' default, which no config names
    heads = {found[0] if size[0] == labels and found[1:] == size[1:] else None for _, found, size in mismatched}
    if len(heads) == 1 and None not in heads:
        return f"it has {heads.pop()} labels, and {labels} is needed"
    return "its config.json belongs to another checkpoint"


def _made_in(config: Mapping[str, Any]) -> str | None:
    """Return the dtype that a checkpoint names."""
    named = config.get("dtype") or config.get("torch_dtype") or ""
    return str(named).removeprefix("torch.") or None


def load_encoder(
    family: str,
    name_or_path: str | os.PathLike[str],
    load: EncoderOptions,
    *,
    feature: str,
    unused: tuple[str, ...] = (),
) -> EncoderModel:
    """Load an encoder with its tokenizer; torch is imported only when this is called.

    Args:
        family: A class of transformers, for example ``"AutoModelForMaskedLM"``.
        name_or_path: A folder or a hub repository.
        load: All ``EncoderOptions``, as filled in by ``takes_load_options``.
        feature: Name of the caller, for the message if torch is missing.
        unused: Prefixes of weights that may be missing, because nothing reads them.

    Returns:
        The model in evaluation mode, on its device.

    Raises:
        CheckpointError: The checkpoint is of another kind, or lacks weights or ``tokenizer.json``.
        ConfigurationError: The device or the dtype is unknown or unavailable, or a size is too small.
        DownloadError: The repository cannot be downloaded.
        MissingExtraError: torch or transformers is not installed.
    """
    require_transformers(feature)
    from blender_core.models.encoder import EncoderModel
    from blender_core.models.encoder_inputs import EncoderTokenizer

    path, purpose = os.fspath(name_or_path), f"with {family}"
    with loading(path, purpose):
        model = load_model(family, path, load, purpose=purpose, unused=unused)
        tokenizer = EncoderTokenizer(checkpoint_file(path, "tokenizer.json", load))
        window = load["max_tokens"]
        if window is None:
            window = _own_window(model.config, optional_file(path, "sentence_bert_config.json", load))
    return EncoderModel(model, tokenizer, max_tokens=window, token_budget=load["token_budget"])


def load_conversation_model(
    name_or_path: str | os.PathLike[str], load: EncoderOptions, *, labels: int | None = None
) -> tuple[Any, ConversationTokenizer, int]:
    """Load a classifier whose tokenizer has a chat template.

    Args:
        name_or_path: A folder or a hub repository.
        load: All ``EncoderOptions``, as filled in by ``takes_load_options``.
        labels: Number of labels, if the checkpoint does not name it.

    Returns:
        The model in evaluation mode on its device, its tokenizer, and the window in tokens.

    Raises:
        BlendError: As from ``load_encoder``.
    """
    from blender_core.models.conversations import ConversationTokenizer

    path, purpose = os.fspath(name_or_path), "as a reward model"
    options: dict[str, Any] = {} if labels is None else {"num_labels": labels}
    with loading(path, purpose):
        found = load_tokenizer(path, load)
        tokenizer = ConversationTokenizer(found, path)
        model = load_model("AutoModelForSequenceClassification", path, load, purpose=purpose, **options)
        window = load["max_tokens"] or min(_own_window(model.config.get_text_config(), None), found.model_max_length)
    return model, tokenizer, window


def has_chat_template(name_or_path: str | os.PathLike[str], load: LoadOptions) -> bool:
    """Tell if a checkpoint's tokenizer has a chat template, without loading it.

    Args:
        name_or_path: A folder or a hub repository.
        load: Load options; revision and cache apply.

    Returns:
        Whether there is a ``chat_template.jinja``, or one in the ``tokenizer_config.json``.
    """
    path = os.fspath(name_or_path)
    with loading(path, "as a ranker"):
        if optional_file(path, "chat_template.jinja", load) is not None:
            return True
        config = optional_file(path, "tokenizer_config.json", load)
        return config is not None and bool(read_json(config.read_text(encoding="utf-8")).get("chat_template"))


def _own_window(config: Any, sentence_config: Path | None) -> int:
    """Return the context window that a model was trained with, in tokens."""
    positions = int(getattr(config, "max_position_embeddings", 512) or 512)
    if config.model_type in _OFFSET_POSITIONS:
        positions -= (config.pad_token_id or 0) + 1
    # sentence-transformers models are trained on shorter texts than they could read
    found = {} if sentence_config is None else read_json(sentence_config.read_text(encoding="utf-8"))
    return min(positions, int((found.get("max_seq_length") if isinstance(found, dict) else None) or positions))
