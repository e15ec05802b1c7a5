"""Vectors on the disk: read once, never taken for those of another model or text."""

from __future__ import annotations

import numpy as np
import pytest

from blender_core.errors import CheckpointError
from blender_core.rank.reward_head import ReaderSettings, VectorCache


class Counting:
    """Reads lengths, and counts how often."""

    settings = ReaderSettings("example")

    def __init__(self):
        self.calls = []

    def vectors(self, prompt, answers):
        self.calls.append((prompt, tuple(answers)))
        return np.array([[len(prompt) + 0.1, len(answer)] for answer in answers], np.float32)


def test_the_second_reading_comes_from_the_disk_and_is_the_same(tmp_path):
    reader = Counting()
    first = VectorCache(reader.settings, tmp_path, lambda: reader).vectors("prompt", ["a", "bb"])

    def never():
        raise AssertionError("the reader was loaded")

    again = VectorCache(reader.settings, tmp_path, never).vectors("prompt", ["a", "bb"])
    assert first.dtype == again.dtype == np.float32
    assert np.array_equal(first, again)
    assert len(reader.calls) == 1


def test_the_reader_is_made_once(tmp_path):
    made = []
    kept = VectorCache(Counting.settings, tmp_path, lambda: made.append(1) or Counting())
    for text in ("a", "b", "c"):
        kept.vectors("prompt", [text])
    assert made == [1]


@pytest.mark.parametrize(
    ("prompt", "answers", "settings"),
    [
        ("another", ["a", "bb"], Counting.settings),
        ("prompt", ["bb", "a"], Counting.settings),
        ("prompt", ["ab", "b"], Counting.settings),
        ("prompt", ["a", "bb"], ReaderSettings("example", layers=3)),
        ("prompt", ["a", "bb"], ReaderSettings("example", precision="float32")),
    ],
)
def test_another_text_or_reader_is_read_anew(tmp_path, prompt, answers, settings):
    reader = Counting()
    VectorCache(reader.settings, tmp_path, lambda: reader).vectors("prompt", ["a", "bb"])
    VectorCache(settings, tmp_path, lambda: reader).vectors(prompt, answers)
    assert len(reader.calls) == 2


def test_without_writing_nothing_is_kept(tmp_path):
    reader = Counting()
    kept = VectorCache(reader.settings, tmp_path / "folder", lambda: reader, write=False)
    kept.vectors("prompt", ["a"])
    kept.vectors("prompt", ["a"])
    assert len(reader.calls) == 2
    assert not (tmp_path / "folder").exists()


def test_a_damaged_file_is_named(tmp_path):
    reader = Counting()
    kept = VectorCache(reader.settings, tmp_path, lambda: reader)
    kept.vectors("prompt", ["a"])
    (file,) = tmp_path.iterdir()
    file.write_bytes(b"half")
    with pytest.raises(CheckpointError, match=file.name):
        kept.vectors("prompt", ["a"])
