"""The perceptron by hand in the main path: the same run folder as any backbone."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from huggingface_hub import ModelCard
from PIL import Image
from safetensors.torch import load_file
from test_launch import launch

import ftkit.mlp_fit
import ftkit.mlp_state
import ftkit.run
from ftkit import (
    Data,
    DataError,
    FineTune,
    Full,
    HeadOnly,
    ImageClassification,
    Mlp,
    ModelError,
    Recipe,
    RecipeError,
    TabularClassification,
    TabularRegression,
    TextClassification,
    Train,
    TrainingError,
    finetune,
    load_perceptron,
    registry,
)
from ftkit.cli import main
from ftkit.mlp_estimator import load
from ftkit.verify import Verified

ROOT = Path(__file__).resolve().parent.parent
TRAIN = Train(epochs=3, batch_size=8, weight_decay=0)


@pytest.fixture
def unverified(monkeypatch):
    """Leave out the fresh process, which other tests of this file have."""
    monkeypatch.setattr(ftkit.run, "verify", lambda *_: Verified(0, None))


@pytest.fixture
def colours(class_folders):
    return Recipe(
        name="mlp-colours",
        data=Data(path=str(class_folders)),
        backbone=Mlp(hidden=(16, 8), dropout=0.1, image_size=6),
        task=ImageClassification(),
        strategy=Full(learning_rate=1e-2),
        train=TRAIN,
    )


@pytest.fixture
def flowers(tmp_path):
    """A table of three kinds of points, numbers and a class, as CSV."""
    random = np.random.default_rng(0)
    lines = ["width,height,kind"]
    for number in range(90):
        kind = number % 3
        width, height = random.normal(kind, 0.2), random.normal(-kind, 0.2)
        lines.append(f"{width:.3f},{height:.3f},{'abc'[kind]}")
    (tmp_path / "flowers.csv").write_text("\n".join(lines) + "\n")
    return Recipe(
        name="mlp-flowers",
        data=Data(path=str(tmp_path / "flowers.csv")),
        backbone=Mlp(hidden=(8,), activation="tanh"),
        task=TabularClassification(label="kind"),
        strategy=Full(learning_rate=1e-2),
        train=Train(epochs=30, batch_size=8, weight_decay=0),
    )


def weights(run):
    return load_file(run / "model" / "model.safetensors")


def test_images_give_the_run_folder_of_any_backbone(colours, class_folders, tmp_path, caplog):
    with caplog.at_level("INFO", logger="ftkit"):
        result = finetune(colours, tmp_path / "run")
    assert "task.augment is not used" in caplog.text
    assert result.metrics["accuracy"].value > 0.9  # colours are easy
    assert result.task["kind"] == "image-classification"
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


def test_predictions_are_those_of_the_loaded_model(flowers, tmp_path):
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


def test_interrupted_and_resumed_is_bit_equal_to_uninterrupted(
    colours, tmp_path, monkeypatch, unverified
):
    recipe = colours.override({"backbone.fine_tune": FineTune(epochs=2), "train.epochs": 3})
    finetune(recipe, tmp_path / "whole")
    monkeypatch.setattr(ftkit.mlp_fit, "LEAST_SECONDS", 0)
    write = ftkit.mlp_state.write_state
    for stop_at in (2, 4):  # in the training, and in the fine-tuning

        def stop(checkpoint, state, buffers, kept, stop_at=stop_at):
            write(checkpoint, state, buffers, kept)
            if state.epochs == stop_at:
                raise KeyboardInterrupt

        monkeypatch.setattr(ftkit.mlp_state, "write_state", stop)
        run = tmp_path / f"stopped{stop_at}"
        with pytest.raises(KeyboardInterrupt):
            finetune(recipe, run)
        monkeypatch.setattr(ftkit.mlp_state, "write_state", write)
        with (run / "log.jsonl").open("a") as lines:
            lines.write('{"step": 99, "los')  # a kill in the middle of a line
        finetune(recipe, run, resume=True)
        whole, resumed = weights(tmp_path / "whole"), weights(run)
        assert all(whole[name].equal(resumed[name]) for name in whole)

        def losses(folder):
            entries = [json.loads(line) for line in (folder / "log.jsonl").open()]
            return [entry.get("loss", entry.get("validation_loss")) for entry in entries]

        assert losses(run) == losses(tmp_path / "whole")


def test_the_best_epoch_is_kept(colours, tmp_path, unverified):
    recipe = colours.override({"train.epochs": 6, "strategy.learning_rate": 3e-2})
    finetune(recipe, tmp_path / "run")
    lines = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").open()]
    best = max(line["validation_accuracy"] for line in lines if "validation_accuracy" in line)
    same = recipe.override(
        {"backbone.start": str(tmp_path / "run" / "model"), "train.epochs": 1}
    ).override({"strategy.learning_rate": 1e-12, "backbone.dropout": 0.0})
    finetune(same, tmp_path / "same")
    first = json.loads((tmp_path / "same" / "log.jsonl").read_text().splitlines()[1])
    assert first["validation_accuracy"] == best


def test_head_only_moves_the_last_layer_alone(colours, tmp_path, unverified):
    short = colours.override({"train.epochs": 1})
    result = finetune(short, tmp_path / "body")
    start = short.override({"backbone.start": str(tmp_path / "body" / "model")})
    frozen = finetune(start.override({"strategy": HeadOnly(learning_rate=1e-2)}), tmp_path / "head")
    before, after = weights(tmp_path / "body"), weights(tmp_path / "head")
    assert {name for name in before if not before[name].equal(after[name])} == {
        "layers.2.weight",
        "layers.2.bias",
    }
    assert frozen.parameters_trained == 9 * 3
    assert frozen.parameters_total == result.parameters_total


def test_other_classes_get_a_fresh_last_layer_on_the_trained_body(colours, tmp_path, unverified):
    finetune(colours, tmp_path / "body")
    other = tmp_path / "warm"
    for name in ("red", "green"):
        (other / name.upper()).mkdir(parents=True)
        for file in sorted((Path(colours.data.path) / name).iterdir()):
            (other / name.upper() / file.name).write_bytes(file.read_bytes())
    recipe = colours.override(
        {
            "data.path": str(other),
            "backbone.start": str(tmp_path / "body" / "model"),
            "strategy": HeadOnly(learning_rate=0.1),
            "train.epochs": 20,
        }
    )
    result = finetune(recipe, tmp_path / "run")
    before, after = weights(tmp_path / "body"), weights(tmp_path / "run")
    assert before["layers.0.weight"].equal(after["layers.0.weight"])
    assert after["layers.2.weight"].shape == (8, 2)
    assert result.metrics["accuracy"].value > 0.9


def test_going_on_reads_inputs_as_the_first_training_did(flowers, tmp_path, unverified):
    finetune(flowers, tmp_path / "first")
    lines = Path(flowers.data.path).read_text().splitlines()
    moved = [f"{float(a) + 3:.3f},{b},{kind}" for a, b, kind in (x.split(",") for x in lines[1:])]
    (tmp_path / "moved.csv").write_text("\n".join([lines[0], *moved]) + "\n")
    changes = {
        "data.path": str(tmp_path / "moved.csv"),
        "backbone.start": str(tmp_path / "first"),  # a run, or its model/
        "train.epochs": 1,
    }
    finetune(flowers.override(changes), tmp_path / "second")
    first, second = (load_perceptron(tmp_path / name) for name in ("first", "second"))
    assert first.encoder == second.encoder
    other = registry.find("mlp-text").override({"backbone.start": str(tmp_path / "first")})
    with pytest.raises(ModelError, match="it reads columns, this task gives ngrams"):
        finetune(other.override({"data.train_rows": 100}), tmp_path / "third")


def test_a_stage_that_stopped_early_stays_stopped_when_resumed(flowers, tmp_path, monkeypatch):
    monkeypatch.setattr(ftkit.run, "verify", lambda *_: Verified(0, None))
    rough = {
        "train.schedule": "constant",
        "strategy.learning_rate": 0.3,
    }  # its loss goes up and down
    recipe = flowers.override({"train.epochs": 200, "train.early_stopping": 1, **rough})
    finetune(recipe, tmp_path / "whole")
    monkeypatch.setattr(ftkit.mlp_fit, "LEAST_SECONDS", 0)
    write = ftkit.mlp_state.write_state

    def stop(checkpoint, state, buffers, kept):
        write(checkpoint, state, buffers, kept)
        if state.waited == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(ftkit.mlp_state, "write_state", stop)
    with pytest.raises(KeyboardInterrupt):
        finetune(recipe, tmp_path / "stopped")
    monkeypatch.setattr(ftkit.mlp_state, "write_state", write)
    finetune(recipe, tmp_path / "stopped", resume=True)
    whole, stopped = weights(tmp_path / "whole"), weights(tmp_path / "stopped")
    assert all(whole[name].equal(stopped[name]) for name in whole)
    epochs = (tmp_path / "stopped" / "log.jsonl").read_text().count("validation_loss")
    assert epochs == (tmp_path / "whole" / "log.jsonl").read_text().count("validation_loss") < 200


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


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"strategy": {"kind": "lora"}}, "lora needs a pretrained backbone"),
        ({"train.class_weights": "balanced"}, "train.class_weights is not for Mlp"),
        ({"train.best_by": "r2"}, "train.best_by = 'r2'"),
        ({"backbone.activation": "swish"}, "backbone.activation = 'swish'"),
        ({"backbone.hidden": [0]}, "backbone.hidden"),
        ({"backbone.start": "nowhere"}, "nowhere holds no saved perceptron"),
        ({"backbone.fine_tune": {"frozen": 3}}, "one must move"),
    ],
)
def test_a_request_that_cannot_be_met_is_one_line(colours, tmp_path, changes, says):
    with pytest.raises((RecipeError, ModelError), match=says) as error:
        finetune(colours.override(changes), tmp_path / "run")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "task", "says"),
    [
        ("a,b,label\n1,2,x\n3,,y\n5,6,x\n", TabularClassification(), "train row 1: number 2"),
        ("a,label\n1,x\n2,x\n3,x\n", TabularClassification(), "1 class"),
        ("text,label\nhello,x\n,y\nhow,x\nnow,y\n", TextClassification(), "the text is empty"),
        ("a,label\n1,x\n2,y\n3,x\n", TabularRegression(), "expected a number, got 'x'"),
        ("a,label\nu,x\nv,y\nw,x\n", TabularClassification(), "no column of numbers"),
        ("a,b,label\n1,2,x\n", TabularClassification(columns=("c",)), "no column 'c'"),
    ],
)
def test_bad_data_is_one_line(flowers, tmp_path, text, task, says):
    (tmp_path / "bad.csv").write_text(text)
    recipe = flowers.override({"data.path": str(tmp_path / "bad.csv"), "task": task})
    with pytest.raises(DataError, match=says) as error:
        finetune(recipe, tmp_path / "run")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "run").exists()


def test_a_wrong_width_at_predict_is_one_line(flowers, tmp_path, unverified):
    finetune(flowers.override({"train.epochs": 1}), tmp_path / "run")
    with pytest.raises(ValueError, match="expected rows of 2 numbers, got 3"):
        load_perceptron(tmp_path / "run" / "model").predict([[1.0, 2.0, 3.0]])


def test_a_loss_that_is_no_number_stops_the_run(flowers, tmp_path):
    recipe = flowers.override(
        {"strategy.learning_rate": 1e30, "backbone.update": "sgd", "backbone.activation": "relu"}
    )
    with pytest.raises(TrainingError, match="the loss became nan by step"):
        finetune(recipe, tmp_path / "run")


def test_mlp_show_draws_and_mlp_check_agrees(flowers, colours, tmp_path, capsys, unverified):
    finetune(flowers.override({"train.epochs": 2}), tmp_path / "run")
    finetune(colours, tmp_path / "pictures")
    for run in ("run", "pictures"):
        assert main(["mlp", "show", str(tmp_path / run)]) == 0
        for line in capsys.readouterr().out.split():
            assert Image.open(line).size[0] > 300
        assert main(["mlp", "check", str(tmp_path / run)]) == 0
        assert "they agree to" in capsys.readouterr().out
    assert main(["mlp", "check", "effnet-digits"]) == 2
    assert "has no perceptron" in capsys.readouterr().err


def test_mlp_check_fails_where_the_gradient_is_wrong(flowers, tmp_path, monkeypatch, capsys):
    (tmp_path / "mine.json").write_text(flowers.to_json())
    right = ftkit.mlp.times_slope

    def wrong(name, delta, z, h):
        right(name, delta, z, h)
        delta.mul_(1.001)

    monkeypatch.setattr(ftkit.mlp, "times_slope", wrong)
    assert main(["mlp", "check", str(tmp_path / "mine.json")]) == 1
    assert "they differ by" in capsys.readouterr().err


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
