"""`ftkit check`: faults and plan, on the screen or as JSON, status 2 where there are errors."""

import json

import numpy as np
import pandas as pd
import pytest
from conftest import make_image

from ftkit import Data, finetune
from ftkit.cli.main import main
from ftkit.planning.check import check
from ftkit.recipe import Mlp, Recipe, TextClassification, Train
from ftkit.tasks.inputs import first_rows


@pytest.fixture
def frames():
    """Train and test rows without a fault: sentences about numbers, odd or even."""
    words = ("none", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
    rows = [
        {"text": f"{words[a]} and {words[b]} and {words[c]}", "label": ("even", "odd")[c % 2]}
        for a in range(5)
        for b in range(10)
        for c in range(10)
    ]
    frame = pd.DataFrame(rows).sample(frac=1, random_state=0)
    return frame[:400].reset_index(drop=True), frame[400:].reset_index(drop=True)


@pytest.fixture
def recipe(tmp_path):
    return Recipe(
        name="mlp-numbers",
        data=Data(path=str(tmp_path / "rows")),
        backbone=Mlp(hidden=(8,), buckets=64),
        task=TextClassification(),
        train=Train(epochs=2),
    )


def save(tmp_path, train, test):
    (tmp_path / "rows").mkdir(exist_ok=True)
    train.to_csv(tmp_path / "rows" / "train.csv", index=False)
    test.to_csv(tmp_path / "rows" / "test.csv", index=False)


def test_a_clean_set_has_a_plan_and_no_findings(frames, recipe, tmp_path):
    save(tmp_path, *frames)
    report = check(recipe, "ftkit train mlp-numbers")
    assert report.findings == ()
    assert report.splits["train"]["rows"] == 360
    lines = "\n".join(report.lines())
    assert "nothing odd was found" in lines
    assert "run        ftkit train mlp-numbers" in lines
    assert report.plan.estimate.steps == 2 * 12
    assert report.plan.parameters_total == 64 * 8 + 8 + 8 * 2 + 2
    assert report.plan.estimate.peak_memory_bytes["host"] > 1e7


def test_few_test_rows_are_said_to_tell_little(frames, recipe, tmp_path):
    train, test = frames
    save(tmp_path, train, test)
    assert "there are only" not in "\n".join(check(recipe).notes)  # 100 of them
    save(tmp_path, train, test[:20])
    (said,) = [note for note in check(recipe).notes if "there are only" in note]
    assert said == (  # Wilson's interval of 16 in 20
        "there are only 20 test rows: a model that is right in 80 % of them may be right in 58 to "
        "92 % of all others (95 %); more of them would narrow that"
    )


def plant(frames, tmp_path):
    train, test = frames
    test.iloc[:5] = train.iloc[:5]
    test.iloc[5] = train.iloc[5].str.upper()
    test.loc[5, "label"] = train.loc[5, "label"]
    train.loc[7, "text"] = ""
    test.loc[9, "label"] = "neither"
    save(tmp_path, train, test)


def test_errors_are_all_told_at_once_with_status_2(frames, recipe, tmp_path, capsys):
    plant(frames, tmp_path)
    (tmp_path / "mine.json").write_text(recipe.to_json())
    before = sorted(tmp_path.rglob("*"))
    assert main(["check", str(tmp_path / "mine.json")]) == 2
    out, err = capsys.readouterr()
    assert "error      class 'neither' has 1 row in test and none in train: test 9" in out
    assert "error      1 row cannot be used, the text is empty" in out
    assert "warning    5 rows of test are also in train (5.00%): train 0 = test 0" in out
    assert "warning    1 row of test is equal but for case" in out
    assert "run        " not in out
    assert "training would refuse this data: 1 row cannot be used" in err
    assert "(and 1 more)" in err
    assert main(["train", str(tmp_path / "mine.json"), "--out", str(tmp_path / "run")]) == 2
    assert sorted(tmp_path.rglob("*")) == before


def test_a_file_that_cannot_be_read_is_a_finding_too(recipe, tmp_path, capsys):
    (tmp_path / "rows").mkdir()
    (tmp_path / "rows" / "train.csv").write_text("text,label\na,b\nc\n")
    (tmp_path / "mine.json").write_text(recipe.to_json())
    assert main(["check", str(tmp_path / "mine.json"), "--json"]) == 2
    out, err = capsys.readouterr()
    (finding,) = json.loads(out)["findings"]
    assert finding["severity"] == "error"
    assert "line 3 (row 1): 1 field where the header has 2" in finding["message"]
    assert finding["message"] in err


def test_json_holds_all_of_it(frames, recipe, tmp_path, capsys):
    plant(frames, tmp_path)
    (tmp_path / "mine.json").write_text(recipe.to_json())
    assert main(["check", str(tmp_path / "mine.json"), "--json"]) == 2
    found = json.loads(capsys.readouterr().out)
    assert found["plan"] is None
    assert {"severity", "message", "examples"} == set(found["findings"][0])
    (leak,) = [f for f in found["findings"] if "also in train" in f["message"]]
    assert leak["examples"][0] == {"train": [0], "test": [0]}


def test_rows_without_labels_are_an_error_too(frames, recipe, tmp_path):
    train, test = frames
    train.loc[3, "label"] = None
    save(tmp_path, train, test)
    report = check(recipe)
    assert report.plan is None
    assert "1 row has no label" in report.findings[0].message
    assert not [note for note in report.notes if "no label" in note]
    assert len(report.errors) == 1


def test_what_is_odd_stands_in_the_run_folder(frames, recipe, tmp_path):
    train, test = frames
    test.iloc[:5] = train.iloc[:5]
    save(tmp_path, train, test)
    finetune(recipe, tmp_path / "run")
    (finding,) = json.loads((tmp_path / "run" / "checks.json").read_text())["findings"]
    assert finding["message"].startswith("5 rows of test are also in train")


@pytest.mark.parametrize("strategy", ["full", "head", "lora", "lpft"])
def test_steps_of_a_real_model_are_measured(tiny_recipe, strategy, capsys, tmp_path):
    recipe = tiny_recipe.with_strategy(strategy)
    report = check(recipe)
    plan = report.plan
    per_epoch = int(np.ceil(51 / 8))
    least = int(np.ceil(500 / per_epoch))  # epochs of a head on cached features
    assert plan.estimate.steps == (least if strategy == "head" else 2) * per_epoch
    assert (plan.estimate.seconds_per_step == 0) == (strategy == "head")
    assert plan.estimate.seconds > 0
    assert plan.batch == (1, 8, 1)
    assert plan.parameters_trained < plan.parameters_total or strategy in ("full", "lpft")


def test_the_command_trains_what_was_checked(capsys):
    words = ["mlp-digits", "--strategy", "head", "--epochs", "1", "--set", "backbone.hidden=[9, 8]"]
    assert main(["check", *words]) == 0
    run = capsys.readouterr().out.strip().splitlines()[-1]
    assert run == (
        "run        ftkit train mlp-digits --strategy head --epochs 1 "
        "--set 'backbone.hidden=[9, 8]'"
    )


def test_a_few_rows_keep_the_keys_of_all():
    class Keys:
        labels = np.arange(10)

        def __len__(self):
            return 10

        def __getitem__(self, key):
            return {"key": key}

    rows = first_rows(Keys(), 4)
    assert len(rows) == 4
    assert [rows[key]["key"] for key in (0, 3, 4, 11)] == [0, 3, 10, 23]
    assert rows.labels.tolist() == [0, 1, 2, 3]


def test_files_of_images_are_named_on_the_screen_in_json_and_in_the_error(tmp_path, capsys):
    for colour in ("red", "blue"):
        (tmp_path / "photos" / colour).mkdir(parents=True)
        for number in range(6):
            make_image(colour, number).save(tmp_path / "photos" / colour / f"{number}.png")
    (tmp_path / "photos" / "red" / "2.png").write_bytes(b"broken")
    words = ["check", "mlp-digits", "--data", str(tmp_path / "photos")]
    assert main(words) == 2
    out, err = capsys.readouterr()
    assert "(red/2.png)" in out
    assert "(red/2.png)" in err
    assert main([*words, "--json"]) == 2
    (found,) = [
        f for f in json.loads(capsys.readouterr().out)["findings"] if f["severity"] == "error"
    ]
    assert list(found["files"].values()) == ["red/2.png"]
