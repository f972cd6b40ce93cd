"""Parts of splits, and rows taken from a stream."""

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ftkit import Data, TextClassification
from ftkit.errors import DataError, RecipeError
from ftkit.tasks import task_of
from ftkit.tasks.loading import load_splits


def table(count, first=0):
    """Return rows sorted by class, as many files on the Hub are."""
    texts = [f"text {first + n}" for n in range(count)]
    labels = ["no" if n < count // 2 else "yes" for n in range(count)]
    return pa.table({"text": texts, "label": labels})


@pytest.fixture
def rows(tmp_path):
    pq.write_table(table(100), tmp_path / "train.parquet")
    return str(tmp_path / "train.parquet")


def texts(rows):
    return [int(text.split()[1]) for text in rows["text"][:]]


def test_splits_are_parts_of_a_split(rows):
    data = Data(path=rows, train="train[:20%]+train[60:80]", test="train[80%:]", validation_rows=2)
    splits = load_splits(data, task_of(TextClassification()))
    assert texts(splits.test) == list(range(80, 100))
    kept = sorted(texts(splits.train) + texts(splits.validation))
    assert set(kept) <= {*range(20), *range(60, 80)}
    assert "cut from 'train[:20%]+train[60:80]'" in " ".join(splits.notes)


@pytest.mark.parametrize("part", ["train[:2x%]", "nowhere[:10%]", "train[:50", "train[:10%]+"])
def test_a_part_that_is_none_is_refused(part, rows):
    with pytest.raises(DataError, match=r"is no part of its splits train; expected one such as"):
        load_splits(Data(path=rows, train=part), task_of(TextClassification()))


@pytest.fixture
def on_the_hub(hub, tmp_path, monkeypatch):
    """A data set of two files of 300 rows, and 50 for tests."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "datasets"))
    files = {}
    sizes = {"train-0": (300, 0), "train-1": (300, 300), "test-0": (50, 900)}
    for name, (count, first) in sizes.items():
        pq.write_table(table(count, first), tmp_path / "rows.parquet")
        files[f"data/{name}.parquet"] = (tmp_path / "rows.parquet").read_bytes()
    hub.add("alice/rows", {"README.md": b"rows", **files}, kind="datasets")
    return tmp_path / "datasets"


def test_of_a_stream_only_the_rows_asked_for_are_kept(on_the_hub):
    data = Data(path="alice/rows", stream=True, train_rows=60)
    splits = load_splits(data, task_of(TextClassification()))
    assert len(splits.train) == 60
    assert texts(splits.test) == list(range(900, 950))
    drawn = texts(splits.train) + texts(splits.validation)
    assert len(set(drawn)) == len(drawn)
    assert min(drawn) < 150 < 450 < max(drawn)  # of both files, and of both ends
    assert np.bincount(splits.train["label"]).min() > 15
    again = load_splits(data, task_of(TextClassification()))
    assert again.train["text"][:] == splits.train["text"][:]
    assert not list(on_the_hub.rglob("*.arrow"))


def test_a_stream_needs_an_end_and_a_hub(rows):
    with pytest.raises(RecipeError, match="say how many rows to take, by train_rows"):
        Data(path="alice/rows", stream=True)
    with pytest.raises(DataError, match=r"only data sets of the Hub are streamed"):
        load_splits(Data(path=rows, stream=True, train_rows=5), task_of(TextClassification()))
