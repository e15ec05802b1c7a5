"""How often a run is saved."""

from __future__ import annotations

import itertools

import pytest

from blender_lab.training.save_interval import SaveInterval


def run(every, *, step_takes, save_takes, steps=400):
    """Steps after which a run was saved, and the share of its time that saving took."""
    now = 0.0
    pace = SaveInterval(every, lambda: now)
    saved, spent = [], 0.0
    for step in range(1, steps + 1):
        now += step_takes
        if pace.due(step):
            pace.begin()
            now += save_takes
            spent += save_takes
            pace.done()
            saved.append(step)
    return saved, spent / now


def test_a_number_of_steps_is_kept_to():
    assert run(7, step_takes=1.0, save_takes=100.0, steps=30)[0] == [7, 14, 21, 28]


def test_every_step_is_saved_where_saving_is_cheap():
    assert run(0, step_takes=4.0, save_takes=0.3)[0] == list(range(1, 401))


@pytest.mark.parametrize(("step_takes", "save_takes"), [(0.1, 0.5), (0.1, 3.0), (0.1, 20.0), (8.9, 1.0)])
def test_saving_takes_a_tenth_of_the_time_at_most(step_takes, save_takes):
    saved, share = run(0, step_takes=step_takes, save_takes=save_takes, steps=20_000)
    # the last save of a run may come just before its end
    assert share <= 0.1 + save_takes / 2000
    # a kill costs at most what lies between two saves, the second save included
    longest = max(b - a for a, b in itertools.pairwise(saved))
    assert longest * step_takes + save_takes <= 10 * save_takes + 1.01 * step_takes
