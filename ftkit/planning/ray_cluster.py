"""What a Ray cluster gives to each trial of a sweep: CPUs, GPUs, and how many run at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ftkit.errors import RecipeError

LOCAL = "local"


@dataclass(frozen=True)
class Cluster:
    """Where trials run, and what each of them gets."""

    address: str
    """The address as Ray takes it: local for a cluster on this machine alone, auto, HOST:PORT or
    ray://HOST:PORT."""
    at_once: int | None = None
    """Trials that run at a time; as many as there are GPUs, or CPUs, when None."""
    cpus: int | None = None
    """CPUs of each trial; an equal share when None."""
    gpus: float | None = None
    """GPUs of each trial, at most 1. When None it is one on a cluster with GPUs, else none."""

    def __post_init__(self) -> None:
        """Refuse what no cluster can give.

        Raises:
            RecipeError: so it is.
        """
        if self.gpus is not None and not 0 <= self.gpus <= 1:
            raise RecipeError(f"--ray-gpus {self.gpus:g}: a trial trains on one GPU or part of it")
        for flag, value in (("--at-once", self.at_once), ("--ray-cpus", self.cpus)):
            if value is not None and value < 1:
                raise RecipeError(f"{flag} {value}: at least one")


def share_cluster(
    cluster: Cluster, machines: Sequence[Mapping[str, float]], trials: int
) -> tuple[int, float, int]:
    """Return (CPUs of each trial, its GPUs, trials at once) for the resources of some machines.

    A trial stays on one machine. Where all three are given, the cluster may have none of it yet:
    it may be one that grows.

    Raises:
        RecipeError: no machine has what was asked for.
    """
    cpus, gpus, at_once = cluster.cpus, cluster.gpus, cluster.at_once
    if gpus is None:
        gpus = 1 if any(machine.get("GPU") for machine in machines) else 0
    if cluster.address != LOCAL and cpus and at_once and cluster.gpus is not None:
        return cpus, gpus, min(at_once, trials)

    def places(cpus: int) -> int:
        """Return how many trials with so many CPUs the machines hold at a time."""
        by_cpu = (machine.get("CPU", 0) // cpus for machine in machines)
        by_gpu = (machine.get("GPU", 0) // gpus if gpus else trials for machine in machines)
        return int(sum(map(min, by_cpu, by_gpu)))

    most = places(cpus or 1)
    if most == 0:
        has = "; ".join(f"{m.get('CPU', 0):g} CPUs and {m.get('GPU', 0):g} GPUs" for m in machines)
        raise RecipeError(
            f"--ray {cluster.address}: no machine has {cpus or 1} CPUs and {gpus:g} GPUs for a "
            f"trial; they have {has}; give less by --ray-cpus and --ray-gpus"
        )
    at_once = min(trials, at_once or most, most)
    largest = int(max(machine.get("CPU", 0) for machine in machines))
    return cpus or max(n for n in range(1, largest + 1) if places(n) >= at_once), gpus, at_once
