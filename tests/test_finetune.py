"""The main path: the run folder is what the contract says, and loads without ftkit."""

import json
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from conftest import leave_unverified
from peft import PeftModel
from PIL import Image
from transformers import AutoConfig, AutoModelForImageClassification, pipeline

from ftkit import (
    DataError,
    Full,
    HeadOnly,
    Lora,
    ModelError,
    Recipe,
    RunError,
    RunResult,
    VerificationError,
    finetune,
)
from ftkit.recipe import CLASSIFICATION
from ftkit.tasks import task_of
from ftkit.tasks.base import Task
from ftkit.tasks.loading import load_splits

STRATEGIES = [Full(learning_rate=3e-3), HeadOnly(learning_rate=1e-2), Lora(learning_rate=1e-2)]
CONTRACT = [
    *("recipe", "strategy", "task", "dataset", "split", "n", "unseen_words", "metrics"),
    *("validation", "parameters_total", "parameters_trained", "seconds", "examples_per_second"),
    *(
        "peak_memory_bytes",
        "model_bytes",
        "latency_seconds",
        "latency",
        "model_sha256",
        "seed",
        "world_size",
        "device",
    ),
    *("precision", "versions", "commit", "started", "finished", "status"),
]


@pytest.fixture(scope="module")
def runs(tmp_path_factory, class_folders, checkpoint):
    """A finished run of each strategy on a CNN whose BatchNorm statistics would drift."""
    from ftkit import Augment, Backbone, Data, ImageClassification, Train

    found = {}
    for strategy in STRATEGIES:
        recipe = Recipe(
            name="tiny-colours",
            data=Data(path=str(class_folders)),
            backbone=Backbone(id=str(checkpoint("resnet"))),
            task=ImageClassification(augment=Augment(crop=(0.8, 1.0))),
            strategy=strategy,
            train=Train(epochs=4, batch_size=8),
        )
        folder = tmp_path_factory.mktemp("runs") / strategy.kind
        found[strategy.kind] = (recipe, folder, finetune(recipe, folder))
    return found


KINDS = [strategy.kind for strategy in STRATEGIES]


@pytest.mark.parametrize("kind", KINDS)
def test_the_run_folder_holds_what_the_contract_says(runs, kind):
    recipe, folder, result = runs[kind]
    files = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    expected = {"recipe.json", "run.json", "predictions.parquet", "log.jsonl", "checks.json"}
    expected |= {f"plots/{name}.png" for name in ("learning_curve", "confusion_matrix")}
    expected |= {f"model/{name}" for name in ("model.safetensors", "config.json", "README.md")}
    expected |= {"model/preprocessor_config.json"}
    if kind == "lora":
        names = ("adapter_config.json", "adapter_model.safetensors", "config.json")
        expected |= {f"model/adapter/{name}" for name in (*names, "preprocessor_config.json")}
    assert files == expected
    assert Recipe.from_json((folder / "recipe.json").read_text()) == recipe
    assert RunResult.read(folder) == result


@pytest.mark.parametrize("kind", KINDS)
def test_run_json_has_the_keys_and_units_of_the_contract(runs, kind):
    _, folder, _ = runs[kind]
    run = json.loads((folder / "run.json").read_text())
    assert list(run) == CONTRACT
    assert run["n"] == 15  # a fifth of 72, rounded up
    for name, figure in run["metrics"].items():
        least = -1 if name == "matthews" else 0
        assert least <= figure["low"] <= figure["value"] <= figure["high"] <= 1
    assert list(run["metrics"]) == list(CLASSIFICATION)
    assert set(run["seconds"]) == {"data", "features", "train", "evaluate", "total"}
    assert run["model_bytes"] == (folder / "model" / "model.safetensors").stat().st_size
    assert run["status"] == "complete"


@pytest.mark.parametrize("kind", KINDS)
def test_predictions_are_the_test_rows_and_agree_with_run_json(runs, kind):
    recipe, folder, result = runs[kind]
    table = pq.read_table(folder / "predictions.parquet").to_pydict()
    splits = load_splits(recipe.data, task_of(recipe.task))
    assert table["index"] == splits.test["index"][:]
    assert table["label"] == [splits.label_names[label] for label in splits.test["label"]]
    probability = np.array(table["probability"])
    assert np.allclose(probability.sum(axis=1), 1)
    names = np.array(splits.label_names)
    assert table["prediction"] == names[probability.argmax(axis=1)].tolist()
    right = np.mean(np.array(table["label"]) == np.array(table["prediction"]))
    assert right == pytest.approx(result.metrics["accuracy"].value)


@pytest.mark.parametrize("kind", KINDS)
def test_the_pipeline_reproduces_the_predictions(runs, kind):
    recipe, folder, _ = runs[kind]
    classify = pipeline("image-classification", str(folder / "model"))
    table = pq.read_table(folder / "predictions.parquet").to_pydict()
    splits = load_splits(recipe.data, task_of(recipe.task))
    for position, row in enumerate(splits.test):
        answers = {a["label"]: a["score"] for a in classify(row["image"]["path"], top_k=3)}
        for name, probability in zip(
            splits.label_names, table["probability"][position], strict=True
        ):
            assert answers[name] == pytest.approx(probability, abs=1e-4)


