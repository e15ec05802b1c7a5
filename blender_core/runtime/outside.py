"""Read what comes from outside so that its faults are ordinary exceptions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

__all__ = ["is_panic", "read_json", "read_regular_file"]


def read_json(text: str | bytes) -> Any:
    """Parse JSON from outside; every fault of the text is a ``ValueError``.

    Args:
        text: JSON; bytes are UTF-8, UTF-16 or UTF-32.

    Returns:
        The value.

    Raises:
        ValueError: It is no JSON, or is nested too deep to be read.

    Examples:
        >>> read_json('{"a": [1]}')
        {'a': [1]}
        >>> read_json("[" * 100_000)
        Traceback (most recent call last):
        ...
        ValueError: it is nested too deep
    """
    try:
        return json.loads(text)
    except RecursionError:
        # the chain would be a thousand lines long
        raise ValueError("it is nested too deep") from None


def read_regular_file(path: Path, *, encoding: str = "utf-8") -> str:
    """Read a text file whose path may come from outside; a pipe or a device may never end.

    Args:
        path: The file.
        encoding: Its encoding.

    Returns:
        Its text.

    Raises:
        OSError: It cannot be read, or is no regular file.

    Examples:
        >>> read_regular_file(Path("/dev/zero"))
        Traceback (most recent call last):
        ...
        OSError: it is no regular file
    """
    if not path.is_dir() and path.exists() and not path.is_file():
        raise OSError("it is no regular file")
    return path.read_text(encoding=encoding)


def is_panic(error: BaseException) -> bool:
    """Tell if code in Rust panicked; its exception is no ``Exception``, so that a plain handler lets it pass.

    Args:
        error: What was raised.

    Returns:
        Whether it is such an exception.

    Examples:
        >>> is_panic(ValueError("no"))
        False
    """
    return type(error).__name__ == "PanicException"
