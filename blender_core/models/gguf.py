"""Find the GGUF file of a model whose weights torch reads."""

from __future__ import annotations

from pathlib import Path

from blender_core.errors import CheckpointError
from blender_core.runtime.extras import require

__all__ = ["gguf_file"]


def gguf_file(name: str, *, feature: str) -> Path | None:
    """Find the GGUF file that a name refers to.

    Args:
        name: A name in the catalogue of local models, a path that ends in ``.gguf``, or anything else.
        feature: Name of the caller, for the message if a package is missing.

    Returns:
        The file, downloaded if it is missing; ``None`` for a folder or a hub name.

    Raises:
        CheckpointError: There is no such file.
        DownloadError: A model of the catalogue cannot be downloaded.
        MissingExtraError: ``gguf`` is not installed; install ``blended-llm[train]``.

    Examples:
        >>> gguf_file("sentence-transformers/all-MiniLM-L6-v2", feature="this example") is None
        True
    """
    from blender_core.local.catalog import MODELS

    if name in MODELS:
        from blender_core.local.download import fetch

        found = fetch(MODELS[name])
    elif name.endswith(".gguf"):
        found = Path(name).expanduser()
        if not found.is_file():
            raise CheckpointError(f"there is no file {found}; give a GGUF file, a folder or a hub name")
    else:
        return None
    require("gguf", feature=feature, extra="train")
    return found
