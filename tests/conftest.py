"""Fixtures that several packages' tests share."""

from __future__ import annotations

import contextlib
import functools
import os
import socket
from collections.abc import Iterator

# tests compare logits bit by bit; without this, MKL's last bits depend on where a tensor lies in memory (seen on AMD)
os.environ.setdefault("MKL_CBWR", "AVX2,STRICT")

# no test but those marked hub needs the hub, and its retries take half a minute: HF_HUB_OFFLINE=0 pytest -m hub
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import hypothesis
import pytest
import tiny_models
from _pytest.doctest import DoctestModule
from remembering import remembering

from blender_core.local import LocalEnsemble, find_model, local_ensemble
from blender_core.members.endpoints import ENDPOINTS_VARIABLE
from blender_core.testing import ScriptedServer

# a busy machine is no failure
hypothesis.settings.register_profile("blender", deadline=None)
hypothesis.settings.load_profile("blender")

# a test must not wait for the large one
SMALL_MODELS = ("smollm2-135m", "qwen2.5-coder-0.5b", "gemma-3-270m")

# these run in an environment of their own, with the old package
collect_ignore_glob = ["goldens/make_*.py"]


@pytest.hookimpl(wrapper=True)
def pytest_collect_file():
    """Leave out examples in docstrings: their collector hides a test file whose imports fail."""
    return [collector for collector in (yield) if not isinstance(collector, DoctestModule)]


def pytest_collection_modifyitems(items):
    """Run the files with slow tests first, so that no worker is left with one of them at the end."""
    slow = {item.path for item in items if item.get_closest_marker("slow") or item.get_closest_marker("local_models")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Keep the tests of a file on one worker and in the order above; examples share nothing and go one by one."""
    if config.getvalue("dist") != "loadfile":
        return None
    from xdist.scheduler import LoadFileScheduling

    class SlowFilesFirst(LoadFileScheduling):
        def _split_scope(self, nodeid):
            return nodeid if nodeid.startswith("tests/examples/") else super()._split_scope(nodeid)

    config.option.loadscopereorder = False
    return SlowFilesFirst(config, log)


@pytest.fixture(scope="session")
def local_servers() -> Iterator[LocalEnsemble]:
    """The three smallest local models, served once for the whole run; tests that use it are marked local_models."""
    pytest.importorskip("xllamacpp", reason="the demo extra is not installed")
    with local_ensemble([find_model(name) for name in SMALL_MODELS]) as servers:
        yield servers


@pytest.fixture(scope="session")
def remembered_models(local_servers):
    """Endpoints of the small local models at which a request that was answered before costs nothing."""
    with remembering(local_servers) as endpoints:
        yield endpoints


@pytest.fixture(scope="session")
def served(local_servers):
    """Writes the environment in which another process asks models of `local_servers`; default the two smallest."""
    servers = {one.model: one for one in local_servers}

    def environment(*models):
        endpoints = [f"{servers[name].base_url}:{name}" for name in models or ("smollm2-135m", "gemma-3-270m")]
        # a proxy cannot reach this machine's loopback
        return {ENDPOINTS_VARIABLE: " ".join(endpoints), "OPENAI_API_KEY": local_servers[0].api_key, "NO_PROXY": "*"}

    return environment


@pytest.fixture
def looked_up(monkeypatch) -> list[str]:
    """The hosts whose addresses are asked for, in a process that believes itself online."""
    hosts: list[str] = []

    def refuse(host, *_, **__):
        hosts.append(str(host))
        raise socket.gaierror(socket.EAI_NONAME, "no network in this test")

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    return hosts


@pytest.fixture(scope="session")
def words():
    """What the tiny models can read."""
    return tiny_models.WORDS


@pytest.fixture(scope="session")
def word_tokenizer():
    """Writes a tokenizer of a dozen words into a folder, and returns it."""
    return tiny_models.save_word_tokenizer


@pytest.fixture(scope="session")
def save():
    """Writes a BERT or RoBERTa for that tokenizer into a folder, and returns it."""
    return tiny_models.save_bert


@pytest.fixture(scope="session")
def checkpoints():
    """The module that builds PairRanker checkpoints, the ones on which the goldens were made."""
    return pytest.importorskip("pairrm_checkpoint")


@pytest.fixture(scope="session")
def pairrm_folder(checkpoints, tmp_path_factory):
    """A tiny checkpoint in the layout of llm-blender/PairRM."""
    return checkpoints.write_checkpoint(tmp_path_factory.mktemp("pairrm") / "PairRM", checkpoints.ranker_config())


@pytest.fixture(scope="session")
def pairrm_hf_folder(checkpoints, tmp_path_factory):
    """The same weights in the layout of llm-blender/PairRM-hf."""
    folder = tmp_path_factory.mktemp("pairrm-hf") / "PairRM-hf"
    return checkpoints.write_checkpoint(folder, checkpoints.transformers_config(checkpoints.TINY))


@pytest.fixture(scope="session")
def frozen_folder(tmp_path_factory):
    """Folders of a random decoder and encoder, made once each."""
    pytest.importorskip("torch")
    pytest.importorskip("transformers")

    @functools.cache
    def make(kind):
        folder = tmp_path_factory.mktemp(kind)
        tiny_models.save_frozen(folder, kind)
        return folder

    return make


@pytest.fixture
def no_key(monkeypatch):
    """No key and no address of OpenAI in the environment."""
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)


@pytest.fixture
def serve():
    """Starts scripted servers, one script each, that end with the test."""
    with contextlib.ExitStack() as servers:
        yield lambda **script: servers.enter_context(ScriptedServer(script))
