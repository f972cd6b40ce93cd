"""What a user may have meant by a path that is not there: the name beside it most like it."""

from __future__ import annotations

import os

from ftkit.errors import closest


def nearest_path(path: str) -> str:
    """Return "; did you mean 'runs/photos'?" for a path that is not there, or an empty string."""
    folder, name = os.path.split(path.rstrip("/"))
    try:
        there = os.listdir(os.path.expanduser(folder) or ".")
    except OSError:
        return ""
    near = closest(name, (other for other in there if not other.startswith(".")))
    return f"; did you mean '{os.path.join(folder, near)}'?" if near else ""
