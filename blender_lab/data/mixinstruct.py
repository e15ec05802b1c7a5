"""MixInstruct's records: a prompt, all answers with scores, and an oracle's verdicts.

The schema is that of the data set of LLM-Blender (Jiang, Ren and Lin, ACL 2023): ``id``, ``instruction``, ``input``,
``output``, ``candidates`` with ``decoding_method``, ``model``, ``text`` and ``scores``, and ``cmp_results``, a JSON
text ``{"model_A,model_B": verdict}``. Three fields are added if they are known, which its readers skip: ``task`` and
``check`` of a prompt, and ``gathered`` of a candidate.
"""

from __future__ import annotations

import gzip
import io
import json
import math
import os
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import IO, Any

from blender_core.errors import ConfigurationError
from blender_core.runtime.outside import read_json
from blender_core.text.unicode import without_surrogates

__all__ = [
    "Gathered",
    "MixCandidate",
    "MixRecord",
    "Verdict",
    "joined_prompt",
    "prompt_text",
    "read_mix",
    "write_mix",
]


def prompt_text(data: Mapping[str, Any]) -> str:
    """The instruction of a decoded line that can be asked and written.

    Args:
        data: The line.

    Returns:
        The instruction.

    Raises:
        ConfigurationError: It is no text, or half a character stands anywhere outside of the candidates.
        KeyError: There is none.
    """
    instruction = data["instruction"]
    if not isinstance(instruction, str):
        raise ConfigurationError(f"the instruction is {json.dumps(instruction, default=str)}; it must be a text")
    asked = {name: value for name, value in data.items() if name != "candidates"}
    try:
        json.dumps(asked, ensure_ascii=False, default=str, skipkeys=True).encode("utf-8")
    except UnicodeEncodeError as error:
        half = error.object[error.start : error.start + 1]
        raise ConfigurationError(f"half a character, the lone surrogate {half!a}; remove it") from error
    return instruction


def joined_prompt(instruction: str, input: str = "") -> str:
    r"""Instruction and input as one prompt.

    Args:
        instruction: What is asked.
        input: What it is asked about, may be ``""``.

    Returns:
        Both with a line break between them, or the one that is there.

    Examples:
        >>> joined_prompt("Translate to French.", "cat")
        'Translate to French.\ncat'
    """
    return "\n".join(part for part in (instruction, input) if part.strip())


class Verdict(StrEnum):
    """The oracle's verdict on a pair of answers, A shown first; MixInstruct's four."""

    A_IS_BETTER = "A is better"
    B_IS_BETTER = "B is better"
    SAME_GOOD = "Same good"
    SAME_BAD = "Same bad"

    @property
    def swapped(self) -> Verdict:
        """The same judgement with A and B swapped.

        Examples:
            >>> Verdict.A_IS_BETTER.swapped
            <Verdict.B_IS_BETTER: 'B is better'>
        """
        if self is Verdict.A_IS_BETTER:
            return Verdict.B_IS_BETTER
        return Verdict.A_IS_BETTER if self is Verdict.B_IS_BETTER else self


@dataclass(frozen=True, slots=True)
class Gathered:
    """How a candidate came about.

    Attributes:
        status: How the member ended: ``"ok"``, ``"timeout"``, ``"error"``, ... (values of `Status`).
        error: Type and message of its error, ``""`` if there was none.
        latency_s: Wall-clock seconds of its call, retries included.
        attempts: Times it was called.
        input_tokens: Tokens read, ``None`` if the member does not say.
        output_tokens: Tokens written, ``None`` if the member does not say.
        cost: Cost of the call, ``None`` if it is not known.
        finish_reason: Why it stopped, in the provider's words.
    """

    status: str = "ok"
    error: str = ""
    latency_s: float = 0.0
    attempts: int = 1
    input_tokens: int | None = None
    output_tokens: int | None = None
    cost: float | None = None
    finish_reason: str | None = None

    @property
    def ok(self) -> bool:
        """Whether the member answered."""
        return self.status == "ok"

    def to_dict(self) -> dict[str, Any]:
        """Turn it into its fields by name, without those that hold nothing."""
        values = {name: getattr(self, name) for name in self.__slots__}
        return {name: value for name, value in values.items() if value is not None and value != ""}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Gathered:
        """Build from the fields by name; unknown ones are skipped."""
        return cls(**{name: data[name] for name in cls.__slots__ if name in data})


