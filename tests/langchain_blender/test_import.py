"""What the package exports."""

from __future__ import annotations

import pytest

import langchain_blender


def test_names_that_do_not_exist_are_refused():
    assert set(dir(langchain_blender)) == {
        "BlendedLLM",
        "LangChainMember",
        "local_chat_models",
        "open_chat_models",
    }
    with pytest.raises(AttributeError, match="no attribute 'Blended'"):
        langchain_blender.Blended  # noqa: B018
