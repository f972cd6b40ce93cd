"""`ftkit export`: a run's model as one file that answers anywhere."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from rich.table import Table

from ftkit.cli.folders import at_home
from ftkit.cli.options import FileKind, Share
from ftkit.cli.words import Switch
from ftkit.machine.numbers import size
from ftkit.machine.streams import Console
from ftkit.machine.terminal import speak


def export(
    run: str,
    *,
    to: FileKind = "onnx",
    int8: Switch = False,
    margin: Share = 0.01,
    tolerance: Share = 1e-4,
    out: Path | None = None,
    data: str | None = None,
    unproven: Switch = False,
    overwrite: Switch = False,
    page: Switch = False,
    node_modules: Path | None = None,
) -> None:
    """Write a finished run's model as one file, and prove that it answers as the run did.

    Parameters
    ----------
    run
        Folder of a finished run, or OWNER/NAME of a model that ftkit published on the Hub.
    to
        The kind of file: for ONNX Runtime, or for OpenVINO.
    int8
        Weights and activations of eight bits, where a test on all test rows says that the file is
        as good, to the margin.
    margin
        How much worse in its first figure a file of int8 may be: 0.01 is one point.
    tolerance
        How far probabilities of a file of float32 may be from those of the run.
    out
        A new folder; RUN/export/onnx when not given.
    data
        Where the rows of the run lie now, if they were moved.
    unproven
        Leave out the proof on the test rows, where these cannot be had.
    overwrite
        Replace the export that is there.
    page
        Add a page, index.html, that answers in the browser of whoever opens it.
    node_modules
        Folder into which npm has installed what the page needs; got by npm when not given.
    """
    speak()
    from ftkit.shipping.export import How
    from ftkit.shipping.export import export as write

    how = How(to, int8, margin, tolerance, data, not unproven, overwrite)
    found = write(run, at_home(out), how)
    if speed := found.record.get("speed"):
        _print_speed(speed)
    if page:
        from ftkit.shipping.page import write as write_page

        write_page(found.folder, at_home(node_modules))
    print(found.folder)


def _print_speed(speed: Mapping[str, Mapping[str, float]]) -> None:
    """Print a line for the saved model and for each file: size, latency, rows per second."""
    shown = Table(box=None, pad_edge=False)
    for column in ("", "size", "one row", "rows/s, 32 together"):
        shown.add_column(column, justify="right" if column else "left")
    for name, one in speed.items():
        wait = f"{1000 * one['latency_seconds']:.3g} ms"
        shown.add_row(name, size(one["bytes"]), wait, f"{one['rows_per_second']:,.0f}")
    Console(highlight=False, markup=False, emoji=False, stderr=True).print(shown)
