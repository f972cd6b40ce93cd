"""What `ftkit predict` takes for images, and that its answers take nobody's place."""

import numpy as np
import pandas as pd
import pytest
from conftest import COLOURS, make_image

from ftkit import DataError, RunError
from ftkit.prediction.answers import Predictions, require_free
from ftkit.prediction.predict import predict
from ftkit.recipe import Data, ImageClassification
from ftkit.tasks import task_of
from ftkit.tasks.rows_to_answer import read_rows

NAMES = tuple(COLOURS)
TASK = ImageClassification(image="image", label="label")


@pytest.fixture
def holiday(tmp_path):
    root = tmp_path / "holiday"
    for name in ("1.png", "2.PNG", "day one/3.png", "day one/late/4.png", "[5]/a.png"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        make_image("red", 0).save(root / name, "png")
    (root / "notes.txt").write_text("words")
    (root / "names.csv").write_text("a,b\n1,2\n")
    (root / "IMG_1.HEIC").write_bytes(b"\0\0\0\x18ftypheic")
    return root


def answered(*inputs, **settings):
    given = read_rows([str(each) for each in inputs], task_of(TASK), NAMES, **settings)
    return [row["path"] for row in given.rows["image"]], given


def test_all_images_below_a_folder_are_answered_and_the_rest_is_named(holiday):
    files, given = answered(holiday)
    assert files == [
        str(holiday / name)
        for name in ("1.png", "2.PNG", "[5]/a.png", "day one/3.png", "day one/late/4.png")
    ]
    assert not given.labelled.any()
    said = " ".join(given.notes)
    assert "not used: 2 files other than images" in said
    assert "names.csv" in said
    assert f"({holiday / 'IMG_1.HEIC'}): HEIC is not read here" in said


def test_folders_below_need_no_image_beside_them(holiday):
    for file in (*holiday.glob("*.*"),):
        file.unlink()
    assert len(answered(holiday)[0]) == 3


@pytest.mark.parametrize(
    ("pattern", "count"), [("*.png", 1), ("**/*.png", 4), ("*", 5), ("[5]", 1), ("day*", 2)]
)
def test_a_pattern_names_images_and_folders_unless_something_is_called_so(holiday, pattern, count):
    assert len(answered(holiday / pattern)[0]) == count


def test_words_of_several_kinds_are_sorted_out(holiday):
    files, given = answered(holiday / "notes.txt", holiday / "1.png", holiday / "[5]")
    assert len(files) == 2
    assert f"not used: 1 file other than images ({holiday / 'notes.txt'})" in given.notes
    with pytest.raises(DataError, match=r"no\.png': there is no such file"):
        answered(holiday / "1.png", holiday / "no.png")


def test_folders_called_like_classes_are_labels_and_others_are_not(tmp_path):
    for name in ("red", "may"):
        (tmp_path / name).mkdir()
        make_image("red", 1).save(tmp_path / name / "1.png")
    assert answered(tmp_path)[1].labelled.tolist() == [False, True]
    assert answered(tmp_path / "red")[1].labelled.tolist() == [False]


def test_a_flat_test_split_is_answered(tmp_path):
    for name in ("train/red/0.png", "train/blue/0.png", "test/5.png", "test/6.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        make_image("red", 1).save(tmp_path / name)
    files, given = answered(tmp_path)
    assert [file.rpartition("/")[2] for file in files] == ["5.png", "6.png"]
    assert not given.labelled.any()


def test_the_pattern_of_the_run_completes_names(tmp_path):
    make_image("red", 1).save(tmp_path / "007.png")
    (tmp_path / "new.csv").write_text("image\n007\n")
    data = Data(path="anywhere", images="*.png")
    assert answered(tmp_path / "new.csv", data=data)[0] == [str(tmp_path.resolve() / "007.png")]


def test_a_folder_of_a_run_holds_no_images_to_answer(finished_run):
    with pytest.raises(DataError, match="ftkit wrote this folder"):
        answered(finished_run)


def test_of_an_animation_one_frame_is_answered_and_it_is_said(tmp_path):
    frames = [make_image("red", number) for number in range(3)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    assert "1 row is of several frames or pages" in " ".join(answered(tmp_path)[1].notes)


ANSWERS = Predictions({"index": np.arange(2), "prediction": ["red", "blue"]}, {})


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_answers_are_written_whole_or_not_at_all(tmp_path, suffix, monkeypatch):
    file = tmp_path / f"a{suffix}"
    file.write_text("before")
    with monkeypatch.context() as patched:
        for name in ("to_parquet", "to_json"):
            patched.setattr(pd.DataFrame, name, lambda *_, **__: 1 / 0)
        patched.setattr(Predictions, "to_csv", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            ANSWERS.write(file)
    assert file.read_text() == "before"
    ANSWERS.write(file)
    assert [path.name for path in tmp_path.iterdir()] == [file.name]
    assert b"blue" in file.read_bytes()


def test_answers_take_nobodys_place(tmp_path):
    rows, run = tmp_path / "rows", tmp_path / "run"
    for folder in (rows, run):
        folder.mkdir()
    for file in (rows / "new.csv", run / "recipe.json", run / "run.json", tmp_path / "old.csv"):
        file.write_text("a\n")
    (tmp_path / "link.csv").symlink_to(rows / "new.csv")

    def refusal(out, *inputs, overwrite=True):
        with pytest.raises(RunError) as caught:
            require_free(tmp_path / out, [str(tmp_path / each) for each in inputs], overwrite)
        return str(caught.value)

    for out in ("rows/new.csv", "link.csv"):
        assert "these rows are to be answered" in refusal(out, "rows/new.csv")
        assert "these rows are to be answered" in refusal(out, "rows/n*.csv")
    assert "it would lie among the rows" in refusal("rows/a.csv", "rows")
    assert "a file of a run" in refusal("run/predictions.parquet", "rows")
    assert "it is there already" in refusal("old.csv", "rows", overwrite=False)
    (tmp_path / "folder.csv").mkdir()
    assert "it is a folder" in refusal("folder.csv", "rows")
    require_free(tmp_path / "old.csv", ["rows", "some long words " * 30], True)
    require_free(tmp_path / "new.csv", ["rows"], False)


def test_all_of_a_folder_is_answered_by_a_run(finished_run, holiday, caplog):
    caplog.set_level("INFO")
    assert len(predict(finished_run, [str(holiday)])) == 5
    assert "not used: 2 files other than images" in caplog.text
