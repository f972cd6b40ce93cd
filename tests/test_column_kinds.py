"""What is a number and what is text: labels and texts keep what is written, in all splits."""

import json

import pytest

from ftkit import (
    Data,
    DataError,
    TabularRegression,
    TextClassification,
    TextRegression,
    TextTagging,
)
from ftkit.data.column_kinds import Column
from ftkit.data.label_lists import separator_in
from ftkit.data.sources import read_source
from ftkit.data.split_names import assign_roles
from ftkit.machine.numbers import plain
from ftkit.tasks import task_of
from ftkit.tasks.loading import examine, load_splits
from ftkit.tasks.rows_to_answer import read_rows

TASK = TextClassification()
WORDS = ["sun", "rain", "snow", "wind", "fog", "hail"]


def texts(count, first=0):
    return [f"{WORDS[n % 6]} on day {n}" for n in range(first, first + count)]


def write(file, labels, header="text,label", first=0):
    lines = [f"{t},{label}" for t, label in zip(texts(len(labels), first), labels, strict=True)]
    file.write_text("\n".join([header, *lines]) + "\n")
    return file


def classes(folder, task=TASK, **settings):
    splits = load_splits(Data(path=str(folder), **settings), task_of(task))
    return splits.label_names


def refusal(path, task=TASK, **settings):
    with pytest.raises(DataError) as caught:
        load_splits(Data(path=str(path), **settings), task_of(task))
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("values", "kind", "as_class"),
    [
        (["1", "-2", "30"], "int64", "string"),
        (["1", "", "2"], "float64", "string"),
        (["1.0", "2.0", "NA"], "float64", "float64"),
        (["1.5", "2"], "float64", "float64"),
        (["007", "12"], "int64", "string"),
        (["+1", "1e3"], "float64", "string"),
        (["12345678901234567890", "1"], "float64", "string"),
        (["true", "False"], "bool", "string"),
        (["true", ""], "string", "string"),
        (["1", "x"], "string", "string"),
        (["", ""], "string", "string"),
        (["4,5", "3"], "string", "string"),
    ],
)
def test_a_class_is_a_number_only_where_nothing_is_lost(values, kind, as_class):
    column = Column()
    for value in values:
        column.see(value)
    assert column.dtype(None, ".") == kind
    assert column.dtype("class", ".") == as_class
    assert column.dtype("text", ".") == "string"


@pytest.mark.parametrize("suffix", ["csv", "tsv"])
def test_leading_zeros_are_part_of_a_class_in_all_splits(tmp_path, suffix):
    comma = {"csv": ",", "tsv": "\t"}[suffix]
    for split, labels in (("train", ["007", "012", "101"] * 10), ("test", ["101", "101", "007"])):
        file = write(tmp_path / f"{split}.{suffix}", labels, first=len(labels))
        file.write_text(file.read_text().replace(",", comma))
    assert classes(tmp_path) == ("007", "012", "101")


def test_the_type_of_labels_is_that_of_all_splits(tmp_path):
    write(tmp_path / "train.csv", ["true", "false"] * 10)
    write(tmp_path / "test.csv", ["true", "", "false"], first=50)
    splits = load_splits(Data(path=str(tmp_path)), task_of(TASK))
    assert splits.label_names == ("false", "true")
    assert splits.test["index"][:] == [0, 2]
    assert "left out: split 'test': 1 row has no label, the first is 1" in splits.notes


@pytest.mark.parametrize(
    ("train", "test"), [(["1", "2"], ["1.0", ""]), (["true", "false"], ["True", "FALSE"])]
)
def test_one_class_written_in_two_ways_is_one(tmp_path, train, test):
    write(tmp_path / "train.csv", train * 10)
    write(tmp_path / "test.csv", test * 2, first=50)
    assert classes(tmp_path) == tuple(sorted(train))


def test_spaces_around_names_of_columns_and_classes_are_no_part_of_them(tmp_path):
    write(tmp_path / "train.csv", ["good", " bad"] * 10, header="Text , Label")
    write(tmp_path / "test.csv", ["good ", "bad"], first=50, header="Text, Label")
    assert classes(tmp_path) == ("bad", "good")
    lines = [{"text": t, "label": n} for t, n in zip(texts(4), ["a", "a ", " b", "b"], strict=True)]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, lines)))
    assert classes(tmp_path / "rows.jsonl") == ("a", "b")


