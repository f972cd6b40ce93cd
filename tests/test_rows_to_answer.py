"""Rows to be answered: texts or names of data, columns, labels, how files are written."""

import numpy as np
import pytest
from datasets import Dataset, DatasetDict

from ftkit import Data, DataError, TabularRegression, TextClassification, TextTagging
from ftkit.data.named_data import names_data
from ftkit.tasks import task_of
from ftkit.tasks.rows_to_answer import read_rows

TASK = TextClassification(text="text", label="label")
NAMES = ("bad", "good")


@pytest.mark.parametrize(
    ("text", "data"),
    [
        ("was it lovely?", False),
        ("[sic] great * wow", False),
        ("what?", False),
        ("see data.csv for more", False),
        ("a\nb.csv", False),
        ("and/or not", False),
        ("see https://example.com/x now", False),
        ("a lovely photo.jpg", False),
        ("x" * 5000, False),
        ("rows.csv", True),
        ("ROWS.CSV", True),
        ("rows.csv.gz", True),
        ("rows/*.parquet", True),
        ("here*.tx?", True),
        ("OWNER/NAME", True),
        ("s3://bucket/rows", True),
        ("embedded:digits", True),
    ],
)
def test_what_does_not_exist_and_looks_like_no_path_is_a_text(text, data, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here is.txt").write_text("a text")
    assert names_data(text) == data


def test_lines_of_stdin_are_texts_whatever_they_look_like(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rows.csv").write_text("text\na\n")
    lines = ["rows.csv", "*", "OWNER/NAME"]
    assert read_rows(lines, task_of(TASK), NAMES, texts=True).rows["text"][:] == lines
    assert read_rows(["rows.csv"], task_of(TASK), NAMES).rows["text"][:] == ["a"]


def test_a_label_that_the_model_does_not_know_is_no_label(tmp_path):
    (tmp_path / "rows.csv").write_text("text,label\na,good\nb,ugly\nc,\nd, bad\n")
    given = read_rows([str(tmp_path / "rows.csv")], task_of(TASK), NAMES)
    assert given.labelled.tolist() == [True, False, False, True]
    assert [NAMES[n] for n in np.array(given.rows["label"][:])[given.labelled]] == ["good", "bad"]
    assert any("1 row has a label that the model does not know (ugly)" in n for n in given.notes)


def test_a_list_with_a_label_that_the_model_does_not_know_is_none(tmp_path):
    (tmp_path / "rows.jsonl").write_text(
        '{"text": "a", "tags": ["good"]}\n{"text": "b", "tags": ["good", "odd"]}\n'
        '{"text": "c", "tags": []}\n'
    )
    task = TextTagging(text="text", label="tags")
    given = read_rows([str(tmp_path / "rows.jsonl")], task_of(task), NAMES)
    assert given.labelled.tolist() == [True, False, True]
    assert given.rows["label"][:] == [[1], [], []]


def test_labels_are_read_as_the_model_spells_them(tmp_path):
    for names, written in ((("1", "2"), "1.0"), (("False", "True"), "true"), (("007", "1"), "007")):
        (tmp_path / "rows.csv").write_text(f"text,label\na,{written}\nb,\n")
        given = read_rows([str(tmp_path / "rows.csv")], task_of(TASK), names)
        assert given.labelled.tolist() == [True, False]
    (tmp_path / "rows.csv").write_text("text,label\na,TRUE\nb,maybe\nc,False\n")
    given = read_rows([str(tmp_path / "rows.csv")], task_of(TASK), ("false", "true"))
    assert given.labelled.tolist() == [True, False, True]
    assert "1 row has a label that the model does not know (maybe)" in given.notes[-1]


def test_a_file_is_read_as_in_training(tmp_path):
    file = tmp_path / "rows.csv"
    file.write_bytes("text#label\nna\u00efve \u2013 5,5#good\n".encode("cp1252"))
    data = Data(path="elsewhere", encoding="cp1252", separator="#", as_text=("label", "gone"))
    given = read_rows([str(file)], task_of(TASK), NAMES, data=data)
    assert given.rows["text"][:] == ["na\u00efve \u2013 5,5"]
    with pytest.raises(DataError, match="is not UTF-8"):
        read_rows([str(file)], task_of(TASK), NAMES)


def test_a_column_of_another_name_is_said_and_one_that_is_asked_for_must_be_there(tmp_path):
    (tmp_path / "rows.csv").write_text("id,comment\n1,a\n2,b\n")
    given = read_rows([str(tmp_path / "rows.csv")], task_of(TASK), NAMES)
    assert "texts are in 'comment', which was 'text' in training" in given.notes
    asked = TASK.model_copy(update={"text": "coment"})
    with pytest.raises(DataError, match="no column 'coment'; columns are id, comment; did you"):
        read_rows([str(tmp_path / "rows.csv")], task_of(asked), NAMES, asked=("text",))
    with pytest.raises(DataError, match="no column 'label'"):
        read_rows([str(tmp_path / "rows.csv")], task_of(TASK), NAMES, asked=("label",))


def test_rows_to_answer_are_those_for_the_test_and_not_for_choosing(tmp_path):
    for split, count in (("train", 4), ("eval", 3), ("test", 2)):
        lines = [f"day {n} of {split},{NAMES[n % 2]}" for n in range(count)]
        (tmp_path / f"{split}.csv").write_text("\n".join(["text,label", *lines]))
    given = read_rows([str(tmp_path)], task_of(TASK), NAMES)
    assert given.rows["text"][:] == ["day 0 of test", "day 1 of test"]
    rows = {split: Dataset.from_dict({"text": [split]}) for split in ("train", "eval", "test")}
    DatasetDict(rows).save_to_disk(tmp_path / "saved")
    assert read_rows([str(tmp_path / "saved")], task_of(TASK), NAMES).rows["text"][:] == ["test"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("rows.jsonl", '{"a": 1.5, "b": null, "y": ""}'),
        ("rows.csv", "a,b,y\n1.5,n.a.,?\n"),
        ("rows.csv", "a,b,y\n1.5,,\n"),
    ],
)
def test_a_column_of_nothing_but_gaps_is_read_as_in_training(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    task = TabularRegression(columns=("a", "b"), label="y")
    given = read_rows([str(tmp_path / name)], task_of(task), ())
    np.testing.assert_equal(given.rows["features"][:], [[1.5, np.nan]])
    assert not given.labelled.any()


def test_truth_with_gaps_is_the_numbers_that_it_was_in_training(tmp_path):
    (tmp_path / "rows.csv").write_text("a,b\n1.5,true\n2,\n3,False\n")
    task = TabularRegression(columns=("b",), label="y")
    given = read_rows([str(tmp_path / "rows.csv")], task_of(task), ())
    np.testing.assert_equal(given.rows["features"][:], [[1.0], [np.nan], [0.0]])


def test_a_name_that_begins_as_the_home_of_a_user_who_is_not_there_is_a_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "~nobody-here.csv").write_text("text,label\n")
    assert names_data("~nobody-here.csv")
    assert not names_data("~nobody here says so")
