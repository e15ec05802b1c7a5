"""Fixtures that several packages' tests share."""

from __future__ import annotations

import os
from collections.abc import Iterator

# tests compare logits bit by bit; without this, MKL's last bits depend on where a tensor lies in memory (seen on AMD)
os.environ.setdefault("MKL_CBWR", "AVX2,STRICT")

import pytest

from blender_core.local import LocalEnsemble, local_ensemble

# these run in an environment of their own, with the old package
collect_ignore_glob = ["goldens/make_*.py"]


@pytest.fixture(scope="session")
def local_servers() -> Iterator[LocalEnsemble]:
    """The default local models, served once for the whole run; tests that use it are marked local_models."""
    pytest.importorskip("xllamacpp", reason="the demo extra is not installed")
    with local_ensemble() as servers:
        yield servers
