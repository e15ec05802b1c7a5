"""What all loaders of pretrained models share: where from, on which device, in which numbers, and what goes wrong.

Weights come from safetensors where a checkpoint has them, and a checkpoint's own code is never run.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypedDict, TypeVar, Unpack

from blender_core.errors import BlendError, CheckpointError, DownloadError
from blender_core.runtime.extras import require

if TYPE_CHECKING:
    from blender_core.models.encoder import EncoderModel

__all__ = [
    "LoadOptions",
    "hub_options",
    "load_encoder",
    "loading",
    "quiet_loading",
    "require_transformers",
    "takes_load_options",
]

_lock = threading.Lock()
_quiet_threads: list[int] = []
_previous: list[Callable[..., Any] | None] = []


@contextlib.contextmanager
def quiet_loading() -> Iterator[None]:
    """Hide the bar "Loading weights" in the current thread.

    Bars of downloads and of other threads stay. transformers before 5 has no such bar and no hook for it; there
    this does nothing.
    """
    from transformers.utils import logging

    set_hook = getattr(logging, "set_tqdm_hook", None)
    if set_hook is None:
        yield
        return
    thread = threading.get_ident()
    with _lock:
        if not _quiet_threads:
            _previous.append(set_hook(_hook))
        _quiet_threads.append(thread)
    try:
        yield
    finally:
        with _lock:
            _quiet_threads.remove(thread)
            if not _quiet_threads:
                set_hook(_previous.pop())


def _hook(make: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    from transformers.utils import logging

    if kwargs.get("desc") == "Loading weights" and threading.get_ident() in _quiet_threads:
        make = logging.EmptyTqdm
    previous = _previous[-1] if _previous else None
    return make(*args, **kwargs) if previous is None else previous(make, args, kwargs)


P = ParamSpec("P")
R = TypeVar("R")

_DEFAULTS: dict[str, Any] = {
    "revision": None,
    "device": "auto",
    "dtype": "auto",
    "cache_dir": None,
    "local_files_only": False,
}


class LoadOptions(TypedDict, total=False):
    """Keywords that every ``from_pretrained`` of a transformers model takes.

    Attributes:
        revision: Branch, tag or commit of the repository; default its main branch.
        device: ``"auto"`` (CUDA, else MPS, else CPU; the default) or a torch device.
        dtype: ``"auto"`` (float32 on a CPU, else float16), ``"float32"``, ``"float16"`` or ``"bfloat16"``. Rankers
            default to ``"auto"``, metrics to ``"float32"``.
        cache_dir: Cache folder of the hub; default huggingface_hub's.
        local_files_only: Use the cache only, like ``HF_HUB_OFFLINE=1``; default ``False``.
    """

    revision: str | None
    device: str
    dtype: str
    cache_dir: str | os.PathLike[str] | None
    local_files_only: bool


def takes_load_options(**defaults: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Fill in the defaults of ``LoadOptions``, and show its keywords in the signature.

    Args:
        **defaults: Other defaults than those of ``LoadOptions``.

    Returns:
        A decorator for a function that ends in ``**load: Unpack[LoadOptions]``.

    Examples:
        >>> @takes_load_options(dtype="float32")
        ... def load(path: str, **load: Unpack[LoadOptions]) -> str:
        ...     return f"{path} on {load['device']} in {load['dtype']}"
        >>> load("folder", device="cpu")
        'folder on cpu in float32'
        >>> list(inspect.signature(load).parameters)
        ['path', 'revision', 'device', 'dtype', 'cache_dir', 'local_files_only']
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        filled = {**_DEFAULTS, **defaults}
        signature = inspect.signature(function)
        *own, _ = signature.parameters.values()
        options = [
            inspect.Parameter(
                name, inspect.Parameter.KEYWORD_ONLY, default=filled[name], annotation=annotation.__forward_arg__
            )
            for name, annotation in LoadOptions.__annotations__.items()
        ]
        shown = signature.replace(parameters=[*own, *options])

        @functools.wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            shown.bind(*args, **kwargs)  # an unknown keyword is a TypeError that names it
            every: dict[str, Any] = {**filled, **kwargs}
            return function(*args, **every)

        call.__signature__ = shown  # type: ignore[attr-defined]
        return call

    return decorate


def hub_options(load: LoadOptions) -> dict[str, Any]:
    """The part of the options that transformers' ``from_pretrained`` and ``cached_file`` take.

    Examples:
        >>> hub_options({"revision": "main", "device": "cpu"})
        {'revision': 'main', 'cache_dir': None, 'local_files_only': False}
    """
    return {name: load.get(name, _DEFAULTS[name]) for name in ("revision", "cache_dir", "local_files_only")}


def require_transformers(feature: str) -> None:
    """Check that torch and transformers are there.

    Args:
        feature: What the user asked for; it stands in the message.

    Raises:
        MissingExtraError: One of them is not installed.
    """
    for module in ("torch", "transformers"):
        require(module, feature=feature, extra="torch")


@contextlib.contextmanager
def loading(path: str, purpose: str) -> Iterator[None]:
    """Load quietly, and turn what transformers, the hub and safetensors raise into errors of this package.

    Args:
        path: The folder or repository that is loaded.
        purpose: Follows "cannot be loaded" in the message, for example ``"with AutoModel"``.

    Raises:
        CheckpointError: What is there cannot be loaded.
        DownloadError: The repository cannot be had.

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
    except Exception as error:  # they raise many kinds
        message = f"{path} cannot be loaded {purpose}: {type(error).__name__}: {error}"
        if isinstance(error, OSError) and not Path(path).is_dir():
            raise DownloadError(f"{message}. Check the name and the connection, or pass a folder.") from error
        raise CheckpointError(message) from error


def load_encoder(
    family: str,
    name_or_path: str | os.PathLike[str],
    *,
    feature: str,
    max_tokens: int | None,
    token_budget: int,
    unused: tuple[str, ...] = (),
    **load: Unpack[LoadOptions],
) -> EncoderModel:
    """Load an encoder with its tokenizer; torch is imported here and not before.

    Args:
        family: A class of transformers, for example ``"AutoModelForMaskedLM"``.
        name_or_path: A folder or a hub repository.
        feature: What the user asked for; it stands in the message where torch is missing.
        max_tokens: Window in tokens; ``None`` for the model's own.
        token_budget: Most tokens in a forward pass, pads included.
        unused: Beginnings of weights' names that may be missing, because nothing reads them.
        **load: See ``LoadOptions``.

    Returns:
        The model in evaluation mode, on its device.

    Raises:
        CheckpointError: It is no such model, weights are missing, or it has no ``tokenizer.json``.
        ConfigurationError: The device, the dtype or a number cannot work.
        DownloadError: The repository cannot be had.
        MissingExtraError: torch or transformers is not installed.
    """
    require_transformers(feature)
    from blender_core.models.encoder import EncoderModel

    return EncoderModel.from_pretrained(
        family, name_or_path, max_tokens=max_tokens, token_budget=token_budget, unused=unused, **load
    )
