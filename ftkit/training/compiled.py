"""Training steps compiled by torch.compile: fused kernels in place of one kernel an operation.

The training steps alone go through what was compiled; the model itself stays as it is. So the names
of its parameters, its hooks and its saved files are those of any model, and validation, test and
`ftkit predict` compute as they do without. Compiled sums are in another order: a step differs from
an ordinary one in rounding, and dropout draws other masks.

torch keeps what it compiles in a folder below /tmp that goes by the user's name, whoever made it.
While ftkit compiles and trains it is one in the cache of ftkit, which is this user's own, unless
$TORCHINDUCTOR_CACHE_DIR names another.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch._dynamo.exc import TorchDynamoException

from ftkit.errors import RecipeError, TrainingError
from ftkit.machine.cache_folder import cache_folder
from ftkit.machine.permissions import private_folder
from ftkit.machine.runtime import Machine, on_main
from ftkit.recipe import Recipe

log = logging.getLogger(__name__)
BACKEND = "inductor"
FOLDER = "TORCHINDUCTOR_CACHE_DIR"


def require_compiler(machine: Machine) -> None:
    """Compile two operations, so that a machine that cannot is told of before training.

    Every rank must call this; rank 0 tries.

    Raises:
        RecipeError: it cannot.
    """

    def work() -> None:
        try:
            with own_folder():
                twice = torch.compile(_two_operations, backend=BACKEND)
                twice(torch.ones(8, device=machine.device))
        except (RuntimeError, OSError, ImportError) as error:
            raise RecipeError(
                f"train.compile = true: nothing can be compiled here ({_brief(error)}). It needs a "
                f"C++ compiler, and on a GPU triton; install them, or use --set train.compile=false"
            ) from error
        finally:
            forget_compiled()

    on_main(work)


def compiled(model: nn.Module, dynamic: bool) -> Any:
    """Return what computes the same as `model`, with its weights, compiled when it is called first.

    It must be called inside `own_folder`.

    Args:
        model: stays as it is.
        dynamic: one graph for inputs of all lengths; else each shape has a graph of its own, and so
            the same numbers wherever in a run it comes.
    """
    lengths = " for inputs of all lengths" if dynamic else ""
    log.info("train.compile: the first steps compile the model%s, which takes a while", lengths)
    return torch.compile(model, backend=BACKEND, dynamic=dynamic)


@contextmanager
def own_folder() -> Iterator[None]:
    """Have torch keep what it compiles inside the block in a folder of this user's own."""
    if FOLDER in os.environ:
        yield
        return
    os.environ[FOLDER] = str(private_folder(cache_folder() / "compiled"))
    try:
        yield
    finally:
        os.environ.pop(FOLDER, None)


def forget_compiled() -> None:
    """Let go of what was compiled: torch keeps it, and compiles only so much in a process.

    torch lets go of all of it or of nothing. What a caller of the library has compiled in the same
    process goes too: it stays right, and is compiled again when it is called next.
    """
    torch.compiler.reset()


def without_compiling(recipe: Recipe, why: str) -> Recipe:
    """Return the recipe with `train.compile` off; where it was on, one line says why."""
    if not recipe.train.compile:
        return recipe
    log.info("train.compile has no effect: %s", why)
    return recipe.override({"train.compile": False})


def of_compiling(error: Exception, step: int) -> TrainingError | None:
    """Return what went wrong in compiling a model, in one line; None for other errors."""
    if not isinstance(error, TorchDynamoException):
        return None
    return TrainingError(
        f"train.compile = true: this model cannot be compiled, step {step + 1}: {_brief(error)}. "
        f"Use --set train.compile=false"
    )


def _two_operations(values: torch.Tensor) -> torch.Tensor:
    return (2 * values).sin()


def _brief(error: Exception) -> str:
    """Return what an error says before torch tells how to find out more."""
    text = str(error).strip().partition("\n\n")[0]
    return " ".join(text.split())[:200].rstrip(".") or type(error).__name__
