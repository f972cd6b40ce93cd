"""Rows that belong together are never on two sides of a cut: copies, and groups by a column."""

import io
import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from datasets import Dataset, DatasetDict, Features, Image, Value
from PIL import Image as PillowImage

from ftkit import (
    Data,
    DataError,
    TabularClassification,
    TabularRegression,
    TextClassification,
    TextRegression,
    TextTagging,
    TokenClassification,
    Translation,
    registry,
)
from ftkit.data.duplicates import normalised, number_copies
from ftkit.data.tic_tac_toe import canonical, positions
from ftkit.finetuning.folder import as_run_began, write_predictions
from ftkit.recipe import Recipe
from ftkit.tasks import task_of
from ftkit.tasks.loading import load_splits, screen

ROLES = ("train", "validation", "test")


@pytest.fixture
def load(tmp_path):
    """A function that saves splits of columns and loads them with these settings of the data."""

    def save_and_load(splits, task, **settings):
        made = {name: Dataset.from_dict(columns) for name, columns in splits.items()}
        DatasetDict(made).save_to_disk(tmp_path)
        return load_splits(Data(path=str(tmp_path), **settings), task_of(task))

    return save_and_load


def values(splits, column, table=None):
    """Of each split the different values of a column, looked up in a table by index if need be."""
    found = {}
    for role in ROLES:
        rows = getattr(splits, role)
        inside = rows[column][:] if table is None else [table[i] for i in rows["index"][:]]
        found[role] = {str(value) for value in inside}
    return found


def disjoint(found):
    return not (found["train"] & found["validation"] | found["train"] & found["test"])


def refusal(call):
    with pytest.raises(DataError) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_text_that_stands_twice_is_on_one_side(load):
    """500 texts of which 250 stand twice: 71 of 150 test rows were training rows."""
    texts = [f"text number {n % 500}" for n in range(750)]
    rows = {"train": {"text": texts, "label": [n % 2 for n in range(500)] + [1] * 250}}
    splits = load(rows, TextClassification())
    assert disjoint(values(splits, "text"))
    assert splits.counts() == {"train": 540, "validation": 60, "test": 150}
    assert any("250 training rows repeat another one" in note for note in splits.notes)
    apart = load(rows, TextClassification(), copies="apart")
    assert len(values(apart, "text")["train"] & values(apart, "text")["test"]) > 20


def test_what_differs_in_case_and_punctuation_alone_is_on_one_side(load):
    texts = [f"Text, number {n}" for n in range(50)] + [f"TEXT number  {n}!" for n in range(50)]
    splits = load({"train": {"text": texts, "label": ["a", "b"] * 50}}, TextClassification())
    found = {role: {normalised(text) for text in values(splits, "text")[role]} for role in ROLES}
    assert disjoint(found)
    assert (
        np.unique(splits.groups, return_counts=True)[1].tolist() == [2] * 10
    )  # test rows are not independent


WORDS = [f"word{n} next" for n in range(60)]


@pytest.mark.parametrize(
    ("task", "columns", "read"),
    [
        (TextRegression(), {"text": WORDS * 2, "label": [n / 7 for n in range(120)]}, "text"),
        (
            TextTagging(labels=("a", "b")),
            {"text": WORDS * 2, "a": [0, 1] * 60, "b": [1, 1, 0] * 40},
            "text",
        ),
        (
            TokenClassification(),
            {"tokens": [w.split() for w in WORDS] * 2, "tags": [["O", "N"], ["N", "O"]] * 60},
            "tokens",
        ),
        (
            Translation(),
            {"source": WORDS * 2, "target": [f"mot {n}" for n in range(120)]},
            "source",
        ),
        (
            TabularRegression(label="y"),
            {"x": [n % 60 / 3 for n in range(120)], "y": [n / 9 for n in range(120)]},
            "features",
        ),
    ],
)
def test_copies_are_on_one_side_whatever_the_task(load, task, columns, read):
    splits = load({"train": columns}, task)
    assert disjoint(values(splits, read))
    assert abs(len(splits.test) - 24) <= 2


def test_equal_images_are_on_one_side_as_bytes_and_as_files(load, tmp_path):
    images, names = [], []
    for n in range(60):
        file = io.BytesIO()
        PillowImage.new("RGB", (4, 4), (n % 30, 90, 0)).save(file, format="PNG")
        images.append({"bytes": file.getvalue(), "path": None})
        (tmp_path / "files").mkdir(exist_ok=True)
        (tmp_path / "files" / f"{n}.png").write_bytes(file.getvalue())
        names.append({"bytes": None, "path": str(tmp_path / "files" / f"{n}.png")})
    for column in (images, names):
        rows = Dataset.from_dict(
            {"image": column, "label": ["a", "b"] * 30, "index": range(60)},
            features=Features(
                {"image": Image(decode=False), "label": Value("string"), "index": Value("int64")}
            ),
        )
        found, _ = number_copies(rows)
        assert (found[:30] == found[30:]).all()
        assert len(set(found.tolist())) == 30
    missing = rows.map(lambda row: {"image": {"bytes": None, "path": None}})
    assert len(set(number_copies(missing)[0].tolist())) == 60


