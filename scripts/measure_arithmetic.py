"""Does `auto` choose the same arithmetic alone and beside busy neighbours?

    python scripts/measure_arithmetic.py [--starts 20] [--neighbours 0 4]

Each start asks with an empty cache, as the first run on a machine does: for the inference and the
training of EfficientNet-Lite0 and of MiniLM. The lines have how often each way was chosen.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections import Counter
from collections.abc import Callable
from typing import Any

from bench_common import busy_neighbours, quiet

RECIPES = ("effnet-digits", "minilm-langid")


def main() -> None:
    """Ask, and print a row for each question."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--starts", type=int, default=20)
    parser.add_argument("--neighbours", type=int, nargs="+", default=[0, 4])
    options = parser.parse_args()
    quiet()
    questions = {about: ask for name in RECIPES for about, ask in questions_of(name).items()}
    for count in options.neighbours:
        with busy_neighbours(count):
            for about, ask in questions.items():
                found = Counter(fresh(ask) for _ in range(options.starts))
                ways = ", ".join(f"{way} {times}" for way, times in found.most_common())
                print(f"{count} neighbours, {about}: {ways}", flush=True)


def fresh(ask: Callable[[], Any]) -> str:
    """Return the answer where no cache has one."""
    with tempfile.TemporaryDirectory() as cache:
        os.environ["FTKIT_CACHE"] = cache
        return str(ask())


def questions_of(name: str) -> dict[str, Callable[[], Any]]:
    """Return what a run of a recipe asks, by its name."""
    from ftkit import registry
    from ftkit.backbones.structure import place
    from ftkit.finetuning.finetune import make_ready
    from ftkit.machine import runtime
    from ftkit.training.precision import fastest_precision, fastest_training

    recipe, machine = registry.find(name).with_strategy("full"), runtime.start(0)
    ready = make_ready(recipe, machine)

    def inference() -> str:
        place(ready.model, None, machine.device)
        return fastest_precision(ready.model, ready.inputs, "auto", machine)

    def training() -> Any:
        return fastest_training(ready.model, ready.inputs, recipe.train, machine)

    return {f"{name}, inference": inference, f"{name}, training": training}


if __name__ == "__main__":
    main()
