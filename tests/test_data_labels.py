"""Classes are matched by name over all splits, and what cannot be classes is refused."""

import re

import numpy as np
import pytest
from datasets import ClassLabel, Dataset, Features, Value
from sklearn.metrics import r2_score

from ftkit import DataError, TabularRegression, TextRegression
from ftkit.data.labels import name_labels, ordered_names
from ftkit.tasks import task_of


def rows_of(values, names=None, dtype=None):
    """Rows with these labels; with names, as a ClassLabel column whose values are numbers."""
    if names is not None:
        features = Features({"label": ClassLabel(names=names)})
    else:
        features = Features({"label": Value(dtype)}) if dtype else None
    return Dataset.from_dict({"label": values}, features=features)


def named(**splits):
    """Return the class names, and each split's labels as names again, None where there is none."""
    names, numbers = name_labels(splits, "label")
    return names, {
        split: [None if number < 0 else names[number] for number in found]
        for split, found in numbers.items()
    }


def refusal(**splits):
    with pytest.raises(DataError) as caught:
        name_labels(splits, "label")
    return str(caught.value)


# names and their order


def test_folders_named_by_numbers_keep_their_names():
    # as a folder reader makes it: names in the order of text, so number 1 is the class "10"
    train = rows_of([0, 1, 2, 2], names=["1", "10", "2"])
    names, labels = named(train=train)
    assert names == ("1", "10", "2")
    assert labels["train"] == ["1", "10", "2", "2"]


@pytest.mark.parametrize("values", [[10, 2, 1, -3, 2], ["10", "2", "1", "-3", "2"]])
def test_numbers_stand_in_numeric_order(values):
    names, labels = named(train=rows_of(values))
    assert names == ("-3", "1", "2", "10")
    assert labels["train"] == [str(value) for value in values]


def test_whole_floats_are_integers():
    names, labels = named(train=rows_of([10.0, 2.0, 1.0]), test=rows_of([2, 10]))
    assert names == ("1", "2", "10")
    assert labels["test"] == ["2", "10"]


def test_text_stands_in_alphabetical_order():
    names, labels = named(train=rows_of(["owl", "cat", "Ähre", "cat"]))
    assert names == tuple(sorted(["owl", "cat", "Ähre"]))
    assert labels["train"] == ["owl", "cat", "Ähre", "cat"]


def test_names_of_strange_digits_are_text():
    assert set(named(train=rows_of(["²", "1", "--2"]))[0]) == {"²", "1", "--2"}


def test_booleans_are_two_classes():
    names, labels = named(train=rows_of([True, False, True]))
    assert names == ("False", "True")
    assert labels["train"] == ["True", "False", "True"]


def test_a_class_label_s_own_order_wins():
    train = rows_of([2, 0, 1], names=["zebra", "ant", "owl"])
    names, labels = named(train=train)
    assert names == ("zebra", "ant", "owl")
    assert labels["train"] == ["owl", "zebra", "ant"]


def test_numbers_are_those_of_the_names_returned():
    names, numbers = name_labels({"train": rows_of(["b", "a", "b"])}, "label")
    assert names == ("a", "b")
    assert numbers["train"].dtype == np.int64
    assert numbers["train"].tolist() == [1, 0, 1]


# several splits


def test_a_test_split_with_another_order_is_matched_by_name():
    train = rows_of([0, 1, 2], names=["ant", "bee", "cat"])
    test = rows_of([0, 1, 2], names=["cat", "ant", "bee"])
    names, labels = named(train=train, test=test)
    assert names == ("ant", "bee", "cat")
    assert labels["test"] == ["cat", "ant", "bee"]


def test_a_class_missing_from_one_split_does_not_shift_the_others():
    train = rows_of([0, 1, 2], names=["ant", "bee", "cat"])
    test = rows_of([0, 1], names=["bee", "cat"])
    _, labels = named(train=train, validation=rows_of(["cat", "ant"]), test=test)
    assert labels["test"] == ["bee", "cat"]
    assert labels["validation"] == ["cat", "ant"]


def test_a_test_split_of_numbers_is_matched_by_name_too():
    names, labels = named(train=rows_of([3, 1, 2]), test=rows_of(["3", "3"]))
    assert names == ("1", "2", "3")
    assert labels["test"] == ["3", "3"]


def test_classes_that_the_training_rows_lack_are_refused_by_name():
    message = refusal(train=rows_of(["ant", "bee"]), test=rows_of(["ant", "owl", "yak", "owl"]))
    assert "split 'test' has 2 classes that the training rows lack: owl, yak" in message
    assert "ant, bee" in message


def test_a_class_that_only_the_feature_names_is_lacking_in_training():
    names = ["ant", "bee", "cat"]
    message = refusal(train=rows_of([0, 1], names=names), test=rows_of([2], names=names))
    assert "cat" in message


# what cannot be classes


def test_one_class_is_refused():
    assert "1 class (cat)" in refusal(train=rows_of(["cat", "cat"]))
    assert "1 class (cat)" in refusal(train=rows_of([0, 0], names=["cat", "dog"]))


