"""Which epoch should be kept? Rules on the validation rows, compared on test rows.

    FTKIT_PRECISION=fp32 python scripts/measure_selection.py --rows 100 300 --seeds 3

Trains with every strategy below on small draws, notes the validation and the test figures after
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

from ftkit import registry
from ftkit.backbones.structure import place
from ftkit.finetuning.finetune import make_ready
from ftkit.machine import runtime
from ftkit.strategies import strategy_of
from ftkit.training.fitted import Session
from ftkit.training.trainer import FrozenTrainer

FILE = Path("runs/selection.jsonl")
CASES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "cifar10": ("effnet-digits", "full", {"data.path": "../shared/data/cifar10"}),
    "ag_news": (
        "minilm-langid",
        "full",
        {"data.path": "../shared/data/ag_news", "task.max_length": 48, "train.epochs": 5},
    ),
    "sst2": (
        "minilm-langid",
        "full",
        {"data.path": "../shared/data/sst2", "task.text": None, "train.epochs": 5},
    ),
}
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


def measure(case: str, rows: int, seed: int) -> dict[str, Any]:
    """Return the figures of each epoch of one training, on validation and on test rows."""
    name, strategy, changes = CASES[case]
    draw = {"data.train_rows": rows, "data.test_rows": 1000, "train.seed": seed}
    recipe = registry.find(name).with_strategy(strategy).override(changes | draw)
    machine = runtime.start(seed)
    ready = make_ready(recipe, machine)
    place(ready.model, recipe.train.channels_last, machine.device)
    validation, test = [], []
    usual = FrozenTrainer.score

    def noting(trainer: FrozenTrainer) -> dict[str, float]:
        figures, own = usual(trainer), trainer.inputs.test
        told = trainer.task.predict(trainer.whole(), own, trainer.settings, trainer.machine)
        validation.append(figures)
        test.append(trainer.task.score(own.labels, told))
        return figures

    FrozenTrainer.score = noting  # type: ignore[method-assign, assignment]
    try:
        with tempfile.TemporaryDirectory() as folder:
            strategy_of(recipe.strategy).train(
                ready.model, ready.inputs, recipe, Session(machine, Path(folder))
            )
    finally:
        FrozenTrainer.score = usual  # type: ignore[method-assign]
    epochs = recipe.train.epochs  # a check of the reloaded best may come after them
    pick = {part: [f["accuracy"] for f in v[:epochs]] for part, v in _pairs(validation, test)}
    return pick | {
        "loss": [f["loss"] for f in validation[:epochs]],
        "rows": len(ready.inputs.validation.labels),
    }


def _pairs(validation: list[Any], test: list[Any]) -> list[tuple[str, list[Any]]]:
    return [("validation", validation), ("test", test)]


def main() -> None:
    """Measure what is not yet measured, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", nargs="+", default=list(CASES))
    parser.add_argument("--rows", nargs="+", type=int, default=[100, 300])
    parser.add_argument("--seeds", type=int, default=3)
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
                key = f"{case} {rows} {seed}"
                if key not in known:
                    known[key] = {"key": key} | measure(case, rows, seed)
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
