"""What `accelerate launch` asks for and does not do on a CPU: N processes, and all cores for one.

For `--cpu --num_processes N` accelerate 1.15 starts one process, says nothing, and leaves N out of
the environment: only MPI would start more. So the script asks its parent for N, on its command
line or in the file that --config_file names, and starts itself again N times by torchrun, as
accelerate does for GPUs.

It also gives a process that is alone one thread, however many cores there are. That is taken back
where nobody asked for it.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import psutil

from ftkit.machine import fresh_process

STARTED = {"RANK", "WORLD_SIZE", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE"}


@dataclass(frozen=True)
class RequestedProcesses:
    """The processes that accelerate was asked for, by its own names."""

    num_processes: int = 1
    """The processes on all machines together."""
    num_machines: int = 1
    machine_rank: int = 0
    """The number of this machine."""
    main_process_ip: str = "127.0.0.1"
    """The address of machine 0."""
    main_process_port: int = 29500
    num_cpu_threads_per_process: int | None = None


def ensure_processes(script: str, words: Sequence[str]) -> None:
    """Start `script` again in as many processes as accelerate was asked for, if it started one.

    Does not return in that case: this process becomes torchrun, and its exit status torchrun's. A
    process that is to stay alone gets its threads back, if accelerate chose one for it.
    """
    if "ACCELERATE_MIXED_PRECISION" not in os.environ or STARTED & os.environ.keys():
        return  # accelerate did not start this process, or it is one of several
    parent = psutil.Process(os.getppid())
    wanted = requested_processes(parent.cmdline())
    on_cpu = os.environ.get("ACCELERATE_USE_CPU", "").lower() in {"true", "1"}
    if wanted.num_processes < 2 or not on_cpu:
        if wanted.num_cpu_threads_per_process is None and _chose_one_thread(parent):
            del os.environ["OMP_NUM_THREADS"]
        return
    if wanted.num_machines > 1 and "GLOO_SOCKET_IFNAME" not in os.environ:
        os.environ["GLOO_SOCKET_IFNAME"] = _interface_to(wanted.main_process_ip)
    torchrun = fresh_process.command("torch.distributed.run", *torchrun_flags(wanted))
    os.execv(sys.executable, [*torchrun, script, *words])


def requested_processes(command: Sequence[str]) -> RequestedProcesses:
    """Return the processes that this command line of accelerate, or its file, asks for."""
    names = [field.name for field in fields(RequestedProcesses)]
    given = {}
    for word, following in zip(command, [*command[1:], ""], strict=True):
        flag, equals, value = word.partition("=")
        if flag.startswith("--"):
            given[flag[2:].replace("-", "_")] = value if equals else following
    file = given.get("config_file") or (None if "cpu" in given else _usual_file())
    chosen = {**(_read(file) if file else {}), **given}
    found: dict[str, Any] = {}
    for name in names:
        if chosen.get(name) not in (None, ""):
            found[name] = chosen[name] if name.endswith("_ip") else int(chosen[name])
    return RequestedProcesses(**found)


def torchrun_flags(wanted: RequestedProcesses) -> list[str]:
    """Return the flags of torchrun that start this machine's share of the processes."""
    share = f"--nproc_per_node={wanted.num_processes // wanted.num_machines}"
    if wanted.num_machines == 1:
        return ["--standalone", share]
    return [
        share,
        f"--nnodes={wanted.num_machines}",
        f"--node_rank={wanted.machine_rank}",
        f"--master_addr={wanted.main_process_ip}",
        f"--master_port={wanted.main_process_port}",
    ]


def _chose_one_thread(accelerate: psutil.Process) -> bool:
    """Return whether accelerate gave this process one thread, and nobody had told it to."""
    try:
        told = "OMP_NUM_THREADS" in accelerate.environ()
        by_accelerate = any("accelerate" in word for word in accelerate.cmdline())
    except psutil.Error:
        return False
    return by_accelerate and not told and os.environ.get("OMP_NUM_THREADS") == "1"


def _usual_file() -> Path | None:
    """Return the file that `accelerate config` has written, if there is one."""
    usual = Path.home() / ".cache" / "huggingface"
    file = Path(os.environ.get("HF_HOME") or usual) / "accelerate" / "default_config.yaml"
    return file if file.is_file() else None


def _read(file: str | Path) -> dict[str, str]:
    import yaml  # accelerate's, needed only here

    return yaml.safe_load(Path(file).read_text(encoding="utf-8")) or {}


def _interface_to(address: str) -> str:
    """Return the network interface that leads to an address; else gloo takes that of the host name.

    A host name stands for 127.0.1.1 on many systems, where no other machine gets an answer.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect((address, 1))  # sends nothing
        here = probe.getsockname()[0]
    for name, addresses in psutil.net_if_addrs().items():
        if any(each.address == here for each in addresses):
            return name
    raise OSError(f"no network interface has the address {here}, from which {address} is reached")
