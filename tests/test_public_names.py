"""What is public: the faces of the packages. A snapshot holds their names, and the API docs show each of them."""

from __future__ import annotations

import importlib
import pkgutil
import re
from dataclasses import FrozenInstanceError, fields, is_dataclass
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("langchain_core", reason="the faces of the LangChain adapter are looked at, too")
pytest.importorskip("llama_index.core", reason="the faces of the LlamaIndex adapter are looked at, too")

ROOT = Path(__file__).parents[1]
SNAPSHOT = ROOT / "tests" / "public_names.txt"
FACES = (
    "blender_core",
    "blender_core.compat",
    "blender_core.errors",
    "blender_core.events",
    "blender_core.fuse",
    "blender_core.local",
    "blender_core.members",
    "blender_core.rag",
    "blender_core.rank",
    "blender_core.testing",
    "blender_core.view",
    "blender_lab",
    "langchain_blender",
    "langchain_blender.rag",
    "langchain_blender.testing",
    "llama_index.llms.blender",
    "llamaindex_blender",
    "llamaindex_blender.rag",
    "llamaindex_blender.testing",
)


def exported() -> dict[str, Any]:
    """Public path -> object; ``__version__`` is a fact, not a name to learn."""
    faces = {face: importlib.import_module(face) for face in FACES}
    return {
        f"{face}.{name}": getattr(module, name)
        for face, module in faces.items()
        for name in module.__all__
        if name != "__version__"
    }


def directives() -> list[str]:
    return [
        path
        for page in sorted((ROOT / "docs" / "api").glob("*.md"))
        for path in re.findall(r"^::: ([\w.]+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    ]


def imported(path: str) -> Any:
    try:
        return importlib.import_module(path)
    except ModuleNotFoundError:
        module, _, name = path.rpartition(".")
        return getattr(imported(module), name)


def test_the_public_names_are_those_of_the_snapshot():
    names = sorted(exported())
    kept = SNAPSHOT.read_text(encoding="utf-8").split()
    new, gone = sorted({*names} - {*kept}), sorted({*kept} - {*names})
    assert names == kept, f"new: {new}, gone: {gone}; if that is meant, change {SNAPSHOT.name}"
    assert len(names) <= 210


# states that fill up, and the old package's configurations
MUTABLE = {"BlenderConfig", "GenFuserConfig", "MemberCall", "PriorState", "RankerConfig", "RankerRecord"}


def test_settings_and_results_cannot_be_changed():
    def can_be_changed(record: type) -> bool:
        try:
            setattr(object.__new__(record), fields(record)[0].name, None)
        except FrozenInstanceError:
            return False
        return True

    modules = [
        importlib.import_module(found.name)
        for package in map(importlib.import_module, ("blender_core", "langchain_blender", "llamaindex_blender"))
        for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
        if not found.name.endswith(("__main__", ".serve"))
    ]
    records = {
        part
        for module in modules
        for name, part in vars(module).items()
        if isinstance(part, type) and part.__module__ == module.__name__ and is_dataclass(part) and name[0] != "_"
    }
    assert len(records) > 80
    assert {record.__name__ for record in records if can_be_changed(record)} == MUTABLE


def test_the_api_docs_show_every_public_name():
    shown = [imported(path) for path in directives()]
    inside = [getattr(module, name) for module in shown for name in getattr(module, "__all__", ())]
    identities = {id(part) for part in (*shown, *inside)}
    missing = [path for path, part in exported().items() if id(part) not in identities]
    assert not missing, f"not in docs/api: {missing}"


def test_the_api_docs_show_nothing_else():
    public = {id(part) for part in exported().values()} | {id(importlib.import_module(face)) for face in FACES}
    others = [path for path in directives() if id(imported(path)) not in public]
    assert not others, f"in docs/api and in no face: {others}"


@pytest.mark.parametrize("folder", ["README.md", "docs", "examples"])
def test_readers_are_shown_public_imports_only(folder):
    place = ROOT / folder
    pages = [place] if place.is_file() else [*place.rglob("*.md"), *place.rglob("*.py"), *place.rglob("*.ipynb")]
    pattern = re.compile(
        r"^\W*(?:from ((?:blender|langchain_blender|llamaindex_blender|llama_index\.llms\.blender)[\w.]*) import"
        r"|import ((?:blender_|langchain_blender|llamaindex_blender)[\w.]*))",
        re.MULTILINE,
    )
    found = {
        (str(page.relative_to(ROOT)), module or whole)
        for page in pages
        for module, whole in pattern.findall(page.read_text(encoding="utf-8"))
    }
    assert found, f"no import was found below {folder}"
    assert not {(page, module) for page, module in found if module not in FACES}
