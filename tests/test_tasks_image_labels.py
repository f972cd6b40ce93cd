"""Images with other labels than one class: several classes, and numbers; the whole main path."""

import json
import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest
from conftest import leave_unverified
from PIL import Image
from scipy.stats import pearsonr
from transformers import AutoConfig, pipeline

from ftkit import (
    Augment,
    Backbone,
    Data,
    Full,
    HeadOnly,
    ImageRegression,
    ImageTagging,
    Lora,
    Lpft,
    Recipe,
    Train,
    finetune,
)
from ftkit.cli.main import main
from ftkit.prediction.predict import predict

STRATEGIES = [
    Full(learning_rate=3e-3),
    HeadOnly(learning_rate=1e-2),
    Lpft(learning_rate=1e-3),
    Lora(learning_rate=1e-2, rank=4),
    Lora(learning_rate=1e-2, rank=4, merge=False),
]
NAMES = ["full", "head", "lpft", "lora", "adapter"]
COLOURS = ("blue", "green", "red")
NO_CHANGES = Augment(crop=None, flip=False)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """72 pictures whose colour channels are on or off, and rows.jsonl that says so of each.

    Of every sixth row it says wrongly that it has red or not, so that a model has errors to show.
    """
    root, random = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    lines = []
    for number in range(72):
        on = random.random(3) < 0.5
        share = float(random.random())
        pixels = random.integers(0, 60, (32, 32, 3)) + 150 * on
        pixels[: round(32 * share)] //= 3
        Image.fromarray(pixels.astype(np.uint8)).save(root / f"{number:03d}.png")
        said = on ^ [number % 6 == 0, False, False]
        kinds = [name for name, there in zip(reversed(COLOURS), said, strict=True) if there]
        row = {"image": f"{number:03d}.png", "kinds": kinds, "dark": share}
        lines.append(json.dumps(row))
    (root / "rows.jsonl").write_text("\n".join(lines))
    return root


@pytest.fixture
def recipe(pictures, checkpoint):
    return Recipe(
        name="tiny-pictures",
        data=Data(path=str(pictures / "rows.jsonl")),
        backbone=Backbone(id=str(checkpoint("vit"))),
        task=ImageTagging(label="kinds", augment=NO_CHANGES),
        train=Train(epochs=2, batch_size=8),
    )


def number(recipe):
    return recipe.override({"task": ImageRegression(label="dark", augment=NO_CHANGES)})


@pytest.mark.parametrize("strategy", STRATEGIES, ids=NAMES)
def test_tags_train_and_the_pipeline_gives_the_predictions(strategy, recipe, pictures, tmp_path):
    result = finetune(recipe.override({"strategy": strategy}), tmp_path / "run")
    assert list(result.metrics) == ["micro_f1", "macro_f1", "auroc", "accuracy"]
    assert (tmp_path / "run" / "plots" / "precision_recall.png").is_file()
    table = pq.read_table(tmp_path / "run" / "predictions.parquet")
    names = json.loads(table.schema.metadata[b"label_names"])
    assert names == list(COLOURS)
    card = (tmp_path / "run" / "model" / "README.md").read_text()
    assert "which of 3 classes an image has, none, one or several: blue, green, red" in card
    if not getattr(strategy, "merge", True):
        return  # finetune has verified the adapter in a fresh process
    config = AutoConfig.from_pretrained(tmp_path / "run" / "model")
    assert config.problem_type == "multi_label_classification"
    tell = pipeline("image-classification", model=str(tmp_path / "run" / "model"))
    rows = zip(table["index"].to_pylist(), table["probability"].to_pylist(), strict=True)
    for index, wanted in rows:
        told = tell(str(pictures / f"{index:03d}.png"), top_k=3, function_to_apply="sigmoid")
        scores = {answer["label"]: answer["score"] for answer in told}
        assert [scores[name] for name in names] == pytest.approx(wanted, abs=1e-4)


@pytest.mark.parametrize("strategy", STRATEGIES, ids=NAMES)
def test_numbers_train_and_the_pipeline_gives_them(strategy, recipe, pictures, tmp_path):
    result = finetune(number(recipe).override({"strategy": strategy}), tmp_path / "run")
    assert list(result.metrics) == ["r2", "rmse", "mae", "pearson", "spearman"]
    table = pq.read_table(tmp_path / "run" / "predictions.parquet").to_pydict()
    wanted = pearsonr(table["prediction"], table["label"]).statistic
    assert result.metrics["pearson"].value == pytest.approx(wanted, abs=1e-6)
    assert (tmp_path / "run" / "plots" / "predictions.png").is_file()
    if getattr(strategy, "merge", True):
        tell = pipeline("image-classification", model=str(tmp_path / "run" / "model"))
        files = [str(pictures / f"{index:03d}.png") for index in table["index"]]
        found = [answer[0]["score"] for answer in tell(files, function_to_apply="none")]
        assert found == pytest.approx(table["prediction"], abs=1e-3)


def test_both_are_learned(recipe, tmp_path, monkeypatch):
    leave_unverified(monkeypatch)
    longer = {"train.epochs": 12, "strategy": Full(learning_rate=1e-3)}
    tags = finetune(recipe.override(longer), tmp_path / "tags")
    assert tags.metrics["micro_f1"].value > 0.8
    told = finetune(number(recipe).override(longer), tmp_path / "numbers")
    assert told.metrics["pearson"].value > 0.5


