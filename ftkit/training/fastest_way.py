"""Which of several ways of computing is fastest here: by trying, once for each machine and model.

Noise must not decide, since the machine may be busy. So the tries run in one thread, in turns, and
count the CPU time of this process: beside four neighbours on two cores 16 images took one thread
95 to 110 ms of it as they did alone, and two threads, which wait for each other, up to twice as
much. How many times as fast one way is as another was the same in one thread and in two within a
tenth (EfficientNet-Lite0 and MiniLM, inference and training, in float32 and bfloat16). And what is
known beforehand is left only for a way that is clearly faster.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import torch

from ftkit.machine.cache_folder import cache_folder
from ftkit.machine.permissions import is_mine
from ftkit.machine.whole_files import write_whole

log = logging.getLogger(__name__)
WORTH = 1.15
"""Another way than the expected one is taken where it is so many times as fast."""
CLEAR = 1.3
"""No more tries are needed where the expected way is so many times as far from being left."""
TOO_SHORT = 0.01
"""A pass that takes fewer seconds of CPU time is not worth measuring."""
HOPELESS, HOPELESS_AT_FIRST = 2.0, 5.0
"""A way that takes so many times as long as the fastest in one try is not tried again. The first
try also chooses and makes kernels."""
FEWEST, MOST = 2, 10
"""Tries that count: a single one may be that in which a neighbour emptied the caches."""
MOST_SECONDS = 4.0
"""No try begins after so much time, once each way has had its fewest."""
Way = TypeVar("Way", bound=Hashable)


def noted(key: str, use: str, ways: Sequence[Way], measure: Callable[[], dict[Way, float]]) -> Way:
    """Return which of these ways is fastest, from the notes in $FTKIT_CACHE or by measuring.

    Args:
        key: all that the answer depends on, but the ways.
        use: what the ways are for.
        ways: the first is expected to be fastest, and left only for one that is clearly faster.
        measure: gives the seconds of each way, as `try_out` does.
    """
    key = f"{key} {use} of {', '.join(map(str, ways))}"
    known, file = {str(way): way for way in ways}, cache_folder() / "precision.json"
    try:
        notes = json.loads(file.read_text(encoding="utf-8")) if is_mine(file) else {}
    except (OSError, ValueError):
        notes = {}
    if notes.get(key) not in known:
        seconds = measure()
        notes[key] = str(chosen(ways[0], seconds))
        figures = ", ".join(f"{1e3 * each:.0f} ms in {way}" for way, each in seconds.items())
        log.info("precision: %s for %s; a pass took %s", notes[key], use.split()[0], figures)
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
    work: Callable[[Way], Any],
    device: torch.device,
) -> dict[Way, float]:
    """Return the shortest seconds of each way, tried in turns; the first try does not count.

    On a CPU these are seconds of CPU time in one thread. Where the expected way, the first, is too
    short for anything to be gained, the others are not tried.

    Args:
        prepare: is called before each try, outside the measured time.
        work: is what is measured.
    """
    expected, best = ways[0], dict.fromkeys(ways, float("inf"))
    clock = time.process_time if device.type == "cpu" else time.perf_counter
    with _one_thread():
        begin = clock()
        for attempt in range(MOST + 1):
            for way in ways:
                prepare(way)
                before = clock()
                work(way)
                if device.type == "cuda":
                    torch.cuda.synchronize(device)
                seconds = clock() - before
                if seconds < TOO_SHORT and way == expected:
                    return {way: seconds}
                best[way] = seconds if attempt < 2 else min(seconds, best[way])
            limit = (HOPELESS if attempt else HOPELESS_AT_FIRST) * min(best.values())
            ways = [way for way in ways if best[way] < limit]
            if len(ways) == 1:
                break
            late = clock() - begin > MOST_SECONDS
            if attempt >= FEWEST and (late or _is_sure(expected, best)):
                break
    return best


def _is_sure(expected: Way, best: dict[Way, float]) -> bool:
    """Return whether the choice would stay though a try were off by a third."""
    others = [seconds for way, seconds in best.items() if way != expected]
    gain = best[expected] / min(others)
    return gain * CLEAR < WORTH or gain > CLEAR * WORTH


@contextmanager
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
