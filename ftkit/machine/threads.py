"""Threads that fit: as many as this process may use cores, and soon asleep while they wait.

OpenMP's threads wait for each other in a loop that takes a whole core. On a machine where others
work, or in a container with a share of the cores, they take that time from the thread that they
wait for. Asleep at once they leave it, but are woken up late, and a network of many small layers
stops for them often: alone on two cores, one image took EfficientNet-Lite0 24 ms for 10. So they
wait awake for ten thousand turns, which alone was as fast as ever, and sleep then. If others want
the same cores when a command starts, its threads sleep at once, for as long as it runs. How they
wait changes no result (scripts/measure_threads.py, docs/performance.md).
"""

from __future__ import annotations

import math
import os
import statistics
import time
from collections.abc import Iterator
from pathlib import Path

from ftkit.machine import control_groups

WAITING = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
"""Where a user may have said how threads wait: OpenMP's own, GCC's and Intel's variable."""
SPINS = "10000"
"""Turns of GCC's OpenMP, which torch's wheels for Linux have; others know no such number."""
LOAD = Path("/proc/loadavg")
GLANCES, APART = 9, 0.002
"""How often the machine is looked at, and how many seconds apart."""


def fit_threads() -> None:
    """Say in the environment how OpenMP's threads wait, and how many there are at most.

    They read it when torch is loaded, here and in all processes that this one starts. What the
    user has said stays.
    """
    os.environ.update(fitting())


def fitting() -> dict[str, str]:
    """Return the variables that `fit_threads` sets, for the environment of another process."""
    found, cores = {}, usable_cores()
    if not any(name in os.environ for name in WAITING):
        others = others_running()
        crowded = others + cores > (os.cpu_count() or 1) and others >= max(1, cores // 4)
        found["GOMP_SPINCOUNT"] = "0" if crowded else SPINS
    if cores < allowed_cores() and "OMP_NUM_THREADS" not in os.environ:
        found["OMP_NUM_THREADS"] = str(cores)  # OpenMP knows the cores allowed, and no quota
    return found


def others_running() -> int:
    """Return how many other threads of the machine want a core just now; 0 where it is not told."""
    counts = []
    for _ in range(GLANCES):
        try:  # "0.20 0.18 0.12 3/847 11206": three of 847 run, this one among them
            counts.append(int(LOAD.read_text(encoding="ascii").split()[3].partition("/")[0]) - 1)
        except (OSError, ValueError, IndexError):
            return 0
        time.sleep(APART)
    return max(0, round(statistics.median(counts)))


def usable_cores() -> int:
    """Return how many cores this process can keep busy: those allowed, or its quota of them."""
    return max(1, min([allowed_cores(), *map(math.ceil, _quotas())]))


def allowed_cores() -> int:
    """Return on how many logical cores this process may run."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    import psutil  # an exported model is asked where there is none

    process = psutil.Process()
    if hasattr(process, "cpu_affinity"):  # not on macOS
        return len(process.cpu_affinity())
    return os.cpu_count() or 1


def _quotas() -> Iterator[float]:
    """Yield the cores that control groups grant this process, for each group that has a quota.

    Version 1 has a file for the microseconds granted and one for the period in which they are,
    version 2 one for both: "50000 100000", or "max 100000".
    """
    granted = control_groups.values("cpu", "cpu.cfs_quota_us", "")
    periods = control_groups.values("cpu", "cpu.cfs_period_us", "")
    both = control_groups.values("cpu", "", "cpu.max")
    for quota, period in (*zip(granted, periods, strict=True), *map(str.split, both)):
        if quota.isdecimal():  # neither -1 nor max
            yield int(quota) / int(period)
