"""Does the range test find a good learning rate? Its pick against a grid, by several rules.

    python scripts/measure_learning_rate.py effnet-digits:full=CIFAR10 effnet-digits:lora=CIFAR10 \\
        minilm-langid:full=AG_NEWS minilm-langid:lora=AG_NEWS minilm-langid:full=SST2

Each argument is RECIPE:STRATEGY, or RECIPE:STRATEGY=DATA for other data than the recipe's: a path
or a Hub id. It trains on 480 rows with four learning rates half a decade apart, and takes range
tests with two seeds. A rule that reads a learning rate from the curve of a range test is chosen by
figures of validation rows: by how far the validation curve of the grid, interpolated by the
logarithm of the rate, lies below its best there. Test rows are reported for the rate that is best
by validation, and for trainings at what the rule in use picked. Measurements lie in
runs/learning_rate.jsonl and are not repeated.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ftkit.backbones.structure import place
from ftkit.cli.request import resolve
from ftkit.finetuning.finetune import Ready, make_ready
from ftkit.machine import runtime
from ftkit.recipe import Recipe
from ftkit.strategies import strategy_of
from ftkit.strategies.range_test import pick, range_test, smoothed
from ftkit.training.fitted import Session

FILE = Path("runs/learning_rate.jsonl")
PART: dict[str, dict[str, Any]] = {
    "effnet-digits": {
        "train.epochs": 3,
        "backbone.image_size": 64,
        "data.train_rows": 960,
        "data.validation_fraction": 0.5,  # of these rows, where the data has none of its own
        "data.test_rows": 500,
    },
    "minilm-langid": {
        "train.epochs": 3,
        "task.max_length": 32,
        "data.train_rows": 480,
        "data.validation_rows": 500,
        "data.test_rows": 500,
    },
}
TESTS = (0, 1)
"""Seeds of the range tests."""
GRIDS = {
    ("effnet-digits", "full"): (3e-5, 1e-4, 3e-4, 1e-3),
    ("effnet-digits", "lora"): (1e-3, 3e-3, 1e-2, 3e-2),
    ("minilm-langid", "full"): (1e-4, 3e-4, 1e-3, 3e-3),
    ("minilm-langid", "lora"): (3e-4, 1e-3, 3e-3, 1e-2),
}


def least_over(divisor: float) -> Callable[[np.ndarray, np.ndarray], float]:
    """Return the rule: the rate of the least smoothed loss over this number."""
    return lambda rates, losses: float(rates[smoothed(losses).argmin()] / divisor)


def steepest(rates: np.ndarray, losses: np.ndarray) -> float:
    """Return the rate at which the smoothed loss falls fastest with the log of the rate."""
    means = smoothed(losses)
    least = max(2, int(means.argmin()) + 1)
    return float(rates[np.gradient(means[:least]).argmin()])


def halfway(rates: np.ndarray, losses: np.ndarray) -> float:
    """Return the rate at which half of the whole fall of the smoothed loss is done."""
    means = smoothed(losses)
    return float(rates[int((means <= (means[0] + means.min()) / 2).argmax())])


RULES: dict[str, Callable[[Any, Any], float]] = {
    "least / 10": least_over(10),
    "least / 5": least_over(5),
    "least / 4": least_over(4),
    "least / 3": least_over(3),
    "steepest": steepest,
    "halfway": halfway,
}


def main() -> None:
    """Measure what is missing and print a table for each argument, and one of the rules."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recipes", nargs="+", help="RECIPE:STRATEGY or RECIPE:STRATEGY=DATA")
    parser.add_argument("--seeds", type=int, default=1, help="of each training of the grid")
    arguments = parser.parse_args()
    seeds = range(arguments.seeds)
    lost: dict[str, list[float]] = {rule: [] for rule in RULES}
    for given in arguments.recipes:
        called, _, data = given.partition("=")
        name, _, kind = called.partition(":")
        recipe = resolve(name, kind, data or None, None, (), False, None)
        recipe = recipe.override(PART[name])
        rates = GRIDS[name, kind]
        runs = [[measured(recipe, seed, rate=rate) for rate in rates] for seed in seeds]
        tests = [measured(recipe, seed) for seed in TESTS]
        validation = np.mean([[run["validation"] for run in one] for one in runs], 0)
        test = np.mean([[run["test"] for run in one] for one in runs], 0)
        print(f"\n{recipe.name}, {kind}: accuracy, mean of {len(seeds)} seeds")
        print("| rate | " + " | ".join(f"{rate:g}" for rate in rates) + " |")
        print("| validation | " + " | ".join(f"{value:.3f}" for value in validation) + " |")
        print(f"best of the grid by validation: {rates[validation.argmax()]:g}")
        for rule, read in RULES.items():
            found = [read(np.array(t["rates"]), np.array(t["losses"])) for t in tests]
            gaps = [100 * (validation.max() - at(rate, rates, validation)) for rate in found]
            lost[rule] += gaps
            each = ", ".join(f"{r:.2g} ({gap:.1f})" for r, gap in zip(found, gaps, strict=True))
            print(f"| {rule} | {each} |")
        report(recipe, tests, rates, validation, test)
    print("\n| rule | points of validation accuracy below the best, mean | at most |")
    for rule, gaps in lost.items():
        print(f"| {rule} | {np.mean(gaps):.1f} | {max(gaps):.1f} |")


