"""Defaults of ftkit that rest on a measurement, chosen on validation rows: two tables.

    python scripts/measure_choices.py effnet-digits=CIFAR10 [minilm-langid=SST2]

Each argument is RECIPE=DATA, a path or a Hub id; the rows are those of measure_learning_rate.py:
480 training rows and as many validation rows. The first table is `strategy.keep_statistics` at
three learning rates, for a backbone with BatchNorm. The second is LEAST_STEPS of
`ftkit.planning.choose`: how many steps of full fine-tuning it takes until its accuracy on
validation rows passes that of the head alone. The choice is made by the validation column; test
rows stand beside it as a report. Measurements lie in runs/learning_rate.jsonl and are not repeated.
"""

from __future__ import annotations

import argparse
from typing import Any

from measure_learning_rate import PART, trained

from ftkit.cli.request import resolve
from ftkit.recipe import Recipe

RATES = (1e-4, 3e-4, 1e-3)
STEPS = (15, 30, 60, 120, 240)
RATE_OF_STEPS = {"effnet-digits": 2e-4, "minilm-langid": 2e-4}


def main() -> None:
    """Measure what is missing and print both tables for each argument."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recipes", nargs="+", help="RECIPE=DATA")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--only", choices=("statistics", "steps"))
    arguments = parser.parse_args()
    for given in arguments.recipes:
        name, _, data = given.partition("=")
        recipe = resolve(name, "full", data, None, (), False, None).override(PART[name])
        if name == "effnet-digits" and arguments.only != "steps":
            statistics(recipe, arguments.seeds)
        if arguments.only != "statistics":
            steps(recipe, name, arguments.seeds)


def statistics(recipe: Recipe, seeds: int) -> None:
    """Print accuracy with the statistics of pretraining kept, and with those of each batch."""
    print(f"\n{recipe.name}: keep_statistics\n| learning rate | kept | validation | test |")
    for rate in RATES:
        for kept in (True, False):
            changes: dict[str, Any] = {"strategy.learning_rate": rate}
            if not kept:
                changes["strategy.keep_statistics"] = False
            row(f"| {rate:g} | {kept} |", recipe, seeds, changes)


def steps(recipe: Recipe, name: str, seeds: int) -> None:
    """Print accuracy of the head alone, and after so many steps of full fine-tuning."""
    print(f"\n{recipe.name}: steps of full fine-tuning\n| steps | validation | test |")
    row("| the head alone |", recipe.with_strategy("head"), seeds, {})
    for most in STEPS:
        rate = RATE_OF_STEPS[name]
        epochs = -(-32 * most // 480)
        changes = {
            "train.max_steps": most, "train.epochs": epochs, "strategy.learning_rate": rate
        }  # fmt: skip
        row(f"| {most} |", recipe, seeds, changes)


def row(begin: str, recipe: Recipe, seeds: int, changes: dict[str, Any]) -> None:
    """Print the figures of each seed."""
    runs = [trained(recipe, seed, changes) for seed in range(seeds)]
    figures = (", ".join(f"{run[split]:.3f}" for run in runs) for split in ("validation", "test"))
    print(begin, " | ".join(figures), "|", flush=True)


if __name__ == "__main__":
    main()
