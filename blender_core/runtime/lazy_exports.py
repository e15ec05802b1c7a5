"""Import a package's names when they are first used, so that importing it stays cheap."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

__all__ = ["lazy_exports"]


def lazy_exports(
    package: str, homes: Mapping[str, str], public: Sequence[str]
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Make a package's ``__getattr__`` and ``__dir__`` (PEP 562).

    Args:
        package: The package's ``__name__``.
        homes: Public name -> the module that defines it.
        public: The package's ``__all__``.

    Returns:
        Both functions, to be bound to those names in the package.

    Examples:
        >>> find, listed = lazy_exports("blender_core", {"Blender": "blender_core.blender"}, ["Blender"])
        >>> find("Blender").__name__, listed()
        ('Blender', ['Blender'])
    """

    def find(name: str) -> Any:
        home = homes.get(name)
        if home is None:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(importlib.import_module(home), name)

    return find, lambda: list(public)
