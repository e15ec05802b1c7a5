"""Check numbers that a caller gave."""

from __future__ import annotations

from numbers import Real

from blender_core.errors import ConfigurationError

__all__ = ["check_number"]


def check_number(name: str, value: object, *, above: float | None = None, least: float | None = None) -> None:
    """Refuse what is no number, or too small a one.

    Args:
        name: Name of the argument, for the message.
        value: Its value.
        above: It must be above this.
        least: It must be this or more.

    Raises:
        ConfigurationError: It is not.

    Examples:
        >>> check_number("concurrency", 0, least=1)
        Traceback (most recent call last):
        ...
        blender_core.errors.ConfigurationError: concurrency is 0; give a number of at least 1
    """
    fits = isinstance(value, Real) and not isinstance(value, bool)
    if fits and (above is None or float(value) > above) and (least is None or float(value) >= least):  # type: ignore[arg-type]
        return
    bound = "" if above is None and least is None else f" above {above}" if least is None else f" of at least {least}"
    raise ConfigurationError(f"{name} is {value!r}; give a number{bound}")
