"""What a run stands on: processes, device, precision, seeds, versions, memory, code version.

Imports torch; modules that must start fast import this one inside functions.
"""

from __future__ import annotations

import logging
import math
import os
import platform
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from importlib import metadata
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import psutil
import torch
from accelerate import PartialState
from accelerate.utils import DistributedType, broadcast_object_list, parse_flag_from_env

from ftkit.errors import FtkitError, RecipeError
from ftkit.machine.threads import usable_cores

log = logging.getLogger(__name__)
Value = TypeVar("Value")
LONGEST_WAIT = timedelta(hours=2)
"""How long processes wait for each other: rank 0 may download data meanwhile. One that has ended is
noticed at once, and a machine that is gone by `ftkit.machine.processes`."""
PACKAGES = ("torch", "transformers", "datasets", "peft", "accelerate", "evaluate", "timm")


@dataclass(frozen=True)
class Machine:
    """The processes and the device of this run, the same on every rank but for `rank`."""

    rank: int
    world_size: int
    device: torch.device
    device_name: str

    @property
    def is_main(self) -> bool:
        """True on the one process that writes and speaks."""
        return self.rank == 0


def start(seed: int) -> Machine:
    """Join the other processes of this run, if any, and seed python, numpy and torch."""
    state = _join()
    if state.distributed_type == DistributedType.MULTI_CPU and parse_flag_from_env(
        "ACCELERATE_USE_FSDP"
    ):
        raise RecipeError(
            "FSDP: accelerate shares a model among GPUs alone, and would train without sharing on "
            "CPUs; use scripts/accelerate/cpu.yaml"
        )
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)
    name = (
        torch.cuda.get_device_name(state.device)
        if state.device.type == "cuda"
        else f"{state.device.type} ({platform.machine()}, {usable_cores()} cores)"
    )
    if state.device.type == "cuda":
        torch.backends.cuda.matmul.allow_tf32 = True
        torch.backends.cudnn.allow_tf32 = True
        torch.cuda.reset_peak_memory_stats(state.device)
    _forget_peak_host()
    return Machine(state.process_index, state.num_processes, state.device, name)


def _join() -> PartialState:
    """Join the other processes of this run, if that is yet to be done."""
    several = int(os.environ.get("WORLD_SIZE", 1)) > 1
    # asked for by `--cpu`, or the only thing there is; accelerate joins processes on it if told so
    on_cpu = parse_flag_from_env("ACCELERATE_USE_CPU") or (
        several and not torch.cuda.is_available()
    )
    return PartialState(cpu=on_cpu, timeout=LONGEST_WAIT)


