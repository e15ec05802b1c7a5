"""Checkpoints from huggingface_hub's cache, without the network."""

from __future__ import annotations

import shutil

import pytest

pytest.importorskip("torch")

from blender_core import PairRanker
from blender_core.errors import CheckpointError, DownloadError
from blender_core.models.hub import checkpoint_folder

REVISION = "5b880cc73776ac75a835b3e0bf5169bec4ecbbb4"


@pytest.fixture
def cache(pairrm_folder, tmp_path):
    """A cache as huggingface_hub lays it out after a download."""
    repository = tmp_path / "models--llm-blender--PairRM"
    shutil.copytree(pairrm_folder, repository / "snapshots" / REVISION)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(REVISION)
    return tmp_path


def test_a_cached_repository_loads_offline(cache, pairrm_folder):
    cached = PairRanker.from_pretrained("llm-blender/PairRM", cache_dir=cache, local_files_only=True, device="cpu")
    local = PairRanker.from_pretrained(pairrm_folder, device="cpu")
    assert cached.name == "PairRM"
    assert cached.compare("a", "the work", "any") == local.compare("a", "the work", "any")


def test_the_offline_variable_is_respected(cache, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert checkpoint_folder("llm-blender/PairRM", cache_dir=cache).name == REVISION


def test_a_revision_is_looked_up(cache):
    folder = checkpoint_folder("llm-blender/PairRM", cache_dir=cache, revision=REVISION, local_files_only=True)
    assert folder.name == REVISION
    with pytest.raises(DownloadError, match="revision v2"):
        checkpoint_folder("llm-blender/PairRM", cache_dir=cache, revision="v2", local_files_only=True)


def test_a_repository_that_is_not_there(tmp_path):
    with pytest.raises(DownloadError, match="llm-blender/nothing"):
        checkpoint_folder("llm-blender/nothing", cache_dir=tmp_path, local_files_only=True)


@pytest.mark.parametrize("name", ["./no/such/folder", "one-word", "a/b/c"])
def test_neither_folder_nor_repository(name):
    with pytest.raises(CheckpointError, match="neither a folder nor a hub repository"):
        checkpoint_folder(name)
