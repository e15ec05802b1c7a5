"""What `blended-llm batch` does a second, what Ray adds, and whether kills cost rows.

    python benchmarks/batch.py rows --rows 2000 --ranker embedded   # a plain loop, --local, Ray with 1 and 2 workers
    python benchmarks/batch.py concurrency                          # scripted members that take 200 ms
    python benchmarks/batch.py kills --rows 100000 --ray            # kill -9 in the middle, then count the rows

`rows` measures the ways in turn, `--rounds` times, on the same file. Ray's start is told apart: the rate is that from
the first row on the disk to the end. CPU time is that of the command and all processes below it, with their start, and
of Ray's workers alone; it is sampled. On a busy machine it says more than the rate.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from blender_core.rank.registry import resolve_ranker
from blender_core.testing import Reply, ScriptedServer

COMMAND = [sys.executable, "-c", "import typer; from blender_lab.cli.batch import batch; typer.run(batch)"]
WORDS = ["sun", "moon", "star", "sea", "hill", "tree", "bird", "fish", "road", "door", "bread", "salt"]


def write_rows(path: Path, count: int, candidates: int = 4) -> None:
    rng = random.Random(0)
    with path.open("w") as file:
        for number in range(count):
            texts = [" ".join(rng.choices(WORDS, k=rng.randint(10, 60))) for _ in range(candidates)]
            held = [{"model": f"m{place}", "text": text} for place, text in enumerate(texts)]
            line = {"id": f"r{number}", "instruction": f"Tell me of {rng.choice(WORDS)}, {number}.", "candidates": held}
            file.write(json.dumps(line) + "\n")


def plain_loop(path: Path, ranker: str) -> tuple[float, float]:
    """Rank every row and write its order, as a script of ten lines would; return rows and CPU seconds."""
    chosen = resolve_ranker(ranker)
    with path.open() as file:
        rows = [json.loads(line) for line in file]
    chosen.rank(rows[0]["instruction"], [one["text"] for one in rows[0]["candidates"]])
    began, cpu = time.perf_counter(), time.process_time()
    with path.with_suffix(".plain").open("w") as out:
        for row in rows:
            ranking = chosen.rank(row["instruction"], [one["text"] for one in row["candidates"]])
            out.write(json.dumps({"id": row["id"], **ranking.to_dict()}) + "\n")
    return len(rows) / (time.perf_counter() - began), time.process_time() - cpu


def cpu_below(root: int) -> dict[int, float]:
    """CPU seconds so far of a process and all processes below it."""
    parents: dict[int, int] = {}
    used: dict[int, float] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        parents[int(folder.name)] = int(fields[1])
        used[int(folder.name)] = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def is_below(pid: int) -> bool:
        while pid not in (root, 0):
            pid = parents.get(pid, 0)
        return pid == root

    return {pid: seconds for pid, seconds in used.items() if is_below(pid)}


@dataclass(frozen=True)
class Ran:
    """Seconds in all and until the first row was on the disk; CPU seconds in all and of what wrote rows."""

    seconds: float
    first: float
    cpu: float
    cpu_of_workers: float


def job(path: Path, out: Path, *more: str) -> Ran:
    """Run the command."""
    first: list[float] = []
    used: dict[int, float] = {}
    began = time.perf_counter()
    command = [*COMMAND, str(path), "--out", str(out), "--progress", "none", "--json", *more]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        journal = out.with_name(f"{out.name}.journal")

        def watch() -> None:
            while running.poll() is None:
                if not first and any(one.stat().st_size for one in journal.glob("0*.jsonl")):
                    first.append(time.perf_counter() - began)
                used.update(cpu_below(running.pid))
                time.sleep(0.1 if first else 0.02)

        watching = threading.Thread(target=watch)
        watching.start()
        errors = running.communicate()[1]
        watching.join()
    if running.returncode:
        sys.exit(errors)
    writers = {int(one.name.rsplit("-", 2)[1]) for one in journal.glob("0*.jsonl")}
    of_workers = sum(seconds for pid, seconds in used.items() if pid in writers)
    return Ran(time.perf_counter() - began, first[0] if first else 0.0, sum(used.values()), of_workers)


def rows(arguments: argparse.Namespace, folder: Path) -> None:
    path = folder / "in.jsonl"
    write_rows(path, arguments.rows)
    rank = ["--rank-only", "--ranker", arguments.ranker]
    ways = {"--local": ["--local"], **{f"Ray, {n} workers": ["--workers", str(n)] for n in (1, 2)}}
    for round_ in range(arguments.rounds):
        plain, cpu = plain_loop(path, arguments.ranker)
        print(f"plain loop: {plain:.1f} rows/s, CPU {cpu:.1f} s", flush=True)
        for name, more in ways.items():
            ran = job(path, folder / f"{round_}-{len(more)}{more[-1]}.jsonl", *rank, *more)
            rate = arguments.rows / (ran.seconds - ran.first)
            print(
                f"{name}: {rate:.1f} rows/s, first row after {ran.first:.1f} s, {ran.seconds:.1f} s in all, "
                f"CPU {ran.cpu:.1f} s, of it {ran.cpu_of_workers:.1f} s in what wrote rows",
                flush=True,
            )


def concurrency(arguments: argparse.Namespace, folder: Path) -> None:
    path = folder / "in.jsonl"
    for many in (1, 4, 16, 64):
        count = min(arguments.rows, 20 * many)
        write_rows(path, count)
        reply = Reply("the sun and the moon", latency_s=0.2)
        with ScriptedServer({"a": reply, "b": reply, "c": reply}) as server:
            members = [part for model in "abc" for part in ("--endpoint", f"{server.base_url}:{model}")]
            more = [*members, "--ranker", "longest", "--fuser", "none", "--local", "--concurrency", str(many)]
            ran = job(path, folder / f"{many}.jsonl", *more)
        rate = (count - 1) / (ran.seconds - ran.first)
        most = many / 0.2
        print(
            f"concurrency {many}: {rate:.1f} rows/s of at most {most:.0f}; {count} rows, CPU {ran.cpu:.1f} s",
            flush=True,
        )


def memory_mb(pid: int) -> float:
    """Memory of a process that belongs to it alone, without the pages of files."""
    try:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("RssAnon"):
                return int(line.split()[1]) / 1024
    except OSError:
        pass
    return 0.0


def kills(arguments: argparse.Namespace, folder: Path) -> None:
    path, out = folder / "in.jsonl", folder / "out.jsonl"
    write_rows(path, arguments.rows)
    journal = out.with_name(f"{out.name}.journal")
    more = ["--rank-only", "--ranker", arguments.ranker, *(["--workers", "2"] if arguments.ray else ["--local"])]
    command = [*COMMAND, str(path), "--out", str(out), "--progress", "none", *more]

    def size() -> int:
        return sum(one.stat().st_size for one in journal.glob("0*.jsonl"))

    whole = path.stat().st_size
    began = time.perf_counter()
    # bytes of the journals by bytes of the input
    for share in (0.15, 0.4):
        highest: dict[int, float] = {}
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as running:
            killed = not arguments.ray
            while running.poll() is None and size() < share * whole:
                named = [int(one.name.rsplit("-", 2)[1]) for one in journal.glob("0*.jsonl") if one.stat().st_size]
                # those of an earlier run are gone
                writing = [pid for pid in named if memory_mb(pid)]
                for pid in (running.pid, *writing):
                    highest[pid] = max(highest.get(pid, 0.0), memory_mb(pid))
                if not killed and writing and size() > share * whole / 2:
                    os.kill(writing[-1], signal.SIGKILL)
                    print(f"killed worker {writing[-1]} at {time.perf_counter() - began:.0f} s", flush=True)
                    killed = True
                time.sleep(0.1)
            running.kill()
        told = ", ".join(f"{mb:.0f}" for mb in highest.values() if mb)
        written = sum(one.read_bytes().count(b"\n") for one in journal.glob("0*.jsonl"))
        at = time.perf_counter() - began
        print(f"killed the command at {at:.0f} s and {written} rows; its processes held {told} MB", flush=True)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    print(next((line for line in done.stderr.splitlines() if " done, " in line), done.returncode))
    with out.open() as file:
        ids = [json.loads(line)["id"] for line in file]
    assert ids == [f"r{number}" for number in range(arguments.rows)], "rows are missing, twice there, or out of order"
    written = sum(one.read_bytes().count(b"\n") for one in journal.glob("0*.jsonl"))
    print(f"{len(ids)} rows, each once, in order; {written - len(ids)} were ranked twice; "
          f"{time.perf_counter() - began:.0f} s with kills and starts")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("rows", "concurrency", "kills"))
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--ranker", default="consensus")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--ray", action="store_true", help="kills: on Ray with two workers, and kill one of them, too")
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp())
    try:
        {"rows": rows, "concurrency": concurrency, "kills": kills}[arguments.what](arguments, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
