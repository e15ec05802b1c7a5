"""Run small language models on this machine, without account, key or service.

`fetch` downloads a model's file into the cache. `local_ensemble` serves models over the OpenAI API on loopback.
Importing this package loads neither llama.cpp nor a client library.
"""

from __future__ import annotations

from blender_core.local.catalog import DEFAULT_MODELS, MODELS, LocalModel, find_model
from blender_core.local.download import cache_directory, fetch
from blender_core.local.server import LocalEnsemble, LocalServer, local_ensemble

__all__ = [
    "DEFAULT_MODELS",
    "MODELS",
    "LocalEnsemble",
    "LocalModel",
    "LocalServer",
    "cache_directory",
    "fetch",
    "find_model",
    "local_ensemble",
]
