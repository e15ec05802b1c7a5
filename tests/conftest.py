"""Fixtures that several packages' tests share."""

from __future__ import annotations

from collections.abc import Iterator

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
