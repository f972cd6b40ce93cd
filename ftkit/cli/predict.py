"""`ftkit predict`: what a finished run's model says of other rows."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table

from ftkit.cli.folders import at_home
from ftkit.cli.words import Changes, Switch
from ftkit.errors import DataError, RunError
from ftkit.errors.names import first_few, visible
from ftkit.hub.names import is_hub_id
from ftkit.machine.near_paths import nearest_path
from ftkit.machine.numbers import plain, with_ends
from ftkit.machine.streams import Console, is_closed
from ftkit.machine.terminal import rank, speak

if TYPE_CHECKING:
    from ftkit.prediction.answers import Predictions

MOST_SHOWN = 20
WIDEST = 60
"""A cell of the table shows at most so many characters."""


def predict(
    run: str,
    *inputs: str,
    out: Path | None = None,
    overwrite: Switch = False,
    for_spreadsheets: Switch = False,
    split: str | None = None,
    set_: Changes = (),
) -> None:
    """Let the model of a finished run answer: images, texts, or a whole data set.

    Where the rows have labels, the figures come with them.

    Parameters
    ----------
    run
        Folder of a finished run, OWNER/NAME of a model that ftkit published on the Hub, or a
        folder that `ftkit export` wrote.
    inputs
        Image files or folders, or texts; or one table, folder of class folders or Hub data set.
        Without any the lines of stdin are texts.
    out
        File for all answers: .csv, .jsonl or .parquet. Without it a terminal shows the first 20,
        and what is no terminal gets all of them as CSV.
    overwrite
        Write over the file for answers if it is there.
    for_spreadsheets
        Put ' before cells of a CSV that begin with = + - @, which a spreadsheet would compute.
    split
        Of a data set with several; its test split when not given.
    set_
        Where a column has another name than in training: task.text=review. Python code that comes
        with the model runs only with backbone.trust_remote_code=true. Can be repeated.
    """
    _require_run(run)
    speak(quieten=False)
    from ftkit.prediction.answers import require_free

    if (out := at_home(out)) is not None:
        require_free(out, inputs, overwrite)
    elif is_closed(sys.stdout):
        raise RunError("stdout is closed, so the answers would be lost; give --out FILE.csv")
    lines = not inputs
    if lines:
        if sys.stdin.isatty():
            raise DataError(f"what shall {run} answer? Give images, texts or a data set")
        try:
            inputs = tuple(filter(str.strip, sys.stdin.read().splitlines()))
        except UnicodeDecodeError:
            encoding = sys.stdin.encoding
            raise DataError(
                f"stdin is not {encoding}: write the texts in it, or set PYTHONIOENCODING"
            ) from None
    found = None if split or set_ else _asked_at_once(run, inputs, lines)
    if found is None:
        from ftkit.cli.request import parse_changes
        from ftkit.prediction.predict import predict as answer

        speak()
        found = answer(run, inputs, split, parse_changes(set_), texts=lines)
    if rank() != 0:
        return
    console = Console(stderr=True, highlight=False, soft_wrap=True, emoji=False)
    if out is not None:
        found.write(out, for_spreadsheets)
        console.print(f"{len(found):,} answers are in {out}", markup=False)
    elif sys.stdout.isatty():
        _print_table(found.columns, len(found))
    else:
        print(found.to_csv(for_spreadsheets), end="")
    csv = out is not None and out.suffix.lower() == ".csv" and not for_spreadsheets
    if csv and (computed := found.computed):
        console.print(
            f"{computed:,} cells begin with = + - or @, which a spreadsheet computes; "
            f"--for-spreadsheets puts ' before them",
            markup=False,
        )
    for name, figure in found.metrics.items():
        said = with_ends(figure.value, figure.low, figure.high)
        console.print(f"{name} {said} on {found.measured:,} rows", markup=False)


def _asked_at_once(run: str, inputs: Sequence[str], lines: bool) -> Predictions | None:
    """Return the answers of an export to texts or image files; None where it takes more."""
    from ftkit.exported.model import is_export

    if not is_export(run):
        return None
    from ftkit.exported.ask import ask
    from ftkit.exported.model import open_export
    from ftkit.prediction.answers import Predictions

    exported = open_export(run)
    columns = ask(exported, inputs, lines)
    return None if columns is None else Predictions(columns, {}, exported.about.classes)


def _require_run(run: str) -> None:
    """Refuse a run that is not there, with the names of others, before torch is imported.

    OWNER/NAME is one of the Hub, unless OWNER is a folder with runs.
    """
    if os.path.exists(os.path.expanduser(run)):
        return
    folder = os.path.expanduser(os.path.dirname(run.rstrip("/")))
    runs = sorted(str(file.parent) for file in Path(folder).glob("*/run.json"))
    if runs or not (run.count("/") == 1 and is_hub_id(run)):
        near = nearest_path(run) or (f"; there are {first_few(runs)}" if runs else "")
        raise RunError(f"there is no run at {run}{near}")


def _print_table(columns: dict[str, Any], rows: int) -> None:
    """Print a table of the first rows, with the probability of what was predicted."""
    shown = Table(box=None, pad_edge=False)
    names = [name for name in columns if name != "probability"]
    for name in names:
        shown.add_column(visible(name), overflow="fold")
    one_class = "probability" in columns and not isinstance(columns["prediction"][0], list)
    if one_class:
        shown.add_column("probability", justify="right")
    for row in range(min(rows, MOST_SHOWN)):
        sure = [f"{max(columns['probability'][row]):.3f}"] if one_class else []
        shown.add_row(*(_cell(columns[name][row]) for name in names), *sure)
    console = Console(highlight=False, markup=False, emoji=False)  # of no text
    console.print(shown)
    if rows > MOST_SHOWN:
        console.print(f"... and {rows - MOST_SHOWN:,} more; --out FILE.csv writes all of them")


def _cell(value: Any) -> str:
    text = plain(value, 4) if isinstance(value, float) else visible(str(value))
    return text if len(text) <= WIDEST else text[: WIDEST - 3] + "..."
