"""Import optional dependencies on first use, and name the extra if one is missing."""

from __future__ import annotations

import importlib
import sys
from types import ModuleType

from blender_core.errors import MissingExtraError

__all__ = ["require", "require_installed"]


def require(module: str, *, feature: str, extra: str) -> ModuleType:
    """Import an optional dependency.

    Args:
        module: The module to import, for example ``"torch"``.
        feature: The feature that needs it; named in the message.
        extra: The extra of ``blended-llm`` that brings the module.

    Returns:
        The imported module.

    Raises:
        MissingExtraError: The module is not installed. The message holds the ``pip install`` line.

    Examples:
        >>> require("json", feature="reading", extra="torch").__name__
        'json'
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        missing = error.name or module
        if missing.split(".")[0] != module.split(".")[0]:
            raise
        raise MissingExtraError(feature, module, extra) from error


def require_installed(module: str, *, feature: str, extra: str) -> None:
    """Check that an optional dependency is installed, without importing it.

    Args:
        module: The module, for example ``"langchain_core"``.
        feature: The feature that needs it; named in the message.
        extra: The extra of ``blended-llm`` that brings the module.

    Raises:
        MissingExtraError: The module is not installed. The message holds the ``pip install`` line.

    Examples:
        >>> require_installed("json", feature="reading", extra="torch")
    """
    # None marks a module that must not be imported
    known = sys.modules[module] is not None if module in sys.modules else _can_be_found(module)
    if not known:
        raise MissingExtraError(feature, module, extra)


def _can_be_found(module: str) -> bool:
    """Check if a module can be imported, without importing its parent packages."""
    name, path = "", None
    for part in module.split("."):
        name = f"{name}.{part}" if name else part
        try:
            found = (finder.find_spec(name, path) for finder in sys.meta_path)
            spec = next((one for one in found if one is not None), None)
        except ModuleNotFoundError:
            return False
        if spec is None:
            return False
        path = spec.submodule_search_locations
    return True
