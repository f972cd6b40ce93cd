"""The answers to rows, and the file that they are written to, which takes nobody's place."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ftkit.data.folders import is_run
from ftkit.data.named_data import named_paths
from ftkit.errors import RunError
from ftkit.errors.names import is_computed

if TYPE_CHECKING:
    import pandas as pd

    from ftkit.runs.result import Measured

TABLES = (".csv", ".jsonl", ".parquet")
OF_A_RUN = ("predictions.parquet", "log.jsonl")
"""Files of a run whose names a user may give to files of answers."""


@dataclass(frozen=True)
class Predictions:
    """The answers to some rows."""

    columns: dict[str, Any]
    """A value for each row: `index`, what the row is (`image`, the name of its file, `text`, ...),
    and what `ftkit.tasks.base.Task.columns` says of it; `label` where it is known."""
    metrics: dict[str, Measured]
    """Figures with 95 % intervals over the rows that have labels."""
    label_names: tuple[str, ...] = ()
    """The classes that the model knows, in the order of the probabilities."""
    measured: int = 0
    """The number of rows that have labels."""

    def __len__(self) -> int:
        return len(self.columns["index"])

    def write(self, file: Path, for_spreadsheets: bool = False) -> None:
        """Write a row for each as CSV, JSON Lines or parquet, by the suffix.

        Args:
            for_spreadsheets: as of `to_csv`.

        Raises:
            RunError: it is another suffix, or the file cannot be written.
        """
        require_table(file)
        part = file.with_name(f".{os.getpid()}.part{file.suffix}")
        kind = file.suffix.lower()
        try:
            if kind == ".parquet":
                self._frame().to_parquet(part, index=False)
            elif kind == ".jsonl":
                self._frame().to_json(part, orient="records", lines=True, force_ascii=False)
            else:
                part.write_text(self.to_csv(for_spreadsheets), encoding="utf-8")
            part.replace(file)
        except OSError as error:
            raise RunError(f"{file}: {error.strerror or error}") from error
        finally:
            part.unlink(missing_ok=True)

    @property
    def computed(self) -> int:
        """How many cells and names of columns a spreadsheet would compute instead of showing."""
        return sum(is_computed(cell) for line in self._lines() for cell in line)

    def to_csv(self, for_spreadsheets: bool = False) -> str:
        """Return a line for each row, after one with the names of the columns.

        Each class has a column with its probability; what else is a list stands there as JSON.

        Args:
            for_spreadsheets: put ' before texts that a spreadsheet would compute.
        """
        said = io.StringIO()
        writer = csv.writer(said, lineterminator="\n")
        for line in self._lines():
            writer.writerow(map(_escaped_cell, line) if for_spreadsheets else line)
        return said.getvalue()

    def _lines(self) -> Iterator[list[Any]]:
        """Yield the names of the columns, and the cells of each row, as CSV has them."""
        columns = dict(self.columns)
        if (each := columns.pop("probability", None)) is not None:
            of_class = np.stack(list(each)).T
            names = [f"p({name})" for name in self.label_names]
            columns |= dict(zip(names, of_class, strict=True))
        yield list(columns)
        for row in zip(*columns.values(), strict=True):
            yield [_cell(value) for value in row]

    def _frame(self) -> pd.DataFrame:
        import pandas as pd  # a first answer does not wait for it

        return pd.DataFrame({name: list(values) for name, values in self.columns.items()})


def _escaped_cell(cell: Any) -> Any:
    """Return a cell that a spreadsheet shows as it is."""
    return f"'{cell}" if is_computed(cell) else cell


def require_table(file: Path) -> None:
    """Refuse a file that `Predictions.write` has no format or no folder for."""
    if file.suffix.lower() not in TABLES:
        raise RunError(f"{file}: expected a name that ends in {', '.join(TABLES)}")
    if not file.parent.is_dir():
        raise RunError(f"{file}: there is no folder {file.parent}; make it first")


def require_free(file: Path, inputs: Sequence[str], overwrite: bool) -> None:
    """Refuse a file of answers that would replace rows, a file of a run, or any other file.

    Raises:
        RunError: so it is, or `require_table` refuses it.
    """
    require_table(file)
    place = file.resolve()
    for path in (path for text in inputs for path in named_paths(text)):
        if path.resolve() == place:
            raise RunError(f"{file}: these rows are to be answered; give another --out")
        if os.path.isdir(path) and path.resolve() in place.parents:
            raise RunError(
                f"{file}: it would lie among the rows in {path}, and be taken for rows later; give "
                f"another --out"
            )
    if is_run(place.parent) and (file.exists() or file.name in OF_A_RUN):
        raise RunError(f"{file}: this is a file of a run; give another --out")
    if file.is_dir():
        raise RunError(f"{file}: it is a folder; give another --out")
    if file.exists() and not overwrite:
        raise RunError(f"{file}: it is there already; give another --out, or --overwrite")


def _cell(value: Any) -> Any:
    """Return a value as CSV has it: a list as JSON, six digits of a number, nothing of none."""
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, list):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, (float, np.floating)):
        return "" if np.isnan(value) else f"{value:.6g}"
    return "" if value is None else value
