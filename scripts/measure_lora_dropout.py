"""Should dropout of the frozen part be on under LoRA? Accuracy with and without, on small draws.

    FTKIT_PRECISION=fp32 python scripts/measure_lora_dropout.py --rows 300 1200 --seeds 3

Hu et al. 2021 leave the backbone's dropout on, ftkit keeps frozen modules in eval mode. Chosen by
the validation rows, which take part in nothing else; test rows are printed beside it.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
from torch import nn

import ftkit.training.modes
from ftkit import registry
from ftkit.backbones.structure import place
from ftkit.finetuning.finetune import make_ready
from ftkit.machine import runtime
from ftkit.strategies import strategy_of
from ftkit.training.fitted import Session
from ftkit.training.modes import training_modes


def with_dropout(model: nn.Module) -> list[tuple[nn.Module, bool]]:
    """Return the modes of training with every dropout on."""
    return [(m, moves or isinstance(m, nn.Dropout)) for m, moves in training_modes(model)]


def measure(rows: int, seed: int, dropout: bool) -> tuple[float, float, float]:
    """Return loss and accuracy of the last epoch on validation rows, and accuracy on test rows."""
    changes = {"data.train_rows": rows, "data.validation_rows": 600, "data.test_rows": 700}
    recipe = registry.find("minilm-langid").with_strategy("lora")
    recipe = recipe.override(changes | {"train.seed": seed, "train.epochs": 5})
    ftkit.training.modes.training_modes = with_dropout if dropout else training_modes
    machine = runtime.start(seed)
    ready = make_ready(recipe, machine)
    place(ready.model, None, machine.device)
    with tempfile.TemporaryDirectory() as folder:
        fitted = strategy_of(recipe.strategy).train(
            ready.model, ready.inputs, recipe, Session(machine, Path(folder))
        )
    test = ready.inputs.test
    told = ready.task.predict(ready.model, test, recipe.train, machine)
    return (
        fitted.validation["loss"],
        fitted.validation["accuracy"],
        ready.task.score(test.labels, told)["accuracy"],
    )


def main() -> None:
    """Print the means over seeds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", nargs="+", type=int, default=[300, 1200])
    parser.add_argument("--seeds", type=int, default=3)
    given = parser.parse_args()
    for rows in given.rows:
        for dropout in (False, True):
            found = np.array([measure(rows, seed, dropout) for seed in range(given.seeds)])
            loss, accuracy, test = found.mean(0)
            print(
                f"n={rows} dropout {'on ' if dropout else 'off'}: validation loss {loss:.4f}, "
                f"accuracy {accuracy:.4f} {found[:, 1].round(4).tolist()}, test {test:.4f} "
                f"{found[:, 2].round(4).tolist()}",
                flush=True,
            )


if __name__ == "__main__":
    main()
