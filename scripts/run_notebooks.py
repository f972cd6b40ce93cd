"""Run the notebooks of docs/notebooks/ and store what their cells gave.

python scripts/run_notebooks.py [own_photos ...]

Cells run in this process and not in a Jupyter kernel, as nbclient has it: torch is then imported
once for all four, and the tests need no further package. A line `!ftkit ...` runs that command.
What a cell prints is stored, and the value of its last line, as HTML or as a picture.
"""

from __future__ import annotations

import argparse
import ast
import base64
import contextlib
import io
import json
import os
import re
import shlex
import tempfile
from pathlib import Path
from typing import Any

import matplotlib
import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from ftkit.cli.main import main as ftkit

matplotlib.use("Agg")
FOLDER = Path(__file__).resolve().parent.parent / "docs" / "notebooks"


def run(notebook: dict[str, Any]) -> list[list[dict[str, Any]]]:
    """Return the outputs of each code cell, run one after the other in the working directory.

    Raises:
        RuntimeError: a command of a cell ended with another status than 0. Other errors are the
            cells' own.
    """
    names: dict[str, Any] = {"__name__": "__main__", "ftkit_command": _command}
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    return [_run_cell("".join(cell["source"]), names, k + 1) for k, cell in enumerate(cells)]


def _run_cell(source: str, names: dict[str, Any], count: int) -> list[dict[str, Any]]:
    source = source.replace("\\\n", " ")
    source = re.sub(r"^!ftkit (.*)$", r"ftkit_command(r'''\1''')", source, flags=re.M)
    tree, printed = ast.parse(source), io.StringIO()
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    with contextlib.redirect_stdout(printed):
        exec(compile(tree, f"cell {count}", "exec"), names)
        value = None
        if isinstance(last, ast.Expr):
            value = eval(compile(ast.Expression(last.value), f"cell {count}", "eval"), names)
    plt.close("all")
    outputs: list[dict[str, Any]] = []
    if printed.getvalue():
        outputs.append({"name": "stdout", "output_type": "stream", "text": _lines(printed)})
    if value is not None:
        shown = {"data": _shown(value), "execution_count": count, "metadata": {}}
        outputs.append({**shown, "output_type": "execute_result"})
    return outputs


def _command(words: str) -> None:
    if status := ftkit(shlex.split(words)):
        raise RuntimeError(f"ftkit {words}: status {status}")


def _shown(value: Any) -> dict[str, Any]:
    data: dict[str, Any] = {"text/plain": repr(value)}
    if isinstance(value, Figure):
        picture = io.BytesIO()
        value.savefig(picture, format="png", dpi=100)
        data = {"image/png": base64.b64encode(picture.getvalue()).decode(), "text/plain": "figure"}
    elif hasattr(value, "_repr_png_"):
        data = {"image/png": base64.b64encode(value._repr_png_()).decode(), "text/plain": "image"}
    elif hasattr(value, "_repr_html_"):
        data["text/html"] = value._repr_html_()
    return data


def _lines(printed: io.StringIO) -> list[str]:
    return [f"{line.rstrip()}\n" for line in printed.getvalue().splitlines()]


def main() -> None:
    """Run the notebooks, each in a folder of its own, and write their outputs into them."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("names", nargs="*")
    given = parser.parse_args()
    os.environ["COLUMNS"] = "110"
    for file in sorted(FOLDER.glob("*.ipynb")):
        if given.names and file.stem not in given.names:
            continue
        notebook = json.loads(file.read_text(encoding="utf-8"))
        with tempfile.TemporaryDirectory() as folder:
            os.chdir(folder)
            outputs = run(notebook)
            os.chdir(FOLDER)
        cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
        for count, (cell, given_by) in enumerate(zip(cells, outputs, strict=True), 1):
            cell |= {"execution_count": count, "outputs": given_by}
        text = json.dumps(notebook, indent=1, ensure_ascii=False)
        file.write_text(f"{text}\n", encoding="utf-8")
        print(file.name)


if __name__ == "__main__":
    main()
