"""Promises under chaos, in a process of their own: threads that other tests left hanging would hold turns there."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCHEDULES = Path(__file__).with_name("chaos_schedules.py")


@pytest.mark.timeout(600)
def test_every_promise_holds_under_chaos():
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", str(SCHEDULES)]
    # --dist is an option of the plugin that is left out
    command += ["-o", "addopts=--import-mode=importlib --strict-markers"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=SCHEDULES.parents[2], check=False)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
