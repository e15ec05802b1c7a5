"""Check numbers that users set: NaN, fractions of whole numbers and texts are refused by name."""

from __future__ import annotations

import math
from numbers import Integral, Real
from typing import Any

from blender_core.errors import ConfigurationError

__all__ = ["check_number", "in_words"]


def check_number(
    name: str,
    value: Any,
    *,
    least: float | None = None,
    above: float | None = None,
    most: float | None = None,
    below: float | None = None,
    whole: bool = False,
    finite: bool = True,
    none: str = "",
) -> None:
    """Refuse a setting that is not the number it must be.

    Args:
        name: Name of the setting.
        value: What the user gave.
        least: Smallest value.
        above: The value must be above this.
        most: Largest value.
        below: The value must be below this.
        whole: Whether it must be a whole number.
        finite: Whether infinity is refused.
        none: What ``None`` means; empty if it is not allowed.

    Raises:
        ConfigurationError: It is another kind of value, NaN, or outside the bounds.

    Examples:
        >>> check_number("timeout", 2.5, above=0, none="no limit")
        >>> check_number("retries", 1.5, least=0, whole=True)
        Traceback (most recent call last):
        ...
        blender_core.errors.ConfigurationError: retries is 1.5; it must be a whole number of at least 0
    """
    if value is None and none:
        return
    number = not isinstance(value, bool) and isinstance(value, Integral if whole else Real)
    fits = number and not math.isnan(value) and (math.isfinite(value) or not finite)
    if not (
        fits
        and (least is None or value >= least)
        and (above is None or value > above)
        and (most is None or value <= most)
        and (below is None or value < below)
    ):
        wanted = _wanted(least, above, most, below, whole, none)
        raise ConfigurationError(f"{name} is {in_words(value)}; it must be {wanted}")


def in_words(value: Any) -> str:
    """Show a wrong value of a setting; a longer text may be a key in the wrong place, so it is not quoted.

    Args:
        value: What the user gave.

    Returns:
        The value as Python writes it, or the length of a text.

    Examples:
        >>> in_words("20"), in_words("sk-0123456789abcdef")
        ("'20'", 'a text of 19 characters')
    """
    return f"a text of {len(value)} characters" if isinstance(value, str) and len(value) > 12 else repr(value)


def _wanted(
    least: float | None, above: float | None, most: float | None, below: float | None, whole: bool, none: str
) -> str:
    bounds = (("of at least", least), ("above", above), ("of at most", most), ("below", below))
    said = " and ".join(f"{words} {bound:g}" for words, bound in bounds if bound is not None)
    return " ".join(filter(None, ("a whole number" if whole else "a number", said))) + (
        f", or None for {none}" * bool(none)
    )
