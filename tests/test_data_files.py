"""Files of several forms: what splits their names say, what is unpacked, and JSON of any form."""

import gzip
import json
import zipfile

import pandas as pd
import pytest
from conftest import make_image

from ftkit import Data, DataError, TextClassification
from ftkit.data.sources import read_source
from ftkit.data.table_files import split_word
from ftkit.data.text_encodings import lines_of
from ftkit.tasks import task_of
from ftkit.tasks.loading import load_splits

FRAME = pd.DataFrame({"text": [f"word {n}" for n in range(20)], "label": ["a", "b"] * 10})


def rows_of(path):
    source = read_source(Data(path=str(path)))
    return {
        split: list(zip(rows["text"][:], rows["label"][:], strict=True))
        for split, rows in source.splits.items()
    }


ROWS = list(FRAME.itertuples(index=False, name=None))


def refusal(path):
    with pytest.raises(DataError) as caught:
        load_splits(Data(path=str(path)), task_of(TextClassification()))
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("reviews_train", "train"),
        ("train-00000-of-00002", "train"),
        ("my.test", "test"),
        ("2024 dev (final)", "dev"),
        ("Eval", "eval"),
        ("data-holdout", "holdout"),
        ("train1", "train"),
        ("train_of_thought_test", "train"),
        ("my_train_test", None),
        ("trainer", None),
        ("contest", None),
        ("2024-01", None),
    ],
)
def test_a_word_between_separators_names_the_split(name, word):
    assert split_word(name) == word


@pytest.mark.parametrize(
    ("names", "splits"),
    [
        (("reviews_train", "reviews_test"), {"train", "test"}),
        (("train", "eval"), {"train", "test"}),
        (("train", "eval", "test"), {"train", "test", "validation"}),
        (("train", "eval", "holdout"), {"train", "test", "validation"}),
        (("a.train.x", "b-holdout", "c_val"), {"train", "test", "validation"}),
        (("reviews", "reviews_test"), {"train", "test"}),
        (("one", "two"), {"train"}),
    ],
)
def test_files_are_in_the_split_that_their_name_says(tmp_path, names, splits):
    for name in names:
        FRAME.to_csv(tmp_path / f"{name}.csv", index=False)
    assert set(rows_of(tmp_path)) == splits


def test_a_file_that_names_no_split_beside_others_is_not_used_and_said(tmp_path):
    FRAME.to_csv(tmp_path / "train.csv", index=False)
    FRAME[["text"]].to_csv(tmp_path / "test.csv", index=False)
    pd.DataFrame({"id": [1], "label": ["a"]}).to_csv(tmp_path / "sample.csv", index=False)
    (tmp_path / "about.txt").write_text("what it is")
    splits = load_splits(Data(path=str(tmp_path)), task_of(TextClassification()))
    assert len(splits.train) + len(splits.validation) + len(splits.test) == 20
    notes = "\n".join(splits.notes)
    assert "not used: sample.csv; its name says no split" in notes
    assert "not used: 1 file that are no tables (about.txt)" in notes
    assert "split 'test' has no column 'label' and is not used for figures; ftkit predict" in notes


def zipped(file, *names):
    with zipfile.ZipFile(file, "w") as archive:
        for name in names:
            archive.writestr(name, FRAME.to_csv(index=False))
        archive.writestr("__MACOSX/._rows.csv", b"\0noise")


WRITERS = {
    "ROWS.CSV": lambda file: FRAME.to_csv(file, index=False),
    "rows.Tsv": lambda file: FRAME.to_csv(file, index=False, sep="\t"),
    "rows.csv.gz": lambda file: FRAME.to_csv(file, index=False, compression="gzip"),
    "rows.csv.bz2": lambda file: FRAME.to_csv(file, index=False, compression="bz2"),
    "rows.jsonl.xz": lambda file: FRAME.to_json(
        file, orient="records", lines=True, compression="xz"
    ),
    "rows.ndjson": lambda file: FRAME.to_json(file, orient="records", lines=True),
    "rows.PARQUET": FRAME.to_parquet,
    "rows.feather": FRAME.astype({"label": "category"}).to_feather,
    "rows.zip": lambda file: zipped(file, "rows.csv"),
    "deep.ZIP": lambda file: zipped(file, "a/b/rows.csv"),
    "records.json": lambda file: FRAME.to_json(file, orient="records"),
    "columns.json": lambda file: FRAME.to_json(file, orient="columns"),
    "index.json": lambda file: FRAME.to_json(file, orient="index"),
    "split.json": lambda file: FRAME.to_json(file, orient="split"),
    "table.json": lambda file: FRAME.to_json(file, orient="table", index=False),
    "lists.json": lambda file: file.write_text(json.dumps(FRAME.to_dict("list"))),
    "nested.json": lambda file: file.write_text(
        json.dumps({"v": 1, "data": {"train": FRAME.to_dict("records")}})
    ),
    "data.json": lambda file: file.write_text(
        json.dumps({"version": 1, "data": FRAME.to_dict("records")}, indent=2)
    ),
}