def test_a_stopped_run_goes_on_to_the_same_end(recipe, tmp_path, monkeypatch):
    leave_unverified(monkeypatch)
    whole = finetune(recipe, tmp_path / "whole")
    with monkeypatch.context() as cut:

        def stop(*_):
            raise KeyboardInterrupt

        cut.setattr("ftkit.backbones.pretrained.PretrainedFamily.save", stop)
        with pytest.raises(KeyboardInterrupt):
            finetune(recipe, tmp_path / "cut")
    again = finetune(recipe, tmp_path / "cut", resume=True)
    assert again.metrics == whole.metrics
    assert again.model_sha256["model.safetensors"] == whole.model_sha256["model.safetensors"]


@pytest.mark.parametrize("task", ["tags", "numbers"])
def test_predict_gives_the_answers_and_figures_of_the_run(
    task, recipe, pictures, tmp_path, monkeypatch
):
    leave_unverified(monkeypatch)
    result = finetune(recipe if task == "tags" else number(recipe), tmp_path / "run")
    table = pq.read_table(tmp_path / "run" / "predictions.parquet").to_pydict()
    found = predict(tmp_path / "run", [str(pictures / "rows.jsonl")])
    assert len(found) == 72
    assert list(found.metrics) == list(result.metrics)
    for index, wanted in zip(table["index"], table["prediction"], strict=True):
        again = found.columns["prediction"][index]
        assert again == (wanted if task == "tags" else pytest.approx(wanted, abs=1e-4))
    bare = predict(tmp_path / "run", [str(pictures / f"{n:03d}.png") for n in table["index"][:3]])
    assert not bare.metrics
    assert len(bare.columns["prediction"]) == 3


@pytest.mark.parametrize("task", ["tags", "numbers"])
def test_a_comparison_with_its_report_is_made(task, recipe, tmp_path, capsys, monkeypatch):
    leave_unverified(monkeypatch)
    monkeypatch.chdir(tmp_path)
    chosen = recipe if task == "tags" else number(recipe)
    (tmp_path / "mine.json").write_text(chosen.to_json())
    words = ["mine.json", "--strategies", "majority,knn,head", "--out", "both"]
    assert main(["compare", *words]) == 0, capsys.readouterr().err
    page = (tmp_path / "both" / "report.html").read_text()
    assert "<img" in page  # test pictures beside their answers
    assert main(["check", "mine.json"]) == 0, capsys.readouterr().err


@pytest.fixture
def colour_folders(pictures, tmp_path):
    """Two folders of six pictures each, called like classes that the model knows."""
    for row in range(12):
        folder = tmp_path / "folders" / COLOURS[row % 2]
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(pictures / f"{row:03d}.png", folder)
    return tmp_path / "folders"


@pytest.mark.parametrize("label", ["kinds", "label"])
def test_class_folders_say_no_tags_and_are_answered_without_figures(
    label, recipe, pictures, colour_folders, tmp_path, monkeypatch
):
    leave_unverified(monkeypatch)
    text = (pictures / "rows.jsonl").read_text()
    (pictures / f"{label}.jsonl").write_text(text.replace('"kinds"', f'"{label}"'))
    named = {"data.path": str(pictures / f"{label}.jsonl"), "task.label": label}
    finetune(recipe.override(named), tmp_path / "run")
    found = predict(tmp_path / "run", [str(colour_folders)])
    assert len(found.columns["prediction"]) == 12
    assert not found.metrics


def test_tags_by_columns_are_answered_without_them_even_one_alone(
    recipe, pictures, colour_folders, tmp_path, monkeypatch
):
    leave_unverified(monkeypatch)
    lines = [json.loads(line) for line in (pictures / "rows.jsonl").read_text().splitlines()]
    rows = [f"{line['image']},{int('red' in line['kinds'])}" for line in lines]
    (pictures / "columns.csv").write_text("\n".join(["image,red", *rows]))
    task = ImageTagging(labels=("red",), augment=NO_CHANGES)
    changes = {"task": task, "data.path": str(pictures / "columns.csv")}
    finetune(recipe.override(changes), tmp_path / "run")
    found = predict(tmp_path / "run", [str(colour_folders)])
    assert len(found.columns["prediction"]) == 12
    assert not found.metrics


def test_folders_called_as_numbers_are_these_numbers(
    recipe, pictures, tmp_path, capsys, monkeypatch
):
    leave_unverified(monkeypatch)
    for row in range(32):
        folder = tmp_path / "ages" / ("9", "10", "55", "30")[row % 4]
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(pictures / f"{row:03d}.png", folder)
    changes = {"task": ImageRegression(augment=NO_CHANGES), "data.path": str(tmp_path / "ages")}
    result = finetune(recipe.override(changes), tmp_path / "run")
    table = pq.read_table(tmp_path / "run" / "predictions.parquet").to_pydict()
    assert result.n == len(table["label"])
    assert set(table["label"]) <= {9.0, 10.0, 55.0, 30.0}
    assert max(table["label"]) > 3  # not the place of a folder among the others


def test_class_folders_are_refused_as_tags_and_as_numbers_in_training(
    recipe, colour_folders, tmp_path, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    said = {ImageTagging: "got one class", ImageRegression: "expected a number, got 'blue'"}
    for task, words in said.items():
        changes = {"task": task(), "data.path": str(colour_folders)}
        (tmp_path / "mine.json").write_text(recipe.override(changes).to_json())
        assert main(["check", "mine.json"]) == 2
        assert words in capsys.readouterr().err


def test_wrong_rows_are_refused_in_one_line(pictures, recipe, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.json").write_text(recipe.override({"task.label": "dark"}).to_json())
    assert main(["check", "mine.json"]) == 2
    assert "expected a list of classes" in capsys.readouterr().err
    numbers = number(recipe).override({"task.label": "kinds"})
    (tmp_path / "mine.json").write_text(numbers.to_json())
    assert main(["check", "mine.json"]) == 2
    assert "expected a number" in capsys.readouterr().err