def test_no_label_at_all_is_refused():
    assert "0 class" in refusal(train=rows_of([None, None], dtype="string"))
    assert "0 class" in refusal(train=rows_of([-1, -1], names=["cat", "dog"]))


@pytest.mark.parametrize("split", ["train", "test"])
def test_measures_are_refused_with_their_row(split):
    splits = {"train": rows_of([1.0, 2.0]), split: rows_of([1.0, 2.0, 0.5])}
    message = refusal(**splits)
    assert f"split '{split}', row 2" in message
    assert "0.5 is a measure" in message


def test_lists_are_refused():
    assert "expected one class, got list" in refusal(train=rows_of([["a", "b"], ["a"]]))


def test_a_column_of_identifiers_is_refused():
    message = refusal(train=rows_of([f"row-{number}" for number in range(100)]))
    assert "100 different values in 100 training rows cannot be classes" in message
    assert "task.label=COLUMN" in message


def test_identifiers_that_are_numbers_may_be_measures():
    rows = rows_of([f"{number},5" if number % 2 else str(number) for number in range(100)])
    for measure, said in (("", "classes; name"), ("use numbers", "classes; use numbers, or name")):
        with pytest.raises(DataError, match=f"cannot be {said} the right column"):
            name_labels({"train": rows}, "label", measure=measure)


def test_the_word_among_measures_is_shown_with_its_row():
    values = [f"{number}.25" for number in range(100)]
    values[17] = "oops"
    with pytest.raises(DataError, match=r"all but 1 are numbers \(row 17 has 'oops'\); use numb"):
        name_labels({"train": rows_of(values)}, "label", measure="use numbers")
    words = rows_of([value if place % 5 else f"w{place}" for place, value in enumerate(values)])
    with pytest.raises(DataError, match="cannot be classes; name the right column"):
        name_labels({"train": words}, "label", measure="use numbers")


def test_numbers_of_one_size_or_of_any_length_have_one_order():
    longest = "1" * 5000
    assert ordered_names(None, {"07", "7", longest, "007", "-1"}) == (
        "-1",
        "007",
        "07",
        "7",
        longest,
    )


def test_many_classes_of_few_rows_each_are_classes():
    names, _ = named(train=rows_of([f"breed-{number % 37}" for number in range(37 * 3)]))
    assert len(names) == 37


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (rows_of([0, -1, None, 1], names=["a", "b"]), ["a", None, None, "b"]),
        (rows_of(["a", None, "", "b"]), ["a", None, None, "b"]),
        (rows_of([1.0, None, float("nan"), 2.0]), ["1", None, None, "2"]),
        (rows_of([1, None, 2]), ["1", None, "2"]),
    ],
    ids=["class label", "text", "float", "integer"],
)
def test_a_row_without_a_label_is_no_class(rows, expected):
    _, labels = named(train=rows)
    assert labels["train"] == expected


def test_minus_one_and_one_can_be_the_two_classes():
    assert named(train=rows_of([1, -1, 1]))[0] == ("-1", "1")


def test_minus_one_is_no_label_where_training_does_not_have_it():
    names, labels = named(train=rows_of([0, 1, 2]), test=rows_of([-1, -1]))
    assert names == ("0", "1", "2")
    assert labels["test"] == [None, None]


# numbers

NUMBERS = pytest.mark.parametrize("task", [TabularRegression(label="y"), TextRegression(label="y")])


def numbers(task, train, **splits):
    rows = {name: Dataset.from_dict({"y": y}) for name, y in {"train": train, **splits}.items()}
    return task_of(task).read_labels(rows)[1]


@NUMBERS
@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("level", [0, 2e3, 3e4, 1e5, 1e6, 1e7, 1e8, 1.7e9])
def test_numbers_are_refused_where_float32_would_lose_their_differences(task, sign, level):
    y = sign * level + np.random.default_rng(0).normal(0, 3, 1000)
    lost = 1 - r2_score(y, y.astype(np.float32))
    refused = ""
    try:
        numbers(task, y)
    except DataError as error:
        refused = str(error)
    assert lost > 5e-5 if refused else lost < 3e-4
    if refused:  # what it says to do helps
        way, number = re.search(r"(add|subtract) about ([0-9.]+) (?:to|from)", refused).groups()
        numbers(task, y + float(number) * (1 if way == "add" else -1))


@NUMBERS
def test_seconds_since_1970_are_refused_and_years_are_not(task):
    with pytest.raises(DataError, match=r"column 'y'.*subtract about 1700000024"):
        numbers(task, 1.7e9 + np.arange(50.0))
    assert numbers(task, np.arange(1990.0, 2020.0))["train"][0] == 1990
    assert numbers(task, [1.7e9] * 9)["train"][0] == 1.7e9  # one number: another finding says so
    assert numbers(task, [1.0, 2.0, None], test=[1.7e9])["test"][0] == 1.7e9


@NUMBERS
def test_numbers_beyond_float32_are_refused_by_row(task):
    with pytest.raises(DataError, match=r"split 'test', row 1: 1e\+200 is beyond.*3.4e38"):
        numbers(task, [1.0, 2.0], test=[0.0, 1e200])
    assert numbers(task, [-1e38, 1e38])["train"].tolist() == [-1e38, 1e38]
