"""`ftkit export`: a run's model as one file that answers anywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from ftkit.cli.folders import at_home
from ftkit.cli.words import Switch
from ftkit.machine.terminal import speak


def export(
    run: str,
    *,
    to: Literal["onnx", "openvino"] = "onnx",
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
    from ftkit.shipping.export import export as write

    found = write(run, at_home(out), to, data, proven=not unproven, overwrite=overwrite)
    if page:
        from ftkit.shipping.page import write as write_page

        write_page(found.folder, at_home(node_modules))
    print(found.folder)
