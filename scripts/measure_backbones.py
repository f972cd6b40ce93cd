"""What the search among backbones loses beside trying all of them with all rows.

    python scripts/measure_backbones.py effnet-digits --data ../shared/data/cifar10 \\
        --rows 2000 --sides 24 28 32 36 40 44 48 52 56 60 64 72 80 96
    python scripts/measure_backbones.py minilm-langid --data ../shared/data/ag_news --rows 2000

Runs every candidate over all rows once, and measures a probe of each on test rows. The search that
`--backbone auto` makes then goes through these features in several orders of the rows, as if each
row took what it took, and its regret is the accuracy of the best candidate on the test rows less
that of the chosen one. The best of many is lucky on these rows, so this regret is too large. The
second regret has no such luck in it: the best candidate of one half of the test rows is judged on
the other half, and the other way round.
"""

from __future__ import annotations

import argparse
import math
from dataclasses import replace
from typing import Any

import numpy as np
from datasets import concatenate_datasets
from sklearn.linear_model import Ridge

from ftkit.cli.request import resolve
from ftkit.data.splits import Splits
from ftkit.machine import runtime
from ftkit.machine.terminal import speak
from ftkit.planning import backbone_candidates
from ftkit.planning.backbone_candidates import Candidate, candidates_of
from ftkit.planning.backbone_names import backbones_at_hand
from ftkit.planning.backbone_probe import Probe, standardised
from ftkit.planning.backbone_rounds import Rounds
from ftkit.planning.backbone_search import in_order, run
from ftkit.recipe import Recipe
from ftkit.tasks import task_of
from ftkit.tasks.loading import read_rows

PENALTIES = (100.0, 1_000.0, 10_000.0)


class Stored(Probe):
    """A probe whose features were computed before; reading them costs what that took."""

    def __init__(self, whole: Probe, order: np.ndarray) -> None:
        """Take a probe of all rows, and in which order they are read."""
        super().__init__(whole.candidate, whole.recipe, [], whole.seconds_per_row)
        self.features, self.spent = whole.values[0][order], 0.0

    def read(self, splits: Splits, stop: int, machine: Any, precisions: dict[str, str]) -> None:
        """Take the rows up to `stop`."""
        self.spent += self.seconds_per_row * (stop - self.rows)
        self.values.append(self.features[self.rows : stop])


def right_on_test(values: np.ndarray, labels: np.ndarray, train: int) -> np.ndarray:
    """Return (T,) bool: whether ridge is right on the T rows after the first `train`, its own.

    A fifth of these says which penalty.
    """
    targets, some = np.eye(labels.max() + 1)[labels], 4 * train // 5
    values = standardised(values, targets)

    def right(penalty: float, stop: int, end: int) -> np.ndarray:
        told = Ridge(penalty).fit(values[:stop], targets[:stop]).predict(values[stop:end])
        return told.argmax(1) == labels[stop:end]

    best = max(PENALTIES, key=lambda penalty: right(penalty, some, train).mean())
    return right(best, train, len(labels))


def without_luck(right: np.ndarray, chosen: int) -> float:
    """Return the regret of a candidate beside the best one of rows that do not judge it.

    Args:
        right: (K, T) bool, whether each of K candidates is right on each of T test rows.
        chosen: which of the K.
    """
    halves = [right[:, half::2].mean(1) for half in (0, 1)]
    lost = [there[here.argmax()] - there[chosen] for here, there in (halves, halves[::-1])]
    return float(np.mean(lost))


def search(
    recipe: Recipe, splits: Splits, wholes: list[Probe], seed: int
) -> tuple[Candidate, int, float]:
    """Return what is chosen with the rows in this order, its rows, and the share of the time."""
    place = {index: position for position, index in enumerate(splits.train["index"])}
    ordered = in_order(splits, seed)
    order = np.array([place[index] for index in ordered.train["index"]])
    probes = [Stored(whole, order) for whole in wholes]
    rounds = Rounds(recipe, ordered, runtime.start(seed), [], [])
    rounds.alive = list(probes)
    run(rounds, math.inf, lambda: sum(probe.spent for probe in probes), always=0.0)
    found = rounds.found()
    return found.chosen.candidate, found.chosen.rows, rounds_share(probes, found.exhaustive)


def rounds_share(probes: list[Stored], exhaustive: float) -> float:
    """Return the share of the time of all candidates that these took."""
    return sum(probe.spent for probe in probes) / exhaustive


def main() -> None:
    """Print a line for each candidate, one for each order, and the mean regret."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipe")
    parser.add_argument("--data")
    parser.add_argument("--rows", type=int, default=2_000, help="training rows")
    parser.add_argument("--test-rows", type=int, default=1_000)
    parser.add_argument("--orders", type=int, default=10)
    parser.add_argument("--backbones", nargs="+", help="those at hand when not given")
    parser.add_argument("--sides", type=int, nargs="+", help="of images, up to the largest of them")
    asked = parser.parse_args()
    speak()
    limits = [f"data.train_rows={round(asked.rows / 0.9)}", f"data.test_rows={asked.test_rows}"]
    recipe = resolve(asked.recipe, None, asked.data, None, limits, False, None)
    machine = runtime.start(0)
    splits = read_rows(recipe.data, task_of(recipe.task))
    test = splits.test.cast(splits.train.features)
    both = replace(splits, train=concatenate_datasets([splits.train, test]), train_groups=None)
    if asked.sides:
        backbone_candidates.SIDES = tuple(asked.sides)
    names = asked.backbones or backbones_at_hand(recipe)
    candidates, _ = candidates_of(recipe, names, splits.label_names)
    if asked.sides:
        candidates = [each for each in candidates if each.image_size in asked.sides]
    labels, train = np.array(both.train["label"]), len(splits.train)
    wholes: list[Probe] = []
    rights: list[np.ndarray] = []
    precisions: dict[str, str] = {}
    for candidate in candidates:
        whole = Probe(candidate, candidate.of(recipe))
        whole.read(both, len(both.train), machine, precisions)
        rights.append(right_on_test(whole.values[0], labels, train))
        wholes.append(whole)
        figure, cost = rights[-1].mean(), 1000 * whole.seconds_per_row
        print(f"{candidate}: {figure:.3f} on test rows, {cost:.2f} ms a row", flush=True)
    right = np.stack(rights)
    accuracies, regrets, fair, shares = right.mean(1), [], [], []
    for seed in range(asked.orders):
        chosen, rows, share = search(recipe, splits, wholes, seed)
        place = candidates.index(chosen)
        regrets.append(accuracies.max() - accuracies[place])
        fair.append(without_luck(right, place))
        shares.append(share)
        print(
            f"order {seed}: {chosen} by {rows} rows, regret {regrets[-1]:.3f}, without luck "
            f"{fair[-1]:.3f}",
            flush=True,
        )
    print(
        f"{len(candidates)} candidates, {train:,} training rows, {len(test):,} test rows: regret "
        f"{np.mean(regrets):.4f}, at most {max(regrets):.4f}, without luck {np.mean(fair):.4f}, at "
        f"most {max(fair):.4f}, in {np.mean(shares):.1%} of the time"
    )


if __name__ == "__main__":
    main()
