"""Write numbers and answers in the same way in every view."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from blender_core.types.outcome import Status
from blender_core.types.result import BlendResult

__all__ = [
    "by_rank",
    "headline",
    "one_line",
    "printable",
    "reason",
    "score",
    "seconds",
    "sigmoid",
    "timings",
    "tokens",
]

# C0 and C1 controls except tab and newline; bidirectional, deprecated and annotation controls; surrogates
_CONTROLS = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u206f\ufff9-\ufffb\ud800-\udfff]"
)
# what other programs than a terminal take for the end of a line
_LINE_ENDS = re.compile("\r\n|[\u2028\u2029]")


def printable(text: str) -> str:
    r"""Replace control characters by ``\ufffd``, so that a text cannot control a terminal.

    Args:
        text: A model's text; it is untrusted.

    Returns:
        The text, tabs and newlines kept. Other line separators become newlines.

    Examples:
        >>> printable("\x1b[2Jgone").isprintable()
        True
    """
    return _CONTROLS.sub("\ufffd", _LINE_ENDS.sub("\n", text))


def one_line(text: str, limit: int = 300) -> str:
    """Shorten a text to one line.

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
    """Write seconds with their unit.

    Examples:
        >>> seconds(0.0421), seconds(3.14159), seconds(75)
        ('42 ms', '3.1 s', '75 s')
    """
    if value < 0.9995:
        return f"{value * 1000:.0f} ms"
    return f"{value:.1f} s" if value < 60 else f"{value:.0f} s"


def score(value: float | None) -> str:
    """Write a ranker's score, or ``\u2013`` without one.

    Examples:
        >>> score(1.23456), score(None)
        ('1.235', '\u2013')
    """
    return "\u2013" if value is None or not math.isfinite(value) else f"{value:.3f}"


def sigmoid(logit: float) -> float:
    """Convert a logit to a probability; ``nan`` stays ``nan``.

    Examples:
        >>> sigmoid(0.0), sigmoid(-1e9)
        (0.5, 0.0)
    """
    if logit >= 0:
        return 1.0 / (1.0 + math.exp(-logit))
    return math.exp(logit) / (1.0 + math.exp(logit)) if logit > -700 else (0.0 if logit == logit else logit)


def tokens(candidate: Mapping[str, Any]) -> str:
    """Write the tokens of an answer: ``?`` if unknown, ``\u2013`` if no call was made."""
    if candidate["usage"] is None:
        return "?" if candidate["attempts"] else "\u2013"
    return str(candidate["usage"]["output_tokens"])


def reason(candidate: Mapping[str, Any]) -> str | None:
    """Return why a member has no usable answer; ``None`` if it has one.

    Args:
        candidate: One of ``BlendResult.to_dict()["candidates"]``.

    Returns:
        Its status, and the reason if one is known.

    Examples:
        >>> reason({"status": "rate_limited", "reason": "quota exceeded", "invalid": None})
        'rate limited: quota exceeded'
    """
    if candidate["invalid"]:
        return f"{'set aside' if candidate['rank'] is None else 'not usable'}: {one_line(candidate['invalid'])}"
    if candidate["status"] == Status.OK.value:
        return None
    status = str(candidate["status"]).replace("_", " ")
    return f"{status}: {one_line(candidate['reason'])}" if candidate["reason"] else status


def by_rank(blend: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Order the candidates of a blend's record: best first, then those without a rank.

    Args:
        blend: ``BlendResult.to_dict()``.

    Returns:
        The candidates.
    """
    return sorted(
        blend["candidates"],
        key=lambda one: (
            one["rank"] is None,
            one["rank"] or 0,
            one["model"] != blend["winner"],
            one["status"] != Status.OK.value,
        ),
    )


def headline(result: BlendResult) -> str:
    """Say in one line who wrote the final text."""
    if result.fused:
        return printable(f"fused from {', '.join(result.fused)}")
    if result.text or result.answer is None or not result.answer.tool_calls:
        return printable(f"answer of {result.winner}")
    return printable(f"tool call of {result.winner}")


def timings(result: BlendResult) -> str:
    """Write seconds by stage and tokens of the whole call, in one line."""
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
    if result.cost is None:
        return line
    return f"{line} \u00b7 cost {result.cost:.4g}" + ("" if result.cost_known else " as far as known")
