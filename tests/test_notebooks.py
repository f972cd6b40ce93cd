"""The notebooks of docs/notebooks/: every cell runs, and has stored what such a run gives."""

import importlib.util
import json
from pathlib import Path

import pytest
from conftest import leave_unverified

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = sorted((ROOT / "docs" / "notebooks").glob("*.ipynb"))


@pytest.fixture(scope="module")
def runner():
    """scripts/run_notebooks.py, which stores the outputs."""
    file = ROOT / "scripts" / "run_notebooks.py"
    spec = importlib.util.spec_from_file_location("run_notebooks", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def kinds(outputs):
    """What a cell's outputs are, without the figures in them."""
    return [sorted(output.get("data", {output["output_type"]: 0})) for output in outputs]


@pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda file: file.stem)
def test_no_cell_fails_and_its_outputs_are_stored(file, runner, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    leave_unverified(monkeypatch)  # test_finetune does it; here it is seconds for each run
    notebook = json.loads(file.read_text(encoding="utf-8"))
    assert notebook["nbformat"] == 4
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert len(cells) >= 3
    for cell, outputs in zip(cells, runner.run(notebook), strict=True):
        assert kinds(cell["outputs"]) == kinds(outputs), "".join(cell["source"])


def test_there_are_four():
    names = [file.stem for file in NOTEBOOKS]
    assert names == ["compare", "own_photos", "own_texts", "perceptron"]


def test_a_cell_that_fails_is_seen(runner):
    cell = {"cell_type": "code", "source": ["!ftkit show no-such-recipe"]}
    with pytest.raises(RuntimeError, match="status 2"):
        runner.run({"cells": [cell]})