@dataclass(frozen=True, slots=True)
class MixCandidate:
    """One member's answer.

    Attributes:
        model: The member's name.
        text: Its answer; ``""`` if it gave none.
        scores: Value of each metric, greater is better, by the metric's name.
        decoding_method: How the text was decoded, for example ``"greedy"``.
        gathered: How the answer came about, ``None`` if it is not known.
        extra: Further fields of the line, kept as they are.
    """

    model: str
    text: str
    scores: Mapping[str, float] = field(default_factory=dict)
    decoding_method: str = ""
    gathered: Gathered | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def answered(self) -> bool:
        """Whether there is a text to rank."""
        return bool(self.text.strip())

    @property
    def failed(self) -> bool:
        """Whether the member is known to have ended without an answer."""
        return self.gathered is not None and not self.gathered.ok

    def to_dict(self) -> dict[str, Any]:
        """Turn it into the candidate of a line of MixInstruct."""
        known: dict[str, Any] = {
            "decoding_method": self.decoding_method,
            "model": self.model,
            "text": self.text,
            "scores": dict(self.scores),
        }
        if self.gathered is not None:
            known["gathered"] = self.gathered.to_dict()
        return {**known, **self.extra}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> MixCandidate:
        """Build from a candidate of a line.

        Scores that are no finite numbers are left out, lone surrogates in the text are replaced.
        """
        gathered = data.get("gathered")
        known = {"decoding_method", "model", "text", "scores", "gathered"}
        return cls(
            model=str(data.get("model") or ""),
            text=without_surrogates(str(data["text"] or "")),
            scores=_finite(data.get("scores") or {}),
            decoding_method=str(data.get("decoding_method") or ""),
            gathered=None if gathered is None else Gathered.from_dict(gathered),
            extra={name: value for name, value in data.items() if name not in known},
        )


@dataclass(frozen=True, slots=True)
class MixRecord:
    """One prompt with every member's answer.

    Attributes:
        id: Identifier, unique in its file.
        instruction: What was asked.
        input: What it was asked about, ``""`` if the instruction says it all.
        output: The reference answer, ``""`` if there is none.
        candidates: The answers, in the ensemble's order.
        cmp_results: ``(model_A, model_B)`` -> the verdict with A shown first; ``None`` if nobody judged. Both
            orders of a pair may stand here, each with its own verdict.
        task: Kind of the prompt, ``""`` if it is not known.
        check: Rule that tells whether an answer is right, see `blender_lab.mix.scoring`; ``None`` for none.
        extra: Further fields of the line, kept as they are.

    Examples:
        >>> record = MixRecord.from_dict({"id": "1", "instruction": "2 + 2?", "input": "", "output": "4",
        ...     "candidates": [{"model": "a", "text": "4", "scores": {"bleu": 1.0}}, {"model": "b", "text": "5"}],
        ...     "cmp_results": '{"a,b": "A is better"}'})
        >>> record.verdict("b", "a")
        <Verdict.B_IS_BETTER: 'B is better'>
        >>> record.scores("bleu")
        (1.0, None)
    """

    id: str
    instruction: str
    input: str = ""
    output: str = ""
    candidates: tuple[MixCandidate, ...] = ()
    cmp_results: Mapping[tuple[str, str], Verdict] | None = None
    task: str = ""
    check: Mapping[str, Any] | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def prompt(self) -> str:
        """What the members were asked: instruction and input, a line between them."""
        return joined_prompt(self.instruction, self.input)

    @property
    def models(self) -> tuple[str, ...]:
        """The members' names, in the candidates' order."""
        return tuple(candidate.model for candidate in self.candidates)

    @property
    def texts(self) -> tuple[str, ...]:
        """The answers, in the candidates' order."""
        return tuple(candidate.text for candidate in self.candidates)

    def scores(self, metric: str) -> tuple[float | None, ...]:
        """Collect one metric's value for each candidate, ``None`` if it is missing.

        Args:
            metric: The metric's name, for example ``"bertscore"``.

        Returns:
            One value a candidate.
        """
        return tuple(candidate.scores.get(metric) for candidate in self.candidates)

    def verdict(self, first: str, second: str) -> Verdict | None:
        """Look up the verdict on a pair as if ``first`` had been shown first.

        Args:
            first: A model's name.
            second: Another model's name.

        Returns:
            The verdict in that order; else the one of the other order, swapped; ``None`` if there is neither.
        """
        judged = self.cmp_results or {}
        direct = judged.get((first, second))
        if direct is not None:
            return direct
        other = judged.get((second, first))
        return None if other is None else other.swapped

    def to_dict(self) -> dict[str, Any]:
        """Turn the record into a line of MixInstruct.

        Returns:
            A JSON object; ``cmp_results`` is a JSON text, ``"null"`` if nobody judged.

        Raises:
            ConfigurationError: A judged model has a comma in its name, which the schema cannot hold.
        """
        judged: dict[str, str] | None = None
        if self.cmp_results is not None:
            judged = {_pair_key(pair): verdict.value for pair, verdict in self.cmp_results.items()}
        line: dict[str, Any] = {
            "id": self.id,
            "instruction": self.instruction,
            "input": self.input,
            "output": self.output,
            "candidates": [candidate.to_dict() for candidate in self.candidates],
            "cmp_results": json.dumps(judged, ensure_ascii=False),
        }
        if self.task:
            line["task"] = self.task
        if self.check is not None:
            line["check"] = dict(self.check)
        return {**line, **self.extra}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> MixRecord:
        """Build a record from one decoded line.

        Args:
            data: The line; ``instruction`` and each candidate's ``text`` are needed, the rest may be missing.

        Returns:
            The record.

        Raises:
            ConfigurationError: A field is missing or of the wrong kind, a verdict is unknown, or half a character
                stands outside of the candidates.
        """
        known = {"id", "instruction", "input", "output", "candidates", "cmp_results", "task", "check"}
        try:
            check = data.get("check")
            return cls(
                id=str(data.get("id", "")),
                instruction=prompt_text(data),
                input=str(data.get("input") or ""),
                output=str(data.get("output") or ""),
                candidates=tuple(MixCandidate.from_dict(candidate) for candidate in data.get("candidates") or ()),
                cmp_results=_verdicts(data.get("cmp_results")),
                task=str(data.get("task") or ""),
                check=None if check is None else dict(check),
                extra={name: value for name, value in data.items() if name not in known},
            )
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            if isinstance(error, ConfigurationError):
                raise
            raise ConfigurationError(
                f"not a record of MixInstruct ({type(error).__name__}: {error}): {str(data)[:200]}; "
                "see blender_lab.data.mixinstruct for the fields"
            ) from error


