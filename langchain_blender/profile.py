"""The blend's model profile: what every member can do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from langchain_core.language_models import ModelProfile

__all__ = ["common_profile"]


def common_profile(profiles: Sequence[ModelProfile | None]) -> ModelProfile | None:
    """What a caller may count on, whichever member answers.

    Args:
        profiles: One profile a member, ``None`` where a member has none.

    Returns:
        A capability only where every member has it; of numbers the smallest. ``None`` where a member has no
        profile: nothing is known then.

    Examples:
        >>> common_profile([{"max_input_tokens": 8000, "tool_calling": True}, {"max_input_tokens": 4000}])
        {'max_input_tokens': 4000}
    """
    if not profiles or any(not profile for profile in profiles):
        return None
    members: list[dict[str, Any]] = [dict(profile or {}) for profile in profiles]
    common: dict[str, Any] = {}
    for key in members[0]:
        values = [member.get(key) for member in members]
        if all(isinstance(value, bool) for value in values):
            common[key] = all(values)
        elif all(isinstance(value, int) and not isinstance(value, bool) for value in values):
            common[key] = min(cast("list[int]", values))
    return cast(ModelProfile, common) or None
