"""A run knows the rows that it began with, whatever the names and times of their files."""

import os

import pytest
from conftest import leave_unverified, make_image

from ftkit import (
    Data,
    ImageClassification,
    Mlp,
    Recipe,
    RunError,
    TextClassification,
    Train,
    finetune,
)
from ftkit.data.split_fingerprint import fingerprint, what_changed
from ftkit.finetuning.folder import require_same_rows, write_checks
from ftkit.tasks import task_of
from ftkit.tasks.loading import load_splits

WORDS = ["sun", "rain", "snow", "wind", "fog", "hail", "ice"]


def table(file, odd=None, **other):
    lines = [f"{WORDS[n % 7]} of day {n},{'ab'[n % 2]}" for n in range(40)]
    for row, line in (odd or {}).items():
        lines[row] = line
    file.write_text("\n".join(["text,label", *lines]))
    os.utime(file, (1e9, 1e9))
    return Data(path=str(file), **other)


def prints_of(data, task=None):
    return fingerprint(load_splits(data, task_of(task or TextClassification())))


def test_rows_are_told_by_their_content(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    before = prints_of(table(tmp_path / "rows.csv"))
    assert what_changed(before, prints_of(table(tmp_path / "elsewhere" / "copy.csv"))) == ""
    every = {row: f"{WORDS[row % 7]} of day {row},{'ba'[row % 2]}" for row in range(40)}
    labels = what_changed(before, prints_of(table(tmp_path / "rows.csv", every)))
    assert labels == "train has other labels, validation has other labels, test has other labels"
    text = prints_of(table(tmp_path / "rows.csv", {0: "cold day 0,a"}))
    assert what_changed(before, text).endswith("has other inputs")
    more = prints_of(table(tmp_path / "rows.csv", {0: "sun,a\nice,b"}))
    assert "rows, before" in what_changed(before, more)
    assert what_changed({}, before) == ""


def test_images_are_told_by_their_files(tmp_path):
    for number in range(12):
        folder = tmp_path / "photos" / ("red", "blue")[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        make_image(folder.name, number).save(folder / f"{number}.png")
    data = Data(path=str(tmp_path / "photos"))
    before = prints_of(data, ImageClassification())
    os.rename(tmp_path / "photos", tmp_path / "moved")
    data = Data(path=str(tmp_path / "moved"))
    assert what_changed(before, prints_of(data, ImageClassification())) == ""
    make_image("red", 99).save(tmp_path / "moved" / "red" / "0.png")
    assert "has other inputs" in what_changed(before, prints_of(data, ImageClassification()))


def test_an_unfinished_run_does_not_go_on_with_other_rows(tmp_path, caplog):
    splits = load_splits(table(tmp_path / "rows.csv"), task_of(TextClassification()))
    write_checks(tmp_path, splits)
    require_same_rows(tmp_path, splits, anyway=False)
    other = load_splits(table(tmp_path / "rows.csv", {3: "x,a"}), task_of(TextClassification()))
    with pytest.raises(RunError, match=r"began with other rows \(.* has other .*resume-anyway"):
        require_same_rows(tmp_path, other, anyway=False)
    caplog.set_level("INFO")
    require_same_rows(tmp_path, other, anyway=True)
    assert "going on with other rows" in caplog.text
    (tmp_path / "checks.json").write_text('{"findings": []}')  # as earlier versions wrote it
    require_same_rows(tmp_path, other, anyway=False)


def test_a_finished_run_is_not_that_of_other_rows(tmp_path, monkeypatch):
    leave_unverified(monkeypatch)
    recipe = Recipe(
        name="mlp-words",
        data=table(tmp_path / "rows.csv"),
        backbone=Mlp(hidden=(4,)),
        task=TextClassification(),
        train=Train(epochs=1),
    )
    first = finetune(recipe, tmp_path / "run")
    assert finetune(recipe, tmp_path / "run", resume=True).metrics == first.metrics
    table(tmp_path / "rows.csv", {3: "wind of day 3,a"})
    with pytest.raises(RunError, match="began with other rows"):
        finetune(recipe, tmp_path / "run", resume=True)
    (tmp_path / "rows.csv").unlink()  # its figures stay, also without its rows
    assert finetune(recipe, tmp_path / "run", resume=True).metrics == first.metrics
