"""How good is the head that a frozen backbone gets? Each way to train it, at several sizes.

    python scripts/measure_head.py effnet-digits --data CIFAR10 --set backbone.image_size=96 \\
        --rows 100 300 1000
    python scripts/measure_head.py effnet-digits --data CIFAR10 --rows 100 300 1000 --ways lbfgs
    python scripts/measure_head.py effnet-digits --rows 100 300 1000
    python scripts/measure_head.py minilm-langid --data SST2 --rows 100 1000 10000
    python scripts/measure_head.py minilm-langid --data AG_NEWS --rows 100 1000

The backbone runs once over a pool of training rows and the test rows; every draw of rows is taken
from the pool, a tenth of it for validation, as a run with `data.train_rows` does. Printed are mean
and range over the draws of the accuracy on test rows, and the mean of the figure that the run
itself would report for validation. `adamw` takes the epochs of the recipe, `500 steps` at least so
many.
"""

from __future__ import annotations

import argparse
import copy
import math

import numpy as np

from ftkit import registry
from ftkit.cli.request import resolve
from ftkit.finetuning.finetune import make_ready
from ftkit.machine import runtime
from ftkit.recipe import HeadOnly, Recipe
from ftkit.strategies import strategy_of
from ftkit.strategies.features import Features, cache_features
from ftkit.strategies.heads import Head
from ftkit.strategies.linear_head import _copy_into_head, solve_head
from ftkit.strategies.probe import train_head, validation_figures
from ftkit.tasks.inputs import Inputs


def main() -> None:
    """Print a line for each number of rows and each way."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recipe")
    parser.add_argument("--data")
    parser.add_argument("--rows", type=int, nargs="+", default=[100, 300, 1000])
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument("--pool", type=int, help="training rows to draw from, 1.4 x most rows")
    parser.add_argument("--test-rows", type=int, default=1500)
    parser.add_argument("--ways", nargs="+", default=["adamw", "500 steps", "lbfgs"])
    parser.add_argument("--set", action="append", default=[])
    given = parser.parse_args()
    own = registry.find(given.recipe).with_strategy("head").strategy
    recipe = resolve(given.recipe, "head", given.data, None, given.set, False, None)
    recipe = recipe.override({"data.test_rows": given.test_rows, "data.validation_rows": 10})
    if given.data and given.data != "embedded:digits":
        pool = given.pool or math.ceil(1.4 * max(given.rows))
        recipe = recipe.override({"data.train_rows": pool})
    machine = runtime.start(0)
    pools: dict[bool, tuple[Head, Features, Features]] = {}
    for way in given.ways:
        assert isinstance(own, HeadOnly)
        strategy = HeadOnly() if way == "lbfgs" else own.model_copy(update={"solver": "adamw"})
        if strategy.pooler not in pools:
            ready = make_ready(recipe.override({"strategy": strategy}), machine)
            plain, tested = ready.inputs.train_plain, ready.inputs.test
            whole = Inputs(plain, plain, tested, tested)
            cached = cache_features(
                ready.model, whole, recipe.override({"strategy": strategy}), machine
            )
            assert isinstance(cached.train, Features)
            assert isinstance(cached.validation, Features)
            pools[strategy.pooler] = Head(ready.model), cached.train, cached.validation
        head, drawn_from, test = pools[strategy.pooler]
        steps = strategy.least_steps if way == "500 steps" else 0
        settings = strategy.model_copy(update={"least_steps": steps})
        epochs = own.epochs or recipe.train.epochs
        decay = own.weight_decay if own.weight_decay is not None else recipe.train.weight_decay
        whole_recipe = recipe.override(
            {"strategy": settings, "train.epochs": epochs, "train.weight_decay": decay}
        )
        for rows in given.rows:
            found = [
                _measure(copy.deepcopy(head), drawn_from, test, whole_recipe, way, rows, draw)
                for draw in range(given.draws)
            ]
            held, right = np.array(found).T
            print(
                f"{given.data or recipe.name}, {rows} rows, {way}: test {right.mean():.3f} "
                f"({right.min():.3f} to {right.max():.3f}), validation {held.mean():.3f}",
                flush=True,
            )


def _measure(
    head: Head, pool: Features, test: Features, recipe: Recipe, way: str, rows: int, draw: int
) -> tuple[float, float]:
    """Return the accuracy that a run reports for validation, and that on test rows."""
    random = np.random.default_rng(draw)
    chosen = np.concatenate(
        [
            random.permutation(np.flatnonzero(pool.labels == number))[: round(rows * share)]
            for number, share in enumerate(np.bincount(pool.labels) / len(pool.labels))
        ]
    )
    chosen = random.permutation(chosen)
    held, kept = np.split(chosen, [math.ceil(len(chosen) / 10)])
    train, validation = _part(pool, kept), _part(pool, held)
    inputs = Inputs(train, train, validation, test)
    if way == "lbfgs":
        found = solve_head(head, inputs, recipe)
        _copy_into_head(found, head)
        figures = found.figures or validation_figures(head, inputs, recipe)
    else:
        figures = train_head(
            head, inputs, strategy_of(recipe.strategy).long_enough(recipe, len(train))
        )
    return figures["accuracy"], validation_figures(head, Inputs(train, train, test, test), recipe)[
        "accuracy"
    ]


def _part(rows: Features, positions: np.ndarray) -> Features:
    return Features(rows.values, rows.places[:, positions], rows.labels[positions])


if __name__ == "__main__":
    main()
