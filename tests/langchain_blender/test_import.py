"""Importing the package is light."""

from __future__ import annotations

import subprocess
import sys


def test_the_import_loads_no_heavy_package():
    code = (
        "import sys, langchain_blender; "
        "heavy = {'torch', 'transformers', 'onnxruntime', 'openai', 'xllamacpp', 'llama_index', 'langchain_openai'}; "
        "print(*sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.strip() == ""
