"""The best of many backbones in a tenth of the time that all would take: successive halving.

Every candidate is probed on a few training rows, the better half on twice as many, and so on, until
few are left; those see as many rows as the time allows (Jamieson and Talwalkar 2016). What a
candidate gave of a row is kept, so no row goes through it twice. Test and validation rows play no
part.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace

import numpy as np

from ftkit.data.splits import Splits
from ftkit.machine import runtime
from ftkit.planning.backbone_candidates import Candidate, candidates_of
from ftkit.planning.backbone_names import require_probes
from ftkit.planning.backbone_result import BackboneSearch
from ftkit.planning.backbone_rounds import FINALISTS, Rounds
from ftkit.recipe import Recipe
from ftkit.tasks import task_of
from ftkit.tasks.loading import read_rows

log = logging.getLogger(__name__)
FEWEST, OF_A_CLASS = 50, 4
"""Rows of the first round at least, and of each class."""
SHARE, ALWAYS = 0.1, 60.0
"""Of the time that all candidates would take with all rows, the search may take so much; and so
many seconds in any case."""


def search_backbones(
    recipe: Recipe,
    backbones: Sequence[str],
    settled: Collection[str] = (),
    limit: float = math.inf,
) -> BackboneSearch:
    """Return what probes say of these backbones for the rows of a recipe.

    Every rank must call this.

    Args:
        backbones: Hub ids, local folders, or names of embedded ones.
        settled: settings of the backbone that stay as the recipe has them, see `candidates_of`.
        limit: seconds; after them no candidate is tried any more.

    Raises:
        RecipeError: the task or the recipe's own backbone is not one for probes.
        DataError, ModelError, HubError: rows or backbones cannot be had, or rows are too few.
    """
    require_probes(recipe)
    machine = runtime.start(recipe.train.seed)
    splits = in_order(read_rows(recipe.data, task_of(recipe.task)), recipe.train.seed)
    begin = time.perf_counter()
    candidates, refused = candidates_of(recipe, backbones, splits.label_names, settled)
    log.info(f"backbones: {len(candidates)} candidates, probed on training rows")
    rounds = Rounds(recipe, splits, machine, sorted(candidates, key=_size), refused)

    def elapsed() -> float:
        return runtime.on_main(lambda: time.perf_counter() - begin)

    run(rounds, limit, elapsed)
    return replace(rounds.found(), seconds=elapsed())


def run(rounds: Rounds, limit: float, elapsed: Callable[[], float], always: float = ALWAYS) -> None:
    """Judge and halve until few candidates are left, or the time is over.

    Args:
        rounds: new ones.
        limit: seconds.
        elapsed: seconds that were spent so far.
        always: seconds that may be spent whatever all candidates would take.
    """
    rows = _first_rows(len(rounds.alive), rounds.available, len(rounds.splits.label_names))
    while rows > rounds.rows:
        rounds.judge(rows, late=lambda: elapsed() > limit)
        allowed = min(limit, max(always, SHARE * rounds.exhaustive()))
        if len(rounds.alive) > 1:
            rows = rounds.halve(allowed - elapsed())


def _size(candidate: Candidate) -> tuple[float, float]:
    """Return what orders candidates by their cost, as far as that is known before they are tried.

    Small images and few layers of all backbones come first, so that all have a turn in little time.
    """
    return candidate.image_size or math.inf, candidate.layers or math.inf


def _first_rows(candidates: int, available: int, classes: int) -> int:
    """Return how many rows all candidates see, so that each round may take about as long."""
    rounds = 1 + math.ceil(math.log2(max(1, candidates / FINALISTS)))
    share = round(SHARE * available / rounds)
    return min(available, max(FEWEST, OF_A_CLASS * classes, share))


def in_order(splits: Splits, seed: int) -> Splits:
    """Return the splits with training rows in an order whose every beginning is a fair sample.

    Of classes each beginning has about the shares of all rows.
    """
    random, N = np.random.default_rng(seed), len(splits.train)
    order = random.permutation(N)
    labels = np.asarray(splits.train["label"][:], dtype=object)
    if task_of(splits.task).settings.tells == "class":
        place = np.empty(N)
        for value in set(labels.tolist()):
            own = order[labels[order] == value]
            place[own] = (np.arange(len(own)) + random.random()) / len(own)
        order = np.argsort(place, kind="stable")
    groups = None if splits.train_groups is None else splits.train_groups[order]
    return replace(splits, train=splits.train.select(order), train_groups=groups)