@pytest.mark.parametrize("name", WRITERS)
def test_a_table_is_read_in_every_form_alone_and_in_a_folder(tmp_path, name):
    WRITERS[name](tmp_path / name)
    assert rows_of(tmp_path / name) == {"train": ROWS}
    assert rows_of(tmp_path) == {"train": ROWS}


def test_files_in_an_archive_and_lists_in_an_object_are_the_splits_that_they_name(tmp_path):
    zipped(tmp_path / "rows.zip", "x/train.csv", "x/test.csv")
    assert rows_of(tmp_path / "rows.zip") == {"train": ROWS, "test": ROWS}
    whole = {split: FRAME.to_dict("records") for split in ("train", "test")}
    (tmp_path / "rows.json").write_text(json.dumps(whole))
    assert rows_of(tmp_path / "rows.json") == {"train": ROWS, "test": ROWS}


def test_lists_in_an_object_are_written_nowhere_but_in_the_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("FTKIT_CACHE", str(tmp_path / "cache"))
    file = tmp_path / "rows.json"
    names = ("../../../evil", str(tmp_path / "evil"), "train")
    file.write_text(json.dumps({name: FRAME.to_dict("records") for name in names}))
    assert rows_of(file) == {"train": ROWS}
    assert not list(tmp_path.rglob("evil*"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache", "rows.json"]


def test_an_object_is_read_as_it_is_called_and_encoded_now(tmp_path):
    content = json.dumps({"data": [{"text": "a \u2013 b", "label": "x"}]}, ensure_ascii=False)
    for name in ("train.json", "test.json"):
        (tmp_path / name).write_bytes(content.encode("cp1252"))
    for encoding, dash in (("latin-1", "\x96"), ("cp1252", "\u2013")):
        source = read_source(Data(path=str(tmp_path), encoding=encoding))
        texts = {split: rows["text"][:] for split, rows in source.splits.items()}
        assert texts == {"train": [f"a {dash} b"], "test": [f"a {dash} b"]}


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (["NA", "x", "None", ""], ["NA", "x", "None", None]),
        ([1, "n.a.", 3.5, ""], [1.0, None, 3.5, None]),
        ([1, "x", 2, "NA"], ["1", "x", "2", "NA"]),
    ],
)
def test_a_word_in_excel_is_a_gap_only_beside_numbers(tmp_path, cells, expected):
    pytest.importorskip("openpyxl")
    frame = pd.DataFrame({"text": [f"word {n}" for n in range(4)], "cells": cells})
    frame.to_excel(tmp_path / "rows.xlsx", index=False)
    rows = read_source(Data(path=str(tmp_path / "rows.xlsx"))).splits["train"]
    assert rows["cells"][:] == expected


def test_two_columns_of_excel_with_one_name_are_named(tmp_path):
    pytest.importorskip("openpyxl")
    frame = pd.DataFrame([["a", "x"], ["b", "y"]], columns=["text", "text "])
    frame.to_excel(tmp_path / "rows.xlsx", index=False)
    assert "two columns are called 'text'; rename one" in refusal(tmp_path / "rows.xlsx")


def test_class_folders_may_lie_in_an_archive(tmp_path):
    make_image("red", 0).save(tmp_path / "x.png")
    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as archive:
        for name in ("photos/cat/1.png", "photos/owl/1.png"):
            archive.write(tmp_path / "x.png", name)
    rows = read_source(Data(path=str(tmp_path / "photos.zip"))).splits["train"]
    assert rows.features["label"].names == ["cat", "owl"]


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("rows.xlsx", b"PK\5\6" + bytes(18), ".xlsx"),
        ("rows.csv.gz", b"no gzip", "it is no .gz file that can be read"),
        ("rows.feather", b"ARROW1", "it is no .feather file that can be read"),
        ("rows.zip", b"PK", "it is no .zip file that can be read"),
        ("rows.json", b'{"a": {"b": 1}, "c": [1, 2]}', "expected a list of objects"),
        ("rows.json", b'[["text", "label"], ["a", "b"]]', "it is a list of lists; expected a"),
        ("rows.json", b'{"columns": ["a", "b"], "data": [[1, 2, 3]]}', "expected a list of obj"),
        ("rows.json", b'{"columns": ["a", "b"], "data": ["ab", 1]}', "expected a list of objects"),
        ("rows.json", b'{"columns": [["a"], ["b"]], "data": [[1, 2]]}', "expected a list of obj"),
    ],
)
def test_what_cannot_be_unpacked_is_one_line_that_says_what_to_do(
    tmp_path, name, content, expected
):
    (tmp_path / name).write_bytes(content)
    assert expected in refusal(tmp_path / name)


