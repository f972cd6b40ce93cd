"""A finished run whose files were damaged is refused in one line that names the file."""

import json
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import leave_unverified
from perceptrons import of_flowers

from ftkit import ModelError, RunError, RunResult, finetune, load_perceptron
from ftkit.backbones.pretrained import source_of
from ftkit.cli.main import main
from ftkit.compare.finished_runs import Run, read_runs
from ftkit.compare.ladder import build_ladder
from ftkit.compare.predictions import read_predictions
from ftkit.compare.run_ladder import find_run
from ftkit.publishing.push import publish
from ftkit.recipe import Backbone, Recipe
from ftkit.runs.finished import read_finished, read_journal, require_verified


@pytest.fixture(scope="module")
def flowers(tmp_path_factory):
    """A run of a small perceptron, and one with another seed."""
    root = tmp_path_factory.mktemp("flowers")
    with pytest.MonkeyPatch.context() as patch:
        leave_unverified(patch)
        recipe = of_flowers(root)
        for seed, name in enumerate(("run", "other")):
            finetune(recipe.override({"train.epochs": 2, "train.seed": seed}), root / name)
    return root


@pytest.fixture
def run(flowers, tmp_path):
    return shutil.copytree(flowers / "run", tmp_path / "run")


@pytest.fixture
def vit(finished_run, tmp_path):
    return shutil.copytree(finished_run, tmp_path / "vit")


def flip(file):
    content = bytearray(file.read_bytes())
    content[-5] ^= 0x40
    file.write_bytes(content)


def test_a_run_knows_the_checksum_of_every_file_of_its_model_but_the_card(vit):
    names = {file.name for file in (vit / "model").iterdir()}
    assert {"README.md", "preprocessor_config.json"} <= names
    assert set(read_finished(vit).model_sha256) == names - {"README.md"}
    (vit / "model" / "README.md").write_text("# Mine")
    (vit / "model" / "notes.txt").write_text("remember")
    assert read_finished(vit).status == "complete"


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "preprocessor_config.json"])
def test_a_changed_or_missing_file_of_the_model_is_refused_by_all_that_load_it(
    name, vit, class_folders, capsys
):
    file = vit / "model" / name
    image = str(next(class_folders.rglob("*.png")))
    for act, said in ((flip, "has changed"), (type(file).unlink, "is gone")):
        act(file)
        assert main(["predict", str(vit), image]) == 2
        assert f"{name} {said}" in capsys.readouterr().err.splitlines()[-1]
        assert main(["compare", str(vit)]) == 2
        assert f"{name} {said}" in capsys.readouterr().err.splitlines()[-1]
        with pytest.raises(RunError, match=f"{name} {said}"):
            publish(vit, "alice/vit")
        with pytest.raises((RunError, ModelError), match=f"{name} {said}|no config"):
            source_of(Backbone(id=str(vit / "model")))
        recipe = Recipe.from_json((vit / "recipe.json").read_text())
        with pytest.raises(RunError, match=f"{name} {said}"):
            finetune(recipe, vit, resume=True)


def test_what_is_added_to_the_files_that_are_loaded_is_refused(vit):
    (vit / "model" / "adapter_config.json").write_text("{}")
    with pytest.raises(RunError, match=r"adapter_config\.json was added"):
        read_finished(vit)


def test_a_changed_perceptron_is_refused_by_all_that_load_it(run, capsys):
    flip(run / "model" / "model.safetensors")
    recipe = Recipe.from_json((run / "recipe.json").read_text())
    for where in (run, run / "model"):
        with pytest.raises(RunError, match=r"model\.safetensors has changed"):
            load_perceptron(where)
        with pytest.raises(RunError, match=r"model\.safetensors has changed"):
            finetune(recipe.override({"backbone.start": str(where)}), run.with_name("new"))
    for words in (["play", "tictactoe"], ["mlp", "show"], ["mlp", "check"]):
        assert main([*words, str(run)]) == 2
        assert "model.safetensors has changed" in capsys.readouterr().err.splitlines()[-1]


def test_a_run_of_a_version_that_noted_weights_alone_works_and_it_is_said_once(
    vit, class_folders, caplog
):
    values = json.loads((vit / "run.json").read_text())
    kept = {n: s for n, s in values["model_sha256"].items() if n.endswith(".safetensors")}
    (vit / "run.json").write_text(json.dumps(values | {"model_sha256": kept}))
    with caplog.at_level("INFO", "ftkit"):
        assert main(["predict", str(vit), str(next(class_folders.rglob("*.png")))]) == 0
    assert len([said for said in caplog.messages if "an earlier version wrote" in said]) == 1
    flip(vit / "model" / "model.safetensors")
    with pytest.raises(RunError, match="has changed"):
        require_verified(vit / "model")


def test_a_copy_of_a_model_alone_is_taken_as_it_is(vit, tmp_path):
    shutil.copytree(vit / "model", tmp_path / "copy")
    flip(tmp_path / "copy" / "config.json")
    require_verified(tmp_path / "copy")


