"""Runs the Python blocks of the README and of the docs as tests; a block that cannot run says why.

``<!-- skip: next "reason" -->`` before a block leaves it out. Blocks of one page share their names; none is hidden.
"""

import contextlib
import os
import tempfile
from typing import Any

if os.environ.get("PYTEST_XDIST_WORKER"):
    # several workers share the cores; before anything loads torch
    os.environ.setdefault("OMP_NUM_THREADS", "1")

from sybil import Sybil
from sybil.parsers.markdown import PythonCodeBlockParser, SkipParser


def _enter_folder(namespace: dict[str, Any]) -> None:
    # files that a page writes must not lie around
    stack = namespace["_folder"] = contextlib.ExitStack()
    stack.enter_context(contextlib.chdir(stack.enter_context(tempfile.TemporaryDirectory())))


def _leave_folder(namespace: dict[str, Any]) -> None:
    namespace["_folder"].close()


pytest_collect_file = Sybil(
    parsers=[PythonCodeBlockParser(), SkipParser()],
    patterns=["README.md", "docs/*.md"],
    setup=_enter_folder,
    teardown=_leave_folder,
).pytest()