def test_a_fault_in_a_packed_file_is_named_by_the_file_that_was_given(tmp_path):
    with gzip.open(tmp_path / "rows.csv.gz", "wt") as file:
        file.write("text,label\na,b\nc\n")
    assert f"data '{tmp_path}/rows.csv.gz', line 3 (row 1): 1 field" in refusal(tmp_path)


def lines(file, *rows):
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_a_column_that_nobody_needs_may_have_any_type_in_each_file(tmp_path):
    for month, odd in (("1", []), ("2", [{"k": 1}]), ("3", "x")):
        rows = [{"text": f"{month} {n}", "label": "ab"[n % 2], "odd": odd} for n in range(8)]
        lines(tmp_path / f"2024-0{month}.jsonl", *rows)
    splits = load_splits(Data(path=str(tmp_path)), task_of(TextClassification()))
    assert sum(splits.counts().values()) == 24
    assert "not used: column 'odd', of another type in 2024-03.jsonl" in splits.notes
    (tmp_path / "2024-03.jsonl").unlink()
    source = read_source(Data(path=str(tmp_path)))
    assert source.splits["train"]["odd"][:] == [[]] * 8 + [[{"k": 1}]] * 8
    assert source.notes == ()


def test_a_file_of_which_no_column_is_used_keeps_its_rows(tmp_path):
    lines(tmp_path / "a.jsonl", {"text": "a", "odd": 1}, {"text": "b", "odd": 2})
    lines(tmp_path / "b.jsonl", {"odd": {"k": 1}})
    source = read_source(Data(path=str(tmp_path)))
    assert source.splits["train"][:] == {"text": ["a", "b", None]}
    assert source.notes == ("not used: column 'odd', of another type in b.jsonl",)


def test_an_object_may_be_indented_from_its_first_line(tmp_path):
    (tmp_path / "rows.json").write_text("\t" + json.dumps({"data": FRAME.to_dict("records")}))
    assert rows_of(tmp_path) == {"train": ROWS}


def test_a_column_that_is_needed_names_file_and_types_where_they_differ(tmp_path):
    lines(tmp_path / "a.jsonl", *({"text": f"a {n}", "label": "x"} for n in range(4)))
    lines(tmp_path / "b.jsonl", *({"text": f"b {n}", "label": ["y"]} for n in range(4)))
    assert "b.jsonl': column 'label' holds List, in a.jsonl string" in refusal(tmp_path)
    lines(tmp_path / "b.jsonl", *({"text": f"b {n}", "label": 7, "more": 1} for n in range(4)))
    splits = load_splits(Data(path=str(tmp_path), copies="apart"), task_of(TextClassification()))
    assert splits.label_names == ("7", "x")


def test_parquet_files_of_one_split_may_have_other_columns_and_types(tmp_path):
    FRAME.assign(label=[1, 2] * 10).to_parquet(tmp_path / "a.parquet")
    FRAME.assign(label=["1", "2"] * 10, more=1).to_parquet(tmp_path / "b.parquet")
    rows = read_source(Data(path=str(tmp_path))).splits["train"]
    assert rows["label"][:] == ["1", "2"] * 20
    assert rows["more"][:] == [None] * 20 + [1] * 20


def test_types_may_change_late_in_a_file(tmp_path):
    rows = [{"text": f"{n} " + "x" * 900, "label": "ab"[n % 2], "odd": []} for n in range(13_000)]
    rows[-1]["odd"] = [{"k": 1}]
    lines(tmp_path / "rows.jsonl", *rows)
    assert len(read_source(Data(path=str(tmp_path))).splits["train"]) == 13_000


@pytest.mark.parametrize(
    "before", ["\n\n", "# exported 2024-05-01\n", ",\n", "sep=,\n", "\ufeff\n# a\n# b\n\n"]
)
def test_what_stands_before_the_header_is_no_row(tmp_path, before):
    file = tmp_path / "rows.csv"
    file.write_text(before + FRAME.to_csv(index=False), encoding="utf-8")
    assert rows_of(file) == {"train": ROWS}
    said = [note for note in read_source(Data(path=str(file))).notes if "not used" in note]
    assert bool(said) == ("#" in before or "sep" in before)
    file.write_text(before + "text,label\na,b\nc\n", encoding="utf-8")
    assert f"line {before.count(chr(10)) + 3} (row 1)" in refusal(file)


def test_a_byte_that_does_not_fit_in_the_first_line_is_told_with_its_line(tmp_path):
    file = tmp_path / "rows.csv"
    file.write_bytes(b"\xff,1\n")
    with pytest.raises(DataError, match="line 1: byte 0xFF is not ASCII"):
        list(lines_of(file, "ascii"))
