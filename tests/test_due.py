"""When a checkpoint is due: by steps from where a training goes on, or by seconds."""

import pytest

from ftkit.machine import runtime
from ftkit.recipe import Train
from ftkit.training.due import Due


def due(every, step=0, since=0.0):
    found = Due(Train(checkpoint_every=every), runtime.start(0), step)
    found.at -= since
    return found


def test_steps_count_from_where_the_training_goes_on():
    going_on = due("4", step=6)
    assert [step for step in range(7, 11) if going_on.now(step)] == [10]


@pytest.mark.parametrize(
    ("every", "least", "expected"),
    [("10s", 30.0, True), ("2min", 30.0, False), ("2min", 15.0, True), ("10s", None, True)],
)
def test_the_shorter_time_counts(every, least, expected):
    assert due(every, since=20.0).now(1, least) == expected
