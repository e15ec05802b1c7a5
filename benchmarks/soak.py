"""Many concurrent blends for a long time, over real HTTP servers that fail in every way they can.

64 callers (a quarter each in ``blend``, ``ablend``, ``stream`` and ``astream``) ask blends of one good server and four
bad ones: they trickle, cut, drop, stall, answer 429, 5xx or garbage, or close their port every ten seconds. The fuser
is one of them, so streams break, too. Every ten seconds a line shows the memory, threads, sockets and files of this
process; the servers run in another one. At the end it says whether they stayed flat, and how many answers were lost:
the good server answers each call in time, so each call has an answer.

    pip install psutil
    python benchmarks/soak.py --minutes 15
    python benchmarks/soak.py --minutes 15 --llama gemma-3-270m     # and a llama.cpp server, killed in mid-stream

It ends with status 1 if an answer was lost or something grew. On a machine that has other work, ``--patience 4`` gives
each call four times as long, so that a lost answer is not the machine's; the lines show its load.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import threading
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

from blender_core import Blender
from blender_core.errors import QuorumError
from blender_core.events import Finished
from blender_core.members.openai_member import OpenAIMember

SERVERS = Path(__file__).with_name("faults") / "servers.py"
BAD = ("trickle", "cut", "drop", "stall", "quota", "broken", "garbage", "gone")
MODES = ("blend", "ablend", "stream", "astream")
QUESTION = "What is the capital of France, and where does it lie? Answer in one sentence."
DEADLINE_S, TIMEOUT_S = 8.0, 4.0
SAMPLE_S = 10.0
LLAMA_LIVES_S = 12.0
# what was destroyed without being closed
UNRAISABLE: Counter[str] = Counter()


class Soak:
    """Counts what the callers get.

    Attributes:
        calls: Calls by mode.
        lost: What calls without an answer raised.
        statuses: How each kind of server ended, counted.
        late: Seconds over the deadline of the late calls.
        fused: Calls whose text was fused.
        gap: Longest time in seconds for which the event loop stood still.
        over: Whether the callers stop.
    """

    def __init__(self, patience: float) -> None:
        self.deadline = DEADLINE_S * patience
        self.calls: Counter[str] = Counter()
        self.lost: Counter[str] = Counter()
        self.statuses: Counter[tuple[str, str]] = Counter()
        self.late: list[float] = []
        self.gaps: list[float] = []
        self.fused = 0
        self.over = False
        self._lock = threading.Lock()

    def take(self, mode: str, result: Any, seconds: float) -> None:
        """Count one call."""
        with self._lock:
            self.calls[mode] += 1
            if seconds > self.deadline:
                self.late.append(seconds - self.deadline)
            if isinstance(result, BaseException) or result is None:
                causes = "" if not isinstance(result, QuorumError) else str(result)[:160]
                self.lost[f"{mode}: {type(result).__name__} {causes or str(result)[:160]}"] += 1
                return
            self.fused += bool(result.fused)
            json.dumps(result.to_dict(), allow_nan=False)
            for record in result.candidates:
                self.statuses[record.outcome.member, record.outcome.status.value] += 1


@contextmanager
def servers() -> Iterator[tuple[dict[str, int], Any]]:
    with subprocess.Popen([sys.executable, str(SERVERS)], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        try:
            yield json.loads(process.stdout.readline()), process
        finally:
            process.terminate()


class Llama:
    """Runs a llama.cpp server, kills it in mid-stream, and starts it anew behind the same address."""

    def __init__(self, name: str, relay: Any) -> None:
        from blender_core.local import LocalServer, fetch, find_model

        self.kills = 0
        self._relay = relay
        self._model = find_model(name)
        self._make = lambda: LocalServer(self._model, fetch(self._model), api_key="soak", parallel=4)
        self._over = threading.Event()
        self._start()
        self._thread = threading.Thread(target=self._kill_again_and_again, daemon=True)
        self._thread.start()

    def _start(self) -> None:
        self._server = self._make().wait()
        port = self._server.base_url.rpartition(":")[2].partition("/")[0]
        self._relay.stdin.write(f"relay {port}\n".encode())
        self._relay.stdin.flush()

    def _kill_again_and_again(self) -> None:
        while not self._over.wait(LLAMA_LIVES_S):
            os.kill(self._server.pid, signal.SIGKILL)
            self.kills += 1
            self._server.close()
            self._start()

    def close(self) -> None:
        """End the server."""
        self._over.set()
        self._thread.join()
        self._server.close()


def make_blenders(
    ports: dict[str, int], llama: str | None, ranker: str, patience: float, rng: random.Random
) -> list[Blender]:
    def member(kind: str) -> OpenAIMember:
        return OpenAIMember("m", base_url=f"http://127.0.0.1:{ports[kind]}/v1", api_key="soak", name=kind)

    members = {kind: member(kind) for kind in ("good", *BAD)}
    if llama is not None:
        members["llama"] = OpenAIMember(
            llama, base_url=f"http://127.0.0.1:{ports['relay']}/v1", api_key="soak", name="llama", max_tokens=60
        )
    blenders = []
    for number in range(16):
        others = rng.sample([kind for kind in members if kind != "good"], 4)
        fuser = "llama" if llama is not None and number % 2 else rng.choice(["good", *others])
        blenders.append(
            Blender(
                [members[kind] for kind in ("good", *others)],
                ranker=ranker,
                fuser=members[fuser],
                fuse_when="always",
                timeout=TIMEOUT_S * patience,
                deadline=DEADLINE_S * patience,
                max_retries=1,
                max_concurrency=None if number % 4 else 64,
            )
        )
    return blenders


def call_blocking(blender: Blender, mode: str) -> Any:
    if mode == "blend":
        return blender.blend(QUESTION)
    *_, last = blender.stream(QUESTION)
    return last.result if isinstance(last, Finished) else None


async def call(blender: Blender, mode: str) -> Any:
    if mode == "ablend":
        return await blender.ablend(QUESTION)
    last = None
    async for event in blender.astream(QUESTION):
        last = event
    return last.result if isinstance(last, Finished) else None


def caller_in_thread(soak: Soak, blenders: list[Blender], mode: str, rng: random.Random) -> None:
    while not soak.over:
        began = time.monotonic()
        try:
            result = call_blocking(rng.choice(blenders), mode)
        except BaseException as error:
            result = error
        soak.take(mode, result, time.monotonic() - began)


async def caller(soak: Soak, blenders: list[Blender], mode: str, rng: random.Random) -> None:
    while not soak.over:
        began = time.monotonic()
        try:
            result = await asyncio.wait_for(call(rng.choice(blenders), mode), 10 * soak.deadline)
        except Exception as error:
            result = error
        soak.take(mode, result, time.monotonic() - began)


async def watch_loop(soak: Soak) -> None:
    while not soak.over:
        began = time.monotonic()
        await asyncio.sleep(0.02)
        soak.gaps.append(time.monotonic() - began - 0.02)


async def callers(soak: Soak, blenders: list[Blender], count: int) -> None:
    tasks = [caller(soak, blenders, MODES[number % 4], random.Random(number)) for number in range(count) if number % 2]
    await asyncio.gather(watch_loop(soak), *tasks)


def sample(process: psutil.Process, kinds: dict[int, str]) -> dict[str, Any]:
    sockets: Counter[str] = Counter()
    for connection in process.net_connections("inet"):
        if connection.raddr:
            sockets[f"{kinds.get(connection.raddr.port, 'other')} {connection.status.lower()}"] += 1
    return {
        "rss_mb": process.memory_info().rss / 2**20,
        "threads": process.num_threads(),
        "files": process.num_fds(),
        "sockets": sum(sockets.values()),
        "by_kind": sockets,
        "cpu_percent": process.cpu_percent(),
        "load": os.getloadavg()[0],
    }


def told(sample: dict[str, Any]) -> str:
    return "  ".join(
        f"{name} {sample[name]:.0f}" for name in ("rss_mb", "threads", "files", "sockets", "cpu_percent", "load")
    )


def growth(samples: list[dict[str, Any]], name: str, slack: float) -> str | None:
    """Tell how much more the last third holds than the middle one; ``None`` if it is flat."""
    third = len(samples) // 3
    if not third:
        return None
    middle = statistics.median(each[name] for each in samples[third : 2 * third])
    last = statistics.median(each[name] for each in samples[2 * third :])
    return f"{name} grew from {middle:.0f} to {last:.0f}" if last > middle * 1.1 + slack else None


def run(options: argparse.Namespace) -> int:
    process, rng, soak = psutil.Process(), random.Random(options.seed), Soak(options.patience)
    with servers() as (ports, relay):
        kinds = {port: kind for kind, port in ports.items()}
        llama = None if options.llama is None else Llama(options.llama, relay)
        blenders = make_blenders(ports, options.llama, options.ranker, options.patience, rng)
        blenders[0].warm_up()
        call_blocking(blenders[0], "blend")
        at_start = sample(process, kinds)
        print(f"at the start        {told(at_start)}", flush=True)
        threads = [
            threading.Thread(target=caller_in_thread, args=(soak, blenders, MODES[number % 4], random.Random(number)))
            for number in range(options.concurrent)
            if number % 2 == 0
        ]
        threads.append(threading.Thread(target=lambda: asyncio.run(callers(soak, blenders, options.concurrent))))
        began, samples = time.monotonic(), []
        for thread in threads:
            thread.start()
        while time.monotonic() - began < 60 * options.minutes:
            time.sleep(min(SAMPLE_S, max(0.1, 60 * options.minutes - (time.monotonic() - began))))
            samples.append(sample(process, kinds))
            done = soak.calls.total()
            print(f"{time.monotonic() - began:6.0f} s {done:6d} calls  {told(samples[-1])}", flush=True)
        soak.over = True
        stuck = 0
        for thread in threads:
            thread.join(12 * soak.deadline)
            stuck += thread.is_alive()
        if llama is not None:
            llama.close()
        for blender in blenders:
            for _, member in blender.members:
                with suppress(AttributeError):
                    member.close()
        # idle connections of clients, and threads that wait for a stalled server, end with their time limits
        time.sleep(options.quiet)
        gc.collect()
        at_end = sample(process, kinds)
    return report(soak, samples, at_start, at_end, stuck, llama)


def report(
    soak: Soak,
    samples: list[dict[str, Any]],
    at_start: dict[str, Any],
    at_end: dict[str, Any],
    stuck: int,
    llama: Llama | None,
) -> int:
    print(f"after all calls     {told(at_end)}")
    print("sockets left:", dict(at_end["by_kind"]) or "none")
    print("calls:", dict(soak.calls), "of these fused:", soak.fused)
    by_kind: dict[str, Counter[str]] = {}
    for (member, status), number in soak.statuses.items():
        by_kind.setdefault(member, Counter())[status] = number
    for member, statuses in sorted(by_kind.items()):
        print(f"  {member:8s}", ", ".join(f"{status} {number}" for status, number in statuses.most_common()))
    if llama is not None:
        print(f"the llama.cpp server was killed {llama.kills} times")
    late = sorted(soak.late)
    print(f"late calls: {len(late)}" + (f", the latest by {1000 * late[-1]:.0f} ms" if late else ""))
    gaps = sorted(soak.gaps)
    print(f"gaps of the event loop: median {1000 * gaps[len(gaps) // 2]:.0f} ms, longest {1000 * gaps[-1]:.0f} ms")
    problems = [f"{number} x lost: {what}" for what, number in soak.lost.most_common()]
    problems += [f"{stuck} callers never came back"] if stuck else []
    problems += [f"{number} x not closed: {what}" for what, number in UNRAISABLE.most_common(5)]
    slacks = {"rss_mb": 20.0, "threads": 20.0, "files": 20.0, "sockets": 20.0}
    problems += [line for name, slack in slacks.items() if (line := growth(samples, name, slack))]
    for name in ("threads", "files", "sockets"):
        if at_end[name] > at_start[name] + 2:
            problems.append(
                f"{name}: {at_end[name]} are left after all calls, {at_start[name]} were there at the start"
            )
    print(f"answers lost: {soak.lost.total()} of {soak.calls.total()}")
    print("\n".join(problems) or "memory, threads, files and sockets are flat")
    return 1 if problems else 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=15.0)
    parser.add_argument("--concurrent", type=int, default=64)
    parser.add_argument("--ranker", default="embedded")
    parser.add_argument("--llama", help="model of a llama.cpp server that is killed in mid-stream, e.g. gemma-3-270m")
    parser.add_argument("--patience", type=float, default=1.0, help="factor of all time limits")
    parser.add_argument("--quiet", type=float, default=10.0, help="seconds between the last call and the last sample")
    parser.add_argument("--seed", type=int, default=0)
    warnings.simplefilter("error", ResourceWarning)
    sys.unraisablehook = lambda args: UNRAISABLE.update([f"{type(args.exc_value).__name__}: {args.exc_value}"[:60]])
    sys.exit(run(parser.parse_args()))


if __name__ == "__main__":
    main()