def test_rows_of_few_values_are_equal_by_chance(load):
    columns = {"x": [n % 2 for n in range(200)], "z": [n % 3 for n in range(200)]}
    splits = load(
        {"train": columns | {"label": [n % 2 for n in range(200)]}}, TabularClassification()
    )
    assert len(splits.test) == 40
    assert any("not kept together: only 6 of 200 are different" in n for n in splits.notes)
    assert splits.groups is None


def patients(count=50, rows=10, first=0):
    who = [f"p{first + n}" for n in range(count) for _ in range(rows)]
    number = np.arange(len(who))
    columns = {"x": number / 7, "z": number % 13 / 1.0, "patient": who}
    return columns | {"label": [f"c{int(name[1:]) % 3}" for name in who]}


@pytest.mark.parametrize("numeric", [False, True])
def test_rows_of_one_group_stay_together_and_classes_in_proportion(load, numeric):
    """50 patients of 10 rows: all test rows had their patient in train."""
    columns = patients()
    if numeric:
        columns["patient"] = [int(name[1:]) for name in columns["patient"]]
    splits = load({"train": columns}, TabularClassification(), group="patient")
    assert disjoint(values(splits, "", columns["patient"]))
    assert splits.counts() == {"train": 360, "validation": 40, "test": 100}
    shares = np.bincount(splits.test["label"][:]) / 100
    assert (
        np.abs(shares - np.bincount([n % 3 for n in range(50)]) / 50).max() < 0.07
    )  # a patient is 0.1
    assert splits.task.columns == ("x", "z")  # the group is no input
    assert sorted(np.bincount(np.unique(splits.groups, return_inverse=True)[1])) == [10] * 10
    of_rows = [columns["patient"][i] for i in splits.test["index"][:]]
    assert len(set(zip(of_rows, splits.groups.tolist(), strict=True))) == 10


def test_given_splits_that_share_a_group_are_refused(load):
    splits = {"train": patients(), "test": patients(5, first=48)}
    message = refusal(lambda: load(splits, TabularClassification(), group="patient"))
    assert "split 'test' shares patient 'p48' and 1 more with split 'train'" in message
    splits["test"] = patients(5, first=50)
    found = load(splits, TabularClassification(), group="patient")
    assert found.counts() == {"train": 450, "validation": 50, "test": 50}
    assert len(np.unique(found.groups)) == 5


def test_a_row_without_a_group_is_refused_or_left_out(load):
    columns = patients()
    columns["patient"][7] = None
    columns["patient"][9] = ""
    message = refusal(lambda: load({"train": columns}, TabularClassification(), group="patient"))
    assert "2 rows have no 'patient', which is data.group, the first is row 7" in message
    skipped = load({"train": columns}, TabularClassification(), group="patient", on_bad_row="skip")
    assert sum(skipped.counts().values()) == 498
    assert disjoint(values(skipped, "", columns["patient"]))


@pytest.mark.parametrize(
    ("settings", "part"),
    [
        ({"group": "pateint"}, "no column 'pateint'; columns are x, z, patient, label; did you"),
        ({"group": "label"}, "cannot be both data.group and task.label"),
    ],
)
def test_a_column_that_cannot_be_the_group_is_refused(load, settings, part):
    task = TabularClassification(label="label")
    assert part in refusal(lambda: load({"train": patients()}, task, **settings))


def test_too_few_groups_to_cut_are_refused(load):
    message = refusal(
        lambda: load({"train": patients(2)}, TabularRegression(label="x"), group="patient")
    )
    assert "no validation rows can be cut from 'train', of which one patient is left" in message


def test_a_part_of_a_split_and_limits_keep_groups_too(load):
    columns = patients()
    splits = load(
        {"train": columns}, TabularClassification(),
        group="patient", train="train[:80%]", train_rows=123, test_rows=30,
    )  # fmt: skip
    assert splits.counts()["train"] == 123
    assert splits.counts()["test"] == 25 or splits.counts()["test"] == 30
    assert max(splits.train["index"][:]) < 400
    assert disjoint(values(splits, "", columns["patient"]))


def test_groups_go_with_the_rows_that_the_screen_leaves(load):
    columns = patients()
    splits = load({"train": columns}, TabularClassification(), group="patient")
    kept = screen(splits, "skip", lambda look: look())
    np.testing.assert_array_equal(kept.groups, splits.groups)
    broken = int(splits.test["index"][3])
    columns["x"][broken] = np.inf
    splits = load({"train": columns}, TabularClassification(), group="patient")
    kept = screen(splits, "skip", lambda look: look())
    assert len(kept.groups) == len(kept.test) == 99
    of_rows = [columns["patient"][i] for i in kept.test["index"][:]]
    assert len(set(zip(of_rows, kept.groups.tolist(), strict=True))) == 10


