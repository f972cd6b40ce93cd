"""Arithmetic by measurement: the precision and memory format that are fastest with a model here.

On one CPU a step of MiniLM took 132 ms in bfloat16 and 204 in float32, a step of EfficientNet-Lite0
302 in bfloat16 and 234 in float32, there with channels last, and 371 without. Another CPU or model
may turn that round. So a second or two is spent on trying, once for each machine and model; the
answer is kept in $FTKIT_CACHE. $FTKIT_PRECISION answers instead, where results are to be the same
on machines of different speed.
"""

from __future__ import annotations

import json
import logging
import os
import platform
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ftkit.backbones.structure import is_convolutional, place
from ftkit.errors import RecipeError
from ftkit.machine.cache_folder import cache_folder
from ftkit.machine.permissions import is_mine
from ftkit.machine.runtime import Machine, choose_precision, on_main
from ftkit.machine.whole_files import write_whole
from ftkit.recipe import Train
from ftkit.tasks.evaluation import first_examples
from ftkit.tasks.inputs import Inputs

log = logging.getLogger(__name__)
ROWS = 16
WORTH = 1.2
"""Another way than the plain one is taken where it is so many times as fast; less is noise on a
busy machine."""
FIXED = "FTKIT_PRECISION"
"""Environment variable that says what "auto" means here, fp32 or bf16; nothing is measured then."""
TOO_SHORT = 0.02
"""A pass that takes fewer seconds is not worth measuring."""
CLEAR = 1.6
"""Where the fastest way is so many times as fast as the others, no more tries are needed."""
HOPELESS = 5.0
"""A way that takes so many times as long as the fastest in one try is not tried again: bfloat16 on
a CPU without instructions for it takes seconds."""
FEWEST, MOST = 2, 6
"""Tries that count: a single one may be that in which a neighbour emptied the caches."""


@dataclass(frozen=True)
class Arithmetic:
    """How a model is computed in training."""

    precision: str
    """fp32, bf16 or fp16."""
    channels_last: bool
    """Memory format of convolutions."""

    def __str__(self) -> str:
        return self.precision + (", channels last" if self.channels_last else "")


def fastest_training(
    model: nn.Module, inputs: Inputs, settings: Train, machine: Machine
) -> Arithmetic:
    """Return how to train this model: as the recipe says, on a CPU by trying what it leaves open.

    Tries forward and backward passes in eval mode, so that no statistic moves; leaves no gradient.
    Every rank must call this; rank 0 measures, on the first validation rows.

    Raises:
        RecipeError: the device cannot compute in the precision that was asked for.
    """
    wanted = _wanted(settings.precision)
    convolutional = is_convolutional(model)
    format_open = settings.channels_last is None and convolutional
    channels_last = convolutional if settings.channels_last is None else settings.channels_last
    plain = Arithmetic(choose_precision(wanted, machine), channels_last)
    precisions = ("fp32", "bf16") if wanted == "auto" else (plain.precision,)
    ways = [
        Arithmetic(precision, last)
        for last in ((channels_last, not channels_last) if format_open else (channels_last,))
        for precision in precisions
    ]
    if machine.device.type != "cpu" or len(ways) == 1 or os.environ.get(FIXED, "auto") != "auto":
        return plain
    batch = first_examples(inputs, ROWS, machine.device)
    moving = [parameter for parameter in model.parameters() if parameter.requires_grad]

    def step(way: Arithmetic) -> None:
        with autocast(way.precision, machine.device):
            outputs = model.eval()(**batch)["logits"]
        outputs.float().square().mean().backward()
        for parameter in moving:
            parameter.grad = None

    def prepare(way: Arithmetic) -> None:
        place(model, way.channels_last, machine.device)

    def measure() -> Arithmetic:
        return _fastest(f"training {len(moving)}", model, batch, ways, prepare, step, machine)

    return on_main(measure)


def fastest_precision(model: nn.Module, inputs: Inputs, wanted: str, machine: Machine) -> str:
    """Return the precision of inference for what the recipe wants: "auto" is measured.

    Every rank must call this; rank 0 measures, on the first validation rows.
    """
    wanted = _wanted(wanted)
    if wanted != "auto":
        return wanted
    batch = first_examples(inputs, ROWS, machine.device)

    def forward(way: Arithmetic) -> None:
        with autocast(way.precision, machine.device), torch.inference_mode():
            model.eval()(**batch)

    def measure() -> str:
        ways = [Arithmetic(precision, is_convolutional(model)) for precision in ("fp32", "bf16")]
        return _fastest(
            "inference", model, batch, ways, lambda way: None, forward, machine
        ).precision

    return on_main(measure)


