"""Check what the wheel and the source archive hold: python contents.py WHEEL SDIST."""

from __future__ import annotations

import sys
import tarfile
import zipfile

PACKAGES = {"blender_core", "blender_lab", "langchain_blender", "llamaindex_blender", "llama_index"}
WHEEL = {
    "blender_core/local/catalogue_prior.json",
    "blender_core/models/sentence_encoder_weights/model.int8.onnx",
    "blender_core/py.typed",
    "blender_core/rank/embedded_weights/model.int8.onnx",
    "blender_core/rank/embedded_weights/ranker.json",
    "blender_core/rank/embedded_weights/tokenizer.json",
    "blender_core/rank/reward_head_weights/head.safetensors",
    "blender_core/rank/reward_head_weights/reward_head.json",
    "blender_lab/data/facts.json",
    "blender_lab/py.typed",
    "blender_lab/recipes/embedded.toml",
    "blender_lab/recipes/embedded_combination.toml",
    "blender_lab/recipes/fuser.toml",
    "blender_lab/recipes/reward_head.toml",
    "langchain_blender/py.typed",
    "llama_index/llms/blender/__init__.py",
    "llamaindex_blender/py.typed",
}
SDIST = {
    "CHANGELOG.md",
    "LICENSE",
    "NOTICE",
    "README.md",
    "conftest.py",
    "constraints.txt",
    "pyproject.toml",
    "tests/conftest.py",
}
NOT_SHIPPED = {"research", "benchmarks", "site", ".ci"}


def main(wheel: str, sdist: str) -> None:
    """Check both."""
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    tops = {name.split("/")[0] for name in names}
    info = {top for top in tops if top.endswith(".dist-info")}
    assert tops == PACKAGES | info, f"the wheel holds {sorted(tops)}"
    assert not WHEEL - names, f"the wheel lacks {sorted(WHEEL - names)}"
    licences = {name.rsplit("/", 1)[-1] for name in names if ".dist-info/licenses/" in name}
    assert licences == {"LICENSE", "NOTICE"}, f"the wheel has the licence files {sorted(licences)}"
    # the namespace is LlamaIndex's; an __init__.py would hide it
    assert not {"llama_index/__init__.py", "llama_index/llms/__init__.py"} & names, "the shim hides LlamaIndex"

    with tarfile.open(sdist) as archive:
        sources = {name.split("/", 1)[-1] for name in archive.getnames()}
    assert not SDIST - sources, f"the source archive lacks {sorted(SDIST - sources)}"
    packaged = {name for name in names if name.split("/")[0] in PACKAGES}
    assert not packaged - sources, f"the source archive lacks {sorted(packaged - sources)}"
    extra = NOT_SHIPPED & {name.split("/")[0] for name in sources}
    assert not extra, f"the source archive holds {sorted(extra)}"


if __name__ == "__main__":
    main(*sys.argv[1:])
