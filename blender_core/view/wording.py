"""How numbers and answers are written in every view."""

from __future__ import annotations

import math
import re

from blender_core.types.outcome import MemberOutcome
from blender_core.types.result import BlendResult, CandidateRecord

__all__ = [
    "by_rank",
    "headline",
    "one_line",
    "printable",
    "reason",
    "score",
    "seconds",
    "sigmoid",
    "status",
    "timings",
    "tokens",
]

# C0 and C1 controls but tab and newline, and the marks that turn the direction of writing
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def printable(text: str) -> str:
    r"""Text that cannot steer a terminal: control characters become ``\ufffd``.

    Args:
        text: A model's text; it is untrusted.

    Returns:
        The text, tabs and newlines kept.

    Examples:
        >>> printable("\x1b[2Jgone").isprintable()
        True
    """
    return _CONTROLS.sub("\ufffd", text.replace("\r\n", "\n"))


def one_line(text: str, limit: int = 300) -> str:
    """The text's beginning on one line.

    Args:
        text: Any text.
        limit: Longest result in characters.

    Returns:
        White space folded, cut with an ellipsis.

    Examples:
        >>> one_line("It   is blue.")
        'It is blue.'
    """
    folded = printable(" ".join(text[: limit * 2].split()))
    return folded if len(folded) <= limit else folded[: limit - 1] + "\u2026"


def seconds(value: float) -> str:
    """Seconds in words.

    Examples:
        >>> seconds(0.0421), seconds(3.14159), seconds(75)
        ('42 ms', '3.1 s', '75 s')
    """
    if value < 0.9995:
        return f"{value * 1000:.0f} ms"
    return f"{value:.1f} s" if value < 60 else f"{value:.0f} s"


def score(value: float | None) -> str:
    """A ranker's score, ``\u2013`` where there is none.

    Examples:
        >>> score(1.23456), score(None)
        ('1.235', '\u2013')
    """
    return "\u2013" if value is None or not math.isfinite(value) else f"{value:.3f}"


def sigmoid(logit: float) -> float:
    """The probability that belongs to a logit; ``nan`` stays ``nan``.

    Examples:
        >>> sigmoid(0.0), sigmoid(-1e9)
        (0.5, 0.0)
    """
    if logit >= 0:
        return 1.0 / (1.0 + math.exp(-logit))
    return math.exp(logit) / (1.0 + math.exp(logit)) if logit > -700 else (0.0 if logit == logit else logit)


def tokens(outcome: MemberOutcome) -> str:
    """Tokens written, ``?`` where unknown, ``\u2013`` where nothing was called."""
    if outcome.usage is None:
        return "?" if outcome.attempts else "\u2013"
    return f"{outcome.usage.output_tokens}"


def status(record: CandidateRecord) -> str:
    """How a member ended, in a word or two."""
    if record.invalid is not None:
        return "set aside"
    return record.outcome.status.value.replace("_", " ")


def reason(record: CandidateRecord) -> str | None:
    """Why a member is out of the running, or ``None`` where it is not."""
    why = record.invalid if record.outcome.ok else record.outcome.reason
    if record.outcome.ok and why is None:
        return None
    return f"{status(record)}: {one_line(why)}" if why else status(record)


def by_rank(result: BlendResult) -> list[CandidateRecord]:
    """The members, best first; those without a rank come last, in the ensemble's order."""
    return sorted(
        result.candidates,
        key=lambda record: (
            record.rank is None,
            record.rank or 0,
            record.outcome.index != result.winner_index,
            not record.outcome.ok,
        ),
    )


def headline(result: BlendResult) -> str:
    """Where the final text comes from, in one line."""
    if result.fused:
        return printable(f"fused from {', '.join(result.fused)}")
    if result.text or result.answer is None or not result.answer.tool_calls:
        return printable(f"answer of {result.winner}")
    return printable(f"tool call of {result.winner}")


def timings(result: BlendResult) -> str:
    """Seconds by stage and tokens of the whole call, in one line."""
    times = result.timings
    parts = [f"gather {seconds(times.gather)}", f"rank {seconds(times.rank)}"]
    if times.fuse:
        parts.append(f"fuse {seconds(times.fuse)}")
    usage = result.usage
    line = f"{seconds(times.total)} in all ({', '.join(parts)})"
    if result.usage_known or usage.total_tokens:
        known = "" if result.usage_known else " as far as known"
        line += f" \u00b7 {usage.input_tokens} tokens read, {usage.output_tokens} written{known}"
    else:
        line += " \u00b7 tokens unknown"
    return line if result.cost is None else f"{line} \u00b7 cost {result.cost:.4g}"
