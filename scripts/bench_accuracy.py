"""ftkit's accuracy beside that of other tools, on the same rows with the same backbone weights.

    bash scripts/peers.sh
    python scripts/bench_accuracy.py --data ../shared/data/sst2 --rows 5 10 20 50 all --seeds 5
    python scripts/bench_accuracy.py --report

A cell is a data set and a number of labelled rows of each class. Every seed of a cell draws rows of
its own; all tools get that draw and the same test rows. ftkit runs first, as `ftkit train --data
DRAW --seed SEED` does, which picks task, backbone and strategy by itself. Then each peer may take
as many seconds as ftkit took, unless `--seconds` says how many; one that ends earlier is not made
to go on. What is finished is a line of the file of `--results` and is not run again, so the
benchmark can be stopped and grown. It ends with the table, which `--report` alone prints too; both
write it into docs/accuracy.md and its figures into docs/figures/accuracy.json, from which cells
that the results do not have, or have of fewer tools or seeds, are taken over.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow.parquet
from bench_accuracy_report import Answers, write_report
from bench_common import quiet
from datasets import Dataset
from measure_contrastive import draw

ROOT = Path(__file__).resolve().parents[1]
FTKIT = "ftkit"
PEERS = {"texts": ("probe", "setfit"), "images": ("probe", "fastai")}
"""Which peers take which rows with weights of one's own; scripts/bench_accuracy_peers.py."""
BACKBONES = {"texts": "minilm-l6", "images": "efficientnet-lite0"}
"""The embedded backbone that ftkit picks for such rows, whose weights the peers get."""
ALL = 0
"""The number of rows of each class that stands for all there are."""
TEST_SEED = 7
"""Of the test rows, which are the same in every cell of a data set."""


class Cell(NamedTuple):
    """What one tool is run on."""

    data: str
    rows: int
    seed: int
    tool: str


def main() -> None:
    """Run what is asked for and not yet finished, and print the table of all that is."""
    asked = parse()
    if not asked.report:
        quiet()
        for folder in asked.data:
            measure(Path(folder), asked)
    write_report(read(asked.results), ROOT / "docs")


