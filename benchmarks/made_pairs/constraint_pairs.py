r"""Pairs that the project makes itself, by rule: one of two answers keeps to what the prompt says about its form.

    python benchmarks/made_pairs/constraint_pairs.py --data DIR --out DIR/made/constraints.jsonl.gz

A prompt of the sources that weights which ship may be trained on gets one more sentence ("Answer with the letter
only.", "Answer in one sentence.", "Explain in detail.", "Do not use a list."), and answers to it are cut or chosen so
that some keep to it and others do not. Often the shorter answer is the better one here, and only the prompt says so.
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from made_pairs import SOURCES

from blender_core.text.final_answer import final_answer
from blender_lab.data.preferences import PreferenceRecord, read_records, split_development
from blender_lab.ranker.targets import model_strengths

CHOICE, NUMBER = "train/mmlu_pro.jsonl.gz", "train/zeroeval.jsonl.gz"
CHOICES, NUMBERS = 500, 400  # records made of each
LONGEST_PROMPT = 1500  # characters
HELD_OUT, SEED = 0.08, 0  # as in the recipes: what they hold out is not made into pairs

LETTER_ONLY = ("Answer with the letter only.", "Give only the letter of the right option.", "Letter only, please.")
NUMBER_ONLY = ("Answer with the number only.", "Give only the final number.", "Just the number, no explanation.")
ONE_SENTENCE = ("Answer in one sentence.", "Reply with a single sentence.", "Keep it to one short sentence.")
BRIEFLY = ("Answer briefly.", "Keep the answer as short as you can.", "Be brief.")
IN_DETAIL = ("Explain in detail.", "Give a thorough answer.", "Write at length and give reasons.")
AS_LIST = ("Answer as a list.", "Give the answer as a numbered list or as bullet points.")
NO_LIST = ("Do not use a list.", "Write plain paragraphs, no bullet points.")

Pair = tuple[int, int, float]
Row = tuple[str, list[str], list[Pair]]

_SENTENCE = re.compile(r"(?<=[.!?])\s+")
_ITEM = re.compile(r"^\s*(?:[-*•]|\d+[.)])\s+\S", re.MULTILINE)
_OPENING = re.compile(
    r"^(?:sure|certainly|of course|here|absolutely|great|hello|hi|i'm|i am|as an|sorry)\b", re.IGNORECASE
)
_WORD = re.compile(r"[A-Za-z]{6,12}")


def first_sentence(text: str) -> str | None:
    """A first sentence that answers, or ``None`` where the text begins otherwise."""
    line = text.strip().split("\n", 1)[0]
    sentence = _SENTENCE.split(line, maxsplit=1)[0].strip()
    fits = 6 <= len(sentence.split()) <= 35 and sentence.endswith((".", "!"))
    return sentence if fits and not _OPENING.match(sentence) else None


def bare_answer(record: PreferenceRecord, lines: Sequence[str], rng: random.Random, choice: bool) -> Row | None:
    """The bare answer, right and wrong, beside worked ones: the letter of a choice, or a number."""
    if record.scores is None:
        return None
    right = [i for i, score in enumerate(record.scores) if score == 1.0 and final_answer(record.candidates[i])]
    wrong = [i for i, score in enumerate(record.scores) if score == 0.0 and final_answer(record.candidates[i])]
    if not right or not wrong:
        return None
    one, other = rng.choice(right), rng.choice(wrong)
    good, bad = final_answer(record.candidates[one]) or "", final_answer(record.candidates[other]) or ""
    known = re.compile(r"[a-j]" if choice else r"-?[\d./]+")
    if good == bad or not known.fullmatch(good) or not known.fullmatch(bad):
        return None
    if choice:
        form = rng.choice(("{}", "({})", "{}."))
        good, bad = form.format(good.upper()), form.format(bad.upper())
    prompt = record.prompt.replace('Think step by step and end with "The answer is (X)".', "").strip()
    texts = [good, bad, record.candidates[one], record.candidates[other]]
    pairs = [(0, 1, 0.9), (0, 2, 0.9), (0, 3, 0.97), (2, 3, 0.85)]
    return f"{prompt}\n\n{rng.choice(lines)}", texts, pairs


def length(record: PreferenceRecord, lines: Sequence[str], rng: random.Random, strong: int, weak: int) -> Row | None:
    """The first sentence of a strong and of a weak answer, beside the whole answers."""
    one, other = first_sentence(record.candidates[strong]), first_sentence(record.candidates[weak])
    whole, other_whole = record.candidates[strong], record.candidates[weak]
    if one is None or len(whole.split()) < 2 * len(one.split()):
        return None
    texts, pairs = [one, whole], [(0, 1, 0.92)]
    if other is not None and len(other_whole.split()) >= 2 * len(other.split()):
        texts += [other, other_whole]
        pairs += [(0, 2, 0.75), (0, 3, 0.94), (2, 3, 0.85)]
    if lines is IN_DETAIL:
        pairs = [(j, i, p) if (i, j) in ((0, 1), (2, 3)) else (i, j, p) for i, j, p in pairs if (i, j) != (0, 3)]
    return f"{record.prompt}\n\n{rng.choice(lines)}", texts, pairs


def listed(record: PreferenceRecord, lines: Sequence[str], rng: random.Random) -> Row | None:
    """Answers that are lists, and answers that are none."""
    texts = [text for text in record.candidates if text.strip()]
    lists = [text for text in texts if len(_ITEM.findall(text)) >= 3]
    plain = [text for text in texts if not _ITEM.search(text) and len(text.split()) > 20]
    if not lists or not plain:
        return None
    lists, plain = rng.sample(lists, min(2, len(lists))), rng.sample(plain, min(2, len(plain)))
    kept, broken = (lists, plain) if lines is AS_LIST else (plain, lists)
    pairs = [(i, len(kept) + j, 0.88) for i in range(len(kept)) for j in range(len(broken))]
    return f"{record.prompt}\n\n{rng.choice(lines)}", kept + broken, pairs


def mentioned(record: PreferenceRecord, rng: random.Random, wanted: bool) -> Row | None:
    """Answers with and without a certain word."""
    texts = [text for text in record.candidates if text.strip()]
    words = [set(map(str.lower, _WORD.findall(text))) for text in texts]
    counts = Counter(word for found in words for word in found)
    prompt_words = set(map(str.lower, _WORD.findall(record.prompt)))
    usable = sorted(word for word, n in counts.items() if 2 <= n <= len(texts) - 2 and word not in prompt_words)
    if not usable:
        return None
    word = rng.choice(usable)
    inside = rng.sample([t for t, found in zip(texts, words, strict=True) if word in found], 2)
    outside = rng.sample([t for t, found in zip(texts, words, strict=True) if word not in found], 2)
    kept, broken = (inside, outside) if wanted else (outside, inside)
    line = f'Use the word "{word}" in your answer.' if wanted else f'Do not use the word "{word}".'
    return f"{record.prompt}\n\n{line}", kept + broken, [(i, 2 + j, 0.85) for i in range(2) for j in range(2)]


def training(records: Sequence[PreferenceRecord]) -> list[PreferenceRecord]:
    return [record for record in split_development(records, HELD_OUT, SEED)[0] if len(record.prompt) <= LONGEST_PROMPT]


def open_rows(data: Path, rng: random.Random) -> Iterator[tuple[str, Row]]:
    """All rules on every open-ended prompt, where they can be used."""
    for file, source in SOURCES:
        records = list(read_records(data / file, sources=[source]))
        strengths = model_strengths(records) if source == "just_eval_weak" else {}
        for record in training(records):
            values = record.scores or [strengths.get(model, 0.0) for model in record.models]
            ranked = sorted(range(len(values)), key=values.__getitem__)
            strong, weak = rng.choice(ranked[-3:]), rng.choice(ranked[:3])
            rows = (
                length(record, ONE_SENTENCE, rng, strong, weak),
                length(record, BRIEFLY, rng, strong, weak),
                length(record, IN_DETAIL, rng, strong, weak),
                listed(record, AS_LIST, rng),
                listed(record, NO_LIST, rng),
                mentioned(record, rng, wanted=True),
                mentioned(record, rng, wanted=False),
            )
            for number, row in enumerate(rows):
                if row is not None:
                    yield f"{record.source}/{record.id}/{number}", row


def closed_rows(data: Path, rng: random.Random) -> Iterator[tuple[str, Row]]:
    """Bare answers to choices and sums."""
    for file, lines, count, choice in ((CHOICE, LETTER_ONLY, CHOICES, True), (NUMBER, NUMBER_ONLY, NUMBERS, False)):
        records = training(list(read_records(data / file)))
        rng.shuffle(records)
        made = 0
        for record in records:
            row = bare_answer(record, lines, rng, choice) if made < count else None
            if row is not None:
                made += 1
                yield f"{record.source}/{record.id}", row


def shuffled(name: str, row: Row, rng: random.Random) -> dict[str, Any]:
    """The record, its candidates in random order."""
    prompt, texts, pairs = row
    order = rng.sample(range(len(texts)), len(texts))
    place = {old: new for new, old in enumerate(order)}
    comparisons = [(place[i], place[j], p) for i, j, p in pairs]
    candidates = [{"model": "", "text": texts[old]} for old in order]
    return {
        "id": name,
        "source": "constraints",
        "instruction": prompt,
        "candidates": candidates,
        "comparisons": comparisons,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    rng, kinds, pairs = random.Random(0), Counter[str](), 0
    options.out.parent.mkdir(parents=True, exist_ok=True)
    with gzip.open(options.out, "wt", encoding="utf-8") as file:
        for name, row in (*open_rows(options.data, rng), *closed_rows(options.data, rng)):
            kinds[name.rsplit("/", 1)[1] if name.count("/") == 2 else name.split("/")[0]] += 1
            pairs += len(row[2])
            file.write(json.dumps(shuffled(name, row, rng), ensure_ascii=False) + "\n")
    print(sum(kinds.values()), "records,", pairs, "pairs in", options.out, dict(kinds))


if __name__ == "__main__":
    main()
