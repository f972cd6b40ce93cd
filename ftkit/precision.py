"""Arithmetic by measurement: bfloat16 where it is faster on this machine with this model.

On one CPU a pass of MiniLM over 32 names took 71 ms in bfloat16 and 121 in float32; another CPU or
another model may gain nothing. So a second is spent on trying, once for each machine and model; the
answer is kept in $FTKIT_CACHE.
"""

from __future__ import annotations

import json
import logging
import platform
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ftkit.embedded import cache_folder
from ftkit.evaluation import first_examples
from ftkit.runtime import Machine, on_main
from ftkit.tasks import Inputs

log = logging.getLogger(__name__)
ROWS = 32
WORTH = 1.2
"""bfloat16 is taken where it is so many times as fast; less is noise on a busy machine."""
TOO_SHORT = 0.02
"""Seconds of a pass below which nothing is to be gained."""


def fastest_precision(model: nn.Module, inputs: Inputs, wanted: str, machine: Machine) -> str:
    """Return the precision of inference for what the recipe wants: "auto" is measured.

    Every rank must call this; rank 0 measures, on the first validation rows.
    """
    if wanted != "auto":
        return wanted
    batch = first_examples(inputs, ROWS, machine.device)

    def measure() -> str:
        def forward() -> None:
            with torch.inference_mode():
                model.eval()(**batch)

        shapes = {name: list(values.shape) for name, values in batch.items()}
        sizes = sum(p.numel() for p in model.parameters())
        return _measured(f"inference {type(model).__name__} {sizes} {shapes}", forward, machine)

    return on_main(measure)


def autocast(precision: str, device: torch.device) -> AbstractContextManager:
    """Return a block in which matrix products and convolutions are computed in that precision."""
    if precision == "fp32":
        return nullcontext()
    dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}[precision]
    return torch.autocast(device.type, dtype)


def _measured(name: str, work: Callable[[], Any], machine: Machine) -> str:
    """Return "bf16" or "fp32" for this work, from the notes or by trying."""
    key = (
        f"{machine.device_name} {_processor()} {torch.get_num_threads()} {torch.__version__} {name}"
    )
    file = cache_folder() / "precision.json"
    try:
        notes = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        notes = {}
    if key not in notes:
        seconds = _try_out(work, machine)
        faster = seconds["fp32"] > WORTH * seconds["bf16"] and seconds["fp32"] > TOO_SHORT
        notes[key] = "bf16" if faster else "fp32"
        log.info(
            "precision: %s for the frozen backbone; a pass over %d rows takes %.0f ms in fp32, "
            "%.0f ms in bf16",
            notes[key],
            ROWS,
            1e3 * seconds["fp32"],
            1e3 * seconds["bf16"],
        )
        file.parent.mkdir(parents=True, exist_ok=True)
        fresh = file.with_name(f"{file.name}.part")
        fresh.write_text(json.dumps(notes, indent=2), encoding="utf-8")
        fresh.replace(file)
    return notes[key]


def _try_out(work: Callable[[], Any], machine: Machine, most: float = 1.0) -> dict[str, float]:
    """Return the shortest seconds in each precision, tried in turns; the first do not count."""
    best: dict[str, float] = {}
    end = time.perf_counter() + most
    for attempt in range(6):
        for precision in ("fp32", "bf16"):
            with autocast(precision, machine.device):
                begin = time.perf_counter()
                work()
                if machine.device.type == "cuda":
                    torch.cuda.synchronize(machine.device)
                seconds = time.perf_counter() - begin
            if attempt:
                best[precision] = min(seconds, best.get(precision, seconds))
        if attempt and time.perf_counter() > end:
            break
    return best


def _processor() -> str:
    """Return the name of the CPU, where the system tells it."""
    info = Path("/proc/cpuinfo")
    if not info.exists():
        return platform.processor()
    lines = info.read_text(encoding="utf-8", errors="replace").splitlines()
    return next((line.partition(":")[2].strip() for line in lines if "model name" in line), "")
