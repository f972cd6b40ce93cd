"""Local sources: class folders, tables, data sets saved to disk, embedded sets."""

import json
import shutil

import numpy as np
import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, Image
from PIL import Image as PillowImage
from sklearn.datasets import load_digits

from ftkit import Data, DataError
from ftkit.data.open_images import open_rgb
from ftkit.data.sources import as_images, read_source


def lay(root, *files):
    """Write files with these paths below root; a .png is a small image, all else a word."""
    for name in files:
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        if file.suffix == ".png":
            PillowImage.new("RGB", (3, 2)).save(file)
        else:
            file.write_text("words")
    return root


def found(root):
    """Return {split: [(class, path below root)]} of class folders."""
    pairs = {}
    for split, rows in read_source(Data(path=str(root))).splits.items():
        names = rows.features["label"].names
        rows = rows.cast_column("image", Image(decode=False))
        pairs[split] = [
            (names[row["label"]], row["image"]["path"].removeprefix(f"{root.resolve()}/"))
            for row in rows
        ]
    return pairs


def refusal(path):
    with pytest.raises(DataError) as caught:
        read_source(Data(path=str(path)))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_class_folders_become_training_rows(tmp_path):
    lay(tmp_path, "owl/1.png", "cat/b.png", "cat/a.png")
    assert found(tmp_path) == {
        "train": [("cat", "cat/a.png"), ("cat", "cat/b.png"), ("owl", "owl/1.png")]
    }


@pytest.mark.parametrize(
    ("train", "validation", "test"),
    [
        ("train", "val", "test"),
        ("Training", "valid", "TEST"),
        ("train", "dev", "testing"),
        ("train", "eval", "test"),
        ("train", "Evaluation", "holdout"),
    ],
)
def test_folders_of_splits_hold_class_folders(tmp_path, train, validation, test):
    lay(tmp_path, *(f"{split}/{name}/0.png" for split in (train, test) for name in ("cat", "owl")))
    lay(tmp_path, f"{validation}/owl/0.png")
    assert found(tmp_path) == {
        "train": [("cat", f"{train}/cat/0.png"), ("owl", f"{train}/owl/0.png")],
        "validation": [("owl", f"{validation}/owl/0.png")],
        "test": [("cat", f"{test}/cat/0.png"), ("owl", f"{test}/owl/0.png")],
    }


def test_deeper_folders_count_for_their_class(tmp_path):
    lay(tmp_path, "1/2024/may/1.png", "1/0.png", "10/x/2.png", "2/0.png")
    assert [name for name, _ in found(tmp_path)["train"]] == ["1", "1", "10", "2"]


def test_what_file_managers_leave_is_no_row(tmp_path):
    noise = (".DS_Store", "Thumbs.db", "desktop.ini", ".hidden.png", ".git/x.png", "__MACOSX/x.png")
    lay(tmp_path, "cat/0.png", "owl/0.png", *noise, *(f"cat/{name}" for name in noise))
    assert found(tmp_path) == {"train": [("cat", "cat/0.png"), ("owl", "owl/0.png")]}


def test_an_empty_class_folder_is_no_class(tmp_path):
    lay(tmp_path, "cat/0.png", "owl/0.png")
    (tmp_path / "bat").mkdir()
    rows = read_source(Data(path=str(tmp_path))).splits["train"]
    assert rows.features["label"].names == ["cat", "owl"]


def test_one_class_folder_is_read(tmp_path):  # and refused later
    assert found(lay(tmp_path, "cat/0.png")) == {"train": [("cat", "cat/0.png")]}


def test_folders_named_by_numbers_are_those_numbers(tmp_path):
    lay(tmp_path, "10/a.png", "2/b.png", "1/c.png")
    assert set(found(tmp_path)["train"]) == {("10", "10/a.png"), ("2", "2/b.png"), ("1", "1/c.png")}


def test_an_empty_folder_is_refused(tmp_path):
    assert "it has neither" in refusal(tmp_path)
    (tmp_path / "cat").mkdir()
    assert "no file in any of them" in refusal(tmp_path)


def test_images_beside_no_class_folder_are_refused(tmp_path):
    assert "expected a folder for each class" in refusal(lay(tmp_path, "0.png", "1.png"))
    lay(tmp_path, "train/0.png")
    assert "expected a folder for each class" in refusal(tmp_path)


def test_a_folder_beside_the_splits_is_named(tmp_path):
    lay(tmp_path, "train/cat/0.png", "test/cat/0.png", "extra/cat/0.png")
    assert "beside the splits there is 'extra'" in refusal(tmp_path)


def test_two_folders_for_one_split_are_refused(tmp_path):
    lay(tmp_path, "train/cat/0.png", "val/cat/0.png", "validation/cat/0.png")
    assert "'val'" in refusal(tmp_path)


