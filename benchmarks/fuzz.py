"""Feed every reader of outside bytes with damaged input: it reads it, or raises one clear error of the tree.

    python benchmarks/fuzz.py --seconds 30                      # each reader for 30 s, with hypothesis
    python benchmarks/fuzz.py --reader "journals" --seconds 300
    python benchmarks/fuzz.py --reader "replies of judges" --atheris --seconds 60      # needs pip install atheris

It prints the inputs and the inputs a second of each reader, and the smallest input of each failure.
"""

from __future__ import annotations

import argparse
import sys
import time
import traceback
import warnings
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings

BATCH = 500


def run_reader(name: str, seconds: float, first_seed: int) -> list[str]:
    from faults.readers import READERS

    reader, failures = READERS[name], []
    began, count, slowest, batch = time.perf_counter(), 0, 0.0, first_seed

    def body(value: Any) -> None:
        nonlocal count, slowest
        count += 1
        started = time.perf_counter()
        reader.check(value)
        slowest = max(slowest, time.perf_counter() - started)

    while time.perf_counter() - began < seconds and len(failures) < 5:
        limits = settings(
            max_examples=BATCH,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
            phases=(Phase.generate, Phase.shrink),
            print_blob=False,
        )
        try:
            seed(batch)(limits(given(reader.inputs)(body)))()
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                raise
            failures.extend(told(one) for one in getattr(error, "exceptions", (error,)))
        batch += 1
    taken = time.perf_counter() - began
    print(
        f"{name:22s} {count:8d} inputs in {taken:5.0f} s, {count / taken:7.0f}/s, "
        f"slowest {1000 * slowest:6.0f} ms, failures {len(failures)}",
        flush=True,
    )
    return list(dict.fromkeys(failures))


def told(error: BaseException) -> str:
    places = [
        f"{frame.filename.rpartition('/')[2]}:{frame.lineno}"
        for frame in traceback.extract_tb(error.__traceback__)
        if "hypothesis" not in frame.filename
    ]
    notes = " ".join(note for note in getattr(error, "__notes__", ()) if "Falsifying" in note or "value=" in note)
    return f"{type(error).__name__}: {str(error)[:200]}\n    at {' > '.join(places[-4:])}\n    {notes[:600]}"


def run_atheris(name: str, seconds: float) -> None:
    import atheris

    with atheris.instrument_imports(include=["blender_core", "blender_lab", "langchain_blender", "llamaindex_blender"]):
        from faults.readers import READERS

    reader = READERS[name]

    @settings(database=None, deadline=None)
    @given(reader.inputs)
    def body(value: Any) -> None:
        reader.check(value)

    atheris.Setup([sys.argv[0], f"-max_total_time={seconds:.0f}", "-max_len=4096"], body.hypothesis.fuzz_one_input)
    atheris.Fuzz()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reader", help="one reader (default: all in turn)")
    parser.add_argument("--seconds", type=float, default=30.0, help="for each reader (default 30)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--atheris", action="store_true", help="guided by coverage")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    if options.atheris:
        run_atheris(options.reader, options.seconds)
        return
    from faults.readers import READERS

    failures = {
        name: run_reader(name, options.seconds, options.seed) for name in READERS if options.reader in (None, name)
    }
    for name, found in failures.items():
        for failure in found:
            print(f"\n{name}: {failure}")
    sys.exit(1 if any(failures.values()) else 0)


if __name__ == "__main__":
    main()
