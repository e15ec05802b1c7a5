"""Write the corpus: the prose of some packages' descriptions, as their wheels carry them.

The corpus is committed. This shows how it came about, and makes it again where the same versions are installed:

    python benchmarks/rag/make_corpus.py --out benchmarks/rag/corpus
"""

from __future__ import annotations

import argparse
import re
from importlib.metadata import distribution
from pathlib import Path

PACKAGES = {
    "cloudpickle": "3.1.2",
    "defusedxml": "0.7.1",
    "distro": "1.9.0",
    "filetype": "1.2.0",
    "h11": "0.16.0",
    "joblib": "1.6.0",
    "platformdirs": "4.14.7",
    "pluggy": "1.7.0",
    "portalocker": "4.4.2",
    "psutil": "7.2.2",
    "python-dateutil": "4.0.0",
    "sortedcontainers": "2.4.0",
    "tabulate": "0.10.0",
    "threadpoolctl": "3.8.0",
    "tinytag": "2.3.2",
    "websockets": "17.4",
    "xxhash": "4.1.0",
}
MOST_CHARACTERS = 5000


def prose(text: str) -> str:
    """The description without code, badges, images, link targets and directives."""
    text = re.sub(r"^(```|~~~).*?^\1[^\n]*$", "", text, flags=re.MULTILINE | re.DOTALL)
    # reStructuredText: literal and code blocks are indented below a "::" or a directive
    text = re.sub(r"^\.\. [^\n]*::[^\n]*\n(?:[ \t]*\n|[ \t]+[^\n]*\n)*", "", text, flags=re.MULTILINE)
    text = re.sub(r"::\n\n(?:[ \t]*\n|[ \t]+[^\n]*\n)+", ":\n\n", text)
    text = re.sub(r"^\.\. [^\n]*\n|^__ [^\n]*\n", "", text, flags=re.MULTILINE)
    text = re.sub(r"\[?!\[[^\]]*\]\([^)]*\)\]?(\([^)]*\))?", "", text)
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", text)
    text = re.sub(r"`([^`<]*?)\s*<[^>`]*>`_+", r"\1", text)
    text = re.sub(r"^(?: {4}|>>> ?)[^\n]*\n", "", text, flags=re.MULTILINE)
    text = re.sub(r"<[a-z/][^>]*>", "", text)
    text = re.sub(r"^[|\s]*\|[a-z-]+\|[^\n]*$", "", text, flags=re.MULTILINE)
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    out = parser.parse_args().out
    (out / "licences").mkdir(parents=True, exist_ok=True)
    for name, version in PACKAGES.items():
        found = distribution(name)
        if found.version != version:
            raise SystemExit(f"{name} is {found.version}; the corpus is made from {version}")
        text = prose(str(found.metadata.get_payload() or found.metadata["Description"]))
        end = len(text) if len(text) <= MOST_CHARACTERS else text.rfind("\n\n", 0, MOST_CHARACTERS) + 1
        (out / f"{name}.md").write_text(text[:end], encoding="utf-8")
        licences = [
            file
            for file in found.files or []
            if re.search(r"dist-info/(licenses/)?(LICENSE|LICENCE|COPYING)[^/]*$", str(file), re.IGNORECASE)
        ]
        if not licences:
            print(f"{name}: no licence file in the wheel")
        for number, file in enumerate(licences, start=1):
            mark = "" if len(licences) == 1 else f"-{number}"
            (out / "licences" / f"{name}{mark}.txt").write_text(str(file.read_text()), encoding="utf-8")


if __name__ == "__main__":
    main()
