"""What a careful colleague sees: faults planted in real rows are found, clean rows are quiet."""

import io

import numpy as np
import pytest
from conftest import make_image
from datasets import ClassLabel, Dataset, DatasetDict, Features, Image, List, Value
from PIL import Image as PillowImage
from PIL import ImageEnhance

from ftkit import (
    Data,
    ImageClassification,
    TabularClassification,
    TabularRegression,
    TextClassification,
    TextTagging,
    TokenClassification,
)
from ftkit.data.open_images import open_rgb
from ftkit.data.row_fingerprints import NEAR_COPY_CORRELATION, normalised, thumbnail
from ftkit.tasks import task_of
from ftkit.tasks.loading import examine, load_splits

TASKS = {"image": ImageClassification, "text": TextClassification, "x": TabularClassification}


def found(tmp_path, splits, task=None, on_bad_row="error", **settings):
    """Return {message: examples} of what is found in these splits, once saved and read."""
    column = next(iter(splits["train"].features))
    DatasetDict(splits).save_to_disk(tmp_path / "rows")
    data = Data(path=str(tmp_path / "rows"), on_bad_row="skip", **settings)
    read = load_splits(data, task_of(task or TASKS[column]()), strict=False)
    return [(f.severity, f.message, f.examples) for f in examine(read, on_bad_row)]


def about(findings, words):
    matching = [finding for finding in findings if words in finding[1]]
    assert len(matching) == 1, [message for _, message, _ in findings]
    return matching[0]


def digits(part):
    rows = load_splits(Data(path="embedded:digits"), task_of(ImageClassification()))
    return (
        getattr(rows, part)
        .select(range(120))
        .remove_columns("index")
        .cast_column("image", Image(decode=False))
    )


def news(shared_data, part):
    rows = load_splits(Data(path=str(shared_data / "ag_news")), task_of(TextClassification()))
    rows = getattr(rows, part).remove_columns("index")
    return rows.cast_column("label", ClassLabel(names=["World", "Sports", "Business", "Tech"]))


def png(image, format="PNG", **options):
    written = io.BytesIO()
    image.save(written, format, **options)
    return {"bytes": written.getvalue(), "path": None}


def changed(rows, changes):
    """Return the rows with some replaced: {position: {column: value}}."""
    columns = {name: rows[name][:] for name in rows.column_names}
    for position, values in changes.items():
        for name, value in values.items():
            columns[name][position] = value
    return Dataset.from_dict(columns, features=rows.features)


def test_faults_planted_in_real_texts_are_found(shared_data, tmp_path):
    train, validation, test = (news(shared_data, part) for part in ("train", "validation", "test"))
    train = train.filter(lambda row: row["label"] != 3)  # one class is missing from train
    texts, labels = train["text"][:], train["label"][:]
    nearly = [texts[20].upper(), texts[21].replace(" ", "  ") + "!!", f"({texts[22]})"]
    full_width = "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in texts[23])
    at = np.flatnonzero(np.array(test["label"][:]) != 3)[:9].tolist()
    copies = {at[n]: {"text": texts[n], "label": labels[n]} for n in range(5)}
    near = {
        at[5 + n]: {"text": text, "label": labels[20 + n]}
        for n, text in enumerate([*nearly, full_width])
    }
    conflicts = {
        100 + n: {"text": texts[110 + n], "label": (labels[110 + n] + 1) % 3} for n in range(2)
    }
    splits = {
        "train": changed(train, {**conflicts, 7: {"text": " "}}),
        "validation": validation.filter(lambda row: row["label"] != 3),
        "test": changed(test, {**copies, **near}),
    }
    findings = found(tmp_path, splits)
    severity, _, examples = about(findings, "5 rows of test are also in train")
    assert severity == "warning"
    assert examples == tuple({"train": (n,), "test": (at[n],)} for n in range(5))
    _, _, examples = about(
        findings, "4 rows of test are equal but for case, spaces and punctuation"
    )
    assert examples == tuple({"train": (20 + n,), "test": (at[5 + n],)} for n in range(4))
    _, _, examples = about(findings, "2 inputs have different labels")
    assert examples == tuple({"train": (100 + n, 110 + n)} for n in range(2))
    severity, message, examples = about(findings, "1 row cannot be used, the text is empty")
    assert (severity, examples) == ("error", ({"train": (7,)},))
    severity, message, examples = about(findings, "class 'Tech' has")
    assert severity == "error"
    assert "1,900 rows in test and none in train" in message


def test_clean_texts_are_quiet(shared_data, tmp_path):
    splits = {part: news(shared_data, part) for part in ("train", "validation")}
    splits["test"] = news(shared_data, "test").select(range(5000))
    assert found(tmp_path, splits) == []