def parse() -> argparse.Namespace:
    """Return what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", nargs="+", default=[], help="folders with train and test parquet")
    parser.add_argument("--rows", nargs="+", default=["5", "10", "20", "50", "all"], help="a class")
    parser.add_argument("--seeds", type=int, default=5, help="so many, from --first-seed on")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--test-rows", type=int, default=1_000)
    parser.add_argument(
        "--tools", nargs="+", help="those that are run beside ftkit; all by default"
    )
    parser.add_argument("--seconds", type=float, help="for each peer; as many as ftkit took")
    parser.add_argument("--image-size", type=int, default=64)
    parser.add_argument("--peers-python", default=str(ROOT / ".venv-peers/bin/python"))
    parser.add_argument("--results", type=Path, default=ROOT / "runs/accuracy.jsonl")
    parser.add_argument("--report", action="store_true", help="run nothing")
    asked = parser.parse_args()
    asked.rows = [ALL if word == "all" else int(word) for word in asked.rows]
    return asked


def read(results: Path) -> list[Answers]:
    """Return what is finished; a last line that was cut off by a stop is left out."""
    found = []
    for line in results.read_text(encoding="utf-8").splitlines() if results.exists() else []:
        try:
            found.append(Answers(**json.loads(line)))
        except ValueError:
            print(f"{results}: a line that is no JSON is left out", file=sys.stderr)
    return found


def still_to_run(cells: list[Cell], found: list[Answers], test_rows: int) -> list[Cell]:
    """Return the cells that are not finished on so many test rows."""
    done = {cell_of(each) for each in found if each.n == test_rows}
    return [cell for cell in cells if cell not in done]


def cell_of(found: Answers) -> Cell:
    """Return the cell that these answers are of."""
    return Cell(found.data, found.rows, found.seed, found.tool)


def measure(folder: Path, asked: argparse.Namespace) -> None:
    """Run all tools on all draws of one data set."""
    train, test, kind = rows_of(folder, asked.test_rows)
    tools = [FTKIT, *(tool for tool in PEERS[kind] if tool in (asked.tools or PEERS[kind]))]
    seeds = range(asked.first_seed, asked.first_seed + asked.seeds)
    cells = [
        Cell(folder.name, rows, seed, tool)
        for seed in seeds
        for rows in asked.rows
        for tool in tools
    ]
    for cell in still_to_run(cells, read(asked.results), len(test)):
        with tempfile.TemporaryDirectory() as scratch:
            place = Path(scratch) / folder.name
            place.mkdir()
            draw(train, "label", cell.rows or len(train), cell.seed).to_parquet(
                place / "train.parquet"
            )
            test.to_parquet(place / "test.parquet")
            run = run_ftkit if cell.tool == FTKIT else run_peer
            answers, seconds, told = run(cell, place, kind, asked)
        right = "".join("01"[bool(hit)] for hit in answers == np.array(test["label"]))
        done = Answers(cell.data, cell.rows, cell.seed, cell.tool, seconds, told, right)
        asked.results.parent.mkdir(parents=True, exist_ok=True)
        with asked.results.open("a", encoding="utf-8") as file:
            file.write(f"{json.dumps(done._asdict())}\n")
        shown = f"{cell.data}, {cell.rows or 'all'} rows of a class, seed {cell.seed}, {cell.tool}"
        print(f"{shown}: {done.accuracy:.3f} in {seconds:.0f} s ({told})", flush=True)


def rows_of(folder: Path, test_rows: int) -> tuple[Dataset, Dataset, str]:
    """Return training rows, so many test rows, and whether they are texts or images."""
    train, test = (Dataset.from_parquet(str(folder / f"{s}.parquet")) for s in ("train", "test"))
    kind, column = next(
        (kind, name)
        for kind, names in (("texts", ("text", "sentence")), ("images", ("img", "image")))
        for name in names
        if name in train.column_names
    )
    chosen = np.random.default_rng(TEST_SEED).permutation(len(test))[:test_rows]
    columns = [column, "label"]
    return train.select_columns(columns), test.select_columns(columns).select(chosen), kind


def run_ftkit(
    cell: Cell, place: Path, kind: str, asked: argparse.Namespace
) -> tuple[np.ndarray, float, str]:
    """Return the class of each test row, the seconds of the command, and the strategy it picked."""
    out = place.parent / "run"
    words = [sys.executable, "-m", "ftkit.cli", "train", "--data", str(place), "--out", str(out)]
    words += ["--seed", str(cell.seed)]
    if kind == "images":
        words += ["--set", f"backbone.image_size={asked.image_size}"]
    seconds = call(words)
    table = pyarrow.parquet.read_table(out / "predictions.parquet")
    test = Dataset.from_parquet(str(place / "test.parquet"))
    answers = np.full(len(test), -1)  # a row that was left out counts as wrong
    answers[table.column("index").to_numpy()] = test.features["label"].str2int(
        table.column("prediction").to_pylist()
    )
    run = json.loads((out / "run.json").read_text(encoding="utf-8"))
    return answers, seconds, run["strategy"]["kind"]


def run_peer(
    cell: Cell, place: Path, kind: str, asked: argparse.Namespace
) -> tuple[np.ndarray, float, str]:
    """Return the class of each test row, the seconds the tool says it took, and what it did."""
    from ftkit.backbones.embedded import embedded_backbone

    words = [asked.peers_python, str(Path(__file__).with_name("bench_accuracy_peers.py"))]
    out = place.parent / "answers.json"
    words += [cell.tool, "--rows", str(place), "--out", str(out), "--seed", str(cell.seed)]
    words += ["--backbone", str(embedded_backbone(BACKBONES[kind]))]
    words += ["--image-size", str(asked.image_size)]
    words += ["--seconds", str(asked.seconds or seconds_of_ftkit(cell, read(asked.results)))]
    call(words)
    found = json.loads(out.read_text(encoding="utf-8"))
    return np.array(found["answers"]), found["seconds"], found["told"]


def seconds_of_ftkit(cell: Cell, found: list[Answers]) -> float:
    """Return how long ftkit took on the draw of a cell."""
    own = cell._replace(tool=FTKIT)
    return next(each.seconds for each in reversed(found) if cell_of(each) == own)


def call(words: list[str]) -> float:
    """Run a command that asks no network, and return its seconds; end here if it fails."""
    environment: dict[str, Any] = {**os.environ, "HF_HUB_OFFLINE": "1"}
    begin = time.perf_counter()
    done = subprocess.run(words, capture_output=True, text=True, env=environment)
    if done.returncode:
        sys.exit(f"{' '.join(words)} failed:\n{done.stderr[-2000:]}")
    return round(time.perf_counter() - begin, 1)


if __name__ == "__main__":
    main()
