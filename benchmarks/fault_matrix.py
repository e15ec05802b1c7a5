"""Print the fault matrix of docs/reliability.md, by playing every fault.

    python benchmarks/fault_matrix.py

The cases are those of ``tests/test_fault_matrix.py``; all servers are on loopback.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any


def cases() -> Any:
    """Import the module of the tests."""
    path = Path(__file__).parents[1] / "tests" / "test_fault_matrix.py"
    spec = importlib.util.spec_from_file_location("test_fault_matrix", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # its dataclasses look their module up
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def main() -> None:
    matrix = cases()

    def cell(*case: Any) -> str:
        try:
            matrix.check(*case)
        except Exception as error:
            first = (str(error).splitlines() or [""])[0]
            return f"{type(error).__name__}: {first[:60]}".replace("|", "/")
        return "yes"

    print(matrix.table(cell))


if __name__ == "__main__":
    main()
