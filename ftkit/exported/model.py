"""A model that was exported, and its answers: `open_export(folder).answer(rows)`."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ftkit.errors import ModelError, RunError
from ftkit.exported.about import KEY, About
from ftkit.exported.engines import ENGINES, Engine
from ftkit.exported.inputs import UNSEEN, Tokens, reader_of
from ftkit.hub.checksums import sha256_of

RECORD = "export.json"
"""The file of an export's folder that says which file is the model, and what was measured."""
MODEL_IN_FOLDER = "onnx/model.onnx"
"""Where the file lies in a folder that transformers.js loads, with all else beside the folder."""


@dataclass(frozen=True)
class Answers:
    """What an exported model says of N rows."""

    logits: Any
    """(N, C) float32; of words a list of N arrays (W, C), NaN for a word that no token stands for.
    """
    scores: Any
    """The probabilities in the same shape; of numbers (N,) the numbers themselves."""


@dataclass(frozen=True)
class Exported:
    """An exported model, loaded."""

    file: Path
    about: About
    engine: Engine
    read: Any
    """Makes batches of rows, see `ftkit.exported.inputs`."""

    def answer(self, rows: Sequence[Any]) -> Answers:
        """Return what the model says of rows as people have them, see `ftkit.exported.inputs`.

        Raises:
            DataError, BadImage: a row cannot be read.
        """
        if self.about.reads == "words":
            return self._answer_words(rows)
        logits: Any = np.empty((len(rows), self.width), np.float32)
        scores = np.empty_like(logits)
        for places, inputs in self.read(rows):
            outputs = self.engine.run(inputs)
            logits[places] = outputs["logits"]
            scores[places] = outputs.get("probabilities", outputs["logits"])
        return Answers(logits, scores.ravel() if self.about.tells == "number" else scores)

    def notes_on(self, rows: Sequence[Any]) -> list[str]:
        """Return what is to be said of rows beside their answers: how many texts are cut off."""
        if not isinstance(self.read, Tokens) or not rows:
            return []
        cut = sum(bool(one.overflowing) for one in self.read.encode(rows))
        share, limit = 100 * cut / len(rows), self.about.max_tokens
        said = f"{share:.1f} % of the texts are longer than {limit} tokens and are cut off there"
        return [said] if cut else []

    @property
    def width(self) -> int:
        """Numbers of one answer."""
        return len(self.about.classes) or 1

    def _answer_words(self, rows: Sequence[Sequence[str]]) -> Answers:
        assert isinstance(self.read, Tokens)
        logits: list[Any] = [None] * len(rows)
        scores: list[Any] = [None] * len(rows)
        encoded = self.read.encode(rows)
        for places, inputs in self.read.batches(encoded):
            outputs = self.engine.run(inputs)
            for row, place in enumerate(places):
                words = self.read.places_of_words(rows[place], encoded[place])
                for found, name in ((logits, "logits"), (scores, "probabilities")):
                    unseen = (words == UNSEEN)[:, None]
                    found[place] = np.where(unseen, np.nan, outputs[name][row][words])
        return Answers(logits, scores)


def columns_of(about: About, answers: Answers) -> dict[str, Any]:
    """Return the columns that `ftkit predict` and predictions.parquet have: `prediction` ..."""
    names, scores = np.array(about.classes), answers.scores
    if about.tells == "number":
        return {"prediction": scores}
    if about.tells == "class":
        return {"prediction": names[answers.logits.argmax(1)], "probability": list(scores)}
    if about.tells == "tags":
        limit = np.log(about.threshold / (1 - about.threshold))
        told = [names[row > limit].tolist() for row in answers.logits]
        return {"prediction": told, "probability": list(scores)}
    return {
        "prediction": [
            [str(names[word.argmax()]) if np.isfinite(word).all() else None for word in row]
            for row in answers.logits
        ],
        "confidence": [
            [float(word.max()) if np.isfinite(word).all() else None for word in row]
            for row in scores
        ],
    }


def is_export(path: str | Path) -> bool:
    """Return whether a path is a folder that `ftkit export` wrote, or the file in it."""
    path = Path(os.path.expanduser(path))
    return (path / RECORD).is_file() or (path.suffix in ENGINES and path.is_file())


def folder_of(path: Path) -> Path:
    """Return the folder of an export, of which this is the folder or the file in it."""
    if path.is_dir():
        return path
    return path.parent if (path.parent / RECORD).is_file() else path.resolve().parents[1]


def open_export(path: str | Path, threads: int | None = None) -> Exported:
    """Return the model of an export, ready to answer.

    Args:
        path: the folder, or the file in it.
        threads: that one answer may use; see `ftkit.exported.engines.usual_threads`.

    Raises:
        RunError: there is no export.
        ModelError: it is damaged, or of another version.
        MachineError: a package is missing.
    """
    path = Path(os.path.expanduser(path))
    folder, given = folder_of(path), path.suffix in ENGINES and not path.is_dir()
    alone = given and not (folder / RECORD).is_file()
    record = {} if alone else read_record(folder)
    file = path if given else path / str(record.get("file"))
    if file.suffix not in ENGINES or not file.is_file():
        raise RunError(f"{path} holds no export that can be read: {file.name} is gone")
    _require_as_written(folder, file, record.get("sha256") or {})
    engine = ENGINES[file.suffix](file, threads)
    about = About.from_json(engine.metadata.get(KEY), str(file))
    return Exported(file, about, engine, reader_of(about, file.parent))


def _require_as_written(folder: Path, file: Path, wanted: Mapping[str, str]) -> None:
    """Refuse an export of which a file that answers rest on is another than was written.

    Args:
        wanted: checksums by path in the folder; those of files that are gone are not missed here.
    """
    for path in (file, file.with_suffix(".bin"), folder / "tokenizer.json", folder / "recipe.json"):
        name = path.relative_to(folder).as_posix() if path.is_relative_to(folder) else ""
        if name in wanted and path.is_file() and sha256_of(path) != wanted[name]:
            raise ModelError(
                f"{path} has changed: it is not the one that was proven; bring it back, or export "
                f"the run again"
            )


def read_record(folder: Path) -> dict[str, Any]:
    """Return what export.json says.

    Raises:
        RunError: it is gone.
        ModelError: it is damaged.
    """
    file = folder / RECORD
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise RunError(f"{folder} holds no export: there is no {RECORD}") from None
    except (OSError, ValueError) as error:
        raise ModelError(f"{file} cannot be read: {error}") from None
    if not isinstance(values, dict):
        raise ModelError(f"{file} is not the record of an export")
    return values