def stop() -> None:
    """Leave the other processes of this run. Does nothing in a single process."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        PartialState().destroy_process_group()


def on_main(work: Callable[[], Value]) -> Value:
    """Run `work` on rank 0 alone and return its value on every rank.

    An `FtkitError` of rank 0 is raised on every rank, so that no rank waits for one that has gone.
    Every rank must call this.
    """
    state = _join()
    if state.num_processes == 1:
        return work()
    answer: list[Any] = [None, None]
    if state.is_main_process:
        try:
            answer[0] = work()
        except FtkitError as error:
            error.everywhere, answer[1] = True, error
    broadcast_object_list(answer, from_process=0)
    if answer[1] is not None:
        raise answer[1]
    return answer[0]


def in_any(machine: Machine, *flags: bool) -> list[bool]:
    """Return which of these flags are set in any process. Every rank must call this."""
    if machine.world_size == 1:
        return list(flags)
    found = torch.tensor(flags, dtype=torch.uint8, device=machine.device)
    torch.distributed.all_reduce(found, torch.distributed.ReduceOp.MAX)
    return [bool(flag) for flag in found.tolist()]


def main_first(work: Callable[[], Value]) -> Value:
    """Run `work` on rank 0 and then on the others, who find its downloads and caches ready.

    An `FtkitError` of rank 0 is raised on every rank. Every rank must call this.
    """
    value: Value | None = None

    def on_rank_0() -> None:
        nonlocal value
        value = work()

    on_main(on_rank_0)
    return work() if value is None else value


def random_state_of(machine: Machine) -> dict[str, Any]:
    """Return the random states of this process: python, numpy, torch and its device."""
    name, keys, *rest = np.random.get_state()
    cuda = machine.device.type == "cuda"
    return {
        "python": random.getstate(),
        "numpy": [name, torch.from_numpy(np.asarray(keys).astype(np.int64)), *rest],
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state(machine.device) if cuda else None,
    }


def set_random_state(state: dict[str, Any], machine: Machine) -> None:
    """Put back what `random_state_of` returned."""
    name, keys, *rest = state["numpy"]
    random.setstate(state["python"])
    np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))
    torch.set_rng_state(state["torch"])
    if state["cuda"] is not None and machine.device.type == "cuda":
        torch.cuda.set_rng_state(state["cuda"], machine.device)


@contextmanager
def exact_float32() -> Iterator[None]:
    """Compute float32 in full inside the block, where a GPU would else round inputs to TF32."""
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


def choose_precision(wanted: str, machine: Machine) -> str:
    """Return "fp32", "bf16" or "fp16" for what the recipe wants on this machine.

    Raises:
        RecipeError: the device cannot compute in the precision that was asked for.
    """
    cuda = machine.device.type == "cuda"
    if wanted == "auto":
        return "bf16" if cuda and torch.cuda.is_bf16_supported() else "fp32"
    if wanted == "fp16" and not cuda:
        raise RecipeError(f"train.precision = 'fp16': needs a GPU, this run is on {machine.device}")
    return wanted


def share_batch(batch_size: int, micro_batch_size: int | None, world_size: int) -> tuple[int, int]:
    """Return (examples per device and forward pass, forward passes per optimiser step).

    Their product over all devices is `batch_size` exactly.

    Raises:
        RecipeError: `batch_size` cannot be shared equally.
    """
    if batch_size % world_size:
        raise RecipeError(
            f"train.batch_size = {batch_size}: cannot be shared equally by {world_size} processes; "
            f"use a multiple of {world_size}"
        )
    share = batch_size // world_size
    most = min(share, micro_batch_size or share)
    small = [size for size in range(1, math.isqrt(share) + 1) if share % size == 0]
    micro = max(size for size in (*small, *(share // size for size in small)) if size <= most)
    return micro, share // micro


def peak_memory(machine: Machine) -> dict[str, int]:
    """Return the most memory used so far in bytes: this process on the host, and its device."""
    cuda = machine.device.type == "cuda"
    return {"host": _peak_host(), "device": torch.cuda.max_memory_allocated() if cuda else 0}


def _forget_peak_host() -> None:
    """Let the peak of this process count from now, so that each of several runs in it has its own.

    Linux alone can do that; elsewhere the peak is that of all runs so far.
    """
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _peak_host() -> int:
    try:
        import resource
    except ImportError:  # Windows has none, and its psutil knows the peak
        held = psutil.Process().memory_info()
        return getattr(held, "peak_wset", held.rss)
    unit = 1 if sys.platform == "darwin" else 1024  # ru_maxrss: bytes on macOS, KiB on Linux
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def versions() -> dict[str, str]:
    """Return the versions of Python, ftkit and the packages that decide a result."""
    found = {"python": platform.python_version(), "ftkit": metadata.version("ftkit")}
    return found | {package: metadata.version(package) for package in PACKAGES}


def commit() -> str | None:
    """Return the git commit of the ftkit checkout in use, with "+" when it has changes."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():  # installed from a wheel
        return None

    def git(*words: str) -> str:
        done = subprocess.run(["git", "-C", str(root), *words], capture_output=True, text=True)
        return done.stdout.strip()

    head = git("rev-parse", "--short=12", "HEAD")
    return f"{head}+" if head and git("status", "--porcelain", "-uno") else head or None
