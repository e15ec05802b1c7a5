"""Load weights of transformers without its progress bar, and leave its settings as they were."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any

__all__ = ["quiet_loading"]

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
