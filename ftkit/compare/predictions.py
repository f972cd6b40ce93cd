"""predictions.parquet of a finished run, read with care."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ftkit.compare.finished_runs import Run
from ftkit.errors import RunError
from ftkit.hub.errors import loading_errors

PREDICTIONS = "predictions.parquet"
NEVER_EMPTY = ("label", "prediction", "loss", "tokens")


def read_predictions(run: Run) -> pa.Table:
    """Return what a run made of its test rows, a row for each of them.

    Raises:
        RunError: the file is not there, damaged, or of other rows than run.json.
    """
    file = run.folder / PREDICTIONS
    if not file.exists():
        raise RunError(f"{run.folder} holds no {PREDICTIONS}; run it again")
    with loading_errors("predictions", str(file), RunError):
        table = pq.ParquetFile(file).read()
    if len(table) != run.result.n:
        raise RunError(f"{file} has {len(table):,} rows, and run.json tells of {run.result.n:,}")
    if "index" not in table.column_names:
        raise RunError(f"{file} has no column index")
    for name in ("index", "group"):
        column = table[name] if name in table.column_names else None
        if column is not None and (not pa.types.is_integer(column.type) or column.null_count):
            raise RunError(f"{file}: {name} holds something else than whole numbers")
    if len(np.unique(table["index"].to_numpy())) < len(table):
        raise RunError(f"{file}: index has the same number twice")
    for name in NEVER_EMPTY:
        if name in table.column_names and table[name].null_count:
            raise RunError(f"{file}: {name} is empty in {table[name].null_count:,} rows")
    return table
