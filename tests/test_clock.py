"""The seconds of each stage of a run."""

import pytest

from ftkit.finetuning import clock as module
from ftkit.finetuning.clock import Clock


@pytest.fixture
def passes(monkeypatch):
    """Let so many seconds pass."""
    now = [100.0]
    monkeypatch.setattr(module.time, "perf_counter", lambda: now[0])

    def wait(seconds):
        now[0] += seconds

    return wait


def test_time_is_counted_for_one_stage_after_the_other(passes):
    clock = Clock()
    for stage, seconds in (("data", 2.0), ("evaluation", 1.0), ("steps", 6.0), ("evaluation", 1.0)):
        passes(seconds)
        clock.lap(stage)
    clock.move("steps", "features", 4.0)
    clock.move("steps", "validation", 9.0)  # of a run that was stopped: more than is left here
    assert clock.seconds == {
        "data": 2.0, "evaluation": 2.0, "steps": 0.0, "features": 4.0, "validation": 2.0,
    }  # fmt: skip
    assert clock.total() == 10.0
    assert clock.lines()[-3:] == [
        "features           4.0 s   40.0%",
        "validation         2.0 s   20.0%",
        "all               10.0 s  100.0%",
    ]


def test_imports_of_the_process_are_no_part_of_the_run(passes):
    clock = Clock.of_process()
    passes(5.0)
    clock.begin_run()
    passes(1.0)
    assert clock.seconds["imports"] > 0
    assert clock.total() == 1.0
