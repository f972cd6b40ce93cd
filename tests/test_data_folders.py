"""Folders as people have them: what is a class, what a split, and that the rest is said."""

import os
import unicodedata

import pytest
from conftest import make_image
from test_data_sources import found, lay, refusal, write_table

from ftkit import Data, ImageClassification
from ftkit.data.open_images import open_rgb
from ftkit.data.sources import as_images, read_source
from ftkit.errors import DataError
from ftkit.tasks import task_of
from ftkit.tasks.loading import load_splits


def notes(root, **settings):
    return read_source(Data(path=str(root), **settings)).notes


def classes(root, **settings):
    splits = read_source(Data(path=str(root), **settings)).splits
    return {name: rows.features["label"].names for name, rows in splits.items()}


def photos(root, *names, count=6):
    """Make class folders of small images that differ."""
    for name in names:
        (root / name).mkdir(parents=True)
        for number in range(count):
            make_image("red", number, (4, 4)).save(root / name / f"{number}.png")
    return root


def test_only_system_folders_are_left_out_and_all_is_said(tmp_path):
    lay(tmp_path, "cat/0.png", "__background__/0.png", "_x_/0.png", "@eaDir/0.png")
    lay(tmp_path, "lost+found/0.png", "$RECYCLE.BIN/0.png", "cat/.git/0.png")
    assert classes(tmp_path) == {"train": ["__background__", "_x_", "cat"]}
    (note,) = notes(tmp_path)
    assert note == (
        "not used: 4 hidden or system folders ($RECYCLE.BIN, @eaDir, lost+found, cat/.git)"
    )


def test_files_that_are_no_images_are_left_out_and_images_without_a_suffix_are_not(tmp_path):
    lay(tmp_path, "cat/0.png", "cat/0.xmp", "cat/labels.json", "cat/0.png~", "owl/2.png")
    (tmp_path / "owl" / "2.png").rename(tmp_path / "owl" / "0001")
    (tmp_path / "cat" / "1.png.crdownload").write_bytes((tmp_path / "cat" / "0.png").read_bytes())
    assert found(tmp_path) == {"train": [("cat", "cat/0.png"), ("owl", "owl/0001")]}
    (note,) = notes(tmp_path)
    assert note.startswith("not used: 4 files other than images (cat/0.png~, cat/0.xmp")


def test_pictures_that_are_not_read_stay_rows(tmp_path):
    lay(tmp_path, "cat/a.HEIC", "cat/b.cr2", "owl/c.svg", "owl/d.mp4")
    assert len(found(tmp_path)["train"]) == 4


def test_an_empty_class_folder_and_images_beside_are_noted(tmp_path):
    lay(tmp_path, "cat/0.png", "owl/0.png", "loose.png", "words/a.txt")
    (tmp_path / "bat").mkdir()
    said = notes(tmp_path)
    assert "not used: 2 folders without an image (bat, words)" in said
    assert "not used: 1 image beside the class folders, in none of them (loose.png)" in said


@pytest.mark.parametrize("deeper", ["photos", "archive/photos", "archive/x/photos"])
def test_a_folder_too_far_up_is_answered_with_the_one_that_was_meant(tmp_path, deeper):
    photos(tmp_path / deeper, "cat", "owl")
    with pytest.raises(DataError, match=f"did you mean {tmp_path / deeper}"):
        load_splits(Data(path=str(tmp_path)), task_of(ImageClassification()))


def test_a_class_folder_is_answered_with_the_one_above(tmp_path):
    photos(tmp_path, "cat", "owl")
    assert f"if the folders of {tmp_path.resolve()} are the classes" in refusal(tmp_path / "cat")


def test_a_test_split_without_classes_is_noted_and_has_no_labels(tmp_path):
    photos(tmp_path / "train", "cat", "owl")
    lay(tmp_path, "test/0.png", "test/1.png", "val/0.png")
    source = read_source(Data(path=str(tmp_path)))
    assert source.splits["test"].column_names == ["image"]
    assert any("whose images have no class (val)" in note for note in source.notes)
    splits = load_splits(Data(path=str(tmp_path)), task_of(ImageClassification()))
    assert any("split 'test' has no column 'label'" in note for note in splits.notes)
    assert splits.test_split == "train"


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
@pytest.mark.parametrize("below", ["", "animals/"])
def test_a_table_in_each_split_names_the_images_there(tmp_path, suffix, below):
    for split, size in (("train", (4, 4)), ("test", (8, 8))):
        for number, name in enumerate(("cat", "owl")):
            (tmp_path / split / below / name).mkdir(parents=True)
            for place in (f"{number}.png", f"{below}{name}/{number}.png"):
                make_image("red", number, size).save(tmp_path / split / place)
        where = "{0}.png" if not below else below + "{1}/{0}.png"
        pairs = [(where.format(n, name), "ab"[n]) for n, name in enumerate(("cat", "owl"))]
        write_table(tmp_path / split / f"metadata{suffix}", pairs)
    source = read_source(Data(path=str(tmp_path)))
    assert source.splits["train"]["label"][:] == ["a", "b"]  # and not the folders' names
    for split, size in (("train", (4, 4)), ("test", (8, 8)), ("test[:50%]", (8, 8))):
        rows = as_images(source.splits[split[:5].strip("[")], "file", source.folder_of(split))
        assert open_rgb(rows[0]["file"]).size == size
    with pytest.raises(DataError, match="several folders"):
        source.folder_of("train[:50%]+test")


