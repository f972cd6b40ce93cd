"""Does text regression learn the level of its numbers? R2 on test rows, MiniLM.

    FTKIT_PRECISION=fp32 python scripts/measure_regression.py words names

`words`: the number of words of 900 texts of AG News, 3 epochs at 2e-4, full. `names`: the number of
letters of 2,000 names of the embedded langid, 8 epochs: a target that a model of sentences can
learn. `--raw` leaves out the scaling of labels, as ftkit did before.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import datasets
import numpy as np

import ftkit.training.fit
import ftkit.training.trainer
from ftkit import Backbone, Data, Full, Recipe, TextRegression, Train
from ftkit.backbones.structure import place
from ftkit.finetuning.finetune import make_ready
from ftkit.machine import runtime
from ftkit.strategies import strategy_of
from ftkit.tasks import task_of
from ftkit.tasks.loading import load_splits
from ftkit.tasks.metrics.numbers import numeric_figures
from ftkit.training.fitted import Session

NEWS = Path("../shared/data/ag_news")


def words(seed: int) -> dict[str, list[tuple[str, float]]]:
    """Return texts of AG News with their number of words."""
    found = {}
    for part, count in (("train", 900), ("validation", 100), ("test", 500)):
        rows = datasets.Dataset.from_parquet(str(NEWS / f"{part}.parquet"))
        texts = rows.shuffle(seed=seed).select(range(count))["text"][:]
        found[part] = [(text, float(len(text.split()))) for text in texts]
    return found


def names(seed: int) -> dict[str, list[tuple[str, float]]]:
    """Return names with their number of letters."""
    from ftkit import registry

    recipe = registry.find("minilm-langid")
    rows = load_splits(recipe.data, task_of(recipe.task)).train.shuffle(seed=seed)["text"][:]
    cuts = {"train": rows[:2000], "validation": rows[2000:2200], "test": rows[2200:2700]}
    return {part: [(text, float(len(text))) for text in texts] for part, texts in cuts.items()}


TARGETS = {"words": (words, 3, 96), "names": (names, 8, 32)}


def measure(target: str, seed: int) -> dict[str, Any]:
    """Return the figures on test rows after a training with full fine-tuning."""
    make, epochs, most = TARGETS[target]
    with tempfile.TemporaryDirectory() as place_of_rows:
        folder = Path(place_of_rows)
        for part, rows in make(seed).items():
            lines = [json.dumps({"text": text, "number": value}) + "\n" for text, value in rows]
            (folder / f"{part}.jsonl").write_text("".join(lines), encoding="utf-8")
        recipe = Recipe(
            name=f"minilm-{target}",
            data=Data(path=str(folder)),
            backbone=Backbone(id="embedded:minilm-l6"),
            task=TextRegression(text="text", label="number", max_length=most),
            strategy=Full(learning_rate=2e-4),
            train=Train(epochs=epochs, batch_size=32, seed=seed),
        )
        machine = runtime.start(seed)
        ready = make_ready(recipe, machine)
        place(ready.model, None, machine.device)
        run = folder / "run"
        run.mkdir()
        strategy_of(recipe.strategy).train(ready.model, ready.inputs, recipe, Session(machine, run))
        test = ready.inputs.test
        told = ready.task.predict(ready.model, test, recipe.train, machine).ravel()
    labels = np.asarray(test.labels, float)
    figures = numeric_figures(np.ones(len(labels)), told.astype(float), labels)
    return {"mean": labels.mean(), "deviation": labels.std(), **figures}


def main() -> None:
    """Print the figures of each target asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("targets", nargs="+", choices=TARGETS)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--raw", action="store_true")
    given = parser.parse_args()
    if given.raw:
        for module in (ftkit.training.trainer, ftkit.training.fit):
            setattr(module, "scale_of", lambda *_: None)  # noqa: B010
    for target in given.targets:
        for seed in range(given.seeds):
            found = measure(target, seed)
            said = ", ".join(f"{name} {value:.3f}" for name, value in found.items())
            print(f"{target} seed {seed}{' raw' if given.raw else ''}: {said}", flush=True)


if __name__ == "__main__":
    main()
