"""The shape of the house: one-way imports, light imports, documented exports, modules of one idea."""

import ast
import importlib
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = [
    name
    for name in ("blender_core", "blender_lab", "langchain_blender", "llamaindex_blender")
    if (ROOT / name).is_dir()
]
FRAMEWORKS = {
    "blender_core": {"langchain", "langchain_core", "langgraph", "langchain_openai", "llama_index"},
    "blender_lab": {"langchain", "langchain_core", "langgraph", "langchain_openai", "llama_index"},
    "langchain_blender": {"llama_index"},
    "llamaindex_blender": {"langchain", "langchain_core", "langgraph", "langchain_openai"},
}
FILES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


def imported(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import"
            yield (node.module or "").split(".")[0]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_one_way(path):
    package = path.relative_to(ROOT).parts[0]
    others = set(PACKAGES) - {package, "blender_core"}
    forbidden = FRAMEWORKS[package] | others
    assert not forbidden & set(imported(path))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_modules_hold_one_idea(path):
    assert path.read_text(encoding="utf-8").count("\n") <= 400


@pytest.mark.parametrize("package", PACKAGES)
def test_importing_loads_no_heavy_library(package):
    code = (
        f"import sys, {package}\n"
        "heavy = {'torch', 'transformers', 'onnxruntime', 'tokenizers', 'openai', 'xllamacpp'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, cwd=ROOT)


@pytest.mark.parametrize("package", PACKAGES)
def test_public_names_exist_and_are_documented(package):
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
