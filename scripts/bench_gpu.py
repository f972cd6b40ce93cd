"""Measure fine-tuning on a GPU: all lines of docs/performance.md that need one, in one call.

    python scripts/bench_gpu.py [--minutes 10] [--json bench_gpu.json] [--cifar10 FOLDER]
                                [--only WORDS ...] [--smoke]

It needs no network: the rows are made here, ViT-B/16 has random weights and EfficientNet-Lite0
comes in a package. Each line runs in a process of its own with a limit of time, and is written to
the JSON as soon as it is there; so a call that is cut off keeps what was measured. Ctrl-C or
SIGTERM ends its processes too. What does not fit into the minutes is left out and says so. `share`
is of the rate of bfloat16 matrix products that is measured here first, forward and backward counted
as three times the forward pass; `busy` is what nvidia-smi says. CIFAR-10 is read from --cifar10, a
folder that `ftkit train --data` reads.

With --smoke every line runs in small, on a CPU too, two at a time, and what is compiled is not
made kernels of: that is to see that the script runs, and its figures say nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from bench_children import Children, children

ROWS, SMOKE_ROWS = 20_480, 48
LEAST = 20.0
"""A line is not begun with fewer seconds left."""
LONGEST = 150.0
"""Seconds that one line may take at most, so that others have some."""


@dataclass(frozen=True)
class Line:
    """One line of the table."""

    model: str
    strategy: str = "full"
    precision: str = "bf16"
    compiled: bool = False
    kind: str = "train"
    changes: tuple[tuple[str, Any], ...] = ()

    @property
    def name(self) -> str:
        """What the line is called, in the table and by --only."""
        if self.kind == "limits":
            return f"{self.model} limits"
        if self.kind in ("readers", "cifar10"):
            return self.kind
        arithmetic = "tf32" if self.precision == "fp32" else self.precision
        words = [self.model, self.strategy, arithmetic, "compiled" if self.compiled else ""]
        return " ".join(word for word in (*words, "checkpoints" if self.changes else "") if word)


OFTEN = (("train.checkpoint_every", "10"),)
LINES = (
    Line("vit", kind="limits"),
    Line("vit"),
    Line("vit", compiled=True),
    Line("vit", "lora"),
    Line("effnet", kind="limits"),
    Line("effnet", "head"),
    Line("effnet"),
    Line("effnet", "lora"),
    Line("effnet", kind="cifar10"),
    Line("vit", "head"),
    Line("vit", kind="readers"),
    Line("vit", changes=OFTEN),
    Line("vit", precision="fp32"),
    Line("effnet", compiled=True),
    Line("effnet", "head", precision="fp32"),
    Line("effnet", precision="fp32"),
    Line("vit", "lora", compiled=True),
    Line("effnet", "lora", compiled=True),
    Line("vit", precision="fp32", compiled=True),
)
"""The most important ones first."""


def main() -> None:
    """Measure what was asked for, and print a table of it and the goals."""
    options = parse()
    if options.line:
        print(json.dumps(work(options)))
        return
    deadline = time.monotonic() + 60 * options.minutes
    found: dict[str, Any] = {"about": about(), "lines": {}}
    with ExitStack() as stack:
        scratch = stack.enter_context(tempfile.TemporaryDirectory(prefix="ftkit-bench-"))
        prepare(Path(scratch), options.smoke)
        only = set(options.only or ())
        lines = [line for line in LINES if only <= set(line.name.split())]
        pool = stack.enter_context(ThreadPoolExecutor(2 if options.smoke else 1))
        processes = stack.enter_context(children())  # ends before the pool, which waits for them
        measured = partial(
            measure, options=options, scratch=scratch, deadline=deadline, processes=processes
        )
        for line, result in zip(lines, pool.map(measured, lines), strict=True):
            found["lines"][line.name] = result
            add_shares(found["lines"])
            found["goals"] = goals(found["lines"])
            options.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
            print(cells(line.name, result), flush=True)
    print(f"\n{json.dumps(found['about'])}")
    for goal in found.get("goals", []):
        print(f"- {goal['goal']}: {goal['found']} ({goal['met']})")


def measure(
    line: Line,
    options: argparse.Namespace,
    scratch: str,
    deadline: float,
    processes: Children,
) -> dict[str, Any]:
    """Return the figures of one line, or why there are none."""
    left = deadline - time.monotonic()
    if line.kind == "cifar10" and not options.cifar10:
        return {"skipped": "no folder was given by --cifar10"}
    if left < LEAST:
        return {"skipped": "the minutes were over"}
    return run(line, scratch, min(left, LONGEST), processes)


def parse() -> argparse.Namespace:
    """Return what the command line asks for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--json", type=Path, default=Path("bench_gpu.json"))
    parser.add_argument("--cifar10", help="CIFAR-10 as ftkit reads it: a folder or a file")
    parser.add_argument("--only", nargs="+", help="lines with all of these words in their name")
    parser.add_argument("--smoke", action="store_true", help="every line in small, on any device")
    parser.add_argument("--line", help=argparse.SUPPRESS)
    parser.add_argument("--scratch", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def about() -> dict[str, Any]:
    """Return what the figures stand on."""
    import torch

    from ftkit.machine import runtime

    return {
        "command": " ".join(["python", *sys.argv]),
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        "cores": os.cpu_count(),
        "commit": runtime.commit(),
        "versions": runtime.versions() | {"cuda": str(torch.version.cuda)},
    }


def prepare(scratch: Path, smoke: bool) -> None:
    """Write rows and models, and print the head of the table."""
    from bench_gpu_lines import write_rows, write_vit

    begin = time.monotonic()
    write_rows(scratch / "rows", SMOKE_ROWS if smoke else ROWS, 48 if smoke else 256)
    write_vit(scratch / "vit", smoke)
    print(f"rows and models made in {time.monotonic() - begin:.0f} s\n")
    print("| line | rows/s | share of bf16 products | busy | device GB | seconds | |")
    print("|---|---|---|---|---|---|---|", flush=True)


def work(options: argparse.Namespace) -> dict[str, Any]:
    """Return the figures of one line; runs in a process of its own."""
    from bench_gpu_lines import KINDS

    from ftkit.training import compiled

    if options.smoke:
        compiled.BACKEND = "aot_eager"
    line = next(line for line in LINES if line.name == options.line)
    more = (options.cifar10,) if line.kind == "cifar10" else ()
    return KINDS[line.kind](line, options.scratch, options.smoke, *more)


def run(line: Line, scratch: str, seconds: float, processes: Children) -> dict[str, Any]:
    """Return what the process of a line says, or how it failed."""
    command = [sys.executable, *sys.argv, "--line", line.name, "--scratch", scratch]
    environment = os.environ | {"FTKIT_CACHE": str(Path(scratch, f"cache {line.name}"))}
    begin = time.monotonic()
    try:
        status, out, errors = processes.run(command, environment, seconds)
    except subprocess.TimeoutExpired:
        return {"failed": f"cut off after {seconds:.0f} s"}
    if status:
        return {"failed": errors.strip().splitlines()[-1][:300] if errors.strip() else "no word"}
    return json.loads(out.splitlines()[-1]) | {"process_seconds": time.monotonic() - begin}


def add_shares(lines: dict[str, dict[str, Any]]) -> None:
    """Add to each line its share of the measured rate of matrix products in bfloat16."""
    for name, result in lines.items():
        limit = lines.get(f"{name.split()[0]} limits", {})
        passes = 1 if "head" in name.split() else 3
        if result.get("rows_per_second") and "forward_flop" in limit:
            done = passes * limit["forward_flop"] * result["rows_per_second"]
            result["share"] = done / limit["bf16"]


def goals(lines: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """Return each goal with what was found; `met` is None where nothing was."""

    def of(name: str, figure: str) -> float | None:
        return lines.get(name, {}).get(figure)

    def ratio(one: float | None, other: float | None) -> float | None:
        return one / other if one and other else None

    full = [of(name, "share") for name in ("vit full bf16", "vit full bf16 compiled")]
    busy = [of(name, "busy") for name in ("vit full bf16", "vit full bf16 compiled")]
    seen = [
        ("ViT-B/16 full at 0.45 of the bf16 product rate", max(filter(None, full), default=None),
         0.45, True),
        ("EffNet head at 0.9 of the forward rate", ratio(of("effnet head bf16", "rows_per_second"),
         of("effnet head bf16", "forward_rows_per_second")), 0.9, True),
        ("ViT head at 0.9 of the forward rate", ratio(of("vit head bf16", "rows_per_second"),
         of("vit head bf16", "forward_rows_per_second")), 0.9, True),
        ("ViT LoRA at most 0.6 of full's memory", ratio(of("vit lora bf16", "device_bytes"),
         of("vit full bf16", "device_bytes")), 0.6, False),
        ("CIFAR-10 to 96 % in less than 27.3 s", of("cifar10", "seconds_to_goal"), 27.3, False),
        ("the device busy 0.9 of the time", max(filter(None, busy), default=None), 0.9, True),
    ]  # fmt: skip
    return [
        {"goal": goal, "found": value,
         "met": None if value is None else value >= wanted if more else value <= wanted}
        for goal, value, wanted, more in seen
    ]  # fmt: skip


def cells(name: str, result: dict[str, Any]) -> str:
    """Return a line of the table."""

    def shown(figure: str, pattern: str, factor: float = 1.0) -> str:
        value = result.get(figure)
        return "" if value is None else format(factor * value, pattern)

    note = result.get("skipped") or result.get("failed") or ""
    if "bf16" in result:
        note = (
            f"products: bf16 {result['bf16'] / 1e12:.1f}, tf32 {result['fp32'] / 1e12:.1f} TFLOP/s"
        )
    if "forward_rows_per_second" in result:
        note = f"bare forward pass: {result['forward_rows_per_second']:.0f} rows/s"
    if result.get("seconds_to_goal"):
        note = f"to 96 % in {result['seconds_to_goal']:.1f} s"
    figures = [
        shown("rows_per_second", ".0f"), shown("share", ".1%"), shown("busy", ".0%"),
        shown("device_bytes", ".2f", 1e-9), shown("seconds", ".1f"),
    ]  # fmt: skip
    return f"| {name} | {' | '.join(figures)} | {note} |"


if __name__ == "__main__":
    main()
