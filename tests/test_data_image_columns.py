"""The images of a table: names as people write them, or bytes in any of parquet's types."""

import io
import unicodedata

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import make_image

from ftkit import Data, DataError, ImageClassification, TextClassification
from ftkit.tasks import task_of
from ftkit.tasks.loading import examine, load_splits, screen

COUNT = 12


def load(path, task=None, **settings):
    return load_splits(Data(path=str(path), **settings), task_of(task or ImageClassification()))


def named(splits):
    """Return {file name: label} of all rows."""
    return {
        row["image"]["path"]: splits.label_names[row["label"]]
        for split in (splits.train, splits.validation, splits.test)
        for row in split
    }


def lay(root, *names):
    for number, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        make_image("red", number, (4, 4)).save(root / name, "png")


def table(root, names):
    """Write a table of these names, every second of another class."""
    lines = [f"{name},{'ab'[number % 2]}" for number, name in enumerate(names)]
    (root / "rows.csv").write_text("\n".join(["image,label", *lines]) + "\n", encoding="utf-8")
    return root / "rows.csv"


NUMBERS = [f"{number:05d}" for number in range(COUNT)]


@pytest.mark.parametrize(
    ("images", "where"),
    [("photos/*.png", "photos/{}.png"), ("photos", "photos/{}"), ("*.png", "{}.png")],
)
def test_numbers_as_names_are_completed_by_a_pattern(tmp_path, images, where):
    lay(tmp_path, *(where.format(number) for number in NUMBERS))
    found = named(load(table(tmp_path, NUMBERS), images=images))
    assert sorted(found) == [str(tmp_path.resolve() / where.format(n)) for n in NUMBERS]
    assert {name: found[name] for name in sorted(found)[:2]} == dict(
        zip(sorted(found)[:2], "ab", strict=True)
    )


def test_a_file_that_is_not_there_is_named_as_it_was_looked_for(tmp_path):
    lay(tmp_path, *(f"{number}.png" for number in NUMBERS))
    splits = load(table(tmp_path, NUMBERS))
    with pytest.raises(DataError) as caught:
        screen(splits, "error", lambda look: look())
    assert str(tmp_path.resolve() / "0") in str(caught.value)
    assert "one that ends in .png: --set 'data.images=*.png'" in str(caught.value)
    (finding,) = [f for f in examine(splits, "error") if f.severity == "error"]
    assert set(finding.files.values()) <= {str(tmp_path.resolve() / name) for name in NUMBERS}
    assert next(iter(finding.files.values())) in str(finding)


def test_backslashes_accents_and_the_home_folder_are_understood(tmp_path, monkeypatch):
    accents = unicodedata.normalize("NFD", "café.png")
    home = tmp_path / "home"
    files = [f"a/{n}.png" for n in range(4)] + [accents, "b[1]/x.png", r"c\d.png", "~.png"]
    lay(tmp_path, *files)
    lay(home, "1.png")
    monkeypatch.setenv("HOME", str(home))
    names = [rf"a\{n}.png" for n in range(4)] + ["café.png", "b[1]/x.png", r"c\d.png", "~.png"]
    found = named(load(table(tmp_path, [*names, "~/1.png"])))
    root = tmp_path.resolve()
    assert set(found) == {*(str(root / file) for file in files), str(home / "1.png")}


def test_an_empty_cell_is_a_row_without_an_image(tmp_path):
    lay(tmp_path, *(f"{number}.png" for number in range(COUNT)))
    splits = load(table(tmp_path, [*(f"{number}.png" for number in range(COUNT)), ""]))
    (finding,) = [f for f in examine(splits, "error") if f.severity == "error"]
    assert "1 row cannot be used, there is no image in this row" in finding.message
    left = screen(splits, "skip", lambda look: look())
    assert sum(left.counts().values()) == COUNT


def encoded(number):
    out = io.BytesIO()
    make_image("red", number, (4, 4)).save(out, "png")
    return out.getvalue()


STRUCT = {"bytes": pa.binary(), "path": pa.null()}
COLUMNS = {
    "bytes": pa.binary(),
    "large bytes": pa.large_binary(),
    "views": pa.binary_view(),
    "struct": pa.struct(STRUCT),
    "struct of bytes alone": pa.struct({"bytes": pa.large_binary()}),
    "struct with more": pa.struct({**STRUCT, "width": pa.int32()}),
}


@pytest.mark.parametrize("kind", COLUMNS)
def test_bytes_of_images_are_found_whatever_their_type(kind, tmp_path):
    bytes_ = [encoded(number) for number in range(COUNT)]
    struct = pa.types.is_struct(COLUMNS[kind])
    images = [{"bytes": each, "path": None} for each in bytes_] if struct else bytes_
    rows = {"image": pa.array(images, COLUMNS[kind]), "label": ["a", "b"] * (COUNT // 2)}
    pq.write_table(pa.table(rows), tmp_path / "rows.parquet")
    splits = load(tmp_path / "rows.parquet")
    found = {row["image"]["bytes"] for split in (splits.train, splits.test) for row in split}
    assert found <= set(bytes_)
    assert len(found) == len(splits.train) + len(splits.test)


@pytest.mark.parametrize("kind", [pa.string_view(), pa.large_string(), pa.binary()])
def test_texts_are_texts_whatever_their_type(kind, tmp_path):
    words = [f"wörd {number}" for number in range(COUNT)]
    encode = [word.encode() for word in words] if kind == pa.binary() else words
    labels = pa.array(["a", "b"] * (COUNT // 2)).cast(kind)
    pq.write_table(
        pa.table({"text": pa.array(encode, kind), "label": labels}), tmp_path / "x.parquet"
    )
    splits = load(tmp_path / "x.parquet", TextClassification())
    assert splits.label_names == ("a", "b")
    assert set(np.concatenate([splits.train["text"], splits.test["text"]])) <= set(words)