def test_a_composed_and_a_decomposed_accent_are_one_class(tmp_path):
    write(tmp_path / "train.csv", ["caf\u00e9", "bar"] * 10)
    write(tmp_path / "test.csv", ["cafe\u0301", "bar"], first=50)
    assert classes(tmp_path) == ("bar", "caf\u00e9")


def test_a_column_asked_for_in_other_letters_is_proposed(tmp_path):
    write(tmp_path / "rows.csv", ["a", "b"] * 10, header="TEXT,My Label")
    task = TextClassification(text="text", label="my label")
    assert "columns are TEXT, My Label; did you mean 'My Label'?" in refusal(tmp_path, task)


def test_an_unknown_class_is_quoted_with_its_row_and_the_nearest(tmp_path):
    write(tmp_path / "train.csv", ["good", "bad"] * 10)
    write(tmp_path / "test.csv", ["bad", "godo"], first=50)
    message = refusal(tmp_path)
    assert "lack: godo (row 1)" in message
    assert message.endswith("; did you mean 'good'?")


def test_measures_as_classes_are_refused_with_both_ways_out(tmp_path):
    file = write(tmp_path / "rows.csv", ["1.0", "1.5", "2.0"] * 10)
    message = refusal(file)
    assert "1.5 is a measure, not a class" in message
    assert """task={"kind": "text-regression"}""" in message
    assert "--set data.as_text=label" in message
    assert classes(file, as_text=("label",)) == ("1.0", "1.5", "2.0")
    assert load_splits(Data(path=str(file)), task_of(TextRegression())).train["label"][0] in (
        1.0,
        1.5,
        2.0,
    )


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_a_column_called_text_is_text(tmp_path, suffix):
    from datasets import Dataset

    codes, labels = [f"0{n % 9}{n:02}85440" for n in range(20)], ["a", "b"] * 10
    file = tmp_path / f"rows.{suffix}"
    if suffix == "csv":
        file.write_text("\n".join(["text,label", *map(",".join, zip(codes, labels, strict=True))]))
    else:
        codes = [str(int(code)) for code in codes]
        rows = Dataset.from_dict({"text": [int(code) for code in codes], "label": labels})
        rows.to_parquet(file) if suffix == "parquet" else rows.to_json(file)
    splits = load_splits(Data(path=str(file), copies="apart"), task_of(TASK))
    assert {*splits.train["text"][:]} <= {*codes}


def test_a_score_beside_texts_is_not_taken_for_a_text(tmp_path):
    rows = "\n".join(f"{t},{n % 5},{'ab'[n % 2]}" for n, t in enumerate(texts(20)))
    (tmp_path / "rows.csv").write_text(f"comment,review,label\n{rows}\n")
    assert load_splits(Data(path=str(tmp_path)), task_of(TASK)).task.text == "comment"


def test_a_decimal_comma_is_found_out_and_said(tmp_path):
    lines = [f"{t};{n},5;{n % 3}" for n, t in enumerate(texts(30))]
    (tmp_path / "rows.csv").write_text("\n".join(["text;label;n", *lines]))
    splits = load_splits(Data(path=str(tmp_path)), task_of(TextRegression()))
    assert max(splits.train["label"][:]) > 20
    assert any("decimal comma, as in column 'label'" in note for note in splits.notes)
    message = refusal(tmp_path, TextRegression(), decimal=".")
    assert "row 0: expected a number, got '0,5'; " in message
    assert "--set data.decimal=," in message
    for number in ("1.234,5", "1'234", "12,345,678.9"):
        (tmp_path / "rows.csv").write_text("\n".join(["text;label;n", f"a;{number};1", *lines]))
        assert "write it without signs between the thousands" in refusal(tmp_path, TextRegression())
    (tmp_path / "rows.csv").write_text("\n".join(["text;label;n", *lines]))
    table = load_splits(
        Data(path=str(tmp_path)), task_of(TabularRegression(label="label", columns=("n",)))
    )
    assert table.label_names == ()


def test_a_comma_that_may_stand_between_thousands_is_not_taken_for_a_decimal_one(tmp_path):
    lines = [f'{n},"{n * 397 % 9000 + 500:,}",{n}' for n in range(30)]
    (tmp_path / "rows.csv").write_text("\n".join(["size,price,age", *lines]))
    message = refusal(tmp_path, TabularRegression(label="price"))
    assert "row 2: expected a number, got '1,294'; write it without signs between" in message
    assert "or where a comma stands before the fraction: --set data.decimal=," in message
    notes = load_splits(Data(path=str(tmp_path)), task_of(TabularRegression(label="age"))).notes
    assert any("not used: price (row 2 is '1,294'; write it without" in note for note in notes)
    found = read_source(Data(path=str(tmp_path), decimal=",")).splits["train"]
    assert found["price"][2] == 1.294
    (tmp_path / "rows.csv").write_text("\n".join(["size,price,age", '31,"0,5",30', *lines]))
    assert read_source(Data(path=str(tmp_path))).splits["train"]["price"][3] == 1.294


