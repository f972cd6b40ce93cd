"""Language models in training: what moves, what a step is, what is refused."""

import json

import language_checkpoints as tiny
import pytest
import torch
from conftest import leave_unverified
from talks import models_in, recipe_of, write_rows
from transformers import AutoModelForCausalLM

from ftkit import (
    Backbone,
    Full,
    LanguageModelling,
    Lora,
    RecipeError,
    finetune,
)
from ftkit.backbones.pretrained import load_model
from ftkit.runs.checkpoint import load_moving, moving_tensors, save_moving
from ftkit.strategies import strategy_of
from ftkit.strategies.lora import lora_targets
from ftkit.tasks import task_of


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return write_rows(tmp_path_factory.mktemp("rows"))


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    return models_in(tmp_path_factory.mktemp)


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_lora_finds_the_layers_and_leaves_tied_embeddings_tied(family, models, tmp_path):
    model, _ = load_model(Backbone(id=str(models(family))), (), 0, task_of(LanguageModelling()))
    names = lora_targets(model, ["lm_head"])
    assert len(names) == {"llama": 14, "gpt2": 8}[family]
    adapted = strategy_of(Lora(rank=2)).adapt(model)
    assert not adapted.peft_config["default"].modules_to_save
    assert {n for n, p in adapted.named_parameters() if p.requires_grad} == {
        n for n, _ in adapted.named_parameters() if "lora_" in n
    }
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_" in name:
                parameter.normal_()
    ids = torch.arange(9)[None]
    with torch.inference_mode():
        expected = adapted.eval()(input_ids=ids).logits
        merged = adapted.merge_and_unload()
    merged.save_pretrained(tmp_path)
    again = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert again.get_input_embeddings().weight is again.get_output_embeddings().weight
    with torch.inference_mode():
        found = again(input_ids=ids).logits
    assert float((found - expected).abs().max() / expected.abs().max()) < 1e-4


@pytest.mark.parametrize("strategy", [Full(), Lora(rank=2)], ids=["full", "lora"])
def test_a_checkpoint_of_tied_weights_comes_back(strategy, models, tmp_path):
    model, _ = load_model(Backbone(id=str(models("llama"))), (), 0, task_of(LanguageModelling()))
    model = strategy_of(strategy).adapt(model)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    save_moving(moving_tensors(model), tmp_path)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(1.0)
    load_moving(model, tmp_path)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_packed_and_padded_training_take_the_same_step(files, models, tmp_path, monkeypatch):
    leave_unverified(monkeypatch)
    losses = {}
    for packed in (True, False):
        recipe = recipe_of(models("llama", tiny.CHATML), files["talks"], pack=packed)
        recipe = recipe.override({"train.epochs": 1, "train.batch_size": 64, "train.warmup": 0.0})
        finetune(recipe, tmp_path / str(packed))
        lines = (tmp_path / str(packed) / "log.jsonl").read_text().splitlines()
        losses[packed] = [json.loads(line) for line in lines][1:]  # the first is before training
    assert losses[True][0]["loss"] == pytest.approx(losses[False][0]["loss"], abs=1e-4)
    ends = [found[-1]["validation_perplexity"] for found in losses.values()]
    assert ends[0] == pytest.approx(ends[1], rel=1e-3)


def test_micro_batches_of_unequal_tokens_count_as_one_batch(files, models, tmp_path, monkeypatch):
    leave_unverified(monkeypatch)
    found = {}
    for micro in (32, 4):  # all rows in one step, at once and in parts
        recipe = recipe_of(models("llama"), files["text"]).override(
            {"train.batch_size": 32, "train.micro_batch_size": micro, "train.warmup": 0.0}
        )
        found[micro] = finetune(recipe, tmp_path / str(micro)).metrics["perplexity"].value
    assert found[32] == pytest.approx(found[4], rel=1e-4)


def test_going_on_gives_the_same_figures_before_and_after(files, models, tmp_path, monkeypatch):
    leave_unverified(monkeypatch)
    recipe = recipe_of(models("llama"), files["text"])
    whole = finetune(recipe, tmp_path / "whole")

    def stop(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("ftkit.training.trainer.FrozenTrainer._load_best_model", stop)
        with pytest.raises(KeyboardInterrupt):
            finetune(recipe, tmp_path / "cut")
    again = finetune(recipe, tmp_path / "cut", resume=True)
    for name, figure in whole.metrics.items():
        assert again.metrics[name].value == pytest.approx(figure.value, rel=1e-6), name


@pytest.mark.parametrize("kind", ["head", "lpft"])
def test_there_is_no_head_to_be_trained_alone(kind, models, files):
    with pytest.raises(RecipeError, match="trains a new head, and text-generation has none"):
        recipe_of(models("llama"), files["text"]).with_strategy(kind)


def test_classes_have_no_weights_where_there_are_none(models, files, tmp_path):
    recipe = recipe_of(models("llama"), files["text"])
    with pytest.raises(RecipeError, match="a language model has no classes"):
        finetune(recipe.override({"train.class_weights": "balanced"}), tmp_path / "run")
