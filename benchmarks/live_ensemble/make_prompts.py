"""Write the prompts of the live ensemble: short questions with an answer that a rule can check.

    python benchmarks/live_ensemble/make_prompts.py

The same seed writes the same file. Each prompt belongs to the development or the test half by the hash of its id;
weights are fitted on the development half only.
"""

from __future__ import annotations

import hashlib
import json
import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import facts

from blender_lab.data.mixinstruct import MixRecord, write_mix
from blender_lab.mix.scoring import passes, validate_check

SEED = 20261123
OUT = Path(__file__).with_name("prompts.jsonl")
WORDS, NAMES, PLACES, JOBS = (group.split() for group in (facts.WORDS, facts.NAMES, facts.PLACES, facts.JOBS))
TOPICS = facts.TOPICS.split(";")
Item = tuple[str, str, dict[str, Any]]  # instruction, reference, check


def number(value: float) -> dict[str, Any]:
    return {"kind": "number", "value": value}


def contains(*words: str) -> dict[str, Any]:
    return {"kind": "contains", "any": list(words)}


def lines(text: str) -> list[tuple[str, list[str]]]:
    """``question=answer|answer`` lines."""
    split = (line.rsplit("=", 1) for line in text.splitlines())
    return [(question, answers.split("|")) for question, answers in split]


def entries(text: str) -> list[list[str]]:
    """``a:b:c`` words."""
    return [[part.replace("_", " ") for part in entry.split(":")] for entry in text.split()]


