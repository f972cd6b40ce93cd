"""Which epoch should be kept? Rules on the validation rows, compared on test rows.

    python scripts/measure_selection.py --cases cifar10 mnist --rows 100 300 --strategy full

Trains on small draws as `ftkit train --data` does, notes the validation and the test figures after
each epoch, and prints the mean test accuracy of the epoch that each rule keeps. The test rows take
no part in any rule. `one error` is the one-standard-error rule (Breiman et al. 1984): epochs whose
accuracy lies within the binomial standard error of the best one count as equal. Measurements lie in
runs/selection.jsonl and are not repeated.
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ftkit.backbones.structure import place
from ftkit.cli.request import resolve
from ftkit.finetuning.finetune import make_ready
from ftkit.machine import runtime
from ftkit.strategies import strategy_of
from ftkit.training.fitted import Session
from ftkit.training.trainer import FrozenTrainer

FILE = Path("runs/selection.jsonl")
IMAGES = ("backbone.image_size=64",)
CASES: dict[str, tuple[str, ...]] = {
    "cifar10": IMAGES,
    "mnist": IMAGES,
    "ag_news": ("task.max_length=48",),
    "sst2": (),
}
"""Data sets beside the project, and what is set for them."""
Rule = Callable[[np.ndarray, np.ndarray, int], int]


def within(errors: float) -> Rule:
    """Return the rule: of the epochs within so many standard errors of the best, the least loss."""

    def rule(accuracy: np.ndarray, loss: np.ndarray, rows: int) -> int:
        best = accuracy.max()
        margin = errors * math.sqrt(best * (1 - best) / rows) + 1e-9
        return int(np.where(accuracy >= best - margin, loss, np.inf).argmin())

    return rule


RULES: dict[str, Rule] = {
    "first best": lambda accuracy, loss, rows: int(accuracy.argmax()),
    "ties by loss": within(0.0),
    "half an error": within(0.5),
    "one error": within(1.0),
    "least loss": lambda accuracy, loss, rows: int(loss.argmin()),
    "last": lambda accuracy, loss, rows: len(accuracy) - 1,
}


def measure(case: str, strategy: str, rows: int, seed: int, test_rows: int) -> dict[str, Any]:
    """Return the figures of each epoch of one training, on validation and on test rows."""
    draw = (f"data.train_rows={rows}", f"data.test_rows={test_rows}", f"train.seed={seed}")
    path = f"../shared/data/{case}"
    recipe = resolve(None, strategy, path, None, (*CASES[case], *draw), False, None)
    machine = runtime.start(seed)
    ready = make_ready(recipe, machine)
    place(ready.model, recipe.train.channels_last, machine.device)
    steps: list[int] = []
    validation: list[dict[str, float]] = []
    test: list[dict[str, float]] = []
    usual = FrozenTrainer.score

    def noting(trainer: FrozenTrainer) -> dict[str, float]:
        figures, own = usual(trainer), trainer.inputs.test
        if trainer.state.global_step in steps:  # the check of the best, reloaded
            return figures
        told = trainer.task.predict(trainer.whole(), own, trainer.settings, trainer.machine)
        steps.append(trainer.state.global_step)
        validation.append(figures)
        test.append(trainer.task.score(own.labels, told))
        return figures

    FrozenTrainer.score = noting  # type: ignore[method-assign, assignment]
    try:
        with tempfile.TemporaryDirectory() as folder:
            strategy_of(recipe.strategy).train(
                ready.model, ready.inputs, ready.resolved(recipe), Session(machine, Path(folder))
            )
    finally:
        FrozenTrainer.score = usual  # type: ignore[method-assign]
    return {
        "validation": [figures["accuracy"] for figures in validation],
        "loss": [figures["loss"] for figures in validation],
        "test": [figures["accuracy"] for figures in test],
        "rows": len(ready.inputs.validation),
    }


def main() -> None:
    """Measure what is not yet measured, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", nargs="+", default=list(CASES))
    parser.add_argument("--rows", nargs="+", type=int, default=[100, 300])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--strategy", default="full")
    parser.add_argument("--test-rows", type=int, default=500)
    given = parser.parse_args()
    FILE.parent.mkdir(exist_ok=True)
    known: dict[str, Any] = {}
    if FILE.exists():
        known = {line["key"]: line for line in map(json.loads, FILE.open(encoding="utf-8"))}
    print(f"{'':18}" + "".join(f"{name:>15}" for name in RULES))
    for case in given.cases:
        for rows in given.rows:
            found: dict[str, list[float]] = {name: [] for name in RULES}
            for seed in range(given.seeds):
                key = f"{case} {given.strategy} {rows} {seed} {given.test_rows}"
                if key not in known:
                    of = measure(case, given.strategy, rows, seed, given.test_rows)
                    known[key] = {"key": key} | of
                    with FILE.open("a", encoding="utf-8") as file:
                        file.write(json.dumps(known[key]) + "\n")
                of = known[key]
                accuracy, loss = np.array(of["validation"]), np.array(of["loss"])
                for name, rule in RULES.items():
                    found[name].append(of["test"][rule(accuracy, loss, of["rows"])])
            figures = "".join(f"{np.mean(values):15.3f}" for values in found.values())
            print(f"{case:10} n={rows:5}{figures}", flush=True)


if __name__ == "__main__":
    main()
