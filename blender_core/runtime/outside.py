"""Read what comes from outside so that its faults are ordinary exceptions."""

from __future__ import annotations

import json
from typing import Any

__all__ = ["is_panic", "read_json"]


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
