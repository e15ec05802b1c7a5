r"""Score answers: by the prompt's ``check``, and by metrics against the reference.

A check is a JSON object with a ``kind``:

| kind | fields | passes if |
|---|---|---|
| ``contains`` | ``any``, ``all``, ``none``: lists of texts | it contains any, all and none of them as whole words |
| ``equals`` | ``any``: list of texts | the answer is one of them |
| ``number`` | ``value``, ``tolerance`` (0) | the number that the answer ends on, or states, is the value |
| ``regex`` | ``pattern``, ``match_case`` (false) | the pattern is found; ``^`` and ``$`` match at lines |
| ``json`` | ``keys``: list, ``values``: object | the answer is a JSON object with just these keys, and these values |
| ``list`` | ``items``: list, ``ordered`` (true) | the answer lists just these items |
| ``words`` | ``count``, or ``least`` and ``most`` | it has so many words |
| ``lines`` | ``count``, ``pattern``, ``alone`` (false) | so many lines match; with ``alone`` there are no others |
| ``case`` | ``case``: ``upper`` or ``lower`` | every letter is of that case |
| ``all``, ``any`` | ``of``: list of checks | all, or any, of them pass |

Case and white space do not count unless the check is about them, nor do marks around an answer such as quotes,
bold type or a final full stop. An empty answer passes no check.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from blender_core.errors import ConfigurationError
from blender_core.runtime.outside import read_json
from blender_core.text.unicode import normalize
from blender_lab.data.mixinstruct import MixRecord

if TYPE_CHECKING:
    from blender_lab.evaluate.metrics.registry import Metric

__all__ = [
    "CHECK_KINDS",
    "CHECK_SCORE",
    "passes",
    "scored_by_check",
    "scored_by_metrics",
    "validate_check",
]

_NUMBER = re.compile(r"(?<![\w.])[-+\u2212]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?![\d])")
# an answer says which number it means; the last such place counts
_STATED = re.compile(
    r"(?:=|\banswer(?:\s+is)?|\bis|\bare|\bequals|\btotal(?:\s+of)?|\bresult(?:\s+is)?)[\s:*$`\\({\[]*(?:boxed\{)?"
    r"(?P<number>[-+\u2212]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?)(?!\d)(?!\s*(?:[-+*/\u00d7\u00f7x^]\s*\d|%\s+of\b))",
    re.IGNORECASE,
)
_FENCED = re.compile(r"```[\w-]*\n(.*?)```", re.DOTALL)
_WORD = re.compile(r"[^\W_]+(?:['\u2019-][^\W_]+)*")
_BULLET = re.compile(r"^\s*(?:[-*\u2022]|\d+[.)])\s+")
_AROUND = " \t\r\n\"'`*_.!\u201c\u201d\u2018\u2019"


def passes(check: Mapping[str, Any], answer: str) -> bool:
    """Check an answer by a rule.

    Args:
        check: The check; the module says which there are.
        answer: The answer.

    Returns:
        True if it is right by this rule.

    Raises:
        ConfigurationError: The check is not one.

    Examples:
        >>> passes({"kind": "number", "value": 42}, "6 times 7 is 42.")
        True
        >>> passes({"kind": "words", "count": 3}, "Birds sing loudly today.")
        False
    """
    rule = _rule(check)
    return bool(answer.strip()) and rule(check, answer)


def validate_check(check: Mapping[str, Any]) -> None:
    """Refuse a check that cannot work, before any model is asked.

    Args:
        check: The check.

    Raises:
        ConfigurationError: The kind is unknown, a field is missing, unknown or of the wrong kind.
    """
    kind = check.get("kind") if isinstance(check, Mapping) else None
    if kind not in _RULES:
        raise _wrong(check, f"the kind is {kind!r}; it is one of {', '.join(CHECK_KINDS)}")
    _, fields = _RULES[str(kind)]
    for name in check:
        if name != "kind" and name not in fields:
            raise _wrong(check, f"{kind} knows no {name!r}; its fields are {', '.join(fields)}")
    for name, (required, accepts) in fields.items():
        if name not in check and required:
            raise _wrong(check, f"{kind} needs {name!r}")
        if name in check and not accepts(check[name]):
            raise _wrong(check, f"{name!r} cannot be {check[name]!r}")
    if set(check) == {"kind"}:
        raise _wrong(check, f"{kind} needs one of {', '.join(fields)}")
    for part in check.get("of", ()):
        validate_check(part)


def _wrong(check: Any, why: str) -> ConfigurationError:
    return ConfigurationError(f"not a check: {why}. It is {str(check)[:200]}; see blender_lab.mix.scoring")


def _rule(check: Mapping[str, Any]) -> Callable[[Mapping[str, Any], str], bool]:
    validate_check(check)
    return _RULES[check["kind"]][0]


# -- the rules ---------------------------------------------------------------------------------------------------


def _contains(check: Mapping[str, Any], answer: str) -> bool:
    text = _folded(answer)
    found = {word: _contains_words(word, text) for name in ("any", "all", "none") for word in check.get(name, ())}
    return (
        all(found[word] for word in check.get("all", ()))
        and (not check.get("any") or any(found[word] for word in check["any"]))
        and not any(found[word] for word in check.get("none", ()))
    )


def _equals(check: Mapping[str, Any], answer: str) -> bool:
    return _bare(answer) in {_bare(text) for text in check["any"]}


def _number(check: Mapping[str, Any], answer: str) -> bool:
    text = re.sub(r"(?<=\d)\\?,\\?!?(?=\d{3}\b)", ",", answer)
    stated = [match.group("number") for match in _STATED.finditer(text)]
    found = stated or _NUMBER.findall(text)
    if not found:
        return False
    value = float(found[-1].replace(",", "").replace("\u2212", "-"))
    return math.isclose(value, check["value"], rel_tol=1e-12, abs_tol=check.get("tolerance", 0.0) + 1e-9)


def _regex(check: Mapping[str, Any], answer: str) -> bool:
    flags = re.MULTILINE | (re.NOFLAG if check.get("match_case") else re.IGNORECASE)
    return re.search(check["pattern"], answer.strip(), flags) is not None


def _json(check: Mapping[str, Any], answer: str) -> bool:
    fenced = _FENCED.findall(answer)
    try:
        value = read_json(fenced[0] if len(fenced) == 1 else answer)
    except ValueError:
        return False
    if not isinstance(value, dict) or ("keys" in check and set(value) != set(check["keys"])):
        return False
    return all(name in value and _same(value[name], wanted) for name, wanted in check.get("values", {}).items())


def _list(check: Mapping[str, Any], answer: str) -> bool:
    wanted = [_bare(str(item)) for item in check["items"]]
    ordered = check.get("ordered", True)
    # an introduction and a list: the list is the last line, or the last lines
    lines = [line for line in answer.strip().splitlines() if line.strip() and not line.strip().startswith("```")]
    for listed in (
        _items(lines[-1]) if lines else [],
        [_bare(_BULLET.sub("", line)) for line in lines[-len(wanted) :]],
    ):
        if listed == wanted or (not ordered and sorted(listed) == sorted(wanted)):
            return True
    return False


def _words(check: Mapping[str, Any], answer: str) -> bool:
    count = len(_WORD.findall(answer))
    if "count" in check:
        return bool(count == check["count"])
    return bool(check.get("least", 0) <= count <= check.get("most", math.inf))


def _lines(check: Mapping[str, Any], answer: str) -> bool:
    lines = [line.strip() for line in answer.strip().splitlines() if line.strip()]
    matching = sum(re.search(check.get("pattern", ""), line) is not None for line in lines)
    return matching == check["count"] and (not check.get("alone") or matching == len(lines))


def _case(check: Mapping[str, Any], answer: str) -> bool:
    letters = [letter for letter in answer if letter.isalpha()]
    return bool(letters) and all(
        letter.isupper() if check["case"] == "upper" else letter.islower() for letter in letters
    )


def _all(check: Mapping[str, Any], answer: str) -> bool:
    return all(passes(part, answer) for part in check["of"])


def _any(check: Mapping[str, Any], answer: str) -> bool:
    return any(passes(part, answer) for part in check["of"])


# -- comparing texts ---------------------------------------------------------------------------------------------


def _folded(text: str) -> str:
    return " ".join(normalize("NFKC", text).replace("\u2019", "'").casefold().split())


def _bare(text: str) -> str:
    return _folded(text).strip(_AROUND)


def _contains_words(word: str, folded_text: str) -> bool:
    wanted = _folded(word)
    before = r"(?<!\w)" if wanted[:1].isalnum() else ""
    after = r"(?!\w)" if wanted[-1:].isalnum() else ""
    return re.search(before + re.escape(wanted) + after, folded_text) is not None


def _items(line: str) -> list[str]:
    listed = re.sub(r"^[^\[:]*:\s*", "", line.strip()) if ":" in line else line.strip()
    # from the first space of a run only: from each of them it takes quadratic time
    listed = re.sub(r",?(?<!\s)\s+and\s+", ", ", listed.strip(" .`*").strip("[]()"))
    separator = "," if "," in listed else r"\s+"
    return [_bare(item) for item in re.split(separator, listed) if _bare(item)]


def _same(value: Any, wanted: Any) -> bool:
    if isinstance(value, str) and isinstance(wanted, str):
        return _bare(value) == _bare(wanted)
    return bool(value == wanted) and isinstance(value, bool) == isinstance(wanted, bool)


# -- what each kind takes: field -> (needed, accepts) ---------------------------------------------------------------


def _is_texts(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str) and all(isinstance(v, str) and v for v in value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_flag(value: Any) -> bool:
    return isinstance(value, bool)


def _is_pattern(value: Any) -> bool:
    try:
        return isinstance(value, str) and re.compile(value) is not None
    except re.error:
        return False


def _is_case(value: Any) -> bool:
    return value in ("upper", "lower")


def _is_object(value: Any) -> bool:
    return isinstance(value, Mapping)


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str) and len(value) > 0


_Fields = Mapping[str, tuple[bool, Callable[[Any], bool]]]
_RULES: Mapping[str, tuple[Callable[[Mapping[str, Any], str], bool], _Fields]] = MappingProxyType(
    {
        "all": (_all, {"of": (True, _is_list)}),
        "any": (_any, {"of": (True, _is_list)}),
        "case": (_case, {"case": (True, _is_case)}),
        "contains": (_contains, {"any": (False, _is_texts), "all": (False, _is_texts), "none": (False, _is_texts)}),
        "equals": (_equals, {"any": (True, _is_texts)}),
        "json": (_json, {"keys": (False, _is_texts), "values": (False, _is_object)}),
        "lines": (_lines, {"count": (True, _is_count), "pattern": (False, _is_pattern), "alone": (False, _is_flag)}),
        "list": (_list, {"items": (True, _is_list), "ordered": (False, _is_flag)}),
        "number": (_number, {"value": (True, _is_number), "tolerance": (False, _is_number)}),
        "regex": (_regex, {"pattern": (True, _is_pattern), "match_case": (False, _is_flag)}),
        "words": (_words, {"count": (False, _is_count), "least": (False, _is_count), "most": (False, _is_count)}),
    }
)

CHECK_KINDS: tuple[str, ...] = tuple(_RULES)
"""Every kind of check."""


CHECK_SCORE = "check"
"""Name of a check's outcome among a candidate's scores: 1 passed, 0 not."""


def scored_by_check(record: MixRecord) -> MixRecord:
    """Write into each candidate's scores whether it passes the record's check.

    Args:
        record: A record with candidates.

    Returns:
        The scored record; as it is if it has no check.

    Examples:
        >>> record = MixRecord.from_dict({"instruction": "2 + 2?", "check": {"kind": "number", "value": 4},
        ...     "candidates": [{"model": "a", "text": "It is 4."}, {"model": "b", "text": "5"}]})
        >>> scored_by_check(record).scores("check")
        (1.0, 0.0)
    """
    check = record.check
    if check is None:
        return record
    return replace(
        record,
        candidates=tuple(
            replace(candidate, scores={**candidate.scores, CHECK_SCORE: float(passes(check, candidate.text))})
            for candidate in record.candidates
        ),
    )


def scored_by_metrics(
    records: Sequence[MixRecord],
    metrics: Sequence[Metric],
    *,
    on_metric: Callable[[str], None] = lambda name: None,
) -> Iterator[MixRecord]:
    """Score the candidates of records with a reference, all texts of a metric at once.

    Args:
        records: Records with candidates.
        metrics: The metrics.
        on_metric: Called with a metric's name when it is done.

    Yields:
        The records in order; those without a reference as they are.

    Raises:
        RankerError: A metric gave no finite number.
    """
    from blender_lab.evaluate.metrics.registry import score_pairs

    texts = [(i, j) for i, record in enumerate(records) if record.output.strip() for j in range(len(record.candidates))]
    values: dict[tuple[int, int], dict[str, float]] = {place: {} for place in texts}
    for metric in metrics:
        if texts:
            candidates = [records[i].candidates[j].text for i, j in texts]
            scores = score_pairs(metric, candidates, [records[i].output for i, _ in texts])
            for place, score in zip(texts, scores, strict=True):
                values[place][metric.name] = score
        on_metric(metric.name)
    for i, record in enumerate(records):
        yield replace(
            record,
            candidates=tuple(
                replace(candidate, scores={**candidate.scores, **values.get((i, j), {})})
                for j, candidate in enumerate(record.candidates)
            ),
        )
