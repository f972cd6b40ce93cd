"""What `ftkit doctor` looks at: is this machine fit for training, and what to do where it is not?

Nothing heavy is imported here. torch, torchvision and transformers are tried in processes of their
own, so that one that crashes or hangs on import is a line in the answer and not the end of it.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from packaging.requirements import Requirement
from packaging.version import Version

from ftkit import registry
from ftkit.cli import doctor_hub
from ftkit.cli.doctor_probes import PAIR, TORCH, TRANSFORMERS
from ftkit.errors import FtkitError
from ftkit.machine import fresh_process
from ftkit.machine.cache_folder import cache_folder

State = Literal["ok", "note", "wrong"]
PATIENCE = 120.0
"""Seconds for an import: a cold disk on a network takes a minute for torch."""
LITTLE = 5e9
"""Bytes of free disk below which a run may not fit: a backbone, its checkpoints, its features."""
TOO_LITTLE = 2e8
SHARED_MEMORY = Path("/dev/shm")
DRIVER = Path("/proc/driver/nvidia/version")


@dataclass(frozen=True)
class Diagnosis:
    """One thing that was looked at."""

    name: str
    state: State
    """wrong: training or a part of it fails; note: worth knowing, and something may be done."""
    found: str
    todo: str = ""
    """What to do about it; empty where nothing is to be done."""

    def __str__(self) -> str:
        return (
            f"{self.state:5}  {self.name:12}  {self.found}{'; ' + self.todo if self.todo else ''}"
        )


def examine() -> list[Diagnosis]:
    """Return what was found, in the order in which it matters. Takes a few seconds; trains nothing.

    Never raises for what is broken, and names no token.
    """
    looks: tuple[Callable[[], Iterator[Diagnosis]], ...] = (
        packages,
        devices,
        torchvision,
        libraries,
        recipes,
        disk,
        hub,
    )
    with ThreadPoolExecutor(len(looks)) as pool:  # each waits for a process or the network
        return [found for look in pool.map(lambda look: list(look()), looks) for found in look]


def to_json(findings: list[Diagnosis]) -> str:
    """Return them as JSON: {"ok", "versions": {package: version or null}, "findings": [...]}."""
    versions = {"python": platform.python_version(), "ftkit": _version("ftkit")}
    versions |= {need.name: _version(need.name) for need in _needs()}
    found = {
        "ok": all(finding.state != "wrong" for finding in findings),
        "versions": versions,
        "findings": [asdict(finding) for finding in findings],
    }
    return json.dumps(found, indent=2, ensure_ascii=False)


def packages() -> Iterator[Diagnosis]:
    """Look at the versions of Python and of what ftkit needs."""
    yield Diagnosis("python", "ok", f"{platform.python_version()}, {platform.platform()}")
    good = []
    for need in _needs():
        version = _version(need.name)
        if version is None:
            yield Diagnosis("packages", "wrong", f"{need.name} is missing", f"pip install '{need}'")
        elif not need.specifier.contains(Version(version), prereleases=True):
            yield Diagnosis(
                "packages",
                "wrong",
                f"{need.name} {version} is here, ftkit needs {need.specifier}",
                f"pip install '{need}'",
            )
        else:
            good.append(f"{need.name} {version}")
    yield Diagnosis("packages", "ok", f"ftkit {_version('ftkit')}, {', '.join(good)}")


def devices() -> Iterator[Diagnosis]:
    """Look at the devices that torch sees, and the precisions that they compute in."""
    answer = _try(TORCH)
    if isinstance(answer, str):
        yield Diagnosis(
            "torch",
            "wrong",
            f"it cannot be imported: {answer}",
            "pip install --force-reinstall torch torchvision",
        )
        return
    yield Diagnosis("cpu", "ok", answer["cpu"])
    for number, device in enumerate(answer["devices"]):
        yield Diagnosis(f"gpu {number}", "ok", device)
    if not answer["devices"] and DRIVER.exists():
        yield Diagnosis(
            "gpu",
            "wrong",
            f"this machine has NVIDIA's driver, and torch {answer['torch']} sees no GPU: "
            f"{answer['why_no_gpu']}",
            "install a torch for the driver's CUDA (https://pytorch.org/get-started), or look at "
            "$CUDA_VISIBLE_DEVICES",
        )
    elif not answer["devices"]:
        yield Diagnosis("gpu", "ok", "none; training is on the CPU")
    fixed = os.environ.get("FTKIT_PRECISION")
    if fixed:
        yield Diagnosis("precision", "note", f"$FTKIT_PRECISION makes every 'auto' {fixed}")
    several = ", ".join(answer["backends"])
    yield Diagnosis("processes", "ok", f"several by {several or 'none: this torch has no backend'}")


def torchvision() -> Iterator[Diagnosis]:
    """Look whether torchvision works with this torch, by one of its compiled operators."""
    answer = _try(PAIR)
    versions = f"torchvision {_version('torchvision')} with torch {_version('torch')}"
    if isinstance(answer, str):
        yield Diagnosis(
            "torchvision",
            "wrong",
            f"{versions} does not work: {answer}",
            "they must come from one index as a pair: pip install --force-reinstall torch "
            "torchvision (with the same --index-url for both, where you use one)",
        )
    else:
        yield Diagnosis("torchvision", "ok", versions)


def libraries() -> Iterator[Diagnosis]:
    """Look whether the Hugging Face libraries can be imported together."""
    answer = _try(TRANSFORMERS)
    if isinstance(answer, str):
        yield Diagnosis(
            "libraries",
            "wrong",
            f"transformers, datasets, peft and accelerate do not work together: {answer}",
            "pip install --upgrade --force-reinstall ftkit",
        )


def recipes() -> Iterator[Diagnosis]:
    """Look whether ftkit's recipes are found, or a foreign package took their name."""
    try:
        yield Diagnosis("recipes", "ok", f"{len(registry.names())} installed")
    except FtkitError as error:
        said, _, todo = str(error).partition(". ")
        yield Diagnosis("recipes", "wrong", said, todo)