def test_splits_without_one_for_training_are_no_classes(tmp_path):
    lay(tmp_path, "val/cat/0.png", "val/owl/0.png", "test/cat/0.png", "test/owl/0.png")
    assert "train" in refusal(tmp_path)


def test_parquet_keeps_its_features(tmp_path):
    features = Features({"img": Image(), "label": ClassLabel(names=["owl", "cat"])})
    images = [PillowImage.new("RGB", (2, 2), (number, 0, 0)) for number in range(3)]
    Dataset.from_dict({"img": images, "label": [0, 1, 1]}, features=features).to_parquet(
        tmp_path / "rows.parquet"
    )
    for path in (tmp_path, tmp_path / "rows.parquet"):
        rows = read_source(Data(path=str(path))).splits["train"]
        assert rows.features == features
        assert rows["label"][:] == [0, 1, 1]
        assert [image.getpixel((0, 0)) for image in rows["img"]] == [(n, 0, 0) for n in range(3)]


@pytest.mark.parametrize("place", [".", "data"])
def test_shards_are_put_together_in_order(tmp_path, place):
    (tmp_path / place).mkdir(exist_ok=True)
    for split, number, count in (("train", 1, 2), ("train", 0, 2), ("test", 0, 1)):
        Dataset.from_dict({"x": [f"{split}{number}"] * 2}).to_parquet(
            tmp_path / place / f"{split}-{number:05d}-of-{count:05d}.parquet"
        )
    splits = read_source(Data(path=str(tmp_path))).splits
    assert {split: rows["x"][:] for split, rows in splits.items()} == {
        "train": ["train0", "train0", "train1", "train1"],
        "test": ["test0", "test0"],
    }


def write_table(file, pairs):
    if file.suffix == ".jsonl":
        lines = [json.dumps({"file": path, "label": label}) for path, label in pairs]
    else:
        separator = "\t" if file.suffix == ".tsv" else ","
        lines = [separator.join(("file", "label")), *(separator.join(pair) for pair in pairs)]
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl"])
def test_file_names_in_a_table_are_relative_to_it(tmp_path, suffix):
    lay(tmp_path, "images/1.png", "2.png")
    pairs = [("images/1.png", "Größe"), (str(tmp_path / "2.png"), "cat")]
    write_table(tmp_path / f"rows{suffix}", pairs)
    source = read_source(Data(path=str(tmp_path / f"rows{suffix}")))
    rows = source.splits["train"]
    assert rows["label"][:] == ["Größe", "cat"]
    images = as_images(rows, "file", source.folder)
    assert [open_rgb(row).size for row in images["file"]] == [(3, 2), (3, 2)]


def test_a_table_for_each_split_is_a_split(tmp_path):
    for name in ("train", "dev", "test"):
        write_table(tmp_path / f"{name}.csv", [(f"{name}.png", "cat")])
    splits = read_source(Data(path=str(tmp_path))).splits
    assert {split: rows["file"][:] for split, rows in splits.items()} == {
        "train": ["train.png"],
        "validation": ["dev.png"],
        "test": ["test.png"],
    }


def test_files_of_several_kinds_are_refused(tmp_path):
    write_table(tmp_path / "a.csv", [("x", "y")])
    write_table(tmp_path / "b.jsonl", [("x", "y")])
    assert "expected files of one kind" in refusal(tmp_path)
    assert "found .pdf" in refusal(lay(tmp_path, "c.pdf") / "c.pdf")


def test_every_line_of_a_text_file_is_a_row(tmp_path):
    for name, text in (("train", "Ein Satz.\r\n\r\n  zwei\u2028Zeilen \nEnde"), ("test", "a\n")):
        (tmp_path / f"{name}.txt").write_text(text, encoding="utf-8", newline="")
    source = read_source(Data(path=str(tmp_path)))
    assert source.splits["train"]["text"][:] == ["Ein Satz.", "  zwei\u2028Zeilen ", "Ende"]
    assert source.splits["test"]["text"][:] == ["a"]
    assert source.notes == ("train.txt: 1 empty lines are left out",)


def test_a_text_file_of_other_bytes_is_named_by_its_line(tmp_path):
    (tmp_path / "a.txt").write_bytes("gut\nschön\n".encode("latin-1"))
    assert "a.txt', line 2: byte 0xF6 is not UTF-8" in refusal(tmp_path / "a.txt")
    source = read_source(Data(path=str(tmp_path / "a.txt"), encoding="latin-1"))
    assert source.splits["train"]["text"][:] == ["gut", "schön"]


@pytest.mark.parametrize("text", ["", "\n \n"])
def test_a_text_file_without_a_line_is_named(tmp_path, text):
    (tmp_path / "a.txt").write_text(text)
    assert "a.txt': there are no rows in it" in refusal(tmp_path / "a.txt")