def arithmetic(rng: random.Random) -> Iterator[Item]:
    for _ in range(10):
        a, b = rng.randint(12, 99), rng.randint(12, 99)
        yield f"What is {a} + {b}? Answer with the number only.", str(a + b), number(a + b)
    for _ in range(8):
        a, b = rng.randint(110, 900), rng.randint(11, 99)
        yield f"What is {a} minus {b}? Answer with the number only.", str(a - b), number(a - b)
    for _ in range(10):
        a, b = rng.randint(3, 12), rng.randint(6, 25)
        yield f"Calculate {a} x {b}. Answer with the number only.", str(a * b), number(a * b)
    for _ in range(7):
        b, c = rng.randint(3, 12), rng.randint(4, 15)
        yield f"What is {b * c} divided by {b}? Answer with the number only.", str(c), number(c)
    for _ in range(7):
        a, b, c = rng.randint(2, 20), rng.randint(2, 9), rng.randint(2, 9)
        yield f"What is {a} + {b} * {c}? Answer with the number only.", str(a + b * c), number(a + b * c)
    for _ in range(6):
        share, whole = rng.choice((5, 10, 20, 25, 50)), rng.choice((40, 60, 80, 120, 200))
        yield (
            f"What is {share}% of {whole}? Answer with the number only.",
            f"{share * whole // 100}",
            number(share * whole // 100),
        )


def word_problems(rng: random.Random) -> Iterator[Item]:
    for shape in range(8):
        for _ in range(5):
            name, a, b, c = rng.choice(NAMES), rng.randint(3, 12), rng.randint(2, 9), rng.randint(2, 6)
            text, value = [
                (f"{name} has {a + b} apples and gives {b} to a friend. How many apples are left?", a),
                (f"A box holds {a} pencils. How many pencils are in {c} boxes?", a * c),
                (f"{name} buys {c} books at {a} dollars each and pays with 100 dollars. How much change is due, in "
                 "dollars?", 100 - a * c),
                (f"A train travels {a * 10} km in one hour. How many km does it travel in {c} hours?", a * 10 * c),
                (f"{name} is {a + b} years old. How old was {name} {b} years ago?", a),
                (f"{a * c} sweets are shared equally among {c} children. How many does each child get?", a),
                (f"{name} reads {a} pages on Monday, {b} on Tuesday and {c} on Wednesday. How many pages in all?",
                 a + b + c),
                (f"There were {a} birds on a wire. {b} more came, then {c} flew away. How many are there now?",
                 a + b - c),
            ][shape]  # fmt: skip
            check = number(value)
            # a sentence repeats the hours or the years after the answer, so that its last number is another
            if shape == 3:
                check = {"kind": "regex", "pattern": rf"(?<![\d.]){value}(?:\.0+)?(?![\d.])(?:\s*(?:km|kilomet)|\W*$)"}
            elif shape == 4:
                check = {
                    "kind": "regex",
                    "pattern": rf"(?<![\d.]){value}(?![\d])(?!\s+years?\s+(?:ago|before|earlier))",
                }
            yield f"{text} Give the answer in one short sentence.", str(value), check


def knowledge(rng: random.Random) -> Iterator[Item]:
    for country, capital in entries(facts.CAPITALS):
        names = capital.split("|")
        yield f"What is the capital of {country}?", names[0], contains(*names)
    for element, symbol in entries(facts.ELEMENTS):
        # one letter also stands in words
        yield (
            f"What is the chemical symbol of {element}? Answer with the symbol only.",
            symbol,
            {"kind": "regex", "pattern": rf"(?<![A-Za-z]){symbol}(?![A-Za-z])", "match_case": True},
        )
    for group in (facts.SCIENCE, facts.DATES, facts.PEOPLE):
        for question, answers in lines(group):
            exact = [answer for answer in answers if answer not in ("D",)]
            yield f"{question} Answer briefly.", answers[0], contains(*exact)
    for source, target, factor in entries(facts.UNITS):
        count = rng.randint(2, 9)
        value = count * int(factor)
        yield f"How many {target} are {count} {source}? Answer with the number only.", str(value), number(value)


def formats(rng: random.Random) -> Iterator[Item]:
    for _ in range(10):
        name, place, job, age = (
            rng.choice(NAMES), rng.choice(PLACES), rng.choice(JOBS), rng.randint(20, 70)
        )  # fmt: skip
        values: dict[str, Any] = {"name": name, "city": place, "job": job, "age": age}
        keys = ["name", *rng.sample(["city", "job", "age"], 2)]
        yield (
            f"{name} is a {job} from {place} and is {age} years old. Write this as a JSON object with exactly the keys "
            f"{', '.join(json.dumps(key) for key in keys)}. Output only the JSON.",
            json.dumps({key: values[key] for key in keys}),
            {"kind": "json", "keys": keys, "values": {key: values[key] for key in keys}},
        )
    for topic in TOPICS[:6]:
        yield f"Describe {topic} in exactly three words.", "", {"kind": "words", "count": 3}
    for topic in TOPICS[6:]:
        yield (
            f"Write exactly one sentence of at most ten words about {topic}.",
            "",
            {
                "kind": "all",
                "of": [
                    {"kind": "words", "least": 3, "most": 10},
                    {"kind": "lines", "count": 1, "pattern": r"^[^.!?]+[.!?]?$", "alone": True},
                ],
            },
        )
    for topic in TOPICS[:6]:
        yield (
            f"Write one short sentence about {topic} in capital letters only.",
            "",
            {
                "kind": "all",
                "of": [{"kind": "case", "case": "upper"}, {"kind": "words", "least": 3}],
            },
        )
    for count, topic in zip((2, 3, 3, 4, 4, 5), TOPICS[3:], strict=False):
        yield (
            f"List {count} things that have to do with {topic}. Write a bullet list of exactly {count} lines, each "
            'starting with "- ", and nothing else.',
            "",
            {"kind": "lines", "count": count, "pattern": "^- ", "alone": True},
        )
    for topic in TOPICS[6:12]:
        word = topic.split()[-1]
        yield (
            f"Write one sentence that begins with the word Yesterday and contains the word {word}.",
            "",
            {
                "kind": "all",
                "of": [{"kind": "regex", "pattern": r"\AYesterday\b"}, contains(word)],
            },
        )
    for name in rng.sample(NAMES, 5):
        yield (
            f"Repeat this name three times, separated by commas, and write nothing else: {name}",
            (f"{name}, {name}, {name}"),
            {"kind": "list", "items": [name] * 3},
        )
    for question, answer in (
        ("Is a whale a fish?", "no"), ("Is the Earth round?", "yes"), ("Is 9 an even number?", "no"),
        ("Is Paris in Germany?", "no"), ("Is ice frozen water?", "yes"), ("Is 17 a prime number?", "yes"),
    ):  # fmt: skip
        yield f"{question} Answer with yes or no only.", answer, {"kind": "equals", "any": [answer]}


def text_tasks(rng: random.Random) -> Iterator[Item]:
    for label, group in (("positive", facts.POSITIVE), ("negative", facts.NEGATIVE)):
        other = "negative" if label == "positive" else "positive"
        for review in group.splitlines():
            yield (
                f"Is the sentiment of this review positive or negative? Answer with one word.\nReview: {review}",
                label,
                {"kind": "contains", "all": [label], "none": [other]},
            )
    for what, group in (("e-mail address", facts.EMAILS), ("city", facts.CITIES), ("year", facts.YEARS)):
        for sentence, answers in lines(group):
            yield (
                f"Which {what} is named in this text? Answer with the {what} only.\nText: {sentence}",
                answers[0],
                {"kind": "equals", "any": answers},
            )
    for _ in range(8):
        words = rng.sample(WORDS, rng.randint(3, 4))
        yield (
            f"Sort these words alphabetically and write them separated by commas: {', '.join(words)}",
            ", ".join(sorted(words)),
            {"kind": "list", "items": sorted(words)},
        )
    for _ in range(7):
        numbers = rng.sample(range(2, 99), 4)
        yield (
            "Sort these numbers from smallest to largest and write them separated by commas: "
            f"{', '.join(map(str, numbers))}",
            ", ".join(map(str, sorted(numbers))),
            {"kind": "list", "items": sorted(numbers)},
        )
    for _ in range(6):
        words = rng.sample(WORDS, 3)
        yield (
            f"Write this list in reverse order, separated by commas: {', '.join(words)}",
            ", ".join(reversed(words)),
            {"kind": "list", "items": words[::-1]},
        )
    for _ in range(6):
        numbers = rng.sample(range(10, 999), 4)
        yield (
            f"Which is the largest of these numbers: {', '.join(map(str, numbers))}? Answer with the number only.",
            str(max(numbers)),
            number(max(numbers)),
        )


def language(rng: random.Random) -> Iterator[Item]:
    for place, entry in enumerate(entries(facts.TRANSLATIONS)):
        for tongue, answers in list(zip(("French", "German", "Spanish"), entry[1:], strict=True))[place % 2 :: 2]:
            names = answers.split("|")
            yield (
                f'Translate the English word "{entry[0]}" into {tongue}. Answer with one word.',
                names[0],
                contains(*names),
            )
    for word, opposite in entries(facts.OPPOSITES):
        names = opposite.split("|")
        yield f'What is the opposite of "{word}"? Answer with one word.', names[0], contains(*names)
    for words, odd in lines(facts.ODD):
        others = [word for word in words.split(", ") if word != odd[0]]
        yield (
            f"Which word does not belong with the others: {words}? Answer with that word only.",
            odd[0],
            {"kind": "contains", "all": odd, "none": others},
        )


def code(rng: random.Random) -> Iterator[Item]:
    for shape in range(9):
        for _ in range(4):
            word = rng.choice(WORDS)
            a, b = rng.randint(2, 9), rng.randint(3, 20)
            items = rng.sample(range(1, 20), 4)
            source = [
                f"print(len({word!r}))",
                f"print({b} % {a})",
                f"print({b} // {a})",
                f"print({word!r}[0])",
                f"print({word!r}.upper())",
                f"print(sum({items}))",
                f"print({items}[-1])",
                f"x = {a}\nfor i in range(3):\n    x = x + {b}\nprint(x)",
                f"print({a} > {b} or {a} == {a})" if rng.random() < 0.5 else f"print({a} > {b} and {a} == {a})",
            ][shape]
            written: list[str] = []
            exec(source, {"print": lambda value, out=written: out.append(str(value))})
            shown = written[0]
            numeric = re.fullmatch(r"-?\d+", shown)
            check = number(int(shown)) if numeric else {
                "kind": "any",
                "of": [
                    {"kind": "regex", "pattern": rf"\A['\"`*]*{re.escape(shown)}['\"`*.]*\Z", "match_case": True},
                    {"kind": "regex", "pattern": rf"\boutputs?\b.*['\"`*\s]{re.escape(shown)}['\"`*.]*$",
                     "match_case": True},
                    {"kind": "regex", "pattern": rf"```\w*\n{re.escape(shown)}\n```", "match_case": True},
                ],
            }  # fmt: skip
            yield (
                f"What does this Python program print? Answer with the output only.\n{source}",
                shown,
                check,
            )


TASKS = (arithmetic, word_problems, knowledge, formats, text_tasks, language, code)


def records() -> Iterator[MixRecord]:
    """The prompts, without two that ask the same."""
    seen = set()
    for make in TASKS:
        rng = random.Random(f"{SEED}/{make.__name__}")
        count = 0
        for instruction, reference, check in make(rng):
            if instruction in seen:
                continue
            seen.add(instruction)
            count += 1
            validate_check(check)
            if reference and not passes(check, reference):
                raise ValueError(f"the reference {reference!r} does not pass {check} of {instruction!r}")
            id = f"{make.__name__}-{count:03d}"
            half = "development" if hashlib.sha256(id.encode()).digest()[0] % 2 else "test"
            yield MixRecord(
                id=id,
                instruction=instruction,
                output=reference,
                task=make.__name__.replace("_", " "),
                check=check,
                extra={"split": half},
            )


if __name__ == "__main__":
    print(f"{write_mix(OUT, records())} prompts in {OUT.name}")