def test_a_class_may_be_called_like_a_split(tmp_path):
    lay(tmp_path, "bus/0.png", "car/0.png", "train/0.png")
    assert classes(tmp_path) == {"train": ["bus", "car", "train"]}
    assert notes(tmp_path) == ("folders called like splits are classes here: train",)
    lay(tmp_path, "train/old/0.png")
    assert "or say by --set data.folders=classes" in refusal(tmp_path)
    assert classes(tmp_path, folders="classes") == {"train": ["bus", "car", "train"]}


def test_a_split_beside_classes_is_no_class(tmp_path):
    lay(tmp_path, "cat/0.png", "owl/0.png", "test/cat/0.png", "test/owl/0.png")
    assert "beside the splits there is 'cat'" in refusal(tmp_path)


def test_a_folder_without_images_beside_the_splits_is_noted(tmp_path):
    lay(tmp_path, "train/cat/0.png", "train/owl/0.png", "notes/a.txt")
    assert notes(tmp_path) == ("not used: 1 folder without an image (notes)",)


def test_names_are_one_whether_accents_are_composed_or_not(tmp_path):
    name = "caf\u00e9"
    lay(tmp_path, f"train/{unicodedata.normalize('NFD', name)}/0.png", "train/tea/0.png")
    lay(tmp_path, f"test/{name}/0.png", f"test/{unicodedata.normalize('NFD', name)}/1.png")
    assert classes(tmp_path) == {"train": [name, "tea"], "test": [name]}


def test_links_are_followed_and_those_without_an_end_are_said(tmp_path):
    lay(tmp_path / "far", "a/0.png", "1.png")
    lay(tmp_path / "here", "cat/0.png", "owl/0.png")
    here = tmp_path / "here"
    (here / "cat" / "more").symlink_to(tmp_path / "far")
    (here / "cat" / "2.png").symlink_to(tmp_path / "far" / "1.png")
    (here / "cat" / "3.png").symlink_to("nowhere.png")
    (here / "cat" / "4.png").symlink_to("4.png")
    (here / "owl" / "back").symlink_to(here / "owl")
    (here / "bat").symlink_to(tmp_path / "far")
    assert [name for name, _ in found(here)["train"]] == ["bat"] * 2 + ["cat"] * 4 + ["owl"]
    said = notes(here)
    assert "not used: 2 links that lead nowhere (cat/3.png, cat/4.png)" in said
    assert any("links back to a folder" in note or "link back to a folder" in note for note in said)


def test_pipes_and_folders_called_like_files_are_no_rows(tmp_path):
    lay(tmp_path, "cat/0.png", "owl/0.png", "train.csv/0.png")
    os.mkfifo(tmp_path / "rows.csv")
    os.mkfifo(tmp_path / "cat" / "1.png")
    assert classes(tmp_path) == {"train": ["cat", "owl", "train.csv"]}
    assert "not used: 2 pipes, sockets or devices (rows.csv, cat/1.png)" in notes(tmp_path)


def test_names_of_any_kind_are_read_or_said(tmp_path):
    lay(tmp_path, "cat\nof mine/0.png", "-owl/a b.png", "[x]/d::x.png", "*/~.png")
    with open(os.fsencode(tmp_path) + b"/-owl/\xe9.png", "wb"):
        pass
    os.mkdir(os.fsencode(tmp_path) + b"/caf\xe9")
    assert classes(tmp_path) == {"train": ["*", "-owl", "[x]", "cat\nof mine"]}
    said = notes(tmp_path)
    assert any("1 folder whose names are not UTF-8" in note for note in said)
    assert all(note.isprintable() for note in said)


def test_what_ftkit_wrote_is_no_data(tmp_path, monkeypatch):
    lay(tmp_path, "cat/0.png", "owl/0.png")
    lay(tmp_path, "runs/one/recipe.json", "runs/one/run.json", "runs/one/plots/0.png")
    lay(tmp_path, "compared/comparison.json", "compared/report/0.png", "begun/recipe.json")
    lay(tmp_path, "sweep/study.journal", "sweep/x/0.png")
    lay(tmp_path, "begun/checks.json", "begun/plots/0.png", "cache/data/x/0.png")
    monkeypatch.setenv("FTKIT_CACHE", str(tmp_path / "cache"))
    assert classes(tmp_path) == {"train": ["cat", "owl"]}
    assert "5 folders that ftkit wrote (begun, cache, compared, sweep, runs/one)" in " ".join(
        notes(tmp_path)
    )


def test_what_is_neither_folder_nor_table_is_named(tmp_path, monkeypatch):
    lay(tmp_path, "cat/0.png", "cat/1.png")
    os.mkfifo(tmp_path / "rows.csv")
    (tmp_path / "gone").symlink_to("nowhere")
    assert "it is an image; expected the folder above" in refusal(tmp_path / "cat" / "0.png")
    assert "these are images; expected the folder above" in refusal(tmp_path / "cat" / "*.png")
    assert "it is a pipe, a socket or a device" in refusal(tmp_path / "rows.csv")
    assert "it is a link that leads nowhere" in refusal(tmp_path / "gone")
    for name in ("~nobody/x.csv", "/" + "x" * 300):
        assert "there is no such file or folder" in refusal(name)


@pytest.mark.parametrize(
    "name", ["new\nline", "d::e", "-dash", "a[1]*?", "caf\u00e9", "x.csv", "~/a"]
)
def test_a_path_is_a_name_and_no_pattern(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    lay(tmp_path / name.replace("~", "home"), "cat/0.png", "owl/0.png")
    assert classes(name) == {"train": ["cat", "owl"]}
    write_table(tmp_path / f"{name.replace('~', 'home')}.tsv", [("x.png", "cat")])
    assert len(read_source(Data(path=f"{name}.tsv")).splits["train"]) == 1
    other = unicodedata.normalize("NFD", name)
    assert classes(other) == {"train": ["cat", "owl"]}