@pytest.mark.parametrize("value", ["{}\xa0", " {}"])
def test_spaces_that_the_reader_does_not_know_make_text_and_no_error(tmp_path, value):
    words = [value.format("true" if n % 3 else "false") for n in range(20)]
    numbers = [value.format(n) for n in range(20)]
    rows = [f"{w},{v},{n}" for n, (w, v) in enumerate(zip(words, numbers, strict=True))]
    (tmp_path / "rows.csv").write_text("\n".join(["a,b,y", *rows]))
    splits = load_splits(Data(path=str(tmp_path)), task_of(TabularRegression(label="y")))
    assert splits.task.categories == {"a": ("false", "true")}
    assert ("not used: b (numbers as text)" in splits.notes) == ("\xa0" in value)


def test_lists_of_numbers_in_a_text_are_no_decimals(tmp_path):
    write(tmp_path / "rows.csv", ['"1,2"', '"2"', '"1,3"'] * 8)
    assert classes(tmp_path) == ("1,2", "1,3", "2")
    with pytest.raises(DataError, match="expected a list of classes, got '1,2'"):
        load_splits(Data(path=str(tmp_path)), task_of(TextTagging()))


@pytest.mark.parametrize("header", ["sun on day 2,good", "7.5,good", "one of the long texts,x"])
def test_a_first_line_that_looks_like_a_row_is_said_to_be_one(tmp_path, header):
    write(tmp_path / "rows.csv", ["good", "bad"] * 10, header=header)
    assert "the first line looks like a row" in refusal(tmp_path)
    (tmp_path / "rows.csv").write_text("1.5,0,0\n2.5,1,3\n")
    assert "two columns are called '0'; the first line looks like a row" in refusal(tmp_path)
    write(tmp_path / "rows.csv", ["good", "bad"] * 10, header="words,mark")
    assert "which column is the label? Columns are words, mark; none looks" in refusal(tmp_path)


def test_of_a_table_categories_and_gaps_are_read_and_the_rest_is_named_with_its_reason(tmp_path):
    lines = [
        f"{n / 7},{'n.a.' if n == 17 else n % 9},{'red' if n % 2 else 'blue'},"
        f"{'n.k.' if n == 3 else n},name {n},{n % 5}"
        for n in range(60)
    ]
    (tmp_path / "rows.csv").write_text("\n".join(["a,b,color,c,who,y", *lines]))
    task = TabularRegression(label="y")
    splits = load_splits(Data(path=str(tmp_path)), task_of(task))
    assert splits.task.columns == ("a", "b", "color")
    assert splits.task.categories == {"color": ("blue", "red")}
    first = splits.train[0]
    n = first["index"]
    told = [n / 7, n % 9, 0.0, float(n % 2 == 0), n % 2]  # the 0.0: there is no gap
    assert first["features"] == pytest.approx(told)
    words = [plain(n / 7, 6), str(n % 9), "red" if n % 2 else "blue"]
    said = task_of(splits.task).told(first["features"])
    assert said == list(zip(("a", "b", "color"), words, strict=True))
    notes = "\n".join(splits.notes)
    assert "not used: c (row 3 is 'n.k.'), who (words, 60 different ones)" in notes
    assert "gaps in training rows, where the mean stands in: b (1)" in notes
    asked = task.model_copy(update={"columns": ("a", "c")})
    with pytest.raises(DataError, match=r"column 'c' cannot be an input: row 3 is 'n\.k\.'"):
        load_splits(Data(path=str(tmp_path)), task_of(asked))