def test_faults_planted_in_real_images_are_found(tmp_path):
    train, test = digits("train"), digits("test")
    images = [open_rgb(row) for row in train["image"]]
    bigger = images[50].resize((32, 32), PillowImage.Resampling.BILINEAR)
    nearly = [
        png(images[48], "JPEG", quality=75),
        png(ImageEnhance.Brightness(images[49]).enhance(0.9)),
        png(bigger),
    ]
    labels = train["label"][:]
    copies = {n: {"image": png(images[n]), "label": labels[n]} for n in range(5)}
    near = {5 + n: {"image": image, "label": labels[48 + n]} for n, image in enumerate(nearly)}
    conflict = {60: {"image": train["image"][61], "label": (labels[61] + 1) % 10}}
    broken = {70: {"image": {"bytes": b"no image", "path": None}}}
    blank = {80: {"image": png(PillowImage.new("RGB", (8, 8), "navy"))}}
    splits = {
        "train": changed(train, {**conflict, **broken, **blank}),
        "test": changed(test, {**copies, **near}),
        "validation": digits("validation"),
    }
    findings = found(tmp_path, splits)
    assert len(findings) == 6
    assert about(findings, "5 rows of test are also in train")[2] == tuple(
        {"train": (n,), "test": (n,)} for n in range(5)
    )
    assert about(findings, "3 rows of test are nearly in train")[2] == tuple(
        {"train": (48 + n,), "test": (5 + n,)} for n in range(3)
    )
    assert about(findings, "1 input has different labels")[2] == ({"train": (60, 61)},)
    assert about(findings, "1 row of train repeats another one")[2] == ({"train": (60, 61)},)
    assert about(findings, "it is not an image")[::2] == ("error", ({"train": (70,)},))
    assert about(findings, "1 row is of one colour only")[2] == ({"train": (80,)},)
    again = found(tmp_path, splits, on_bad_row="skip")
    assert about(again, "it is not an image")[0] == "warning"


@pytest.mark.parametrize(
    ("path", "task"),
    [
        ("embedded:digits", ImageClassification()),
        ("embedded:tictactoe", TabularClassification(label="value")),
        ("embedded:diabetes", TabularRegression()),
    ],
)
def test_clean_rows_are_quiet(path, task):
    assert examine(load_splits(Data(path=path), task_of(task), strict=False), "error") == ()


def test_of_real_photos_only_the_same_pictures_are_near(shared_data):
    data = Data(path=str(shared_data / "cifar10"), train_rows=None)
    splits = load_splits(data, task_of(ImageClassification()))
    rows = {"train": [10470, 12211], "test": [3176, 9841]}
    for one, other in zip(rows["train"], rows["test"], strict=True):
        pictures = []
        for part, number in (("train", one), ("test", other)):
            split = getattr(splits, part)
            position = int(np.flatnonzero(np.array(split["index"][:]) == number)[0])
            pictures.append(thumbnail(open_rgb(split[position]["image"])))
        assert pictures[0] @ pictures[1] > NEAR_COPY_CORRELATION
    small = Data(path=data.path, train_rows=3000, validation_rows=500, test_rows=1000)
    found = examine(load_splits(small, task_of(ImageClassification())), "error")
    assert [finding.message for finding in found] == []


def tables(train, test):
    features = Features({"x": Value("float64"), "y": Value("float64"), "label": Value("string")})
    return {
        split: Dataset.from_dict(
            dict(zip(features, zip(*rows, strict=True), strict=True)), features
        )
        for split, rows in (("train", train), ("validation", test[1:]), ("test", test[:1]))
    }


def test_equal_rows_of_a_table_are_found(tmp_path):
    train = [(float(n), 0.5, "ab"[n % 2]) for n in range(10)]
    train[3] = (-0.0, 0.5, "b")  # equal to the first row, in number
    findings = found(tmp_path, tables(train, [(4.0, 0.5, "a"), (20.0, 0.0, "a"), (21.0, 0.0, "b")]))
    assert about(findings, "1 row of train repeats")[2] == ({"train": (0, 3)},)
    assert about(findings, "different labels")[2] == ({"train": (0, 3)},)
    assert about(findings, "1 row of test is also in train")[2] == ({"train": (4,), "test": (0,)},)
    assert about(findings, "no test row, so nothing is measured of them: b")


def test_training_rows_of_one_number_are_found(tmp_path):
    def rows(labels):
        return Dataset.from_dict({"x": np.arange(len(labels)) / 3, "y": labels})

    for number, labels in enumerate(([0.1] * 50, [*[0.1] * 49, 0.2])):
        (folder := tmp_path / str(number)).mkdir()
        splits = {"train": rows(labels), "validation": rows([0.1, 3.0]), "test": rows([1.0, 2.0])}
        findings = found(folder, splits, TabularRegression(label="y"))
        said = [message for _, message, _ in findings if "nothing to learn" in message]
        wanted = "all training rows have the number 0.1: there is nothing to learn"
        assert said == ([] if number else [wanted])
    (folder := tmp_path / "test").mkdir()
    splits = {
        "train": rows([0.5, 1.5] * 9),
        "validation": rows([0.1, 3.0]),
        "test": rows([2.0] * 3),
    }
    findings = found(folder, splits, TabularRegression(label="y"))
    assert about(findings, "all test rows have the number 2: R squared says nothing there")