def autocast(precision: str, device: torch.device) -> AbstractContextManager:
    """Return a block in which matrix products and convolutions are computed in that precision."""
    if precision == "fp32":
        return nullcontext()
    dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}[precision]
    return torch.autocast(device.type, dtype)


def _wanted(setting: str) -> str:
    """Return a recipe's precision, or what this machine's owner has said that "auto" means.

    Raises:
        RecipeError: the environment says something else than a precision.
    """
    fixed = os.environ.get(FIXED, "auto")
    if fixed not in {"auto", "fp32", "bf16", "fp16"}:
        raise RecipeError(f"{FIXED}={fixed}: expected fp32, bf16, fp16 or auto")
    return fixed if setting == "auto" else setting


def _fastest(
    what: str,
    model: nn.Module,
    batch: dict[str, torch.Tensor],
    ways: list[Arithmetic],
    prepare: Callable[[Arithmetic], None],
    work: Callable[[Arithmetic], Any],
    machine: Machine,
) -> Arithmetic:
    """Return which of these ways does the work fastest, from the notes or by trying.

    The first is the plain way, which is left only for one that is worth it.

    Args:
        what: part of the name under which the answer is noted.
        prepare: is called before a way is tried, outside the measured time.
    """
    shapes = {name: list(values.shape) for name, values in batch.items()}
    sizes = sum(parameter.numel() for parameter in model.parameters())
    key = (
        f"{machine.device_name} {_processor()} {torch.get_num_threads()} {torch.__version__} "
        f"{what} {type(model).__name__} {sizes} {shapes} of {', '.join(map(str, ways))}"
    )
    file = cache_folder() / "precision.json"
    try:
        notes = json.loads(file.read_text(encoding="utf-8")) if is_mine(file) else {}
    except (OSError, ValueError):
        notes = {}
    known = {str(way): way for way in ways}
    if notes.get(key) not in known:
        seconds = _try_out(ways, prepare, work, machine)
        best = min(seconds, key=seconds.__getitem__)
        worth = seconds[ways[0]] > WORTH * seconds[best] and seconds[ways[0]] > TOO_SHORT
        notes[key] = str(best if worth else ways[0])
        figures = ", ".join(f"{1e3 * each:.0f} ms in {way}" for way, each in seconds.items())
        rows, use = len(next(iter(batch.values()))), what.split()[0]
        of = "CPU time" if machine.device.type == "cpu" else "time"
        log.info("precision: %s for %s; %s of %d rows: %s", notes[key], use, of, rows, figures)
        file.parent.mkdir(parents=True, exist_ok=True)
        write_whole(file, json.dumps(notes, indent=2))
    return known[notes[key]]


def _try_out(
    ways: list[Arithmetic],
    prepare: Callable[[Arithmetic], None],
    work: Callable[[Arithmetic], Any],
    machine: Machine,
    most: float = 1.0,
) -> dict[Arithmetic, float]:
    """Return the shortest seconds of each way, tried in turns; the first try does not count.

    On a CPU these are the seconds in which it worked for this process. Neighbours who want it too
    lengthen those of the wall clock, by another factor in each try. Where the plain way is too
    short for anything to be gained, the others are not tried.
    """
    best: dict[Arithmetic, float] = {}
    plain = ways[0]
    clock = time.process_time if machine.device.type == "cpu" else time.perf_counter
    begin = clock()
    for attempt in range(MOST + 1):
        for way in ways:
            prepare(way)
            before = clock()
            work(way)
            if machine.device.type == "cuda":
                torch.cuda.synchronize(machine.device)
            seconds = clock() - before
            if seconds < TOO_SHORT and way == plain:
                return {way: seconds}
            best[way] = seconds if attempt < 2 else min(seconds, best[way])
        ways = [way for way in ways if best[way] < HOPELESS * min(best.values())]
        if attempt < FEWEST and len(ways) > 1:
            continue
        fastest, *others = sorted(best.values())
        clear = all(other > CLEAR * fastest for other in others)
        if clear or clock() - begin > most:
            break
    return best


def _processor() -> str:
    """Return the name of the CPU, where the system tells it."""
    info = Path("/proc/cpuinfo")
    if not info.exists():
        return platform.processor()
    lines = info.read_text(encoding="utf-8", errors="replace").splitlines()
    return next((line.partition(":")[2].strip() for line in lines if "model name" in line), "")
