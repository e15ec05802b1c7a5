"""Change the code in small random ways, and count how often a test notices.

    pip install coverage
    python research/mutation.py map --map FILE
    python research/mutation.py run --map FILE --seed 28 --count 60 > table.md
    python research/mutation.py one --map FILE blender_core/gather/spending.py 16 "= 4" "= 5"

``map`` runs the tests of the rooms once and records which test runs which line. It reads an old map, and runs only test
files that changed since, or that failed. It ends with an error that names what failed. Lines move with the code: remove
the map of an older tree. ``run`` draws mutants, the same number from each room, and runs for each the tests that run
its line, the quick ones first, up to the first that fails. ``one`` tries a mutant of your own.

All happens in a copy of the tree. Each run is a fork of one process that has imported the large libraries.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import hashlib
import importlib
import importlib.util
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
ROOMS = {
    "gather": "blender_core/gather",
    "fuse": "blender_core/fuse",
    "rank": "blender_core/rank",
    "rag": "blender_core/rag",
    "members": "blender_core/members",
    "langchain": "langchain_blender",
    "llamaindex": "llamaindex_blender",
}
# tests of whole calls are in files of their own
TESTS = [f"tests/{folder}" for folder in ROOMS.values()] + [
    "tests/blender_core/test_blender.py",
    "tests/blender_core/test_promises.py",
    "tests/test_blends_in_blends.py",
    "tests/test_cut_streams.py",
    "tests/test_lone_surrogates.py",
    "tests/test_settings.py",
]
# looks at what an import makes, such as records that cannot change
IMPORTS_ALL = ("tests/test_public_names.py",)
FAR = {"blender_lab", "examples", "goldens"}
LEFT_OUT = "not slow and not local_models and not hub and not data"
OWN = ("blender_core", "blender_lab", "langchain_blender", "llamaindex_blender")
LIBRARIES = (
    *("torch", "transformers", "sentence_transformers", "openai", "onnxruntime", "hypothesis", "pytest", "jsonschema"),
    *("blender_core.members.openai_member", "blender_core.rank.embedded", "blender_core.cli"),
    *("langchain_blender.rag", "langchain_blender.testing", "llamaindex_blender.rag", "llamaindex_blender.testing"),
)
# by name: pytest warns of plugins that a library imported before it
PLUGINS = (
    *("pytest_asyncio.plugin", "pytest_timeout", "xdist.plugin", "_hypothesis_pytestplugin"),
    # the marks of LangChain's own tests
    *("pytest_benchmark.plugin", "pytest_recording.plugin", "pytest_codspeed.plugin"),
)
# seconds of recorded test time that one mutant may take
LONGEST_S = 60.0
LARGEST_BYTES = 6 * 2**30
COMPARED = {
    ast.Eq: "!=", ast.NotEq: "==", ast.Lt: "<=", ast.LtE: "<", ast.Gt: ">=", ast.GtE: ">",
    ast.Is: "is not", ast.IsNot: "is", ast.In: "not in", ast.NotIn: "in",
}  # fmt: skip
COUNTED = {ast.Add: "-", ast.Sub: "+", ast.Mult: "/", ast.Div: "*", ast.FloorDiv: "*"}
CALLED = {"all": "any", "any": "all", "min": "max", "max": "min"}
DROPPED = {"strip", "lstrip", "rstrip", "lower", "casefold", "rest"}


@dataclass(frozen=True)
class Mutant:
    """A change of one place: characters ``start`` to ``end`` of the file become ``new``."""

    path: str
    line: int
    lines: tuple[int, ...]
    start: int
    end: int
    old: str
    new: str

    def text(self) -> str:
        """Return the changed file."""
        text = (ROOT / self.path).read_text()
        return text[: self.start] + self.new + text[self.end :]


class Mutations(ast.NodeVisitor):
    """Collects the mutants of one file; annotations, messages and assertions stay."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.source = (ROOT / path).read_text()
        self._starts = [0]
        for line in self.source.splitlines(keepends=True):
            self._starts.append(self._starts[-1] + len(line))
        self._lines = self.source.splitlines(keepends=True)
        self._statement: ast.stmt | None = None
        self.found: list[Mutant] = []
        self.visit(ast.parse(self.source))

    def _place(self, line: int, column: int) -> int:
        # columns of ast count bytes
        return self._starts[line - 1] + len(self._lines[line - 1].encode()[:column].decode())

    def _span(self, node: Any) -> tuple[int, int]:
        return self._place(node.lineno, node.col_offset), self._place(node.end_lineno, node.end_col_offset)

    def _add(self, node: Any, new: str) -> None:
        start, end = self._span(node)
        self._add_at(node, start, end, new)

    def _add_at(self, node: Any, start: int, end: int, new: str) -> None:
        of = self._statement or node
        # a compound statement is its head
        last = of.body[0].lineno - 1 if getattr(of, "body", None) else of.end_lineno
        lines = tuple(range(of.lineno, max(last, of.lineno) + 1))
        old = self.source[start:end]
        compile(self.source[:start] + new + self.source[end:], self.path, "exec", dont_inherit=True)
        self.found.append(Mutant(self.path, node.lineno, lines, start, end, old, new))

    def _try(self, node: Any, new: str) -> None:
        with contextlib.suppress(SyntaxError):
            self._add(node, new)

    def _text(self, node: ast.AST) -> str:
        return ast.get_source_segment(self.source, node) or ""

    def visit(self, node: ast.AST) -> None:
        """Collect the mutants of a node and of all below it."""
        outer = self._statement
        if isinstance(node, ast.stmt):
            self._statement = node
        getattr(self, f"_of_{type(node).__name__.lower()}", self.generic_visit)(node)
        self._statement = outer

    def _of_joinedstr(self, node: ast.JoinedStr) -> None:
        """Skip: mostly messages."""

    def _of_assert(self, node: ast.Assert) -> None:
        """Skip: for the type checker."""

    def _of_annassign(self, node: ast.AnnAssign) -> None:
        if node.value is not None:
            self.visit(node.value)

    def _of_arg(self, node: ast.arg) -> None:
        """Skip the annotation."""

    def _of_functiondef(self, node: Any) -> None:
        for part in (*node.decorator_list, node.args, *node.body):
            self.visit(part)

    _of_asyncfunctiondef = _of_functiondef

    def _of_assign(self, node: ast.Assign) -> None:
        if not any(isinstance(target, ast.Name) and target.id == "__all__" for target in node.targets):
            self.generic_visit(node)

    def _of_expr(self, node: ast.Expr) -> None:
        if isinstance(node.value, ast.Constant):
            return
        self._try(node, "pass" if not isinstance(node.value, ast.Yield | ast.YieldFrom) else "yield from ()")
        self.generic_visit(node)

    def _of_raise(self, node: ast.Raise) -> None:
        self._try(node, "pass")

    def _of_return(self, node: ast.Return) -> None:
        if node.value is not None and not (isinstance(node.value, ast.Constant) and node.value.value is None):
            self._try(node, "return None")
        self.generic_visit(node)

    def _of_if(self, node: Any) -> None:
        self._try(node.test, f"not ({self._text(node.test)})")
        self.generic_visit(node)

    _of_while = _of_if

    def _of_ifexp(self, node: ast.IfExp) -> None:
        self._try(node, f"({self._text(node.body)})")
        self._try(node, f"({self._text(node.orelse)})")
        self.generic_visit(node)

    def _of_comprehension(self, node: ast.comprehension) -> None:
        for test in node.ifs:
            self._try(test, "True")
        self.generic_visit(node)

    def _of_compare(self, node: ast.Compare) -> None:
        left = node.left
        for operator, right in zip(node.ops, node.comparators, strict=True):
            start, end = self._span(left)[1], self._span(right)[0]
            between = self.source[start:end]
            word = {"NotEq": "!=", "Eq": "==", "Lt": "<", "LtE": "<=", "Gt": ">", "GtE": ">=", "Is": "is",
                    "IsNot": "is not", "In": "in", "NotIn": "not in"}[type(operator).__name__]  # fmt: skip
            at = between.find(word)
            if at >= 0:
                with contextlib.suppress(SyntaxError):
                    self._add_at(node, start + at, start + at + len(word), COMPARED[type(operator)])
            left = right
        self.generic_visit(node)

    def _of_boolop(self, node: ast.BoolOp) -> None:
        word, other = ("and", "or") if isinstance(node.op, ast.And) else ("or", "and")
        for left, right in zip(node.values, node.values[1:], strict=False):
            start, end = self._span(left)[1], self._span(right)[0]
            at = self.source[start:end].find(word)
            if at >= 0:
                with contextlib.suppress(SyntaxError):
                    self._add_at(node, start + at, start + at + len(word), other)
        self.generic_visit(node)

    def _of_unaryop(self, node: ast.UnaryOp) -> None:
        if isinstance(node.op, ast.Not):
            self._try(node, f"({self._text(node.operand)})")
        self.generic_visit(node)

    def _of_binop(self, node: ast.BinOp) -> None:
        start, end = self._span(node.left)[1], self._span(node.right)[0]
        signs = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/", ast.FloorDiv: "//"}
        sign = signs.get(type(node.op))
        at = -1 if sign is None else self.source[start:end].find(sign)
        if sign is not None and at >= 0:
            with contextlib.suppress(SyntaxError):
                self._add_at(node, start + at, start + at + len(sign), COUNTED[type(node.op)])
        self.generic_visit(node)

    def _of_constant(self, node: ast.Constant) -> None:
        value = node.value
        if isinstance(value, bool):
            self._try(node, str(not value))
        elif isinstance(value, int):
            self._try(node, str(value + 1))
        elif isinstance(value, float):
            self._try(node, repr(value * 2 if value else 0.5))

    def _of_call(self, node: ast.Call) -> None:
        function = node.func
        if isinstance(function, ast.Name) and function.id in CALLED:
            self._try(function, CALLED[function.id])
        if isinstance(function, ast.Attribute) and function.attr in DROPPED and not node.args:
            self._try(node, self._text(function.value))
        self.generic_visit(node)


