"""The command line of the feature cache: `ftkit cache list | prune`."""

from __future__ import annotations

from datetime import datetime

from cyclopts import App
from rich.table import Table

from ftkit.errors.addresses import without_secrets
from ftkit.errors.names import visible
from ftkit.machine.cache_folder import cache_folder
from ftkit.machine.streams import Console
from ftkit.strategies import cache

app = App(name="cache", help="Look at the features of frozen backbones on disk, and make room.")


@app.command(name="list")
def list_caches() -> None:
    """Show the features that are cached, the longest unused first."""
    shown = Table(box=None, pad_edge=False)
    for column in ("cache", "backbone", "data", "rows", "precision", "MB", "last used"):
        shown.add_column(column)
    there = cache.entries()
    for entry in there:
        about = [str(entry.about.get(name, "?")) for name in ("backbone", "data")]
        facts = [str(entry.about.get(name, "?")) for name in ("rows", "precision")]
        used = datetime.fromtimestamp(entry.used).isoformat(" ", "minutes")
        size = f"{entry.bytes_on_disk / 1e6:,.1f}"
        shown.add_row(entry.folder.name[:12], *map(_shown, (*about, *facts)), size, used)
    Console(markup=False, emoji=False).print(shown)
    total = sum(entry.bytes_on_disk for entry in there)
    print(f"{total / 1e6:,.1f} MB of {cache.limit() / 1e6:,.0f} MB in {cache.features_folder()}")
    rows = cache_folder() / "rows"
    if read := cache.bytes_of(rows):
        print(f"beside it {read / 1e6:,.1f} MB of rows that were read from files; remove {rows}")


@app.command
def prune(*, to: str | None = None) -> None:
    """Remove the features that were not used for longest.

    Parameters
    ----------
    to
        How much may stay, as in 5GB; 0 removes all, $FTKIT_CACHE_SIZE or 20GB when not given.
    """
    most = cache.limit() if to is None else cache.parse_size(to)
    removed = cache.prune(most)
    freed = sum(entry.bytes_on_disk for entry in removed)
    print(f"removed {len(removed)} caches, {freed / 1e6:,.1f} MB")


def _shown(value: str) -> str:
    return visible(without_secrets(value))
