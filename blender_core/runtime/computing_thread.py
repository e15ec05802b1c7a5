"""Threads that compute in native code: the interpreter must not go away below them, and left behind they must stop."""

from __future__ import annotations

import atexit
import threading
import time
from collections.abc import Callable

from blender_core.errors import BlendError

__all__ = ["ComputingThread", "stop_if_given_up"]

# longest wait of the interpreter's end
_EXIT_S = 5.0


def stop_if_given_up() -> None:
    """End work of a :class:`ComputingThread` whose result nobody waits for any more.

    Raises:
        BlendError: Nobody waits.
    """
    thread = threading.current_thread()
    if isinstance(thread, ComputingThread) and thread.given_up.is_set():
        raise BlendError("nobody waits for this result any more")


class ComputingThread(threading.Thread):
    """A daemon thread in native code, which the end of the interpreter waits for.

    Args:
        work: Run in the thread.
        name: Of the thread.
        given_up: Becomes the attribute; default an event of its own.

    Attributes:
        given_up: Set where nobody waits for the result any more; :func:`stop_if_given_up` heeds it.
    """

    def __init__(
        self,
        work: Callable[[], None],
        *,
        name: str = "blended-llm-compute",
        given_up: threading.Event | None = None,
    ) -> None:
        super().__init__(target=work, name=name, daemon=True)
        self.given_up = given_up or threading.Event()


@atexit.register
def _wait_for_computing_threads() -> None:
    left = [thread for thread in threading.enumerate() if isinstance(thread, ComputingThread)]
    for thread in left:
        thread.given_up.set()
    until = time.monotonic() + _EXIT_S
    for thread in left:
        thread.join(max(0.0, until - time.monotonic()))
