"""A table may be the work of others: what it names outside of the data's folder is not read."""

import os

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import COLOURS, make_image

from ftkit import Data, DataError, data_of
from ftkit.cli.main import main
from ftkit.recipe import ImageClassification
from ftkit.tasks import task_of
from ftkit.tasks.loading import load_splits
from ftkit.tasks.rows_to_answer import read_rows

TASK = ImageClassification(image="image", label="label")


@pytest.fixture
def place(tmp_path):
    """A folder of data, and one of images beside it."""
    for colour in COLOURS:
        for number in range(8):
            for folder in ("data/images", "secret"):
                (tmp_path / folder).mkdir(parents=True, exist_ok=True)
                make_image(colour, number).save(tmp_path / folder / f"{colour}{number}.png")
    (tmp_path / "data" / "link").symlink_to(tmp_path / "secret")
    (tmp_path / "data" / "linked.png").symlink_to(tmp_path / "secret" / "red0.png")
    return tmp_path / "data"


def names(folder):
    """Names of all images in a folder, and their labels."""
    files = [f"{colour}{number}.png" for colour in COLOURS for number in range(8)]
    prefix = f"{folder}/" if folder else ""
    return {"image": [prefix + name for name in files], "label": [name[:-5] for name in files]}


def written(place, kind, rows):
    """Write a table into the folder, and return what `--data` names."""
    frame = pd.DataFrame(rows)
    if kind == "csv":
        frame.to_csv(place / "rows.csv", index=False)
    elif kind == "jsonl":
        frame.to_json(place / "rows.jsonl", orient="records", lines=True)
    elif kind == "metadata":
        frame.to_csv(place / "metadata.csv", index=False)
    elif kind == "split":
        (place / "train").mkdir()
        for name in ("images", "link"):
            (place / name).rename(place / "train" / name)
        (place / "linked.png").unlink()
        deeper = [name.replace("../", "../../") for name in rows["image"]]
        frame.assign(image=deeper).to_csv(place / "train" / "metadata.csv", index=False)
    elif kind == "struct":
        images = [{"bytes": None, "path": str(place / name)} for name in rows["image"]]
        pq.write_table(pa.table({**rows, "image": images}), place / "rows.parquet")
    return str(place)


@pytest.mark.parametrize("kind", ["csv", "jsonl", "metadata", "split", "struct"])
@pytest.mark.parametrize("way", ["..", "whole", "link"])
def test_images_outside_are_read_only_when_the_command_says_so(kind, way, place):
    folder = {"..": "../secret", "whole": str(place.parent / "secret"), "link": "link"}[way]
    path = written(place, kind, names(folder))
    said = r"of \d+ rows name image files outside of .*--set data.outside=true"
    with pytest.raises(DataError, match=said):
        load_splits(Data(path=path), task_of(TASK))
    assert sum(load_splits(Data(path=path, outside=True), task_of(TASK)).counts().values()) == 24


@pytest.mark.parametrize("kind", ["csv", "metadata", "split", "struct"])
@pytest.mark.parametrize("folder", ["images", "images/../images"])
def test_images_inside_are_read(kind, folder, place):
    path = written(place, kind, names(folder))
    assert sum(load_splits(Data(path=path), task_of(TASK)).counts().values()) == 24


def test_a_single_link_that_leads_out_is_one(place):
    rows = names("images")
    rows["image"][-1] = "linked.png"
    with pytest.raises(DataError, match=r"name image files outside .*linked.png"):
        load_splits(Data(path=written(place, "csv", rows)), task_of(TASK))


def test_a_folder_that_the_command_names_is_not_outside(place):
    written(place, "csv", names(""))
    data = Data(path=str(place / "rows.csv"))
    for images in ("../secret", f"{place.parent}/secret/*"):
        asked = data.model_copy(update={"images": images})
        assert sum(load_splits(asked, task_of(TASK)).counts().values()) == 24
    written(place, "csv", names("../../secret"))
    with pytest.raises(DataError, match="outside"):
        load_splits(data.model_copy(update={"images": "images"}), task_of(TASK))


def test_images_in_class_folders_may_be_links(place):
    for colour in COLOURS:
        (place.parent / "classes" / colour).mkdir(parents=True)
        for number in range(8):
            there = place.parent / "secret" / f"{colour}{number}.png"
            os.symlink(there, place.parent / "classes" / colour / there.name)
    splits = load_splits(Data(path=str(place.parent / "classes")), task_of(ImageClassification()))
    assert sum(splits.counts().values()) == 24


def test_answers_too_are_given_to_images_inside_alone(place):
    path = written(place, "csv", names("../secret")) + "/rows.csv"
    with pytest.raises(DataError, match=r"outside of .*data.outside=true"):
        read_rows([path], task_of(TASK), tuple(COLOURS), data=Data(path="x"))
    assert (
        len(
            read_rows([path], task_of(TASK), tuple(COLOURS), data=Data(path="x", outside=True)).rows
        )
        == 24
    )
    file = str(place.parent / "secret" / "red0.png")  # which the command names
    assert len(read_rows([file], task_of(TASK), tuple(COLOURS)).rows) == 1


def test_a_program_s_own_rows_may_name_any_file(place, monkeypatch, tmp_path):
    monkeypatch.setenv("FTKIT_CACHE", str(tmp_path / "cache"))
    data = data_of(pd.DataFrame(names(str(place.parent / "secret"))))
    assert sum(load_splits(data, task_of(TASK)).counts().values()) == 24
    assert not data_of(pd.DataFrame({"text": ["a"], "label": ["b"]})).outside


@pytest.mark.parametrize("command", ["check", "train"])
def test_a_command_says_it_in_one_line(command, place, tiny_recipe, capsys):
    file = place.parent / "tiny.json"
    file.write_text(tiny_recipe.override({"data.outside": True}).to_json())
    words = [command, str(file), "--data", written(place, "csv", names("../secret"))]
    assert main(words) == 2
    said = capsys.readouterr().err
    assert said.count("error: ") == 1
    assert "--set data.outside=true" in said
