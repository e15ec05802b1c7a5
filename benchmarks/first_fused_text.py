"""How soon the first fused text comes, and which texts are held back longer.

    python benchmarks/first_fused_text.py [--answers FILE.jsonl[.gz] ...] [--words 60] [--between 0.02]

The first part streams a fused text word by word: the time to its first piece, as a share of the time to its last, next
to the same model alone. The second part reads answers of models, and tells how many of those that refuse are known by
their first characters, and how many of the others are held back because they begin alike. The files have rows with
`candidates`, each with a `text`; the default is this repository's `live_ensemble/answers.jsonl.gz`.
"""

from __future__ import annotations

import argparse
import gzip
import json
import time
from collections.abc import Iterator
from pathlib import Path

from blender_core import Answer, Blender, LLMFuser
from blender_core.events import Token
from blender_core.fuse.guard import FusionGuard
from blender_core.members.member import Member
from blender_core.text.refusal import is_refusal

OPENINGS = (8, 12, 16, 24, 40, 80, 120)
ANSWERS = Path(__file__).parent / "live_ensemble" / "answers.jsonl.gz"


class Writer(Member):
    """Writes one text word by word."""

    def __init__(self, words: int, between_s: float) -> None:
        super().__init__("writer")
        self._pieces = [f"word{number} " for number in range(words)]
        self._between_s = between_s

    def generate(self, _prompt: object) -> Answer:
        """Write the text."""
        return Answer("".join(self._pieces))

    def stream(self, prompt: object) -> Iterator[str | Answer]:
        """Write the text word by word."""
        for piece in self._pieces:
            time.sleep(self._between_s)
            yield piece
        yield self.generate(prompt)


def first_text(words: int, between_s: float) -> None:
    writer = Writer(words, between_s)
    began, times = time.perf_counter(), []
    for piece in writer.stream(None):
        if isinstance(piece, str):
            times.append(time.perf_counter() - began)
    print(f"the model alone: first text after {times[0] / times[-1]:.1%} of its time")
    answers = ["word0 word1 word2 word3", "word4 word5 word6 word7"]
    members = [lambda _question, text=text: text for text in answers]
    blender = Blender(members, ranker="longest", fuser=LLMFuser(writer), fuse_when="always")
    times, fusing = [], None
    for event in blender.stream("Which words are there?"):
        if type(event).__name__ == "FusionStarted":
            fusing = time.perf_counter()
        if isinstance(event, Token) and fusing is not None:
            times.append(time.perf_counter() - fusing)
    print(f"fused by it:     first text after {times[0] / times[-1]:.1%} of its time")


def openings(files: list[Path]) -> None:
    guard = FusionGuard()
    texts = [text for file in files for text in _texts(file)]
    refusals = [text for text in texts if is_refusal(text)]
    others = [text for text in texts if not is_refusal(text)]
    print(f"{len(refusals)} refusals, {len(others)} other answers")
    print("characters  refusals known by them  others held back")
    for size in OPENINGS:
        known = sum(guard.suspects(text[:size]) for text in refusals) / max(1, len(refusals))
        held = sum(guard.suspects(text[:size]) for text in others) / max(1, len(others))
        print(f"{size:10d}  {known:22.1%}  {held:16.1%}")


def _texts(file: Path) -> Iterator[str]:
    with (gzip.open if file.suffix == ".gz" else open)(file, "rt", encoding="utf-8") as lines:
        for line in lines:
            for candidate in json.loads(line)["candidates"]:
                if text := candidate["text"].strip():
                    yield text


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--answers", type=Path, nargs="*", default=[ANSWERS])
    parser.add_argument("--words", type=int, default=60)
    parser.add_argument("--between", type=float, default=0.02)
    given = parser.parse_args()
    first_text(given.words, given.between)
    openings(given.answers)
