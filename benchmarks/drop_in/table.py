"""What was tried on a blend and on a plain model: the tables of docs/langchain.md and docs/llamaindex.md.

    python benchmarks/drop_in/table.py llamaindex
    python benchmarks/drop_in/table.py langchain

Every app of ``<framework>_apps.py`` runs twice, on a plain OpenAI-like model and on a blend of three, which fuses
whenever it may. Both ask a server on loopback. An app asserts what its result must hold.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import logging
import platform
import warnings
from collections.abc import Callable, Mapping
from importlib.metadata import version
from typing import Any

from loopback import Loopback

App = Callable[[Any], object]


def tried(app: App, model: Any) -> str:
    """Run one app; return ``works``, or its error in a few words."""
    # as at the start of a program; LlamaIndex takes the thread's loop if there is one
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    try:
        app(model)
    except Exception as error:
        first = (str(error).splitlines() or [""])[0]
        return f"{type(error).__name__}: {first[:80]}".replace("|", "/")
    finally:
        loop.close()
    return "works"


def rows(apps: Mapping[str, Mapping[str, App]], models: Callable[[Loopback], dict[str, Any]]) -> list[str]:
    """Run all apps; one row for each group, one more for each app that does not work on both."""
    lines = []
    for group, members in apps.items():
        fine, others = [], []
        for what, app in members.items():
            results = {}
            for kind in ("plain", "blend"):
                with Loopback() as server:
                    results[kind] = tried(app, models(server)[kind])
            if set(results.values()) == {"works"}:
                fine.append(what)
            else:
                others.append(f"| {group}: {what} | {results['plain']} | {results['blend']} |")
        if fine:
            lines.append(f"| {group}: {', '.join(fine)} | works | works |")
        lines += others
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("framework", choices=("langchain", "llamaindex"))
    parser.add_argument("--only", default="", help="groups whose name holds this")
    arguments = parser.parse_args()
    logging.disable(logging.ERROR)
    warnings.simplefilter("ignore")
    apps = importlib.import_module(f"{arguments.framework}_apps")
    versions = ", ".join(f"{package} {version(package)}" for package in apps.PACKAGES)
    chosen = {group: members for group, members in apps.APPS.items() if arguments.only in group}
    print(f"{versions}, Python {platform.python_version()}\n")
    print("| what | plain model | blend |\n|---|---|---|")
    print("\n".join(rows(chosen, apps.models)))


if __name__ == "__main__":
    main()
