"""Stretches of the input hold each due row once, and the ledger knows what a dead worker left."""

from __future__ import annotations

import hypothesis
import pytest
from hypothesis import strategies as st

from blender_lab.batch import plan as planning
from blender_lab.batch.finished_rows import FinishedRows
from blender_lab.batch.journal import Finished, JobFolder, JournalFile, Totals
from blender_lab.batch.ledger import JobLimits, Ledger
from blender_lab.batch.plan import make_plan
from blender_lab.batch.rows import RowFiles


@hypothesis.given(
    files=st.lists(st.lists(st.booleans(), max_size=60), min_size=1, max_size=3),
    done=st.sets(st.integers(1, 180)),
    size=st.integers(1, 40),
    most=st.sampled_from([2, 5, 1 << 16]),
    form=st.sampled_from(["jsonl", "parquet"]),
)
@hypothesis.settings(max_examples=40)
def test_stretches_hold_each_due_row_once(tmp_path_factory, files, done, size, most, form):
    hypothesis.assume(any(map(any, files)))
    folder = tmp_path_factory.mktemp("job")
    source = folder / "in"
    source.mkdir()
    for number, lines in enumerate(files):
        if form == "parquet":
            parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
            arrow = pytest.importorskip("pyarrow")
            table = arrow.table({"instruction": [f"{number} {place}" for place in range(len(lines))]})
            parquet.write_table(table, source / f"{number}.parquet", row_group_size=5)
        else:
            text = "".join(
                f'{{"instruction": "{number} {place}"}}\n' if one else " \n" for place, one in enumerate(lines)
            )
            (source / f"{number}.jsonl").write_text(text)
    with JobFolder(folder / "out.jsonl", {}) as job, pytest.MonkeyPatch.context() as patch:
        patch.setattr(planning, "_MOST_MARKS", most)
        rows = {row.number: row for row in RowFiles(source).rows()}
        journal = JournalFile(job.path, job.run)
        for number in done & rows.keys():
            journal.write(Finished(number, rows[number].digest, True).line({"id": str(number)}))
        journal.close()
        finished = FinishedRows(job.path)
        if not rows:
            return
        reading = RowFiles(source)
        plan = make_plan(reading, finished)
        found = [row for one in plan.stretches(size) for row in reading.stretch(one) if plan.is_due(row.number)]
        assert [(row.number, row.content, row.where) for row in found] == [
            (row.number, row.content, row.where) for row in rows.values() if row.number not in done
        ]
        assert plan.due == len(found)
        assert [one.number for one, _ in finished.lines(plan.last)] == sorted(done & rows.keys())


def ledger(folder, **limits):
    return Ledger(folder.path, folder.run, bytes(10), Totals(), JobLimits(**limits))


def test_what_a_dead_worker_did_not_tell_counts_once(tmp_path):
    rows = [Finished(number, 5, number != 3, "a", tokens=10) for number in range(1, 6)]
    with JobFolder(tmp_path / "out.jsonl", {}) as folder:
        books, first = ledger(folder), JournalFile(folder.path, folder.run)
        books.hello("seat", first.path.name)
        lines = [row.line({}) for row in rows]
        for line in lines[:4]:
            first.write(line)
        first.write(lines[4][:20])
        books.finished("seat", first.path.name, len(lines[0] + lines[1]), rows[:2])
        assert books.state().run.rows == 2
        books.hello("seat", JournalFile(folder.path, folder.run).path.name)
        assert books.open_stretch("seat", 1, 6) == (bytes([1, 1, 1, 1, 0, 0]), "")
        # a ledger that died itself knows the same
        for one in (books, ledger(folder)):
            assert (one.state().run.rows, one.state().run.failed, one.state().spent.tokens) == (4, 1, 40)
        books.finished("seat", first.path.name, 10**6, rows)
        assert books.state().run.rows == 5


def test_rows_wait_for_the_first_and_for_what_is_in_flight(tmp_path):
    with JobFolder(tmp_path / "out.jsonl", {}) as folder:
        books = ledger(folder, max_tokens=100)
        assert [books.begin("a"), books.begin("b")] == ["go", "wait"]
        books.finished("a", "", 0, [Finished(1, 5, True, tokens=40)])
        assert [books.begin("a"), books.begin("b")] == ["go", "wait"]
        # a worker that died holds nothing back
        books.hello("a", "")
        books.hello("a", "")
        assert books.begin("b") == "go"
        books.finished("b", "", 0, [Finished(2, 5, True, tokens=40)])
        assert books.begin("b") == "stop"
        assert "80 of 100 tokens" in books.state().stopping
