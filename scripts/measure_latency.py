"""Do equal architectures get equal latencies? The same model from several strategies.

    python scripts/measure_latency.py [effnet-digits] [--strategies head lora full]

Two steps of training are enough: head, merged LoRA and full fine-tuning leave the same layers with
other weights, so their medians should lie within each other's quartiles. Runs lie in runs/latency
and are repeated.
"""

from __future__ import annotations

import argparse
import shutil
from itertools import combinations
from pathlib import Path

from ftkit import finetune, registry

OUT = Path("runs/latency")


def main() -> None:
    """Train each strategy for two steps and print its latency."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recipe", nargs="?", default="effnet-digits")
    parser.add_argument("--strategies", nargs="+", default=["head", "lora", "full"])
    arguments = parser.parse_args()
    found = {}
    print("| strategy | median | quartiles | threads | answers timed |")
    for kind in arguments.strategies:
        folder = OUT / f"{arguments.recipe}-{kind}"
        shutil.rmtree(folder, ignore_errors=True)
        small = {"train.max_steps": 2, "data.train_rows": 100, "data.test_rows": 40}
        recipe = registry.find(arguments.recipe).with_strategy(kind).override(small)
        one = finetune(recipe, folder).latency
        assert one is not None
        found[kind] = one
        low, median, high = (f"{1000 * value:.2f} ms" for value in (one.low, one.median, one.high))
        print(f"| {kind} | {median} | {low} to {high} | {one.threads} | {one.repetitions} |")
    for (name, one), (other_name, other) in combinations(found.items(), 2):
        inside = one.low <= other.median <= one.high and other.low <= one.median <= other.high
        print(
            f"{name}, {other_name}: {'within' if inside else 'NOT within'} each other's quartiles"
        )


if __name__ == "__main__":
    main()
