"""Several CPU processes: what `accelerate launch --cpu --num_processes N` asks for, made true.

accelerate 1.15 starts one process for it, says nothing, and leaves N out of the environment: only
MPI would start more. So the script asks its parent for N, and starts itself again N times by
torchrun, which is what accelerate does for GPUs.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import psutil

STARTED = {"RANK", "WORLD_SIZE", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE"}


def ensure_processes(script: str, words: Sequence[str]) -> None:
    """Start `script` again in as many processes as accelerate was asked for, if it started one.

    Does not return in that case: this process becomes torchrun, and its exit status torchrun's.
    """
    if os.environ.get("ACCELERATE_USE_CPU", "").lower() not in {"true", "1"}:
        return
    count = asked_for(psutil.Process(os.getppid()).cmdline())
    if count < 2 or STARTED & os.environ.keys():
        return
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    os.execv(sys.executable, [*torchrun, f"--nproc_per_node={count}", script, *words])


def asked_for(command: Sequence[str]) -> int:
    """Return the number after --num_processes in the command line of accelerate, 1 if none."""
    flags = ("--num_processes", "--num-processes")
    for word, following in zip(command, [*command[1:], ""], strict=True):
        flag, equals, value = word.partition("=")
        number = value if equals else following
        if flag in flags and number.isdigit():
            return int(number)
    return 1
