"""export(run): a run's model as one file that answers anywhere, proven on the run's test rows."""

from __future__ import annotations

import json
import logging
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import onnxruntime

from ftkit.errors import RunError
from ftkit.exported.engines import require
from ftkit.exported.model import RECORD, is_export
from ftkit.finetuning.clock import now
from ftkit.machine.numbers import plain
from ftkit.machine.permissions import give_usual_rights
from ftkit.prediction.predict import label_names_of, open_run
from ftkit.shipping import image_graph, javascript, onnx_file, proof
from ftkit.shipping.parts import Taken, pixels_of, take
from ftkit.shipping.rows import Measured, measured_rows

log = logging.getLogger(__name__)
To = Literal["onnx", "openvino"]
NEEDS: dict[To, tuple[str, ...]] = {
    "onnx": ("onnx", "onnxscript", "onnxruntime"),
    "openvino": ("onnx", "onnxscript", "onnxruntime", "openvino"),
}
FILES: dict[To, str] = {"onnx": "model.onnx", "openvino": "model.xml"}


@dataclass(frozen=True)
class Export:
    """A folder that was written, and what is known of it."""

    folder: Path
    record: dict[str, Any]
    """What export.json says."""


def export(
    run: str | Path,
    out: str | Path | None = None,
    to: To = "onnx",
    data: str | None = None,
    proven: bool = True,
    overwrite: bool = False,
) -> Export:
    """Write the model of a run as one file, prove that it answers as the run did, and measure it.

    Args:
        run: folder of a finished run, or `OWNER/NAME` of one that was published on the Hub.
        out: a new folder; RUN/export/onnx when not given, or openvino.
        to: the kind of file.
        data: where the run's rows lie now, if elsewhere.
        proven: the file must answer every test row as the run did.
        overwrite: an export in `out` may be replaced.

    Raises:
        MachineError: a package is missing.
        RunError: there is no finished run, or `out` cannot be written.
        ModelError: the model cannot be put into a file.
        DataError: the test rows cannot be had.
        VerificationError: the file answers otherwise than the run.
    """
    for package in NEEDS[to]:
        require(package)
    changes = {"data.path": data} if data else {}
    recipe, model_folder = open_run(run, changes)
    names = label_names_of(recipe, model_folder)
    home = model_folder.parent if model_folder.name == "model" else None
    folder = _free_folder(out, home, to, overwrite)
    log.info("exporting %s", model_folder)
    taken = take(recipe, model_folder, names, branches=to == "onnx")
    model = onnx_file.whole(taken.parts)
    if taken.steps is not None:
        _require_same_pixels(taken)
    part = folder.with_name(f".{folder.name}.{os.getpid()}.part")
    try:
        file = _write(model, taken, part, to)
        record: dict[str, Any] = {"file": file, "to": to, "made": now()}
        with tempfile.TemporaryDirectory() as scratch:
            if proven:
                run_folder = home or model_folder
                measured = measured_rows(
                    recipe, run_folder, model_folder, taken.parts.about, Path(scratch)
                )
                record["proof"] = _prove(part, file, taken, measured, Path(scratch))
            if to == "onnx":
                record["file"] = javascript.lay_out(part / file, taken).relative_to(part).as_posix()
            record["bytes"] = sum(f.stat().st_size for f in part.rglob("*") if f.is_file())
        (part / RECORD).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
        give_usual_rights(part)
        if folder.exists():
            shutil.rmtree(folder)
        part.replace(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return Export(folder, record)


def _free_folder(out: str | Path | None, home: Path | None, to: To, overwrite: bool) -> Path:
    """Return the folder to write, which takes nobody's place.

    Raises:
        RunError: it holds something else.
    """
    if out is None and home is None:
        raise RunError("a published model has no run folder here; say where to write, by --out DIR")
    folder = Path(os.path.expanduser(out)) if out is not None else home / "export" / to  # type: ignore[operator]
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        if not is_export(folder):
            raise RunError(f"{folder} is not empty and holds no export; give another --out")
        if not overwrite:
            raise RunError(f"{folder} holds an export already; give another --out, or --overwrite")
    folder.parent.mkdir(parents=True, exist_ok=True)
    return folder


def _write(model: Any, taken: Taken, folder: Path, to: To) -> str:
    """Write the file, and what it needs beside it; return the name of the file."""
    onnx_file.write(model, folder / FILES["onnx"])
    for name, text in taken.beside.items():
        (folder / name).write_text(text, encoding="utf-8")
    if to == "openvino":
        from ftkit.shipping.openvino_file import convert

        convert(folder / FILES["onnx"], folder / FILES["openvino"])
        (folder / FILES["onnx"]).unlink()
    return FILES[to]


def _require_same_pixels(taken: Taken) -> None:
    """Require that what stands before the model gives what the processor gives."""
    assert taken.steps is not None
    image_graph.require_alike(_pixels(taken), lambda image: pixels_of(taken, image), taken.steps)


def _pixels(taken: Taken) -> Any:
    """Return the function from images (1, H, W, 3) to the model's numbers, by the graph alone."""
    assert taken.parts.before is not None
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(taken.parts.before.SerializeToString(), options)
    return lambda levels: session.run(None, {image_graph.IMAGE: levels})[0]


def _prove(
    folder: Path, file: str, taken: Taken, measured: Measured, scratch: Path
) -> dict[str, Any]:
    """Compare every test row, and return what there is to write down.

    Raises:
        VerificationError: a row is answered otherwise.
    """
    about = taken.parts.about
    answers = proof.answers_of(folder / file, measured.rows, about, scratch)
    found = proof.compared(measured, answers, about)
    if found.wrong.any():
        raise proof.refusal(found, measured, about, "")
    log.info(
        f"proven in a fresh process without torch: {found.rows:,} test rows are predicted as by "
        f"{measured.source}, numbers differ by at most {plain(found.largest)}"
    )
    return {
        "rows": found.rows,
        "compared_with": measured.source,
        "other_predictions": int(found.other.sum()),
        "largest_difference": found.largest,
        "allowed": proof.TOLERANCE,
    }
