"""export(run): a run's model as one file that answers anywhere, proven on the run's test rows."""

from __future__ import annotations

import json
import logging
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from ftkit.errors import ModelError, RunError
from ftkit.exported.engines import require
from ftkit.exported.model import RECORD, Exported, open_export
from ftkit.finetuning.clock import now
from ftkit.hub.checksums import model_checksums
from ftkit.machine.numbers import plain
from ftkit.prediction.predict import label_names_of, open_run
from ftkit.runs.finished import RECIPE
from ftkit.shipping import javascript, proof
from ftkit.shipping.files import NEEDS, To, free_folder, in_place_of, size_of, write
from ftkit.shipping.noninferiority import MARGIN
from ftkit.shipping.parts import Taken, ask_saved, take
from ftkit.shipping.pixels import ROWS, differing_levels, require_same_pixels
from ftkit.shipping.rows import Measured, measured_rows
from ftkit.shipping.timing import TOGETHER, in_turns
from ftkit.tasks.evaluation import spread_rows

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class How:
    """How a run's model is written."""

    to: To = "onnx"
    """The kind of file: for ONNX Runtime, or for OpenVINO."""
    int8: bool = False
    """Weights are whole numbers of eight bits, where a test says that the file is as good."""
    margin: float = MARGIN
    """How much worse in its first figure a file of int8 is proven not to be."""
    tolerance: float = proof.TOLERANCE
    """How far probabilities of a file of float32 may be from those of the run."""
    data: str | None = None
    """Where the run's rows lie now, if elsewhere."""
    proven: bool = True
    """The file must answer every test row as the run did."""
    overwrite: bool = False
    """An export that is there may be replaced."""


@dataclass(frozen=True)
class Export:
    """A folder that was written, and what is known of it."""

    folder: Path
    record: dict[str, Any]
    """What export.json says."""


def export(run: str | Path, out: str | Path | None = None, how: How | None = None) -> Export:
    """Write the model of a run as one file, prove that it answers as the run did, and measure it.

    Args:
        run: folder of a finished run, or `OWNER/NAME` of one that was published on the Hub.
        out: a new folder; RUN/export/onnx when not given, or openvino.

    Raises:
        MachineError: a package is missing.
        RunError: there is no finished run, or `out` cannot be written.
        ModelError: the model cannot be put into a file.
        DataError: the test rows cannot be had.
        VerificationError: the file answers otherwise than the run, or int8 is not proven.
    """
    how = how or How()
    if not 0 < how.margin < 1 or not how.tolerance > 0:
        raise RunError(
            f"--margin {how.margin:g}, --tolerance {how.tolerance:g}: expected a margin above 0 "
            f"and below 1, and a tolerance above 0"
        )
    for package in NEEDS[how.to]:
        require(package)
    recipe, model_folder = open_run(run, {"data.path": how.data} if how.data else {})
    run_folder = model_folder.parent if model_folder.name == "model" else None
    folder = free_folder(out, run_folder, how.to, how.overwrite)
    log.info("exporting %s", model_folder)
    taken = take(recipe, model_folder, label_names_of(recipe, model_folder))
    with in_place_of(folder) as part, tempfile.TemporaryDirectory() as temporary:
        scratch = Path(temporary)
        if taken.steps is not None:
            require_same_pixels(taken, scratch)
        file = write(taken.parts, taken.beside, part, how.to)
        record: dict[str, Any] = {"file": file.name, "to": how.to, "precision": "fp32"}
        record |= {"made": now(), "proof": None}
        if how.proven or how.int8:
            place, about = run_folder or model_folder, taken.parts.about
            measured = measured_rows(recipe, place, model_folder, about, scratch)
            if how.proven:
                record["proof"] = _prove(file, taken, measured, scratch, how)
            asked = _contenders(taken, scratch)
            if how.int8:
                from ftkit.shipping.smaller import shrink  # it imports the quantisers

                smaller = shrink(taken, measured, scratch, how.to, how.margin)
                file = write(smaller.parts, taken.beside, part, how.to)
                record |= {"precision": "int8", "int8": smaller.to_record()}
                asked[f"{how.to}, int8"] = open_export(file)
            record["speed"] = _speed(asked, measured.rows, taken)
        if how.to == "onnx":
            file = javascript.lay_out(file, taken)
            record["file"] = file.relative_to(part).as_posix()
        record["bytes"] = size_of(file)
        (part / RECIPE).write_text(recipe.to_json() + "\n", encoding="utf-8")
        record["sha256"] = model_checksums(part)
        text = json.dumps(record, indent=2) + "\n"
        (part / RECORD).write_text(text, encoding="utf-8")
    return Export(folder, record)


def _prove(file: Path, taken: Taken, measured: Measured, scratch: Path, how: How) -> dict[str, Any]:
    """Compare every test row, and return what there is to write down.

    Raises:
        VerificationError: a row is answered otherwise.
    """
    about = taken.parts.about
    answers = proof.answers_of(file, measured.rows, about, scratch)
    found = proof.compared(measured, answers, about, how.tolerance)
    wrong = np.flatnonzero(found.wrong)
    if len(wrong):
        why = ""
        if taken.steps is not None:
            some = [measured.rows[row] for row in wrong[:ROWS]]
            why = differing_levels(taken, some, scratch, how.to)
        advice = "; --tolerance X lets more pass" if not found.other.any() else ""
        raise proof.refusal(found, measured, about, why + advice)
    log.info(
        f"proven in a fresh process without torch: {found.rows:,} test rows are predicted as by "
        f"{measured.source}, numbers differ by at most {plain(found.largest)}"
    )
    return {
        "rows": found.rows,
        "compared_with": measured.source,
        "other_predictions": int(found.other.sum()),
        "largest_difference": found.largest,
        "allowed": found.allowed,
    }


def _contenders(taken: Taken, scratch: Path) -> dict[str, Exported]:
    """Return the file of float32 in each engine that is installed, to be timed."""
    kinds: tuple[To, ...] = ("onnx", "openvino")
    found = {}
    for to in (to for to in kinds if all(map(find_spec, NEEDS[to]))):
        try:
            found[to] = open_export(write(taken.parts, taken.beside, scratch / f"timed-{to}", to))
        except ModelError as error:
            log.info("%s is not timed: %s", to, error)
    return {str(to): exported for to, exported in found.items()}


def _speed(asked: dict[str, Exported], rows: Sequence[Any], taken: Taken) -> dict[str, Any]:
    """Return the size and the speed of the saved model and of each file."""
    some = [rows[place] for place in spread_rows(len(rows), TOGETHER)]
    ways: dict[str, Callable[[Sequence[Any]], Any]] = {"saved model": ask_saved(taken)}
    ways |= {name: exported.answer for name, exported in asked.items()}
    sizes = {"saved model": taken.bytes_saved}
    sizes |= {name: size_of(exported.file) for name, exported in asked.items()}
    found = in_turns(ways, some)
    return {name: {"bytes": sizes[name], **asdict(speed)} for name, speed in found.items()}