def read_mix(path: str | os.PathLike[str]) -> Iterator[MixRecord]:
    """Read a file in MixInstruct's schema.

    Args:
        path: JSON lines, plain or gzip (name ends in ``.gz``). A prompts file is one without candidates.

    Yields:
        The records in file order; a record without an ``id`` gets the number of its line.

    Raises:
        ConfigurationError: There is no such file, or a line cannot be read; the message names it.
    """
    path = Path(path).expanduser()
    try:
        opened = gzip.open if path.suffix == ".gz" else open
        with opened(path, "rt", encoding="utf-8-sig") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    yield _from_line(line, number, path)
    except (OSError, EOFError, UnicodeDecodeError, zlib.error) as error:
        raise ConfigurationError(f"cannot read {path}: {error}; give JSON lines in UTF-8, plain or .gz") from error


def write_mix(path: str | os.PathLike[str], records: Iterable[MixRecord]) -> int:
    """Write a file in MixInstruct's schema.

    An existing file is replaced once the new one is whole.

    Args:
        path: Where to; a name that ends in ``.gz`` is compressed, equal records to equal bytes. A link stays one.
        records: The records.

    Returns:
        How many were written.
    """
    path = Path(path).expanduser()
    compressed = path.suffix == ".gz"
    path = path.resolve()
    partial = path.with_name(f"{path.name}.partial")
    count = 0
    with _open_for_writing(partial, compressed=compressed) as file:
        for record in records:
            file.write(json.dumps(record.to_dict(), ensure_ascii=False, allow_nan=False) + "\n")
            count += 1
    os.replace(partial, path)
    return count


@contextmanager
def _open_for_writing(path: Path, *, compressed: bool) -> Iterator[IO[str]]:
    with path.open("wb") as raw:
        if compressed:
            # neither name nor time, so that equal records give equal files
            packed = gzip.GzipFile(filename="", fileobj=raw, mode="wb", mtime=0)
            with packed, io.TextIOWrapper(packed, encoding="utf-8", newline="\n") as text:
                yield text
        else:
            with io.TextIOWrapper(raw, encoding="utf-8", newline="\n") as text:
                yield text


def _from_line(line: str, number: int, path: Path) -> MixRecord:
    try:
        data = read_json(line)
        if isinstance(data, Mapping) and data.get("id") in (None, ""):
            data = {**data, "id": str(number)}
        return MixRecord.from_dict(data)
    except ValueError as error:
        raise ConfigurationError(f"{path}, line {number}: {error}") from error


def _finite(scores: Mapping[str, Any]) -> dict[str, float]:
    numbers = {name: float(value) for name, value in scores.items() if value is not None}
    return {name: value for name, value in numbers.items() if math.isfinite(value)}


def _verdicts(value: Any) -> dict[tuple[str, str], Verdict] | None:
    judged = read_json(value) if isinstance(value, str) and value.strip() else value
    if not judged and not isinstance(judged, Mapping):
        return None
    verdicts = {}
    for key, verdict in judged.items():
        first, comma, second = key.partition(",")
        if not comma:
            raise ConfigurationError(f'cmp_results has the key {key!r}; a key is "model_A,model_B"')
        verdicts[first.strip(), second.strip()] = Verdict(verdict)
    return verdicts


def _pair_key(pair: tuple[str, str]) -> str:
    if any("," in name for name in pair):
        raise ConfigurationError(
            f"a verdict is on {pair}, and MixInstruct's cmp_results joins names with a comma; rename the model"
        )
    return ",".join(pair)
