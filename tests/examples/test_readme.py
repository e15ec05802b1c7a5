"""The README: its links, and its scripts on local models, run as they are."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
SCRIPTS = re.findall(
    r'<!-- skip: next "[^"]*tests/examples/test_readme\.py runs it" -->\n+```python\n(.*?)```',
    README.read_text(encoding="utf-8"),
    re.DOTALL,
)
# first line of a script -> what its output must match
OUTPUT = {
    "from langchain_blender import BlendedLLM, open_chat_models": [r"\w{3}"],
    "from llama_index.llms.blender import BlendedLLM": [r"\w{3}"],
    "from llama_index.core import Document, VectorStoreIndex": [
        r"(?is)\A(?:(?!\[1\]).)*twice",
        r"(?m)^\[\d+\].*renewed twice",
        r"(?m)^best: .+\Z",
    ],
}
HOME = "https://github.com/blended-llm/blended-llm/blob/main/"


def test_links_work_from_the_package_page():
    links = re.findall(r"\]\(([^)]+)\)", README.read_text(encoding="utf-8"))
    assert links
    for link in links:
        assert link.startswith("https://"), f"{link} is relative; the package page has no such file"
        assert not link.startswith(HOME) or (ROOT / link.removeprefix(HOME)).is_file(), f"{link} leads to no file"


def test_every_local_script_has_an_expected_output():
    assert {script.splitlines()[0] for script in SCRIPTS} == OUTPUT.keys()


@pytest.mark.local_models
@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.splitlines()[0])
def test_a_script_runs_on_local_models(script, served, tmp_path):
    pytest.importorskip("xllamacpp", reason="the demo extra is not installed")
    pytest.importorskip("llama_index.llms.openai_like", reason="the extra all is not installed")
    # a reader's default holds a larger model
    weak = ("smollm2-135m", "gemma-3-270m")
    environment = served(*weak, "qwen2.5-coder-0.5b") if "BlendedQueryEngine" in script else served()
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    for pattern in OUTPUT[script.splitlines()[0]]:
        assert re.search(pattern, done.stdout.strip()), f"{pattern} is not in: {done.stdout}"