DAMAGES = {
    "cut": lambda file: file.write_bytes(file.read_bytes()[:50]),
    "empty": lambda file: file.write_bytes(b""),
    "not UTF-8": lambda file: file.write_bytes(b"\xff\x96"),
    "a list": lambda file: file.write_text("[]"),
    "no number": lambda file: file.write_text("NaN"),
    "deep": lambda file: file.write_text("[" * 100_000),
    "a folder": lambda file: (file.unlink(), file.mkdir()),
    "a circle": lambda file: (file.unlink(), file.symlink_to(file.name)),
    "gone": lambda file: file.unlink(),
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", ["recipe.json", "run.json", "model/config.json"])
def test_a_damaged_record_is_one_line_and_a_comparison_goes_on_without_it(
    name, damage, run, flowers, capsys, caplog
):
    DAMAGES[damage](run / name)
    assert main(["predict", str(run), str(flowers / "flowers.csv")]) == 2
    said = capsys.readouterr().err
    assert "error:" in said.splitlines()[-1]
    assert name in said.splitlines()[-1]
    assert "Traceback" not in said
    assert main(["compare", str(run), str(flowers / "other")]) == 0
    assert any(one.startswith("left out:") and name in one for one in caplog.messages)
    assert "mlp-flowers" in capsys.readouterr().out


@pytest.mark.parametrize(
    "changes",
    [
        {"metrics": {}},
        {"strategy": {}},
        {"task": []},
        {"task": {"kind": 1}},
        {"n": 10**400},
        {"n": -1},
        {"peak_memory_bytes": {}},
        {"model_bytes": 10**30},
        {"seconds": {"data": 1e308, "features": 0, "train": 0, "evaluate": 0, "total": 0}},
        {"metrics": {"accuracy": {"value": float("nan"), "low": 0, "high": 1, "method": ""}}},
    ],
)
def test_a_record_of_wrong_values_is_none(changes, run):
    values = json.loads((run / "run.json").read_text()) | changes
    (run / "run.json").write_text(json.dumps(values))
    with pytest.raises(RunError, match=r"run\.json is not the record of a run: "):
        RunResult.read(run)


@pytest.mark.parametrize(
    "line",
    ['{"step": 1', "7", '{"step": "x", "epoch": 1, "seconds": 1}', "\xff", "[]"],
)
def test_a_damaged_log_is_one_line_and_the_report_goes_on_without_its_curve(
    line, run, flowers, tmp_path, caplog
):
    with (run / "log.jsonl").open("ab") as file:
        file.write(line.encode("latin-1") + b"\n")
    with pytest.raises(RunError, match=r"log\.jsonl") as told:
        read_journal(run)
    assert "\n" not in str(told.value)
    assert main(["compare", str(run), str(flowers / "other"), "--out", str(tmp_path / "out")]) == 0
    assert any("log.jsonl" in said for said in caplog.messages)
    assert main(["mlp", "show", str(run)]) == 2


def without(name):
    return lambda table: table.drop_columns([name])


def instead(name, value):
    def change(table):
        values = pa.array([value] * len(table))
        return table.set_column(table.column_names.index(name), name, values)

    return change


@pytest.mark.parametrize(
    "change",
    [
        *(without(name) for name in ("index", "label", "prediction")),
        instead("index", None),
        instead("index", 1),
        instead("index", "x"),
        instead("label", None),
        instead("prediction", None),
        lambda table: table.slice(0, 3),
        lambda table: table.slice(0, 0),
    ],
)
def test_damaged_predictions_are_said_and_the_comparison_goes_on(
    change, run, flowers, tmp_path, capsys
):
    file = run / "predictions.parquet"
    pq.write_table(change(pq.read_table(file)), file)
    out = str(tmp_path / "out")
    assert main(["compare", str(run), str(flowers / "other"), "--out", out]) == 0
    assert "predictions" in capsys.readouterr().out


@pytest.mark.parametrize("damage", DAMAGES)
def test_predictions_that_are_no_table_are_a_run_error(damage, run):
    DAMAGES[damage](run / "predictions.parquet")
    with pytest.raises(RunError, match="predictions"):
        read_predictions(Run("mlp", run, RunResult.read(run)))


def test_of_two_damaged_runs_the_first_is_named(run, flowers, tmp_path):
    (run / "run.json").unlink()
    with pytest.raises(RunError, match="run is not finished"):
        read_runs([run, tmp_path / "nowhere"])
    (left,) = read_runs([run, tmp_path / "nowhere", flowers / "run"])
    assert left.folder == flowers / "run"


def test_a_comparison_of_recipes_takes_no_damaged_run(flowers, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    recipe = Recipe.from_json((flowers / "run" / "recipe.json").read_text())
    (rung,) = build_ladder([recipe], ["mlp"]).rungs
    usual = shutil.copytree(flowers / "run", tmp_path / "runs" / rung.folder)
    assert find_run(rung, rung.recipe, tmp_path / "out") == (usual.relative_to(tmp_path), True)
    flip(usual / "model" / "model.safetensors")
    assert find_run(rung, rung.recipe, tmp_path / "out") == (tmp_path / "out" / rung.folder, False)


def test_a_comparison_finds_a_run_in_runs_by_its_settings(flowers, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    recipe = Recipe.from_json((flowers / "run" / "recipe.json").read_text())
    (rung,) = build_ladder([recipe], ["mlp"]).rungs
    shutil.copytree(flowers / "run", tmp_path / "runs" / "mine")
    assert find_run(rung, rung.recipe, tmp_path / "out") == (Path("runs/mine"), True)
    other = recipe.override({"train.epochs": recipe.train.epochs + 1})
    assert find_run(rung, other, tmp_path / "out") == (tmp_path / "out" / rung.folder, False)


def test_a_baseline_has_no_model_to_predict_with(flowers, tmp_path, capsys):
    recipe = str(flowers / "run" / "recipe.json")
    out = tmp_path / "out"
    assert main(["compare", recipe, "--strategies", "majority", "--out", str(out)]) == 0
    (baseline,) = (file.parent for file in out.glob("*/run.json"))
    assert main(["predict", str(baseline), str(flowers / "flowers.csv")]) == 2
    assert "is a baseline (majority), which leaves no model" in capsys.readouterr().err
