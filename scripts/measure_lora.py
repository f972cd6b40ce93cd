"""Variants of LoRA on two recipes: the table of docs/choosing.md.

    python scripts/measure_lora.py [--recipes effnet-digits minilm-langid] [--seeds 1]

On a part of the rows. A variant is to be chosen by the validation column; test rows stand beside it
as a report. Runs lie in runs/lora and are not repeated.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ftkit import finetune, registry
from ftkit.machine.terminal import speak

OUT = Path("runs/lora")
PART: dict[str, dict[str, Any]] = {
    "effnet-digits": {"train.epochs": 3, "data.train_rows": 600},
    "minilm-langid": {"train.epochs": 2, "data.train_rows": 2400, "data.test_rows": 700},
}
VARIANTS: dict[str, tuple[dict[str, Any], float]] = {
    "plain": ({}, 1),
    "rslora": ({"strategy.rslora": True}, 1 / 3),
    "dora": ({"strategy.dora": True}, 1),
    "pissa": ({"strategy.init": "pissa"}, 1 / 3),
    "lora_plus=16": ({"strategy.lora_plus": 16}, 1 / 3),
}
"""Of each variant its settings, and its share of the recipe's learning rate: what moves further in
a step gets a third."""


def main() -> None:
    """Train each variant and print a row for it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recipes", nargs="+", default=list(PART))
    parser.add_argument("--seeds", type=int, default=1)
    arguments = parser.parse_args()
    speak()
    print("| recipe | variant | learning rate | accuracy on validation rows | on test rows |")
    print("|---|---|---|---|---|")
    for name in arguments.recipes:
        for variant, (changes, share) in VARIANTS.items():
            recipe = registry.find(name).with_strategy("lora").override(PART[name] | changes)
            rate = float(f"{recipe.strategy.learning_rate * share:.1g}")
            recipe = recipe.override({"strategy.learning_rate": rate})
            results = [
                finetune(
                    recipe.override({"train.seed": seed}),
                    OUT / f"{name}-{variant}-{rate:g}-seed{seed}",
                    resume=True,
                )
                for seed in range(arguments.seeds)
            ]
            validation = [f"{result.validation['accuracy']:.3f}" for result in results]
            test = [f"{result.metrics['accuracy'].value:.3f}" for result in results]
            shown = f"{', '.join(validation)} | {', '.join(test)}"
            print(f"| {name} | {variant} | {rate:g} | {shown} |", flush=True)


if __name__ == "__main__":
    main()
