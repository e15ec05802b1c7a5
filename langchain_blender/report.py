"""Say in a message's metadata who answered, and tell callbacks the whole report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from langchain_core.messages import AIMessage

from blender_core.types.result import BlendResult
from langchain_blender.messages import usage_metadata

__all__ = ["REPORT_EVENT", "Report", "response_metadata", "summary"]

Report = Literal["full", "slim", "none"]
REPORT_EVENT = "blend"
"""Name of the custom event that carries the whole report."""

_SLIM = (
    "winner",
    "degraded",
    "degraded_reasons",
    "fusion_refused",
    "decision",
    "ranker",
    "confidence",
    "fused",
    "fuser",
)
_SLIM_CANDIDATE = (
    "model",
    "served_by",
    "status",
    "reason",
    "instead_of",
    "score",
    "rank",
    "fused",
    "invalid",
    "flaw",
    "latency_s",
    "attempts",
)
# the blend states these itself; a provider's name would make readers take the content for that provider's
_STATED = frozenset({"blend", "finish_reason", "logprobs", "token_usage", "usage"})


def response_metadata(result: BlendResult, model_name: str, report: Report) -> dict[str, Any]:
    """Make the metadata of a message.

    Args:
        result: The result.
        model_name: The blend's name.
        report: How much of the report is in it.

    Returns:
        ``model_name`` and ``finish_reason``; the report as ``blend``; ``total_cost``, ``member_usage``,
        ``fuser_usage`` and ``ranker_usage`` as far as they are known; ``cost_known``, whether the cost is the whole.
        For a picked answer also what its provider said of it, as ``member_response``, and its ``logprobs``.
    """
    # no model_provider: the content is standard, and the summed usage is no context size
    metadata: dict[str, Any] = {
        "model_name": model_name,
        "finish_reason": result.finish_reason or "stop",
        "blend": _reported(result, report),
    }
    if result.cost is not None:
        metadata |= {"total_cost": result.cost, "cost_known": result.cost_known}
    members = {
        record.model: usage_metadata(record.outcome.usage, record.outcome.cost)
        for record in result.candidates
        if record.outcome.usage is not None
    }
    if members:
        metadata["member_usage"] = members
    if result.fuser_usage is not None:
        metadata["fuser_usage"] = usage_metadata(result.fuser_usage, result.fuser_cost)
    if result.ranker_usage is not None:
        metadata["ranker_usage"] = usage_metadata(result.ranker_usage, result.ranker_cost)
    return metadata | _of_member(result)


def summary(report: Mapping[str, Any]) -> dict[str, Any]:
    """Return the part of a report that is in messages by default: who answered, without texts.

    Args:
        report: ``BlendResult.to_dict()``.

    Returns:
        A dictionary with some of its keys.
    """
    slim = {key: report[key] for key in _SLIM}
    slim["candidates"] = [{key: record[key] for key in _SLIM_CANDIDATE} for record in report["candidates"]]
    return slim


def _reported(result: BlendResult, report: Report) -> dict[str, Any]:
    if report == "none":
        # empty, not left out: it marks the message as a blend's
        return {}
    return result.to_dict() if report == "full" else summary(result.to_dict())


def _of_member(result: BlendResult) -> dict[str, Any]:
    native = None if result.answer is None else result.answer.native
    if not isinstance(native, AIMessage):
        return {}
    said = {key: value for key, value in native.response_metadata.items() if key not in _STATED and value is not None}
    logprobs = native.response_metadata.get("logprobs")
    return ({"member_response": said} if said else {}) | ({} if logprobs is None else {"logprobs": logprobs})