def disk() -> Iterator[Diagnosis]:
    """Look at the free room where runs, caches and temporary files go."""
    from tempfile import gettempdir

    from huggingface_hub import constants

    places = {
        "runs": (Path.cwd(), "go to a larger disk, or give --out"),
        "Hub cache": (Path(constants.HF_HOME), "set HF_HOME to a folder on a larger disk"),
        "ftkit cache": (cache_folder(), "ftkit cache prune, or set FTKIT_CACHE"),
        "temporary": (Path(gettempdir()), "set TMPDIR to a folder on a larger disk"),
    }
    for what, (folder, todo) in places.items():
        there = next(parent for parent in (folder, *folder.parents) if parent.exists())
        free = shutil.disk_usage(there).free
        found = f"{free / 1e9:,.1f} GB free for {what} at {folder}"
        if not os.access(there, os.W_OK):
            yield Diagnosis("disk", "wrong", f"{what} at {folder} cannot be written", todo)
        elif free < LITTLE:
            yield Diagnosis("disk", "wrong" if free < TOO_LITTLE else "note", found, todo)
        else:
            yield Diagnosis("disk", "ok", found)
    if SHARED_MEMORY.is_dir() and shutil.disk_usage(SHARED_MEMORY).total < 5e8:
        yield Diagnosis(
            "disk",
            "note",
            f"{SHARED_MEMORY} has {shutil.disk_usage(SHARED_MEMORY).total / 1e6:,.0f} MB, through "
            f"which data workers hand on their rows",
            "start the container with --ipc=host or --shm-size=2g, or train with --workers 0",
        )


def hub() -> Iterator[Diagnosis]:
    """Look whether the Hub can be reached, and what the token may do there."""
    for name, good, found, todo in doctor_hub.look():
        yield Diagnosis(name, "ok" if good else "note", found, todo)


def _needs() -> list[Requirement]:
    """Return what ftkit needs in any case, as its own metadata says."""
    found = map(Requirement, metadata.requires("ftkit") or [])
    return [need for need in found if need.marker is None or need.marker.evaluate({"extra": ""})]


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _try(code: str) -> dict[str, Any] | str:
    """Run this code in a process of its own: the JSON of its last line, or what went wrong."""
    path = f"import sys; sys.path[:] = {fresh_process.search_path()!r}\n"
    try:
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", path + code],
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=PATIENCE,
        )
    except subprocess.TimeoutExpired:
        return f"no answer in {PATIENCE:.0f} s"
    if done.returncode == 0:
        return json.loads(done.stdout.splitlines()[-1])
    lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
    if done.returncode < 0:
        return f"it crashed (signal {-done.returncode})"
    return doctor_hub.without_token(lines[-1][:300]) if lines else f"status {done.returncode}"
