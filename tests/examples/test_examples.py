"""Every example runs as a user would run it: on the local models, and on hosted ones."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from blender_core.members.endpoints import ENDPOINTS_VARIABLE
from blender_core.testing import ScriptedServer

FOLDER = Path(__file__).parents[2] / "examples"
EXAMPLES = sorted(FOLDER.glob("*.py"))
# these start their own servers, as at a user's; for the others, servers run already
SERVE_THEMSELVES = ("langchain_chain.py", "mixed_ensemble.py")
TOOL_CALLER = "qwen2.5-coder-0.5b"
ASKED = {"best_of_n.py": [TOOL_CALLER], "langgraph_agent.py": [TOOL_CALLER] * 2}


def run(example, folder, *arguments, **environment):
    """Run an example in an empty folder."""
    done = subprocess.run(
        [sys.executable, str(FOLDER / example), *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONIOENCODING": "utf-8", "COLUMNS": "100", ENDPOINTS_VARIABLE: "", **environment},
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=580,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.fixture
def hosted():
    """A server of two models, and what names it."""
    with ScriptedServer({"poet": ["Jupiter is the largest."], "clerk": ["It is Jupiter, a gas giant."]}) as server:
        yield server, {ENDPOINTS_VARIABLE: f"{server.base_url}:poet {server.base_url}:clerk", "OPENAI_API_KEY": "key"}


@pytest.mark.local_models
@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("example", [path.name for path in EXAMPLES])
def test_example_runs(example, served, tmp_path):
    environment = {} if example in SERVE_THEMSELVES else served(*ASKED.get(example, ()))
    assert "won:" in run(example, tmp_path, **environment)


def test_one_model_alone_gives_no_preference(hosted, tmp_path):
    pytest.importorskip("langchain_openai", reason="the extra all is not installed")
    server, environment = hosted
    one = {**environment, ENDPOINTS_VARIABLE: f"{server.base_url}:poet"}
    with pytest.raises(AssertionError, match="at least two models; name another in BLENDED_LLM_ENDPOINTS"):
        run("preference_data.py", tmp_path, **one)


@pytest.mark.parametrize("example", ["langchain_chain.py", "llamaindex_query_engine.py"])
def test_one_variable_switches_to_hosted_models(example, hosted, tmp_path):
    pytest.importorskip("langchain_openai", reason="the extra all is not installed")
    pytest.importorskip("llama_index.llms.openai_like", reason="the extra all is not installed")
    server, environment = hosted
    printed = run(example, tmp_path, **environment)
    assert {request["model"] for request in server.requests} == {"poet", "clerk"}
    assert "poet" in printed
    assert "clerk" in printed
    assert "Jupiter" in printed


def test_preference_data_is_what_trl_takes(hosted, tmp_path):
    pytest.importorskip("langchain_openai", reason="the extra all is not installed")
    datasets = pytest.importorskip("datasets", reason="the train extra is not installed")
    run("preference_data.py", tmp_path, "pairs.jsonl", **hosted[1])
    rows = [json.loads(line) for line in (tmp_path / "pairs.jsonl").read_text(encoding="utf-8").splitlines()]
    loaded = datasets.Dataset.from_json(str(tmp_path / "pairs.jsonl"), cache_dir=str(tmp_path / "cache"))
    assert loaded.column_names == ["prompt", "chosen", "rejected"]
    assert loaded.to_list() == rows
    for row in rows:
        assert [turn["role"] for turn in row["prompt"]] == ["user"]
        assert [turn["role"] for turn in row["chosen"] + row["rejected"]] == ["assistant", "assistant"]
        assert row["chosen"] != row["rejected"]