def draw(seed: int, count: int) -> Iterator[Mutant]:
    """Draw mutants, the rooms in turn."""
    rng = random.Random(seed)
    pools = []
    for folder in ROOMS.values():
        paths = sorted(str(path.relative_to(ROOT)) for path in (ROOT / folder).rglob("*.py"))
        # public doubles are tests of others
        found = [mutant for path in paths if "/testing" not in path for mutant in Mutations(path).found]
        rng.shuffle(found)
        pools.append(found)
    for number in range(count):
        yield pools[number % len(pools)].pop()


class Workshop:
    """Holds a copy of the tree, in which forks of this process run tests."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="mutation-"))
        listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
        for name in subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines():
            if (ROOT / name).is_file():
                target = self.folder / name
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, target)
        os.environ |= {"MKL_CBWR": "AVX2,STRICT", "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
        os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
        os.environ["PYTHONPATH"] = str(self.folder)
        sys.path[:] = [str(self.folder), *(path for path in sys.path if path not in ("", str(ROOT)))]
        # what the packages import stays, the packages themselves are imported anew by each fork
        for name in LIBRARIES:
            with contextlib.suppress(ImportError):
                importlib.import_module(name)
        for name in [name for name in sys.modules if name.split(".")[0] in OWN]:
            del sys.modules[name]

    def close(self) -> None:
        """Remove the copy."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def fork(self, work: Callable[[], int], limit_s: float) -> int | None:
        """Do a work in a fork; return its exit code, ``None`` if it took too long."""
        sys.stdout.flush()
        child = os.fork()
        if child == 0:
            os.setsid()
            # a loop without end must not take the machine's memory
            resource.setrlimit(resource.RLIMIT_DATA, (LARGEST_BYTES, LARGEST_BYTES))
            os.chdir(self.folder)
            silent = os.open(self.folder / "last_run.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(silent, 1)
            os.dup2(silent, 2)
            code = 99
            try:
                code = work()
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(code)
        ends = time.monotonic() + limit_s
        while time.monotonic() < ends:
            done, status = os.waitpid(child, os.WNOHANG)
            if done:
                return os.waitstatus_to_exitcode(status)
            time.sleep(0.05)
        os.killpg(child, signal.SIGKILL)
        os.waitpid(child, 0)
        return None

    def mutated(self, path: str, text: str, tests: dict[str, float]) -> str:
        """Run tests against a changed file; return how it ended."""
        target = self.folder / path
        before = target.read_text()
        cached = Path(importlib.util.cache_from_source(str(target)))
        try:
            target.write_text(text)
            cached.unlink(missing_ok=True)
            limit_s = 60 + 4 * sum(tests.values())
            code = self.fork(lambda: _pytest(sorted({name.split("::")[0] for name in tests}), _Only(tests)), limit_s)
        finally:
            target.write_text(before)
            cached.unlink(missing_ok=True)
        return "survived" if code == 0 else "killed (time)" if code is None else "killed"


class _Only:
    """A pytest plugin: only the given tests, the quick ones first."""

    def __init__(self, tests: dict[str, float]) -> None:
        self._tests = tests

    def pytest_collection_modifyitems(self, items: list[Any]) -> None:
        known = [item for item in items if {item.nodeid, item.nodeid.split("::")[0]} & self._tests.keys()]
        items[:] = sorted(known, key=lambda item: self._tests.get(item.nodeid, 0.0))


class _Recorder:
    """A pytest plugin: a coverage context and a duration for each test."""

    def __init__(self, coverage: Any) -> None:
        import pytest

        self._coverage = coverage
        self.seconds: dict[str, float] = {}
        self.failed: set[str] = set()
        self.skipped: set[str] = set()
        recorder = self

        class Hooks:
            @pytest.hookimpl(hookwrapper=True)
            def pytest_runtest_protocol(self, item: Any) -> Iterator[None]:
                recorder._coverage.switch_context(item.nodeid)
                began = time.monotonic()
                yield
                recorder.seconds[item.nodeid] = time.monotonic() - began
                recorder._coverage.switch_context("")

            def pytest_runtest_logreport(self, report: Any) -> None:
                if not report.passed:
                    (recorder.failed if report.failed else recorder.skipped).add(report.nodeid)

        self.hooks = Hooks()


def _pytest(paths: list[str], plugin: Any, *options: str) -> int:
    import pytest

    named = [word for name in PLUGINS for word in ("-p", name)]
    common = ["-q", "-x", "-m", LEFT_OUT, "-p", "no:cacheprovider", "--benchmark-disable", "--tb=short", *named]
    return int(pytest.main([*paths, *common, *options], plugins=[plugin]))


def maps_of(paths: list[str], coverage: Any, recorder: _Recorder, folder: Path) -> dict[str, Any]:
    """Return for each test file its hash, the seconds of each test, and the lines that each test runs.

    A file with a failed test is left out, so that the next run tries it again.
    """
    broken = {name.split("::")[0] for name in recorder.failed}
    paths = [path for path in paths if path not in broken]
    left_out = {name for name in recorder.seconds if name in recorder.skipped or name.split("::")[0] in broken}
    seconds = {name: took for name, took in recorder.seconds.items() if name not in left_out}
    maps: dict[str, Any] = {path: {"sha": _sha(folder / path), "seconds": {}, "lines": {}} for path in paths}
    for name, took in seconds.items():
        maps[name.split("::")[0]]["seconds"][name] = took
    data = coverage.get_data()
    for file in data.measured_files():
        relative = os.path.relpath(file, folder)
        for line, contexts in data.contexts_by_lineno(file).items():
            for context in seconds.keys() & set(contexts):
                tests = maps[context.split("::")[0]]["lines"].setdefault(context, {})
                tests.setdefault(relative, []).append(line)
    return maps


def _sha(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def modules() -> list[str]:
    """Return the modules of the rooms, by name."""
    files = [file.relative_to(ROOT) for folder in ROOMS.values() for file in sorted((ROOT / folder).rglob("*.py"))]
    return [".".join(file.with_suffix("").parts).removesuffix(".__init__") for file in files]


def make_map(file: Path, starts: Sequence[str] = TESTS) -> None:
    """Write or renew the map of tests to lines."""
    known: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {}
    workshop = Workshop()
    answer = workshop.folder / "map.json"
    failures: list[str] = []
    try:
        for start in starts:
            found = [ROOT / start] if start.endswith(".py") else sorted((ROOT / start).rglob("test_*.py"))
            paths = [str(path.relative_to(ROOT)) for path in found]
            paths = [path for path in paths if known.get(path, {}).get("sha") != _sha(ROOT / path)]
            if not paths:
                continue
            answer.unlink(missing_ok=True)

            def record(paths: list[str] = paths) -> int:
                import coverage

                sources = [str(workshop.folder / folder) for folder in ROOMS.values()]
                measured = coverage.Coverage(data_file=None, source=sources, config_file=False)
                measured.start()
                # else the first test that imports a file would count as one that runs all its definitions
                for module in modules():
                    with contextlib.suppress(ImportError):
                        importlib.import_module(module)
                recorder = _Recorder(measured)
                code = _pytest(paths, recorder.hooks, "--maxfail=1000")
                measured.stop()
                # 1: tests failed; 5: all are left out. Else a file cannot be read, and none was run
                if code in (0, 1, 5):
                    answer.write_text(json.dumps(maps_of(paths, measured, recorder, workshop.folder)))
                return 0 if code == 5 else code

            code = workshop.fork(record, 3600)
            if code in (0, 1):
                known |= json.loads(answer.read_text())
                file.write_text(json.dumps(known))
                mapped = [path for path in paths if path in known and known[path]["sha"] == _sha(ROOT / path)]
                tests = sum(len(known[path]["seconds"]) for path in mapped)
                print(f"{start}: {tests} tests in {len(mapped)} of {len(paths)} files", file=sys.stderr)
            if code != 0:
                ended = "took more than an hour" if code is None else f"pytest ended with {code}"
                said = (workshop.folder / "last_run.txt").read_text()[-2000:]
                failures.append(f"{start}: {ended}\n{said}")
    finally:
        workshop.close()
    if failures:
        raise SystemExit("\n".join([f"{file} lacks tests that failed; run it again after the mend.", *failures]))


def tests_for(path: str, lines: tuple[int, ...], known: dict[str, Any]) -> dict[str, float]:
    """Return the tests that run a line, quick ones first; if only imports run it, those that run the file.

    Test files that the map lacks are chosen if they import the changed file.
    """
    running: dict[str, float] = {}
    touching: dict[str, float] = {}
    for of_file in known.values():
        for name, files in of_file["lines"].items():
            if path in files:
                touching[name] = of_file["seconds"][name]
                if not set(lines).isdisjoint(files[path]):
                    running[name] = of_file["seconds"][name]
    importing = {*_by_import(path), *(() if running else IMPORTS_ALL)}
    chosen = {name: 5.0 for name in sorted(importing) if name not in known}
    # of a constant, which only the import runs, the tests of that file tell most
    near = (lambda name: False) if running else (lambda name: name.split("::")[0] not in importing)
    for name, seconds in sorted((running or touching).items(), key=lambda item: (near(item[0]), item[1])):
        if chosen and sum(chosen.values()) + seconds > LONGEST_S:
            break
        chosen[name] = seconds
    return chosen


def _by_import(path: str) -> Iterator[str]:
    """Return the test files that import a module, or are called after it."""
    module, stem = path.removesuffix(".py").replace("/", "."), Path(path).stem.strip("_")
    for file in sorted((ROOT / "tests").rglob("test_*.py")):
        if not FAR & set(file.parts) and (module in file.read_text() or file.stem == f"test_{stem}"):
            yield str(file.relative_to(ROOT))


def run_mutants(mutants: list[Mutant], file: Path) -> None:
    """Try mutants with the tests that a map names, and print the survivors and the numbers."""
    read = json.loads(file.read_text()) if file.exists() else {}
    known = {path: one for path, one in read.items() if (ROOT / path).is_file() and one["sha"] == _sha(ROOT / path)}
    workshop = Workshop()
    counts: dict[str, list[int]] = {room: [0, 0] for room in ROOMS}
    print("| place | was | became | tests |\n|---|---|---|---|", flush=True)
    try:
        for mutant in mutants:
            room = next(room for room, folder in ROOMS.items() if mutant.path.startswith(folder))
            tests = tests_for(mutant.path, mutant.lines, known)
            how = workshop.mutated(mutant.path, mutant.text(), tests) if tests else "survived"
            counts[room][0] += 1
            counts[room][1] += how != "survived"
            if how == "survived":
                old, new = (" ".join(text.split()).replace("|", "\\|") for text in (mutant.old, mutant.new))
                print(f"| {mutant.path}:{mutant.line} | `{old}` | `{new}` | {len(tests)} |", flush=True)
            else:
                print(f"{how}: {mutant.path}:{mutant.line} {mutant.old!r} -> {mutant.new!r}", file=sys.stderr)
    finally:
        workshop.close()
        print("\n| room | mutants | killed |\n|---|---|---|")
        for room, (tried, killed) in counts.items():
            print(f"| {room} | {tried} | {killed} |")
        print(f"| all | {sum(t for t, _ in counts.values())} | {sum(k for _, k in counts.values())} |", flush=True)


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("map", "run", "one"):
        command = commands.add_parser(name)
        command.add_argument("--map", type=Path, required=True)
        if name == "run":
            command.add_argument("--seed", type=int, required=True)
            command.add_argument("--count", type=int, default=60)
        if name == "one":
            for argument in ("path", "line", "old", "new"):
                command.add_argument(argument)
    asked = parser.parse_args()
    if asked.command == "map":
        make_map(asked.map)
        return
    if asked.command == "run":
        run_mutants(list(draw(asked.seed, asked.count)), asked.map)
        return
    line = int(asked.line)
    text = (ROOT / asked.path).read_text()
    start = sum(len(one) for one in text.splitlines(keepends=True)[: line - 1])
    at = text.index(asked.old, start)
    run_mutants([Mutant(asked.path, line, (line,), at, at + len(asked.old), asked.old, asked.new)], asked.map)


if __name__ == "__main__":
    main()