def test_predictions_name_the_group_of_each_row(load, tmp_path):
    splits = load({"train": patients()}, TabularClassification(), group="patient")
    file = tmp_path / "predictions.parquet"
    write_predictions(file, task_of(splits.task), splits, np.zeros((len(splits.test), 3)))
    table = pq.read_table(file)
    assert table.schema.field("group").type == "int64"
    assert table["group"].to_pylist() == splits.groups.tolist()


def test_no_position_of_validation_is_a_training_one_turned_or_mirrored():
    """All 77 validation rows had a twin in train; the 1,644 test rows are 229 positions."""
    recipe = registry.find("mlp-tictactoe")
    splits = load_splits(recipe.data, task_of(recipe.task))
    own = {p: np.array(p) * (1 if sum(p) == 0 else -1) for p in positions()}
    board = {tuple(stones == 1) + tuple(stones == -1): canonical(p) for p, stones in own.items()}
    found = {
        role: {board[tuple(v == 1 for v in row[:18])] for row in getattr(splits, role)["features"]}
        for role in ROLES
    }
    assert disjoint(found)
    assert len(found["test"]) == len(np.unique(splits.groups)) == 229
    assert len(splits.task.columns) == 27


def test_no_name_of_a_language_is_in_two_splits_in_another_case():
    splits = load_splits(Data(path="embedded:langid"), task_of(TextClassification()))
    found = {role: {normalised(text) for text in values(splits, "text")[role]} for role in ROLES}
    assert disjoint(found)
    assert not found["validation"] & found["test"]


def earlier(recipe):
    """What a version wrote that knew neither split_seed nor groups."""
    saved = json.loads(recipe.to_json())
    for name in ("split_seed", "group", "copies"):
        del saved["data"][name]
    return json.dumps(saved)


def test_the_recipe_of_an_earlier_run_has_its_rows(tmp_path):
    recipe = registry.find("mlp-tictactoe").override({"train.seed": 3})
    before = Recipe.from_json(earlier(recipe))
    assert (before.data.split_seed, before.data.copies) == (3, "apart")
    (tmp_path / "recipe.json").write_text(earlier(recipe))
    assert as_run_began(recipe, tmp_path, resume=True) == before
    assert as_run_began(recipe, tmp_path, resume=False) == recipe
    (tmp_path / "recipe.json").write_text(recipe.to_json())
    assert as_run_began(recipe, tmp_path, resume=True) == recipe
    assert Recipe.from_json(recipe.to_json()) == recipe
    splits = load_splits(before.data, task_of(before.task))
    train, labels = 3834, np.array(splits.train["label"][:])
    # by hand what earlier versions did: each class's rows shuffled by the seed, the first 2 %
    assert len(labels) == train - 77
    assert splits.groups is None


def test_the_rows_of_an_earlier_version_are_those_of_its_own_cut(load):
    texts = [f"a {n % 40}" for n in range(100)]
    data = {"train": {"text": texts, "label": [n % 2 for n in range(100)]}}
    splits = load(data, TextClassification(), split_seed=5, copies="apart")
    random = np.random.default_rng(5)
    shuffled, labels = random.permutation(100), np.arange(100) % 2
    place = np.empty(100)
    for label in (0, 1):
        rows = shuffled[labels[shuffled] == label]
        place[rows] = (np.arange(50) + 0.5) / 50
    order = shuffled[np.argsort(place[shuffled], kind="stable")]
    assert splits.test["index"][:] == sorted(order[:20].tolist())


def test_rows_that_are_nearly_all_copies_of_one_say_so(load):
    """It said that a split is empty, and to give more rows, where 91 of 100 are one text."""
    texts = ["hello"] * 91 + [f"word{letter}" for letter in "abcdefghi"]
    rows = {"train": {"text": texts, "label": ["a", "b"] * 50}}
    message = refusal(lambda: load(rows, TextClassification()))
    assert "no validation rows can be cut from 'train': the 91 rows that are left" in message
    assert "--set data.copies=apart" in message
    apart = load(rows, TextClassification(), copies="apart")
    assert apart.counts() == {"train": 72, "validation": 8, "test": 20}
    given = load(rows | {"validation": {"text": ["x"], "label": ["a"]}}, TextClassification())
    assert given.counts() == {"train": 91, "validation": 1, "test": 9}


@pytest.mark.parametrize(
    ("task", "label", "by"),
    [
        (TextClassification(), ["a", "b"] * 20, "by class"),
        (TextClassification(), [0, 1] * 20, "by class"),
        (TextRegression(), [n / 7 for n in range(40)], "at random"),
        (TextRegression(), list(range(40)), "at random"),
        (TextTagging(), [["a"], ["a", "b"]] * 20, "at random"),
    ],
)
def test_the_note_of_a_cut_says_how_it_was_drawn(load, task, label, by):
    columns = {"text": [f"text {n}" for n in range(40)], "label": label, "who": list(range(40))}
    splits = load({"train": columns}, task)
    assert f"no test split: 8 rows cut from 'train', {by}, data.split_seed 0" in splits.notes
    grouped = load({"train": columns}, task, group="who")
    note = f"no test split: 8 rows cut from 'train', {by} and in whole groups of who, data."
    assert any(said.startswith(note) for said in grouped.notes)
