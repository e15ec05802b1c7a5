"""Importing the package is light."""

from __future__ import annotations

import subprocess
import sys

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


def test_the_import_loads_no_heavy_package():
    code = (
        "import sys; from langchain_blender import BlendedLLM, LangChainMember; "
        "heavy = {'torch', 'transformers', 'onnxruntime', 'openai', 'xllamacpp', 'llama_index', 'langchain_openai'}; "
        "print(*sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.strip() == ""
