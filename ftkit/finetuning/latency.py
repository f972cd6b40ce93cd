"""How long one user waits for one answer: `latency_of(answer, examples)`, the only clock for it.

Whatever answers is timed in the same way: a saved backbone, an adapter by itself and a perceptron
in a fresh process, the baselines of a comparison in its own. One example is given at a time, as a
user has it (an image file, a text, a row of numbers), on the CPU, with one thread for each physical
core that the process may use. The first answers are not timed. Then the same examples are answered
in several rounds, and the quartiles are those of the round whose median is least: other work on the
machine makes some rounds slower and none faster, so that equal models get equal figures on a busy
machine too (Chen and Revels 2016, arXiv 1608.04295, take the least of all times for this reason).

Of ftkit this file imports the order alone: `ftkit.finetuning.reload`, which must not, uses it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import psutil
import torch

from ftkit.finetuning.in_time import coarse_to_fine

EXAMPLES = 20
"""So many examples are timed, evenly spread over all that are there."""
WARM_UP = 3
"""Answers before the clock starts: the first ones allocate memory and choose kernels."""
ROUNDS, MOST_SECONDS = 5, 1.5
"""There are at most so many rounds, and none begins after so many seconds."""
FEWEST = 5
"""The first round ends after that time too, but not before it has so many answers."""


class Waited(NamedTuple):
    """Seconds for one example at a time, of the round whose median is least."""

    median: float
    low: float
    """A quarter of the answers took less."""
    high: float
    """A quarter of the answers took more."""
    threads: int
    """CPU threads that torch had."""
    repetitions: int
    """Answers that were timed, over all rounds."""


def latency_of(answer: Callable[[Any], Any], examples: Sequence[Any]) -> Waited:
    """Return how long `answer` takes for one example, from what a user has to the answer.

    Args:
        answer: takes one of the examples; its model is on the CPU.
        examples: at least one, as a user has them; 20 of them, evenly spread, are timed.
    """
    chosen = np.linspace(0, len(examples) - 1, min(EXAMPLES, len(examples))).round().astype(int)
    some = [examples[chosen[place]] for place in coarse_to_fine(len(chosen))]
    before, threads = torch.get_num_threads(), usable_threads()
    torch.set_num_threads(threads)
    try:
        for one in some[:WARM_UP]:
            answer(one)
        rounds: list[np.ndarray] = []
        begin = time.perf_counter()
        while len(rounds) < ROUNDS and (not rounds or time.perf_counter() - begin < MOST_SECONDS):
            clock = [time.perf_counter()]
            for one in some:
                answer(one)
                clock.append(time.perf_counter())
                if not rounds and len(clock) > FEWEST and clock[-1] - begin > MOST_SECONDS:
                    break
            rounds.append(np.diff(clock))
    finally:
        torch.set_num_threads(before)
    quietest = min(rounds, key=np.median)
    low, median, high = (float(value) for value in np.quantile(quietest, (0.25, 0.5, 0.75)))
    return Waited(median, low, high, threads, sum(map(len, rounds)))


def usable_threads() -> int:
    """Return how many physical cores this process may use; OMP_NUM_THREADS where that is set."""
    given = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    if given.isdecimal() and int(given) > 0:
        return int(given)
    process = psutil.Process()
    allowed = len(process.cpu_affinity()) if hasattr(process, "cpu_affinity") else os.cpu_count()
    return max(1, min(psutil.cpu_count(logical=False) or 1, allowed or 1))
