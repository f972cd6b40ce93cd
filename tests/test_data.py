"""From a source to three splits: columns found, splits cut or replaced, bad rows left out."""

import io

import numpy as np
import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, Image, Value
from PIL import Image as PillowImage

from ftkit import Data, DataError, ImageClassification, TabularRegression
from ftkit.data.open_images import open_rgb
from ftkit.tasks import task_of
from ftkit.tasks.loading import load_splits, screen

TEXT, NUMBER = Value("string"), Value("int64")
CLASSES = ClassLabel(names=["a", "b"])


def shade(number):
    """An image that tells its number by its red value."""
    file = io.BytesIO()
    PillowImage.new("RGB", (2, 2), (number, 0, 0)).save(file, format="PNG")
    return {"bytes": file.getvalue(), "path": f"{number}.png"}


def rows_of(labels, first=0, broken=()):
    """Rows with these labels whose images are numbered from `first`."""
    images = [shade(first + number) for number in range(len(labels))]
    for number in broken:
        images[number] = {"bytes": b"no image", "path": f"{first + number}.png"}
    features = Features({"image": Image(decode=False), "label": TEXT})
    return Dataset.from_dict({"image": images, "label": labels}, features=features)


@pytest.fixture
def load(tmp_path):
    """A function that saves these splits and loads them with these settings of the data."""

    def save_and_load(splits, task=None, **settings):
        DatasetDict(splits).save_to_disk(tmp_path)
        return load_splits(
            Data(path=str(tmp_path), **settings), task_of(task or ImageClassification())
        )

    return save_and_load


def shades(rows):
    return [open_rgb(image).getpixel((0, 0))[0] for image in rows["image"]]


def refusal(call):
    with pytest.raises(DataError) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("features", "image", "label"),
    [
        ({"img": Image(), "fine": CLASSES, "id": NUMBER}, "img", "fine"),
        ({"file_name": TEXT, "label": TEXT, "x": NUMBER}, "file_name", "label"),
        ({"image": Image(), "label": CLASSES, "coarse": CLASSES}, "image", "label"),
    ],
)
def test_columns_are_found_where_only_one_can_be_meant(features, image, label):
    task = task_of(ImageClassification()).resolve_columns(Features(features))
    assert (task.settings.image, task.settings.label) == (image, label)


@pytest.mark.parametrize(
    ("features", "parts"),
    [
        ({"left": Image(), "right": Image(), "label": TEXT}, ["left and right could all be it"]),
        ({"text": TEXT, "label": TEXT}, ["which column is the image?", "none looks like it"]),
        ({"image": Image(), "fine": CLASSES, "coarse": CLASSES}, ["fine and coarse could all"]),
        ({"image": Image(), "species": TEXT}, ["which column is the label?", "none looks like"]),
        ({"image": Image(), "label": TEXT, "class": TEXT}, ["label and class", "task.label="]),
        ({"image": NUMBER, "label": TEXT}, ["which column is the image?", "task.image="]),
    ],
)
def test_columns_are_refused_where_several_or_none_can_be_meant(features, parts):
    message = refusal(lambda: task_of(ImageClassification()).resolve_columns(Features(features)))
    assert all(part in message for part in [*parts, f"Columns are {', '.join(features)}"]), message


def test_a_named_column_wins_over_what_would_be_found():
    features = Features({"left": Image(), "right": Image(), "label": CLASSES, "other": TEXT})
    task = task_of(ImageClassification(image="right", label="other")).resolve_columns(features)
    assert (task.settings.image, task.settings.label) == ("right", "other")


def test_a_named_column_that_is_not_there_is_answered_with_the_nearest():
    features = Features({"image": Image(), "label": CLASSES})
    message = refusal(lambda: task_of(ImageClassification(label="lable")).resolve_columns(features))
    assert "no column 'lable'; columns are image, label; did you mean 'label'?" in message


def test_a_named_image_column_of_numbers_is_refused(load):
    rows = rows_of(["a", "b"] * 4).add_column("size", [1.5] * 8)
    task = ImageClassification(image="size")
    assert "'size'" in refusal(lambda: load({"train": rows}, task))


def test_a_column_missing_from_one_split_is_named(load):
    splits = {"train": rows_of(["a", "b"]), "test": rows_of(["a"]).rename_column("image", "img")}
    assert "split 'test' has no column 'image'; its columns are img, label" in refusal(
        lambda: load(splits)
    )


