"""What few labels give: the strategy `contrastive` beside others, on draws of a data set.

    python scripts/measure_contrastive.py --data ../shared/data/ag_news --rows 8 64 --draws 10
    python scripts/measure_contrastive.py --data ../shared/data/sst2 --rows 8 --draws 5 \\
        --strategies head contrastive --set strategy.class_names=false

Draws so many rows of each class by the number of the draw, trains as `ftkit train --data DRAW`
does, and prints the accuracy on the same test rows, with the seconds of training, of every draw and
their mean. `--set` is for `contrastive` alone. Of a data set without a test split its validation
rows are the test.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
from datasets import ClassLabel, Dataset

from ftkit import finetune
from ftkit.cli.request import resolve
from ftkit.data.columns import label_candidates
from ftkit.data.sources import read_source
from ftkit.data.split_names import assign_roles
from ftkit.recipe import Data


def draw(train: Dataset, label: str, rows: int, seed: int) -> Dataset:
    """Return so many rows of each class, or all of it where there are fewer."""
    random, labels = np.random.default_rng(seed), np.array(train[label])
    chosen = [
        random.permutation(np.flatnonzero(labels == value))[:rows] for value in np.unique(labels)
    ]
    return train.select(np.sort(np.concatenate(chosen)))


def measure(folder: Path, strategy: str, changes: list[str]) -> tuple[float, float]:
    """Return the accuracy on the test rows, and the seconds of training with the features."""
    recipe = resolve(None, strategy, str(folder), None, changes, False, None)
    result = finetune(recipe, folder / strategy)
    return result.metrics["accuracy"].value, result.seconds.features + result.seconds.train


def main() -> None:
    """Print a line for each number of rows, strategy and draw, and one with the means."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True)
    parser.add_argument("--rows", type=int, nargs="+", default=[8], help="of each class")
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--test-rows", type=int, default=2_000)
    parser.add_argument("--strategies", nargs="+", default=["head", "contrastive"])
    parser.add_argument("--set", action="append", default=[], help="for contrastive alone")
    asked = parser.parse_args()
    data = Data(path=asked.data)
    source = read_source(data).splits
    roles = assign_roles(data, source)
    train, test = source[roles["train"]], source[roles.get("test", roles.get("validation", ""))]
    (label,) = label_candidates(train.features)
    assert isinstance(train.features[label], ClassLabel)
    test = test.select(np.random.default_rng(7).permutation(len(test))[: asked.test_rows])
    for rows in asked.rows:
        found: dict[str, list[float]] = {strategy: [] for strategy in asked.strategies}
        for number in range(asked.draws):
            with tempfile.TemporaryDirectory() as scratch:
                folder = Path(scratch) / f"draw-{number}"
                folder.mkdir()
                draw(train, label, rows, number).to_parquet(folder / "train.parquet")
                test.to_parquet(folder / "test.parquet")
                for strategy, figures in found.items():
                    changes = asked.set if strategy == "contrastive" else []
                    accuracy, seconds = measure(folder, strategy, changes)
                    figures.append(accuracy)
                    told = f"{rows} rows of each class, draw {number}, {strategy}"
                    print(f"{told}: {accuracy:.3f} in {seconds:.0f} s", flush=True)
        for strategy, figures in found.items():
            mean, spread = np.mean(figures), np.std(figures)
            told = f"{rows} rows of each class, {strategy}: mean {mean:.3f}, deviation"
            print(f"{told} {spread:.3f} of {asked.draws} draws", flush=True)


if __name__ == "__main__":
    main()