def test_a_text_file_beside_others_is_no_data(tmp_path):
    write_table(tmp_path / "rows.csv", [("x.png", "cat")])
    (tmp_path / "README.txt").write_text("about these rows")
    assert read_source(Data(path=str(tmp_path))).splits["train"].column_names != ["text"]


def test_two_tables_for_one_split_are_refused(tmp_path):
    for name in ("train.csv", "val.csv", "validation.csv"):
        write_table(tmp_path / name, [("x.png", "cat")])
    assert "val.csv and validation.csv name the same split" in refusal(tmp_path)


@pytest.mark.parametrize(
    ("name", "text"),
    [("notes.json", '{"author": "me"}'), ("classes.csv", "id,name\n0,cat\n1,owl\n")],
)
@pytest.mark.parametrize("splits", [("",), ("train/", "test/")])
def test_a_stray_table_beside_class_folders_is_noted_and_not_used(tmp_path, name, text, splits):
    lay(tmp_path, *(f"{split}{animal}/a 0.png" for split in splits for animal in ("cat", "owl")))
    (tmp_path / name).write_text(text)
    assert [animal for animal, _ in found(tmp_path)["train"]] == ["cat", "owl"]
    (note,) = read_source(Data(path=str(tmp_path))).notes
    assert f"{name} beside them names no image and is not used" in note


def test_a_table_that_names_images_in_folders_beside_it_is_read(tmp_path):
    lay(tmp_path, "part1/a 0.png", "part2/b.png", "readme/words.txt")
    write_table(tmp_path / "rows.csv", [("part1/a 0.png", "owl"), ("part2/b.png", "cat")])
    source = read_source(Data(path=str(tmp_path)))
    assert source.splits["train"]["label"][:] == ["owl", "cat"]
    assert source.notes == ()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("rows.csv", 'a,b\n1,2,3\n4,"5\n'),
        ("rows.csv", ""),
        ("rows.jsonl", '{"a": 1}\n{"a": \n'),
        ("rows.jsonl", ""),
        ("rows.parquet", "not parquet"),
    ],
    ids=["csv", "empty-csv", "jsonl", "empty-jsonl", "parquet"],
)
def test_a_broken_table_is_named(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    assert name in refusal(tmp_path / name)


@pytest.mark.parametrize(
    "path", ["/no/where", "./nowhere", "~/no/where", "rows.csv", "x/y.parquet"]
)
def test_a_missing_path_is_refused_without_asking_the_hub(path):
    assert f"'{path}': there is no such file or folder" in refusal(path)


def test_a_data_set_saved_to_disk_is_read(tmp_path):
    rows = Dataset.from_dict({"x": [1, 2], "label": ["a", "b"]})
    DatasetDict({"train": rows, "holdout": rows.select([0])}).save_to_disk(tmp_path / "both")
    rows.save_to_disk(tmp_path / "one")
    both, one = (read_source(Data(path=str(tmp_path / name))).splits for name in ("both", "one"))
    assert {split: rows["x"][:] for split, rows in both.items()} == {
        "train": [1, 2],
        "holdout": [1],
    }
    assert {split: rows["x"][:] for split, rows in one.items()} == {"train": [1, 2]}


def test_a_data_set_saved_to_disk_that_lost_a_split_is_named(tmp_path):
    DatasetDict({"train": Dataset.from_dict({"x": [1]})}).save_to_disk(tmp_path)
    shutil.rmtree(tmp_path / "train")
    assert str(tmp_path) in refusal(tmp_path)


def test_embedded_digits_are_scikit_learn_s():
    splits = read_source(Data(path="embedded:digits")).splits
    assert {split: len(rows) for split, rows in splits.items()} == {"train": 1437, "test": 360}
    pixels, labels = load_digits(return_X_y=True)
    expected = sorted(
        (int(label), *np.round(values * 255 / 16).astype(int).tolist())
        for values, label in zip(pixels, labels, strict=True)
    )
    rows = [row for split in splits.values() for row in split]
    assert sorted((row["label"], *np.asarray(row["image"]).ravel().tolist()) for row in rows) == (
        expected
    )
    counts = np.bincount(splits["test"]["label"])
    assert np.abs(counts - np.bincount(labels) / 5).max() <= 1


def test_an_unknown_embedded_set_is_answered_with_the_nearest():
    assert "did you mean 'digits'?" in refusal("embedded:digit")


def test_a_column_of_addresses_is_refused_and_nothing_is_fetched(tmp_path):
    (tmp_path / "0.png").write_bytes(b"x")
    rows = Dataset.from_dict({"image": ["0.png", "https://me:secret@host/a.png"]})
    with pytest.raises(
        DataError, match=r"row 1: https://.*/a.png is an address.*download"
    ) as error:
        as_images(rows, "image", tmp_path)
    assert "secret" not in str(error.value)