def test_peft_loads_the_adapter_and_gives_the_same(runs, checkpoint):
    _, folder, _ = runs["lora"]
    adapter = folder / "model" / "adapter"
    config = AutoConfig.from_pretrained(adapter)
    base = AutoModelForImageClassification.from_pretrained(
        checkpoint("resnet"), config=config, ignore_mismatched_sizes=True
    )
    adapted = PeftModel.from_pretrained(base, adapter).eval()
    merged = AutoModelForImageClassification.from_pretrained(folder / "model").eval()
    pixels = torch.randn(3, 3, 32, 32)
    with torch.inference_mode():
        expected, got = (m(pixel_values=pixels).logits for m in (merged, adapted))
    assert torch.allclose(got, expected, atol=1e-4)


def test_lora_without_merge_leaves_the_adapter_alone(tiny_recipe, tmp_path, cold):
    finetune(tiny_recipe.override({"strategy": Lora(merge=False)}), tmp_path / "out")
    names = {path.name for path in (tmp_path / "out" / "model").iterdir()}
    assert "adapter_model.safetensors" in names
    assert "model.safetensors" not in names


def test_a_folder_with_a_run_is_refused_and_resume_returns_its_result(tiny_recipe, tmp_path):
    result = finetune(tiny_recipe, tmp_path / "out")
    with pytest.raises(RunError, match=r"a finished run of tiny-colours.*--resume"):
        finetune(tiny_recipe, tmp_path / "out")
    assert finetune(tiny_recipe, tmp_path / "out", resume=True) == result
    other = tiny_recipe.override({"train.epochs": 3})
    with pytest.raises(RunError, match=r"other settings \(train\.epochs: 2 -> 3\)"):
        finetune(other, tmp_path / "out", resume=True)


def test_a_folder_with_something_else_is_refused_and_left_alone(tiny_recipe, tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(RunError, match="holds no run"):
        finetune(tiny_recipe, tmp_path, resume=True)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"data.path": "./nowhere"}, DataError),
        ({"task.label": "colour"}, DataError),
        ({"backbone.id": "./nowhere"}, ModelError),
        ({"strategy": Lora(targets=("query",))}, ModelError),
    ],
)
def test_a_request_that_cannot_be_met_writes_nothing(tiny_recipe, tmp_path, change, error):
    with pytest.raises(error):
        finetune(tiny_recipe.override(change), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_file_that_is_no_image_is_named_or_left_out(tiny_recipe, class_folders, tmp_path):
    import shutil

    data = tmp_path / "data"
    shutil.copytree(class_folders, data)
    (data / "red" / "broken.png").write_bytes(b"this is no picture")
    recipe = tiny_recipe.override({"data.path": str(data)})
    with pytest.raises(DataError, match=r"broken\.png.*not an image.*on_bad_row=skip"):
        finetune(recipe, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    result = finetune(recipe.override({"data.on_bad_row": "skip"}), tmp_path / "out")
    assert result.n in {14, 15}


def test_a_saved_model_that_answers_otherwise_fails_the_run(
    tiny_recipe, tmp_path, monkeypatch, cold
):

    def lossy(family, model, processor, recipe, folder, for_saving):
        """Save as a tool that loses the head does."""
        torch.nn.init.normal_(model.classifier.weight)
        model.save_pretrained(folder)
        processor.save_pretrained(folder)

    monkeypatch.setattr("ftkit.backbones.pretrained.PretrainedFamily.save", lossy)
    with pytest.raises(VerificationError, match="logits after reloading differ"):
        finetune(tiny_recipe, tmp_path / "out")
    assert not (tmp_path / "out" / "run.json").exists()


def test_seconds_in_all_count_training_before_a_stop(tiny_recipe, tmp_path, monkeypatch):
    from ftkit.strategies.base import Strategy

    train = Strategy.train
    leave_unverified(monkeypatch)
    monkeypatch.setattr(  # the checkpoint says that most was trained yesterday
        Strategy, "train", lambda *asked: replace(train(*asked), train_seconds=1000.0)
    )
    seconds = finetune(tiny_recipe, tmp_path / "out").seconds
    assert seconds.train == 1000
    assert 1000 < seconds.total < 1900


def test_training_asks_the_task_that_knows_its_columns(tiny_recipe, tmp_path, monkeypatch):
    asked, loss = [], Task.loss

    def told(self, *given):
        asked.append(self.settings.label)
        return loss(self, *given)

    monkeypatch.setattr(Task, "loss", told)
    leave_unverified(monkeypatch)
    assert tiny_recipe.task.label is None
    result = finetune(tiny_recipe.override({"train.max_steps": 1}), tmp_path / "run")
    assert set(asked) == {result.task["label"]} == {"label"}
    written = Recipe.from_json((tmp_path / "run" / "recipe.json").read_text())
    assert written.task == tiny_recipe.task


def test_images_in_the_run_are_images(runs):
    for _, folder, _ in runs.values():
        for file in (folder / "plots").glob("*.png"):
            with Image.open(file) as image:
                assert min(image.size) > 300


def test_the_card_has_the_results_as_metadata(runs):
    from huggingface_hub import ModelCard

    for _, folder, result in runs.values():
        card = ModelCard.load(folder / "model" / "README.md")
        figures = {figure.metric_type: figure.metric_value for figure in card.data.eval_results}
        assert figures == pytest.approx(
            {name: figure.value for name, figure in result.metrics.items()}, abs=1e-6
        )
        assert card.data.pipeline_tag == "image-classification"


def test_the_card_tells_settings_of_strategy_and_training_apart(runs):
    """Both have a weight_decay and least_steps."""
    for _, folder, _ in runs.values():
        card = (folder / "model" / "README.md").read_text()
        for part in ("strategy", "train"):
            for name, value in json.loads((folder / "recipe.json").read_text())[part].items():
                if isinstance(value, int | float):
                    assert f"| {part}.{name} | {value} |" in card
