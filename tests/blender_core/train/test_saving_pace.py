"""How often a run is saved."""

from __future__ import annotations

import itertools

import pytest

from blender_core.train.saving_pace import SavingPace


def run(every, *, step_takes, save_takes, steps=400):
    """Steps after which a run was saved, and the share of its time that saving took."""
    now = 0.0
    pace = SavingPace(every, lambda: now)
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


@pytest.mark.parametrize("save_takes", [0.5, 3.0, 20.0])
def test_saving_takes_a_tenth_of_the_time_at_most(save_takes):
    saved, share = run(0, step_takes=0.1, save_takes=save_takes, steps=20_000)
    # the last save of a run may come just before its end
    assert share <= 0.1 + save_takes / 2000
    # and no kill costs more than nine times a save
    assert max(b - a for a, b in itertools.pairwise(saved)) * 0.1 <= 9 * save_takes + 0.2
