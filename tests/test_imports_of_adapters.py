"""The import of an adapter loads little beside its framework's base class; modules are counted, not seconds."""

import subprocess
import sys

import pytest

# what only some blends need: clients, readers of files, retries, native code
ON_USE = {
    "openai",
    "httpx",
    "torch",
    "transformers",
    "numpy",
    "onnxruntime",
    "tenacity",
    "tokenizers",
    "tomllib",
    "yaml",
}
CASES = {
    "langchain": (
        "from langchain_core.language_models import BaseChatModel",
        "from langchain_blender import BlendedLLM",
    ),
    "llamaindex": ("from llama_index.core.llms import LLM", "from llamaindex_blender import BlendedLLM"),
}


def modules_after(statement):
    code = f"import sys; {statement}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize(("base", "adapter"), CASES.values(), ids=CASES)
def test_an_adapter_loads_what_a_call_needs(base, adapter):
    further = modules_after(adapter) - modules_after(base)
    assert ON_USE.isdisjoint(name.split(".")[0] for name in further)
    # about 100 of its own, and some of the framework's
    assert len([name for name in further if name.split(".")[0].endswith("_blender") or "blender_" in name]) <= 105