def test_given_splits_are_taken_as_they_are(load):
    train, validation = rows_of(["b", "a", "b"]), rows_of(["a", "b"], first=10)
    splits = load({"train": train, "validation": validation, "test": rows_of(["b"], first=20)})
    assert splits.label_names == ("a", "b")
    assert splits.test_split == "test"
    assert splits.train["label"][:] == [1, 0, 1]
    parts = [shades(rows) for rows in (splits.train, splits.validation, splits.test)]
    assert parts == [[0, 1, 2], [10, 11], [20]]
    assert splits.validation["index"][:] == [0, 1]
    assert set(splits.train.column_names) == {"image", "label", "index"}
    assert not any("cut" in note for note in splits.notes)


def test_missing_splits_are_cut_from_train_by_class_and_noted(load):
    splits = load({"train": rows_of(["a"] * 60 + ["b"] * 40)})
    assert splits.counts() == {"train": 72, "validation": 8, "test": 20}
    assert np.bincount(splits.test["label"]).tolist() == [12, 8]
    parts = [set(rows["index"]) for rows in (splits.train, splits.validation, splits.test)]
    assert set().union(*parts) == set(range(100))
    assert splits.test_split == "train"
    for role, size in (("validation", 8), ("test", 20)):
        (note,) = [note for note in splits.notes if f"no {role} split" in note]
        assert f"{size} rows cut from 'train'" in note


def test_index_is_the_row_number_in_the_source(load):
    splits = load({"train": rows_of(["a", "b"] * 50)}, train_rows=20)
    for rows in (splits.train, splits.validation, splits.test):
        assert shades(rows) == rows["index"][:]
        assert rows["label"][:] == [index % 2 for index in rows["index"]]


