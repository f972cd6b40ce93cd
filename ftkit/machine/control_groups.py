"""The control groups of Linux that this process is in: how containers limit memory and cores.

psutil knows none of these limits, so they are read here, in versions 1 and 2.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

ROOT, OWN = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")


def values(controller: str, version_1: str, version_2: str) -> Iterator[str]:
    """Yield what these files of this process's groups say, its own first, then those around it.

    Args:
        controller: such as "memory".
        version_1, version_2: the file's name in either version.
    """
    try:
        lines = OWN.read_text().splitlines()
    except OSError:  # only Linux has them
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        root, name = (ROOT / controller, version_1) if controllers else (ROOT, version_2)
        group = root / path.lstrip("/")
        for folder in (group, *group.parents):
            if folder == ROOT.parent:
                break
            try:
                yield (folder / name).read_text().strip()
            except OSError:
                continue
