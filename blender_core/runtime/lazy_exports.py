"""Import a package's names on first use, so that importing it stays cheap."""

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
        homes: Module -> the names that it defines, separated by spaces.
        public: The package's ``__all__``.

    Returns:
        Both functions, to be bound to those names in the package.

    Examples:
        >>> find, listed = lazy_exports("blender_core", {"blender_core.blender": "Blender"}, ["Blender"])
        >>> find("Blender").__name__, listed()
        ('Blender', ['Blender'])
    """
    home_of = {name: home for home, names in homes.items() for name in names.split()}

    def find(name: str) -> Any:
        if name not in home_of:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(importlib.import_module(home_of[name]), name)

    return find, lambda: list(public)