def test_the_cut_depends_on_the_seed_alone(load):
    rows = {"train": rows_of(["a", "b"] * 50)}
    first, again, other = (load(rows, split_seed=seed).test["index"][:] for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_limits_draw_by_class_and_fractions_are_of_the_limited_rows(load):
    splits = load(
        {"train": rows_of(["a"] * 60 + ["b"] * 40), "test": rows_of(["a", "b"] * 20, first=100)},
        train_rows=50, validation_rows=4, test_rows=10, validation_fraction=0.2,
    )  # fmt: skip
    assert splits.counts() == {"train": 50, "validation": 4, "test": 10}
    assert np.bincount(splits.train["label"]).tolist() == [30, 20]
    assert not set(splits.train["index"]) & set(splits.validation["index"])
    cut = load({"train": rows_of(["a", "b"] * 50)}, train_rows=40)
    assert cut.counts() == {"train": 40, "validation": 4, "test": 8}


def test_other_names_of_splits_are_understood(load):
    rows = {"train": rows_of(["a", "b"]), "dev": rows_of(["a"]), "testing": rows_of(["b"] * 3)}
    splits = load(rows)
    assert splits.counts() == {"train": 2, "validation": 1, "test": 3}
    assert splits.test_split == "testing"


def test_a_named_split_is_taken_and_a_missing_one_is_refused(load):
    rows = {"fold": rows_of(["a", "b"] * 9), "held": rows_of(["b"]), "test": rows_of(["a"] * 9)}
    splits = load(rows, train="fold", test="held")
    assert (splits.test_split, len(splits.test)) == ("held", 1)
    message = refusal(lambda: load(rows, train="fold", test="hold"))
    assert "has no split 'hold'; splits are fold, held, test" in message
    assert "no split 'train'" in refusal(lambda: load(rows))


def test_one_split_cannot_play_two_roles(load):
    rows = {"train": rows_of(["a", "b"])}
    assert "must be different splits" in refusal(lambda: load(rows, test="train"))


def test_the_validation_split_can_be_named_as_test_and_another_is_cut(load):
    rows = {"train": rows_of(["a", "b"] * 10), "validation": rows_of(["a", "b"] * 2, first=50)}
    splits = load(rows, test="validation")
    assert shades(splits.test) == [50, 51, 52, 53]
    assert splits.counts() == {"train": 18, "validation": 2, "test": 4}


def test_too_few_rows_for_three_splits_are_refused(load):
    assert "a split is empty" in refusal(lambda: load({"train": rows_of(["a", "b"])}))


@pytest.mark.parametrize("name", ["test", "testing"])
def test_a_test_split_without_labels_is_replaced_by_a_cut(load, name):
    splits = load({"train": rows_of(["a", "b"] * 10), name: rows_of([None] * 5, first=50)})
    assert splits.counts() == {"train": 14, "validation": 2, "test": 4}
    assert max(shades(splits.test)) < 20
    assert any("the test split has no labels and is not used" in note for note in splits.notes)


def test_a_test_split_without_a_column_of_labels_is_replaced_by_a_cut(load):
    """As competitions give it: the answers stay with them."""
    hidden = rows_of(["a"] * 5, first=50).remove_columns("label")
    splits = load({"train": rows_of(["a", "b"] * 10), "test": hidden})
    assert splits.counts() == {"train": 14, "validation": 2, "test": 4}
    assert max(shades(splits.test)) < 20
    assert splits.test_split == "train"
    assert any("no column 'label' and is not used for figures" in note for note in splits.notes)
    message = refusal(lambda: load({"train": rows_of(["a", "b"] * 10), "validation": hidden}))
    assert "split 'validation' has no column 'label'" in message


def test_classes_that_a_limit_leaves_without_training_rows_are_noted(load):
    rows = {"train": rows_of(["a"] * 40 + ["b"] * 40 + ["c"] * 2 + ["d"] * 2)}
    splits = load(rows, train_rows=8)
    assert set(splits.train["label"]) == {0, 1}
    assert "2 of 4 classes are left without a training row: c, d" in splits.notes
    assert not any("without a training row" in note for note in load(rows).notes)


def test_test_rows_cut_from_train_are_said_to_be_of_train(load):
    splits = load({"train": rows_of(["a", "b"] * 10), "test": rows_of([None] * 5)})
    assert splits.test_split == "train"


def test_training_rows_without_a_label_are_refused_or_left_out(load):
    rows = {"train": rows_of(["a", "b", None, ""] + ["a", "b"] * 10)}
    assert "split 'train': 2 rows have no label" in refusal(lambda: load(rows))
    splits = load(rows, on_bad_row="skip")
    assert sum(splits.counts().values()) == 22
    assert all(shades(part) == part["index"][:] for part in (splits.train, splits.test))
    assert any("left out: split 'train': 2 rows have no label" in n for n in splits.notes)


@pytest.fixture
def damaged(load):
    rows = {
        "train": rows_of(["a", "b"] * 4, broken=(1, 4)),
        "validation": rows_of(["a", "b"], first=20),
        "test": rows_of(["a", "b"], first=30, broken=(0,)),
    }
    return load(rows)


def test_broken_images_are_refused_with_the_first_and_their_number(damaged):
    message = refusal(lambda: screen(damaged, "error", lambda look: look()))
    assert "train row 1 (1.png): it is not an image (and 2 more)" in message
    assert "data.on_bad_row=skip" in message


def test_broken_images_are_left_out_listed_and_not_replaced(damaged):
    splits = screen(damaged, "skip", lambda look: look())
    left_out = [each for each in splits.findings if "cannot be used" in each.message]
    assert left_out
    assert all(each.message.endswith("left out") and each.files for each in left_out)
    assert shades(splits.train) == splits.train["index"][:] == [0, 2, 3, 5, 6, 7]
    assert splits.train["label"][:] == [0, 0, 1, 1, 0, 1]
    assert shades(splits.validation) == [20, 21]
    assert (shades(splits.test), splits.test["index"][:]) == ([31], [1])
    assert splits.notes[len(damaged.notes) :] == (
        "left out train row 1 (1.png): it is not an image",
        "left out train row 4 (4.png): it is not an image",
        "left out test row 0 (30.png): it is not an image",
    )


def test_a_split_of_broken_images_alone_is_refused(load):
    rows = {
        "train": rows_of(["a", "b"] * 4, broken=(1,)),
        "validation": rows_of(["a", "b"], first=20, broken=(0, 1)),
        "test": rows_of(["a", "b"], first=30),
    }
    message = refusal(lambda: screen(load(rows), "skip", lambda look: look()))
    assert "no validation row is left of 2" in message
    assert "validation row 0 (20.png): it is not an image" in message


def test_whole_images_pass_the_screen_unchanged(load):
    splits = load({"train": rows_of(["a", "b"] * 10)})
    screened = screen(splits, "error", lambda look: look())
    assert (screened.train, screened.validation, screened.test, screened.notes) == (
        splits.train,
        splits.validation,
        splits.test,
        splits.notes,
    )


def test_of_many_columns_three_are_named_and_the_rest_counted(load):
    columns = {name: [1.0, 2.0, 3.0] * 10 for name in "abcde"}
    rows = Dataset.from_dict({**columns, "label": [float(n) for n in range(30)]})
    notes = load({"train": rows}, TabularRegression(columns=("a", "b", "c", "d", "e"))).notes
    assert any("in 'a', 'b', 'c' and 2 more columns" in note for note in notes)
