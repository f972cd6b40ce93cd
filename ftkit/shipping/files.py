"""The files of an export's folder: written as ONNX or OpenVINO, and put in place as a whole."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal

from ftkit.errors import RunError
from ftkit.exported.model import is_export
from ftkit.machine.permissions import give_usual_rights
from ftkit.shipping import onnx_file
from ftkit.shipping.onnx_file import Parts

To = Literal["onnx", "openvino"]
FILES: dict[To, str] = {"onnx": "model.onnx", "openvino": "model.xml"}
NEEDS: dict[To, tuple[str, ...]] = {
    "onnx": ("onnx", "onnxscript", "onnxruntime"),
    "openvino": ("onnx", "onnxscript", "onnxruntime", "openvino"),
}
"""The packages that make each."""


def write(parts: Parts, beside: Mapping[str, str], folder: Path, to: To) -> Path:
    """Write a model's file, and what it needs beside it; return the file.

    Args:
        beside: texts by the names of their files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in beside.items():
        (folder / name).write_text(text, encoding="utf-8")
    graph = folder / FILES["onnx"]
    onnx_file.write(onnx_file.whole(parts, branches=to == "onnx"), graph)
    if to == "onnx":
        return graph
    from ftkit.shipping.openvino_file import convert  # where OpenVINO is asked for

    convert(graph, folder / FILES[to])
    graph.unlink()
    return folder / FILES[to]


def size_of(file: Path) -> int:
    """Return the bytes of a model's file, with those of the weights that lie beside it."""
    weights = file.with_suffix(".bin")
    return file.stat().st_size + (weights.stat().st_size if weights.exists() else 0)


def free_folder(out: str | Path | None, run: Path | None, to: To, overwrite: bool) -> Path:
    """Return the folder to write, which takes nobody's place.

    Args:
        out: that was asked for; RUN/export/onnx when not given.
        run: the folder of the run; None of a model that has none.

    Raises:
        RunError: it holds something else.
    """
    if out is None and run is None:
        raise RunError("a published model has no run folder here; say where to write, by --out DIR")
    folder = Path(os.path.expanduser(out)) if out else Path(run or "") / "export" / to
    folder = folder.resolve()
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        if not is_export(folder) or not folder.is_dir():
            raise RunError(f"{folder} is not empty and holds no export; give another --out")
        if not overwrite:
            raise RunError(f"{folder} holds an export already; give another --out, or --overwrite")
    return folder


@contextmanager
def in_place_of(folder: Path) -> Iterator[Path]:
    """Yield a folder beside this one, which takes its place when all in it was written.

    Raises:
        RunError: it cannot be written.
    """
    part, old = (
        folder.with_name(f".{folder.name}.{os.getpid()}.{word}") for word in ("part", "old")
    )
    new = not part.parent.exists()
    try:
        part.mkdir(parents=True)
    except OSError as error:
        raise RunError(f"{folder} cannot be written: {error.strerror or error}") from error
    try:
        yield part
        give_usual_rights(part)
        if folder.exists():
            folder.replace(old)
        part.replace(folder)
    finally:
        if old.exists() and not folder.exists():  # stopped between both
            old.replace(folder)
        shutil.rmtree(old, ignore_errors=True)
        shutil.rmtree(part, ignore_errors=True)
        if new and not folder.exists():
            with suppress(OSError):  # another one has written there
                part.parent.rmdir()
