"""compare(ladder, seeds, out): runs, table, verdict and report of a comparison."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ftkit.compare.rungs import Ladder
from ftkit.compare.runner import Done, clash, climb
from ftkit.compare.summary import Comparison, summarize
from ftkit.compare.tables import rung_line
from ftkit.compare.verdict import MARGIN
from ftkit.errors import RunError
from ftkit.machine import runtime

log = logging.getLogger(__name__)
ONE_SEED = (
    "One seed that all have: the tests know how much the test rows vary, not how much training "
    "does; with several of them (--seeds 3) the column of seeds shows that too."
)
SEVERAL_SEEDS = (
    "The tests are of means over these {} seeds, on test rows like these; how much training varies "
    "is what the column of seeds shows."
)


def compare(
    ladder: Ladder,
    seeds: Sequence[int],
    out: Path,
    budget: float | None = None,
    margin: float = MARGIN,
) -> tuple[Comparison, int]:
    """Return what a comparison found, and how many of its runs failed. Goes on where it was.

    Under `accelerate launch` every process calls this; rank 0 speaks and writes.

    Args:
        seeds: added to that of the recipe.
        out: gets the runs.
        budget: seconds; see `ftkit.compare.runner.climb`.
        margin: see `ftkit.compare.verdict`.

    Raises:
        RunError: `out` holds runs with other settings, or no run was finished.
    """
    first = ladder.rungs[0].seed
    runtime.start(first)
    taken = runtime.on_main(lambda: clash(ladder, out))
    if taken:
        raise RunError(f"{taken}; give another --out")
    for sentence in ladder.left_out:
        log.info("%s", sentence)

    def say(done: Done) -> None:
        line = runtime.on_main(lambda: rung_line(done.runs))
        log.info("%s", line)

    done = climb(ladder, [first + seed for seed in seeds], out, budget, say)
    if not done.runs:
        raise RunError(f"no run was finished: {'; '.join(done.not_run)}")
    order = [rung.label for rung in ladder.rungs]
    runs = sorted(done.runs, key=lambda run: order.index(run.label))
    notes = [*ladder.left_out, *done.not_run]
    found = runtime.on_main(lambda: summarize(runs, notes, margin))
    return replace(found, notes=(*found.notes, *of_seeds(len(found.seeds)))), done.failed


def of_seeds(count: int) -> list[str]:
    """Return what tests on so many seeds know of training; nothing where there is no test."""
    return [ONE_SEED if count == 1 else SEVERAL_SEEDS.format(count)] if count else []


def free_folder(ladder: Ladder, usual: Path) -> Path:
    """Return `usual`, or the first of usual-2, usual-3 ... without runs of other settings.

    Every rank must call this.
    """
    runtime.start(ladder.rungs[0].seed)
    numbered = (usual.with_name(f"{usual.name}-{number}") for number in itertools.count(2))
    tried = itertools.chain([usual], numbered)
    return runtime.on_main(lambda: next(folder for folder in tried if not clash(ladder, folder)))