def report(
    recipe: Recipe,
    tests: Sequence[dict[str, Any]],
    rates: Sequence[float],
    validation: np.ndarray,
    test: np.ndarray,
) -> None:
    """Print the test figures: of the rate that is best by validation, and of trained picks."""
    print(f"on test rows: best rate by validation {test[validation.argmax()]:.3f}", end="")
    for seed, curve in enumerate(tests):
        chosen = pick(np.array(curve["rates"]), np.array(curve["losses"]))
        run = measured(recipe, seed, rate=chosen)
        print(
            f"; picked {chosen:g}: {run['test']:.3f} (validation {run['validation']:.3f})", end=""
        )
    print(f"; range test {len(tests[0]['rates'])} steps")


def at(rate: float, rates: Sequence[float], figures: np.ndarray) -> float:
    """Return the figure of a rate between those of the grid, or of its nearest end."""
    return float(np.interp(np.log(rate), np.log(rates), figures))


def measured(recipe: Recipe, seed: int, rate: float | None = None) -> dict[str, Any]:
    """Return one measurement, of a training at a `rate` or else of a range test."""
    changes = None if rate is None else {"strategy.learning_rate": rate}
    return trained(recipe, seed, changes) if changes else ranged(recipe, seed)


def ranged(recipe: Recipe, seed: int) -> dict[str, Any]:
    """Return the curve of a range test."""

    def test(ready: Ready, machine: runtime.Machine) -> dict[str, Any]:
        found = range_test(ready.model, ready.inputs, recipe, machine)
        return {"rates": found.rates, "losses": found.losses}

    return once({"seed": seed}, recipe.override({"train.seed": seed}), test)


def trained(recipe: Recipe, seed: int, changes: dict[str, Any]) -> dict[str, Any]:
    """Return the accuracy on validation and test rows after a training with these changes."""
    recipe = recipe.override({"train.seed": seed, **changes})

    def fit(ready: Ready, machine: runtime.Machine) -> dict[str, Any]:
        with tempfile.TemporaryDirectory() as folder:
            strategy_of(recipe.strategy).train(
                ready.model, ready.inputs, recipe, Session(machine, Path(folder))
            )
        found = {}
        for split in ("validation", "test"):
            rows = getattr(ready.inputs, split)
            outputs = ready.task.predict(ready.model, rows, recipe.train, machine)
            found[split] = ready.task.score(rows.labels, outputs)["accuracy"]
        return found

    return once({"seed": seed, "changes": changes}, recipe, fit)


def once(
    what: dict[str, Any],
    recipe: Recipe,
    measure: Callable[[Ready, runtime.Machine], dict[str, Any]],
) -> dict[str, Any]:
    """Return what `measure` finds of a recipe, or what it found earlier."""
    about = {"recipe": recipe.name, "strategy": recipe.strategy.kind, "changes": None, **what}
    lines = FILE.read_text(encoding="utf-8").splitlines() if FILE.exists() else []
    for entry in map(json.loads, lines):
        if about.items() <= entry.items():
            return entry
    machine = runtime.start(recipe.train.seed)
    ready = make_ready(recipe, machine)
    place(ready.model, None, machine.device)
    begin = time.perf_counter()
    about |= measure(ready, machine)
    about["seconds"] = time.perf_counter() - begin
    FILE.parent.mkdir(exist_ok=True)
    with FILE.open("a", encoding="utf-8") as file:
        file.write(json.dumps(about) + "\n")
    return about


if __name__ == "__main__":
    main()
