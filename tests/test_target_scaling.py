"""Numbers are trained on scaled and told in their own units, whatever the head looks like."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers as hf
from checkpoints import TEXTS
from conftest import leave_unverified
from peft import LoraConfig, get_peft_model
from scipy.stats import zscore
from sklearn.metrics import r2_score
from test_tasks_text_labels import recipe, rows  # noqa: F401 - fixtures
from transformers import pipeline

from ftkit import (
    Full,
    HeadOnly,
    ImageRegression,
    Lora,
    Lpft,
    RunResult,
    TextRegression,
    finetune,
)
from ftkit.backbones.pretrained import load_model
from ftkit.errors import ModelError
from ftkit.recipe import Backbone, TextClassification
from ftkit.tasks import task_of
from ftkit.training.target_scaling import Scale, mean_and_deviation, output_weights, scale_of

LABELS = np.array([38.0, 47.0, 29.0, 41.0, 35.5])


def model_of(family, checkpoint):
    backbone = Backbone(id=str(checkpoint(family)))
    model, tokenizer = load_model(backbone, (), 0, task_of(TextRegression()))
    batch = tokenizer(["apple and iron", "a text"], return_tensors="pt", padding=True)
    return model, batch


@pytest.mark.parametrize("family", TEXTS)
def test_the_scale_folded_in_turns_outputs_into_the_labels_own_units(family, checkpoint):
    model, batch = model_of(family, checkpoint)
    scale = scale_of(task_of(TextRegression()), LABELS, model)
    with torch.no_grad():
        before = model(**batch).logits.numpy()
        scale.fold(model)
        after = model(**batch).logits.numpy()
        scale.unfold(model)
        again = model(**batch).logits.numpy()
    ((_, bias),) = output_weights(model)
    mean = LABELS.mean() if bias is not None else 0.0
    spread = LABELS.std() if mean else np.sqrt((LABELS**2).mean())
    assert after == pytest.approx(before * spread + mean, abs=1e-3)
    assert again == pytest.approx(before, abs=1e-4)
    assert after == pytest.approx(scale.outputs(before), abs=1e-3)


def with_a_teacher():
    config = hf.DeiTConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
        image_size=32, patch_size=16, num_labels=1,
    )  # fmt: skip
    return hf.DeiTForImageClassificationWithTeacher(config).eval()


def with_a_convolution_as_head():
    config = hf.TimmWrapperConfig(architecture="dpn48b", num_labels=1)
    return hf.TimmWrapperForImageClassification(config).eval()


@pytest.mark.parametrize("make", [with_a_teacher, with_a_convolution_as_head])
def test_images_are_scaled_by_two_heads_or_a_convolution_too(make):
    torch.manual_seed(0)
    model, images = make(), torch.randn(2, 3, 32, 32)
    scale = scale_of(task_of(ImageRegression()), LABELS, model)
    with torch.no_grad():
        before = model(images).logits.numpy()
        scale.fold(model)
        after = model(images).logits.numpy()
        scale.unfold(model)
        again = model(images).logits.numpy()
    assert after == pytest.approx(before * LABELS.std() + LABELS.mean(), abs=1e-3)
    assert again == pytest.approx(before, abs=1e-4)


def test_a_model_without_a_layer_that_gives_its_output_is_refused():
    model = with_a_teacher()
    model.cls_classifier = model.distillation_classifier = torch.nn.LayerNorm(16)
    with pytest.raises(ModelError, match="no Linear layer or convolution that gives its output"):
        scale_of(task_of(ImageRegression()), LABELS, model)


def test_the_head_that_moves_is_scaled_not_the_one_that_lora_keeps_beside_it(checkpoint):
    model, batch = model_of("bert", checkpoint)
    config = LoraConfig(r=1, target_modules=["query"], modules_to_save=["classifier"])
    model = get_peft_model(model, config)
    with torch.no_grad():
        before = model(**batch).logits
        scale_of(task_of(TextRegression()), LABELS, model).fold(model)
        expected = before * LABELS.std() + LABELS.mean()
        assert torch.allclose(model(**batch).logits, expected.float(), atol=1e-3)


def test_targets_are_z_scores_and_numbers_that_are_not_there_do_not_count():
    labels = np.column_stack([LABELS, [1.0, np.nan, 3.0, np.nan, 8.0]])
    scale = Scale(*mean_and_deviation(labels))
    found = scale.targets(torch.from_numpy(labels)).numpy()
    assert found == pytest.approx(zscore(labels, nan_policy="omit"), abs=1e-6, nan_ok=True)
    single = Scale(*mean_and_deviation(LABELS)).targets(torch.from_numpy(LABELS))
    assert single.numpy() == pytest.approx(zscore(LABELS), abs=1e-6)


def test_numbers_that_are_all_the_same_are_not_blown_up():
    labels = np.full(1000, 0.1)
    assert labels.std() > 0  # by rounding
    mean, deviation = mean_and_deviation(labels)
    assert (mean[0], deviation[0]) == (pytest.approx(0.1), 1.0)


def test_classes_have_no_scale(checkpoint):
    assert scale_of(task_of(TextClassification()), np.array([0, 1]), torch.nn.Linear(2, 2)) is None


@pytest.mark.parametrize(
    "strategy",
    [
        Full(learning_rate=3e-3),
        Lora(learning_rate=1e-2, rank=1),
        Lora(learning_rate=1e-2, rank=4, merge=False),
        Lpft(learning_rate=1e-3, probe=HeadOnly(learning_rate=3e-2, search=True)),
        HeadOnly(learning_rate=3e-2, cache=False),
    ],
    ids=["full", "lora", "adapter", "lpft", "uncached"],
)
def test_the_level_of_the_numbers_is_learned_and_saved(
    strategy,
    recipe,  # noqa: F811
    tmp_path,
    monkeypatch,
):
    """Labels of mean 38 and deviation 9; a model that missed the level had an R2 far below 0."""
    lines = Path(recipe.data.path).read_text(encoding="utf-8").splitlines()
    given = [json.loads(line) for line in lines]
    for row in given:
        row["words"] = 38 + 24 * (row["share"] - 0.5)
    file = tmp_path / "numbers.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in given))
    leave_unverified(monkeypatch)
    task = TextRegression(text="text", label="words", max_length=24)
    numbers = recipe.override({"data.path": str(file), "task": task, "strategy": strategy})
    result = finetune(numbers.override({"train.epochs": 4}), tmp_path / "run")
    assert next(iter(result.metrics)) == "r2"
    assert result.metrics["r2"].value > -1  # of a model that misses the level -(38 / 9)^2, -18
    assert RunResult.read(tmp_path / "run").validation["r2"] > -1
    assert result.validation["loss"] == pytest.approx(result.validation["rmse"] ** 2)
    if getattr(strategy, "merge", True):
        tell = pipeline("text-classification", model=str(tmp_path / "run" / "model"))
        answers = tell([row["text"] for row in given], function_to_apply="none")
        told = [answer["score"] for answer in answers]
        assert r2_score([row["words"] for row in given], told) > -0.3
