"""The perceptron by hand in the main path: the same run folder as any backbone."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from huggingface_hub import ModelCard
from perceptrons import weights
from PIL import Image
from test_launch import launch

from ftkit import (
    finetune,
    load_perceptron,
    registry,
)
from ftkit.perceptron.estimators import load

ROOT = Path(__file__).resolve().parent.parent


def kept(folder):
    """Return the figures of the best validation in a log: the highest accuracy, then the loss."""
    entries = [json.loads(line) for line in (folder / "log.jsonl").open()]
    found = [entry for entry in entries if "validation_loss" in entry]
    best = max(found, key=lambda e: (e["validation_accuracy"], -e["validation_loss"]))
    return {n.removeprefix("validation_"): v for n, v in best.items() if "validation_" in n}


def test_images_give_the_run_folder_of_any_backbone(colours, class_folders, tmp_path, caplog):
    with caplog.at_level("INFO", logger="ftkit"):
        result = finetune(colours, tmp_path / "run")
    assert "task.augment is not used" in caplog.text
    assert result.metrics["accuracy"].value > 0.9  # colours are easy
    assert result.task["kind"] == "image-classification"
    assert result.validation == kept(tmp_path / "run")
    assert result.parameters_trained == result.parameters_total == 108 * 16 + 16 + 17 * 8 + 9 * 3
    for name in ("recipe.json", "run.json", "log.jsonl", "predictions.parquet"):
        assert (tmp_path / "run" / name).is_file()
    for name in ("learning_curve", "confusion_matrix"):
        assert (tmp_path / "run" / "plots" / f"{name}.png").is_file()
    assert not (tmp_path / "run" / "checkpoints").exists()

    card = ModelCard.load(tmp_path / "run" / "model" / "README.md")
    assert card.data.library_name == "ftkit"
    figures = {found.metric_type: found.metric_value for found in card.data.eval_results}
    assert figures["accuracy"] == pytest.approx(result.metrics["accuracy"].value, abs=1e-6)

    model = load_perceptron(tmp_path / "run" / "model")
    pictures = [Image.open(class_folders / "red" / "000.png")]
    assert model.predict(pictures).tolist() == ["red"]


def test_predictions_are_those_of_the_loaded_model(flowers, tmp_path, cold):
    finetune(flowers, tmp_path / "run")
    table = pq.read_table(tmp_path / "run" / "predictions.parquet").to_pydict()
    rows = [line.split(",")[:2] for line in Path(flowers.data.path).read_text().splitlines()[1:]]
    inputs = np.array(rows, float)[table["index"]]
    model = load_perceptron(tmp_path / "run" / "model")
    assert model.predict(inputs).tolist() == table["prediction"]
    assert np.allclose(model.predict_proba(inputs), table["probability"], atol=1e-5)
    # the folder is an estimator's too, on encoded rows
    assert (
        load(tmp_path / "run" / "model").predict(model.encoder.encode(inputs)).tolist()
        == (table["prediction"])
    )


def test_a_regression_learns_in_the_units_of_its_labels(tmp_path):
    recipe = registry.find("mlp-diabetes").override({"train.epochs": 30})
    result = finetune(recipe, tmp_path / "run")
    assert list(result.metrics) == ["r2", "rmse", "mae"]
    assert result.metrics["r2"].value > 0.35
    assert result.metrics["r2"].low < result.metrics["r2"].value < result.metrics["r2"].high
    table = pq.read_table(tmp_path / "run" / "predictions.parquet").to_pydict()
    errors = np.array(table["prediction"]) - np.array(table["label"])
    assert result.metrics["rmse"].value == pytest.approx(np.sqrt((errors**2).mean()), rel=1e-6)
    assert set(table) == {"index", "label", "prediction"}
    assert (tmp_path / "run" / "plots" / "predictions.png").is_file()
    lines = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").open()]
    losses = [
        (e["loss"], f["validation_loss"]) for e, f in zip(lines[::2], lines[1::2], strict=True)
    ]
    assert all(0.2 < train / validation < 5 for train, validation in losses)  # one unit
    # going on from it starts where it ended, not in other units
    again = recipe.override({"backbone.start": str(tmp_path / "run" / "model"), "train.epochs": 1})
    again = again.override({"strategy.learning_rate": 1e-6})
    first = finetune(again, tmp_path / "again")
    assert first.metrics["r2"].value == pytest.approx(result.metrics["r2"].value, abs=0.02)


def test_text_is_hashed_n_grams(tmp_path):
    recipe = registry.find("mlp-text").override({"data.train_rows": 2000, "train.epochs": 4})
    result = finetune(recipe, tmp_path / "run")
    assert result.metrics["accuracy"].value > 0.5  # of 12 languages
    model = load_perceptron(tmp_path / "run" / "model")
    assert model.predict(["Vereinigtes Königreich", "Türk lirası"]).tolist() == ["de", "tr"]


def test_the_best_epoch_is_kept(colours, tmp_path, unverified):
    recipe = colours.override({"train.epochs": 6, "strategy.learning_rate": 3e-2})
    finetune(recipe, tmp_path / "run")
    lines = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").open()]
    best = max(line["validation_accuracy"] for line in lines if "validation_accuracy" in line)
    same = recipe.override(
        {"backbone.start": str(tmp_path / "run" / "model"), "train.epochs": 1}
    ).override({"strategy.learning_rate": 1e-12, "backbone.dropout": 0.0})
    finetune(same, tmp_path / "same")
    lines = [json.loads(line) for line in (tmp_path / "same" / "log.jsonl").open()]
    again = [line["validation_accuracy"] for line in lines if "validation_accuracy" in line]
    assert again == [best, best]  # before the first step, and after steps that move nothing


def test_two_processes_train_the_network_that_one_does(flowers, tmp_path):
    (tmp_path / "recipe.json").write_text(flowers.override({"train.epochs": 2}).to_json())
    for processes in (1, 2):
        words = ("--recipe", tmp_path / "recipe.json", "--out", tmp_path / f"run{processes}")
        done = launch(processes, *words, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    one, two = weights(tmp_path / "run1"), weights(tmp_path / "run2")
    for name, tensor in one.items():
        assert (tensor - two[name]).abs().max() <= 1e-6 * max(1.0, tensor.abs().max().item())
    assert json.loads((tmp_path / "run2" / "run.json").read_text())["world_size"] == 2


def test_a_recipe_with_a_perceptron_imports_without_torch():
    code = "from recipes import mlp_digits; import sys; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


@pytest.mark.parametrize("name", ["mlp-mnist", "mlp-cifar"])
def test_a_hub_recipe_runs_on_the_real_rows(name, shared_data, tmp_path, unverified):
    recipe = registry.find(name).override(
        {
            "data.path": str(shared_data / {"mlp-mnist": "mnist", "mlp-cifar": "cifar10"}[name]),
            "data.revision": None,
            "data.train_rows": 2000,
            "data.validation_rows": 200,
            "data.test_rows": 500,
            "train.epochs": 2,
        }
    )
    result = finetune(recipe, tmp_path / "run")
    assert result.metrics["accuracy"].value > {"mlp-mnist": 0.8, "mlp-cifar": 0.2}[name]
