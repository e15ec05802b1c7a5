"""Without an extra, every door to it says in one line what to install."""

import subprocess
import sys

import pytest

# a None in sys.modules is what an absent package looks like to find_spec and import
BLOCKED = """
import importlib.abc, sys
class Absent(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {names} or name in {names}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Absent())
from blender_core.errors import MissingExtraError
try:
    {statement}
except MissingExtraError as error:
    print(error)
else:
    sys.exit("nothing was said")
"""


@pytest.mark.parametrize(
    ("absent", "statement", "extra"),
    [
        ("langchain_core", "import langchain_blender", "langchain"),
        ("langchain_core", "from langchain_blender.rag import BlendedRAG", "langchain"),
        ("llama_index.core", "from llamaindex_blender import BlendedLLM", "llamaindex"),
        ("llama_index.core", "from llama_index.llms.blender import BlendedLLM", "llamaindex"),
        ("torch", "from blender_core import PairRanker; PairRanker.from_pretrained('x')", "torch"),
        ("torch", "from blender_core import GenFuser; GenFuser.from_pretrained('x')", "torch"),
        ("httpx", "from blender_core.rank import resolve_ranker; resolve_ranker('http://host/rerank')", "demo"),
        ("ray", "from blender_lab.batch.on_ray import check_ray; check_ray()", "ray"),
        ("xllamacpp", "from blender_core.local import local_ensemble; local_ensemble()", "demo"),
        ("scipy", "from blender_lab.evaluate.statistics import bootstrap_mean; bootstrap_mean([0.0, 1.0])", "eval"),
    ],
)
def test_one_line_names_the_extra(absent, statement, extra):
    code = BLOCKED.format(names={absent}, statement=statement)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-800:]
    assert done.stdout.strip().endswith(f'is not installed: pip install "blended-llm[{extra}]"')
    assert done.stdout.count("\n") == 1