def test_words_that_the_training_rows_lack_are_said(tmp_path):
    for split, color in (("train", "red"), ("test", "green")):
        rows = [f"{n},{color if n % 2 else 'blue'},{n}" for n in range(12)]
        (tmp_path / f"{split}.csv").write_text("\n".join(["a,c,y", *rows, "12,,12"]))
    splits = load_splits(Data(path=str(tmp_path)), task_of(TabularRegression(label="y")))
    said = "6 rows hold a word in 'c' that the training rows lack (green), which is read as a gap"
    assert f"split 'test': {said}" in splits.notes
    assert not any("split 'train'" in note and "lack" in note for note in splits.notes)
    assert splits.test["features"][1] == [1.0, 0.0, 0.0]
    given = read_rows([str(tmp_path / "test.csv")], task_of(splits.task), ())
    assert said in given.notes


def test_a_column_says_the_splits_where_it_is_asked_to(tmp_path):
    lines = [f"{t},{'ab'[n % 2]},{'Train' if n % 3 else 'dev'}" for n, t in enumerate(texts(30))]
    (tmp_path / "rows.csv").write_text("\n".join(["words,label,fold", *lines]))
    task = TASK.model_copy(update={"text": "words"})
    plain = load_splits(Data(path=str(tmp_path)), task_of(task))
    assert any("--set data.split_column=fold" in note for note in plain.notes)
    splits = load_splits(Data(path=str(tmp_path), split_column="fold"), task_of(TASK))
    assert splits.task.text == "words"
    assert {"sun on day 0", "wind on day 3"} <= {*splits.validation["text"][:]}
    assert len(splits.validation) == 10
    message = refusal(tmp_path, as_text=("lable",))
    assert "data.as_text: the data has no column 'lable'" in message
    assert message.endswith("did you mean 'label'?")
    assert "expected one table with such a column" in refusal(tmp_path, split_column="folds")
    (tmp_path / "rows.csv").write_text("\n".join(["words,label,fold", *lines, "x,a,"]))
    assert "row 30: expected the name of a split" in refusal(tmp_path, split_column="fold")


def test_eval_is_for_choosing_where_another_word_says_test(tmp_path):
    words = ("train", "train", "Eval", "test")
    lines = [f"{t},{'ab'[n % 2]},{words[n // 2 % 4]}" for n, t in enumerate(texts(40))]
    (tmp_path / "rows.csv").write_text("\n".join(["text,label,fold", *lines]))
    splits = load_splits(Data(path=str(tmp_path), split_column="fold"), task_of(TASK))
    assert splits.counts() == {"train": 20, "validation": 10, "test": 10}
    roles = {"train": "train", "validation": "eval", "test": "test"}
    assert assign_roles(Data(path="a/b"), dict.fromkeys(roles.values())) == roles
    assert assign_roles(Data(path="a/b"), dict.fromkeys(["train", "eval"])) == {
        "train": "train",
        "test": "eval",
    }


def test_columns_and_splits_that_nothing_uses_are_said(tmp_path):
    for split in ("train", "test"):
        lines = [f"{n},{t},{'ab'[n % 2]}" for n, t in enumerate(texts(12, len(split)))]
        (tmp_path / f"{split}.csv").write_text("\n".join(["id,text,label", *lines]))
    notes = load_splits(
        Data(path=str(tmp_path), test="train[:50%]", train="train[50%:]"), task_of(TASK)
    )
    assert "not used: column 'id'" in notes.notes
    assert "not used: split test" in notes.notes


@pytest.mark.parametrize("between", [";", "|", ",", " / "])
def test_several_classes_in_one_text_are_parted_by_what_stands_between(tmp_path, between):
    labels = ["good", f"bad{between}long", "bad", f"long{between}good", "long", ""] * 5
    file = write(tmp_path / "rows.csv", [f'"{label}"' for label in labels])
    task = TextTagging(separator=between.strip())
    splits = load_splits(Data(path=str(file)), task_of(task))
    assert splits.label_names == ("bad", "good", "long")
    found = dict(zip(splits.train["index"][:], splits.train["label"][:], strict=True))
    assert {len(numbers) for row, numbers in found.items() if row % 6 == 5} == {0}
    assert {len(numbers) for row, numbers in found.items() if row % 6 == 1} == {2}
    assert f"--set 'task.separator={between.strip()}'" in refusal(file, TextTagging())
    plain = load_splits(Data(path=str(file), on_bad_row="skip"), task_of(TASK))
    said = [str(finding) for finding in examine(plain, "skip")]
    assert any("looks like several" in finding and "text-tagging" in finding for finding in said)


@pytest.mark.parametrize(
    "labels", [["a b", "c d"], ["New York", "York"], ["c++", "c"], ["a,b", "c"]]
)
def test_names_of_several_words_are_not_taken_for_several_classes(labels):
    assert separator_in(labels) is None
