"""Which of several ways of computing is fastest here: by trying, once for each machine and model.

Noise must not decide, since the machine may be busy. So the tries run in one thread, in turns, and
count the CPU time of this process: beside four neighbours on two cores 16 images took one thread
95 to 110 ms of it as they did alone, and two threads, which wait for each other, up to twice as
much. How many times as fast one way is as another was the same in one thread and in two within a
tenth (two cores, EfficientNet-Lite0 and MiniLM, inference and training, in float32 and bfloat16).
And what is known beforehand is left only for a way that is clearly faster.
"""

from __future__ import annotations

import json
import logging
import statistics
import time
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import torch

from ftkit.machine.cache_folder import cache_folder
from ftkit.machine.permissions import is_mine
from ftkit.machine.whole_files import write_whole

log = logging.getLogger(__name__)
WORTH = 1.1
"""Another way than the expected one is taken where it is so many times as fast. A step of MiniLM
was found 1.13 to 1.22 times as fast in bfloat16, alone and beside four neighbours (AVX-512 BF16
without AMX): with a limit of 1.15 noise chose."""
CLEAR = 1.3
"""No more tries are needed where the expected way is so many times as far from being left. This one
and `WORTH` were tried in a simulation of passes that vary by a twentieth and of which a fifth take
half as long again: of ways that differ by a third or are equal one start in twenty errs."""
TOO_SHORT = 0.01
"""A pass that takes a CPU fewer seconds is not worth measuring."""
LONG, TOO_LONG = 0.25, 2.0
"""A pass that takes a CPU so many seconds in one thread is tried with fewer rows, and where it has
but one row, not at all."""
HOPELESS, HOPELESS_AT_FIRST = 2.0, 5.0
"""A way that takes so many times as long as the fastest is not tried again. The first pass on a CPU
also chooses kernels."""
FEWEST, MOST = 2, 10
"""Tries that count: a single one may be that in which a neighbour emptied the caches."""
MOST_SECONDS = 4.0
"""No try begins after so much time, once each way has had one that counts."""
Way = TypeVar("Way", bound=Hashable)


def noted(
    key: str, use: str, ways: Sequence[Way], measure: Callable[[], tuple[dict[Way, float], int]]
) -> Way:
    """Return which of these ways is fastest, from the notes in $FTKIT_CACHE or by measuring.

    Args:
        key: all that the answer depends on, but the ways.
        use: what the ways are for.
        ways: the first is expected to be fastest, and left only for one that is clearly faster.
        measure: gives the seconds of each way for so many rows, as `try_out` does.
    """
    key = f"{key} {use} of {', '.join(map(str, ways))}"
    known, file = {str(way): way for way in ways}, cache_folder() / "precision.json"
    try:
        notes = json.loads(file.read_text(encoding="utf-8")) if is_mine(file) else {}
    except (OSError, ValueError):
        notes = {}
    if notes.get(key) not in known:
        seconds, rows = measure()
        notes[key] = str(chosen(ways[0], seconds))
        figures = ", ".join(f"{1e3 * each:.0f} ms in {way}" for way, each in seconds.items())
        log.info(
            "precision: %s for %s; a pass of %d rows took %s",
            *(notes[key], use.split()[0], rows, figures),
        )
        file.parent.mkdir(parents=True, exist_ok=True)
        write_whole(file, json.dumps(notes, indent=2))
    return known[notes[key]]


def chosen(expected: Way, seconds: dict[Way, float]) -> Way:
    """Return the expected way, or the fastest one where it is clearly faster."""
    best = min(seconds, key=seconds.__getitem__)
    return best if seconds[expected] > WORTH * seconds[best] else expected


def try_out(
    ways: Sequence[Way],
    prepare: Callable[[Way], None],
    work: Callable[[Way, int], Any],
    sizes: Sequence[int],
    device: torch.device,
) -> tuple[dict[Way, float], int]:
    """Return the seconds of a pass in each way, tried in turns, and of how many rows.

    On a CPU these are seconds of CPU time in one thread. Where a pass of the expected way, the
    first, is too short for anything to be gained, or too long, the others are not tried.

    Args:
        prepare: is called before each try, outside the measured time.
        work: does a pass of so many rows.
        sizes: numbers of rows, from many to few.
    """
    cpu, expected, rows = device.type == "cpu", ways[0], sizes[0]
    clock = time.process_time if cpu else time.perf_counter

    def took(way: Way, rows: int) -> float:
        prepare(way)
        before = clock()
        work(way, rows)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return clock() - before

    with _one_thread():
        begin = clock()
        if cpu:
            rows, seconds = _rows_to_try(sizes, lambda rows: took(expected, rows))
            if rows == sizes[-1] and seconds > TOO_LONG:
                return {expected: seconds}, rows
        first = {}
        for way in ways:
            first[way] = took(way, rows)
            if cpu and way == expected and first[way] < TOO_SHORT:
                return first, rows
        if cpu:
            limit = HOPELESS_AT_FIRST * min(first.values())
            ways = [way for way in ways if first[way] < limit]
        found, tries = dict(first), {way: list[float]() for way in ways}
        for attempt in range(1, MOST + 1):
            for way in ways:
                tries[way].append(took(way, rows))
                found[way] = _undisturbed(tries[way])
            if attempt >= FEWEST:
                limit = HOPELESS * min(found[way] for way in ways)
                ways = [way for way in ways if found[way] < limit]
            sure = attempt >= FEWEST and _is_sure(expected, found)
            if sure or len(ways) == 1 or clock() - begin > MOST_SECONDS:
                break
    return found, rows


def _undisturbed(tries: Sequence[float]) -> float:
    """Return the mean of the shorter half of some tries.

    It scatters less than the shortest one, in the simulation by a third, and the tries in which a
    neighbour emptied the caches do not count as they do in the mean or the median of all.
    """
    return statistics.fmean(sorted(tries)[: (len(tries) + 1) // 2])


def _rows_to_try(sizes: Sequence[int], took: Callable[[int], float]) -> tuple[int, float]:
    """Return the most rows of which a pass does not take long, and the seconds of the last one."""
    took(sizes[-1])  # allocates memory
    for rows in reversed(sizes[1:]):
        if (seconds := took(rows)) > LONG:
            return rows, seconds
    return sizes[0], seconds


def _is_sure(expected: Way, found: dict[Way, float]) -> bool:
    """Return whether the choice would stay though a try were off by a third."""
    others = [seconds for way, seconds in found.items() if way != expected]
    gain = found[expected] / min(others)
    return gain * CLEAR < WORTH or gain > CLEAR * WORTH


@contextmanager
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
