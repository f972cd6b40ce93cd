"""Tables of any bytes: rows, or one line that says what is wrong with them."""

import json
import random
import time

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fuzzing import FULL, damaged, require_one_line

from ftkit import (
    Backbone,
    Data,
    DataError,
    FtkitError,
    Mlp,
    Recipe,
    TabularClassification,
    TextClassification,
    finetune,
)
from ftkit.tasks import task_of
from ftkit.tasks.loading import load_splits, screen

EACH = 120 if FULL else 12
"""Damaged files of each kind."""
SECONDS = 20.0
ROWS = [
    {"text": f'row {number}, é "quoted"', "x": number / 7, "n": number, "label": "ab"[number % 2]}
    for number in range(24)
]
TASKS = (TextClassification(text="text", label="label"), TabularClassification(label="label"))


def csv_bytes():
    """Return the rows as CSV."""
    lines = ["text,x,n,label"]
    lines += [
        f'"{row["text"].replace(chr(34), chr(34) * 2)}",{row["x"]},{row["n"]},{row["label"]}'
        for row in ROWS
    ]
    return "\n".join(lines).encode()


def jsonl_bytes():
    """Return the rows as lines of JSON."""
    return "\n".join(json.dumps(row, ensure_ascii=False) for row in ROWS).encode()


def parquet_bytes(compression="snappy"):
    """Return the rows as parquet."""
    out = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(ROWS), out, compression=compression)
    return out.getvalue().to_pybytes()


KINDS = {
    "csv": csv_bytes(),
    "tsv": csv_bytes().replace(b",", b"\t"),
    "jsonl": jsonl_bytes(),
    "json": b"[" + jsonl_bytes().replace(b"\n", b",") + b"]",
    "txt": csv_bytes(),
    "parquet": parquet_bytes(),
    "plain.parquet": parquet_bytes("none"),
}


def check(file, task):
    """Require rows, or an error of one line, soon; return whether there are rows."""
    begin = time.process_time()
    try:
        splits = load_splits(Data(path=str(file)), task_of(task))
        screen(splits, "skip", lambda look: look())
    except FtkitError as error:
        splits = None
        require_one_line(error)
    assert time.process_time() - begin < SECONDS
    return splits is not None


@pytest.mark.parametrize("kind", KINDS)
def test_damaged_tables_are_rows_or_an_error(kind, tmp_path):
    draw = random.Random(time.time() if FULL else kind)
    for number in range(EACH):
        file = tmp_path / f"{number}.{kind}"
        content = damaged(KINDS[kind], draw)
        file.write_bytes(content)
        try:
            check(file, TASKS[number % 2])
        except BaseException as error:
            kept = tmp_path / f"kept.{kind}"
            kept.write_bytes(content)
            raise AssertionError(f"{kept}: {type(error).__name__}: {error}") from error


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_what_is_not_damaged_is_read(kind, tmp_path):
    (tmp_path / f"rows.{kind}").write_bytes(KINDS[kind])
    assert all(check(tmp_path / f"rows.{kind}", task) for task in TASKS)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0",
        b"\xff\xfe",
        b"\xef\xbb\xbf",
        b"PAR1PAR1",
        b"PAR1" * 4,
        b"[" * 100_000,
        b"\n" * 999,
    ],
    ids=["empty", "null", "bom16", "bom8", "par1", "pars", "deep", "lines"],
)
@pytest.mark.parametrize("kind", ["csv", "jsonl", "json", "parquet", "txt"])
def test_files_with_nothing_in_them_are_refused(kind, content, tmp_path):
    (tmp_path / f"rows.{kind}").write_bytes(content)
    assert not check(tmp_path / f"rows.{kind}", TASKS[0])


def test_a_run_with_a_damaged_table_leaves_no_folder(tmp_path):
    file = tmp_path / "rows.csv"
    file.write_bytes(KINDS["csv"].replace(b"\n", b'\n"', 3))
    recipe = Recipe(name="mlp-damaged", data=Data(path=str(file)), backbone=Mlp(), task=TASKS[1])
    with pytest.raises(DataError) as caught:
        finetune(recipe, tmp_path / "run")
    require_one_line(caught.value)
    assert not (tmp_path / "run").exists()
    pretrained = recipe.override({"task": TASKS[0], "backbone": Backbone(id="./nowhere")})
    with pytest.raises(FtkitError):
        finetune(pretrained, tmp_path / "run")
    assert not (tmp_path / "run").exists()
