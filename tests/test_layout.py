"""The shape of the house: layered rooms, light imports, documented exports, files of a readable length."""

import ast
import importlib
import json
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ["blender_core", "blender_lab", "langchain_blender", "llamaindex_blender"]
FRAMEWORKS = {
    "blender_core": {"langchain", "langchain_core", "langgraph", "langchain_openai", "llama_index"},
    "blender_lab": {"langchain", "langchain_core", "langgraph", "langchain_openai", "llama_index"},
    "langchain_blender": {"llama_index"},
    "llamaindex_blender": {"langchain", "langchain_core", "langgraph", "langchain_openai"},
}
FILES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


LONGEST_FILE = 1000
HEAVY = {"torch", "transformers", "onnxruntime", "tokenizers", "openai", "xllamacpp"}
# what each statement may not load; in one process, in this order
STATEMENTS = {
    "import blender_core": HEAVY,
    "import blender_lab": HEAVY,
    "from llamaindex_blender import __all__": HEAVY | {"llama_index"},
    "from langchain_blender import BlendedLLM, LangChainMember": HEAVY | {"llama_index", "langchain_openai"},
    "from blender_core.cli.app import app; CliRunner().invoke(app, ['ask', '--help'], catch_exceptions=False)": (
        HEAVY | {"numpy"}
    ),
    "import blender_core.local": HEAVY,
    "import blender_core.compat": HEAVY,
    "import blender_core.rank.pair_ranker": HEAVY,
    "import blender_core.fuse.gen_fuser": HEAVY,
    "import blender_core.rank as rank; [getattr(rank, name) for name in rank.__all__]": {
        "torch",
        "transformers",
        "onnxruntime",
    },
    "rank.EmbeddedRanker.load().rank('a', ['b', 'c'])": {"torch", "transformers"},
}


def imported(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import"
            yield (node.module or "").split(".")[0]


def test_frameworks_are_known_to_their_own_package_alone():
    for path in FILES:
        forbidden = FRAMEWORKS[path.relative_to(ROOT).parts[0]] & set(imported(path))
        assert not forbidden, f"{path} imports {forbidden}"


def test_rooms_are_layered(monkeypatch):
    lint_imports = pytest.importorskip("importlinter.cli", reason="import-linter is not installed").lint_imports
    monkeypatch.chdir(ROOT)
    assert lint_imports(no_cache=True) == 0


def test_files_can_be_read_in_one_sitting():
    long = {str(path): lines for path in FILES if (lines := path.read_text("utf-8").count("\n")) > LONGEST_FILE}
    assert not long


@pytest.fixture(scope="module")
def loaded():
    """The heavy modules that are loaded after each statement."""
    code = (
        "import json, sys; from typer.testing import CliRunner\n"
        f"heavy, after = {sorted(set().union(*STATEMENTS.values()))}, {{}}\n"
        f"for statement in {list(STATEMENTS)}:\n"
        "    exec(statement)\n"
        "    after[statement] = [name for name in heavy if name in sys.modules]\n"
        "print(json.dumps(after))"
    )
    command = [sys.executable, "-W", "error", "-c", code]
    return json.loads(subprocess.run(command, check=True, cwd=ROOT, stdout=subprocess.PIPE).stdout)


@pytest.mark.parametrize("statement", STATEMENTS)
def test_importing_loads_no_heavy_library(statement, loaded):
    assert not STATEMENTS[statement] & set(loaded[statement])


@pytest.mark.parametrize("package", PACKAGES)
def test_public_names_exist_and_are_documented(package):
    pytest.importorskip("torch", reason="modules of the torch extra are imported")
    names = [package, *(m.name for m in pkgutil.walk_packages([str(ROOT / package)], f"{package}."))]
    for name in names:
        if name.rsplit(".", 1)[-1] in ("__main__", "serve"):
            continue
        module = importlib.import_module(name)
        assert module.__doc__, f"{name} has no docstring"
        exported = getattr(module, "__all__", [])
        for public in exported:
            member = getattr(module, public)
            if callable(member) and isinstance(member, type | type(lambda: 0)):
                assert member.__doc__, f"{name}.{public} has no docstring"


def test_py_typed_ships_with_every_package():
    assert all((ROOT / package / "py.typed").is_file() for package in PACKAGES)
