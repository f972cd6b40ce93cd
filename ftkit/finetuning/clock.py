"""The wall-clock seconds of each stage of a run."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import datetime, timezone

import psutil


@dataclass
class Clock:
    """Counts a run's time for one stage after the other."""

    started: str = field(default_factory=lambda: now())
    begin: float = field(default_factory=lambda: time.perf_counter())
    seconds: dict[str, float] = field(default_factory=dict)
    """Of each stage that is over, in their order."""
    mark: float = field(default_factory=lambda: time.perf_counter())
    before_stop: float = 0.0
    """Of training, before the run was stopped and begun again."""

    @classmethod
    def of_process(cls) -> Clock:
        """Return a clock whose first stage, the imports, began when this process did."""
        clock = cls()
        clock.seconds["imports"] = time.time() - psutil.Process().create_time()
        return clock

    def begin_run(self) -> None:
        """Count the run's own time from here on."""
        self.begin = self.mark = time.perf_counter()

    def lap(self, stage: str) -> None:
        """Count the time since the last lap for this stage."""
        here = time.perf_counter()
        self.seconds[stage] = self.seconds.get(stage, 0.0) + here - self.mark
        self.mark = here

    def move(self, stage: str, part: str, seconds: float) -> None:
        """Count so many seconds of a stage for a part of it instead."""
        seconds = min(seconds, self.seconds[stage])
        self.seconds[stage] -= seconds
        self.seconds[part] = self.seconds.get(part, 0.0) + seconds

    def total(self) -> float:
        """Return the seconds since the run began, without those between its stop and resumption."""
        return self.before_stop + time.perf_counter() - self.begin

    def lines(self) -> list[str]:
        """Return a line for each stage, with its seconds and its share of all that are counted."""
        whole = max(sum(self.seconds.values()), 1e-9)
        return [
            f"{stage:13s}{seconds:9.1f} s{seconds / whole:8.1%}"
            for stage, seconds in {**self.seconds, "all": whole}.items()
        ]


def now() -> str:
    """Return the time in UTC, ISO 8601, to the second."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