def test_uneven_and_twice_written_classes_are_found(tmp_path):
    names = ["Cat", *["cat!"] * 30, *["3"] * 30]
    train = [(float(n), 1.0, name) for n, name in enumerate(names)]
    test = [(100.0 + n, 1.0, name) for n, name in enumerate(["3", "Cat", "cat!", "3"])]
    findings = found(tmp_path, tables(train, test))
    assert about(findings, "classes 'Cat' and 'cat!' differ only in case")
    assert about(findings, "classes are uneven: '3' has 30 rows in train, 'Cat' 1")
    assert about(findings, "classes are numbers as well as words: 3; Cat, cat!")


@pytest.mark.parametrize(
    "names", [("c", "c++", "c#"), ("-1", "1"), ("a/b", "a*b"), ("A+", "A", "A-"), ("😀", "😞")]
)
def test_signs_that_tell_classes_apart_are_no_punctuation(tmp_path, names):
    rows = [(float(n), 1.0, names[n % len(names)]) for n in range(30)]
    findings = found(tmp_path, tables(rows, [(100.0 + n, 1.0, names[0]) for n in range(2)]))
    assert "differ only in case" not in str(findings)


def test_classes_in_lists_are_counted_by_rows(tmp_path):
    names = ["angry", "calm", "glad"]
    features = Features({"text": Value("string"), "label": List(ClassLabel(names=names))})

    def rows(split, labels):
        texts = [f"{split} {n}" for n in range(len(labels))]
        return Dataset.from_dict({"text": texts, "label": labels}, features=features)

    train = rows("train", [[0, 1]] + [[1]] * 19)
    test = rows("test", [[0], [2, 1], [1, 2], []])
    splits = {"train": train, "validation": test.select([0]), "test": test}
    findings = found(tmp_path, splits, TextTagging())
    assert about(findings, "class 'glad' has 2 rows in test and none in train")[2] == (
        {"test": (1,)},
        {"test": (2,)},
    )
    uneven = about(findings, "classes are uneven: 'calm' has 20 rows in train, 'angry' 1")
    assert uneven[1].endswith("look at macro_f1 too")


def test_a_tag_that_train_lacks_is_found_and_untagged_words_are_not_uneven(tmp_path):
    names = ["O", "B-PER", "B-LOC"]
    kinds = {"tokens": List(Value("string")), "label": List(ClassLabel(names=names))}

    def rows(split, tags):
        words = [[f"{split}{n}{i}" for i in range(len(row))] for n, row in enumerate(tags)]
        return Dataset.from_dict({"tokens": words, "label": tags}, features=Features(kinds))

    plain, person = [0] * 30, [0] * 29 + [1]
    train = rows("train", [person, *[plain] * 19])
    test = rows("test", [plain, [2, 0], person])
    splits = {"train": train, "validation": test.select([0]), "test": test}
    findings = found(tmp_path, splits, TokenClassification())
    assert about(findings, "class 'B-LOC' has 1 row in test and none in train")
    assert not [message for _, message, _ in findings if "uneven" in message]


def test_classes_numbered_otherwise_are_matched_by_name_and_noted(tmp_path):
    splits = {}
    for split, names in (("train", ["a", "b"]), ("test", ["b", "a"])):
        features = Features({"text": Value("string"), "label": ClassLabel(names=names)})
        rows = {"text": [f"{split} {n}" for n in range(20)], "label": [0, 1] * 10}
        splits[split] = Dataset.from_dict(rows, features=features)
    DatasetDict(splits).save_to_disk(tmp_path)
    read = load_splits(Data(path=str(tmp_path)), task_of(TextClassification()))
    assert read.test["label"][:2] == [1, 0]
    (note,) = [note for note in read.notes if "matched by name" in note]
    assert note.startswith("split 'test' numbers its classes in another way than 'train'")


@pytest.mark.parametrize(
    ("one", "other"),
    [("Hello,  World!", "hello world"), ("ﬁne ①", "FINE 1"), ("straße", "STRASSE")],
)
def test_texts_are_equal_but_for_case_spaces_punctuation_and_form(one, other):
    assert normalised(one) == normalised(other)


def test_texts_of_other_words_are_not_equal():
    assert len({normalised(text) for text in ("a b", "ab", "a c", "á b", "a 1", "a 2")}) == 6


def test_noisy_images_of_one_colour_are_no_near_copies():
    one, other = (thumbnail(make_image("red", number)) for number in (1, 2))
    assert one @ one == pytest.approx(1)
    assert one @ other < 0.9
