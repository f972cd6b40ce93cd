"""What the embedded recipes reach, over seeds: the figures of `Expect` and of docs/recipes.md.

    python scripts/measure_expect.py mlp-digits mlp-text:full effnet-digits:head --seeds 5

The seeds have the test rows in common, which `data.split_seed` draws: the range shows how much
training varies, the interval in each run.json how much test rows do. Runs lie in runs/expect and
are not repeated.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from ftkit import finetune, registry
from ftkit.machine import runtime
from ftkit.machine.terminal import speak

OUT = Path("runs/expect")


def main() -> None:
    """Train each recipe with each seed and print the metric's mean and range."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recipes", nargs="+", help="NAME or NAME:STRATEGY")
    parser.add_argument("--seeds", type=int, default=5)
    arguments = parser.parse_args()
    speak()
    for given in arguments.recipes:
        name, _, kind = given.partition(":")
        recipe = registry.find(name)
        recipe = recipe.with_strategy(kind or recipe.strategy.kind)
        metric, values = recipe.task.figures[0], []
        for seed in range(arguments.seeds):
            folder = OUT / f"{name}-{recipe.strategy.kind}-seed{seed}"
            result = finetune(recipe.override({"train.seed": seed}), folder, resume=True)
            values.append(result.metrics[metric].value)
        print(
            f"{name} {recipe.strategy.kind}: {metric} mean {sum(values) / len(values):.3f}, "
            f"{min(values):.3f} to {max(values):.3f}; seeds 0 to {arguments.seeds - 1}, "
            f"n = {result.n:,}, {result.device}, commit {runtime.commit()}",
            flush=True,
        )


if __name__ == "__main__":
    main()
