"""The README: its links, and its script for blended RAG, run as it stands."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
HOME = "https://github.com/blended-llm/blended-llm/blob/main/"


def test_links_work_from_the_package_page():
    links = re.findall(r"\]\(([^)]+)\)", README.read_text(encoding="utf-8"))
    assert links
    for link in links:
        assert link.startswith("https://"), f"{link} is relative; the package page has no such file"
        assert not link.startswith(HOME) or (ROOT / link.removeprefix(HOME)).is_file(), f"{link} leads to no file"


@pytest.mark.local_models
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_blended_rag_on_local_models(tmp_path):
    pytest.importorskip("xllamacpp", reason="the demo extra is not installed")
    pytest.importorskip("llama_index.llms.openai_like", reason="the extra all is not installed")
    section = README.read_text(encoding="utf-8").split("## Blended RAG on local models")[1]
    script = re.search(r"```python\n(.*?)```", section, re.DOTALL).group(1)
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    *sources, best = done.stdout.strip().splitlines()
    assert "twice" in done.stdout.lower().split("[1]")[0], done.stdout
    assert any("renewed twice" in source for source in sources)
    assert best.startswith("best: ")
