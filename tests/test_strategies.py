"""Strategies: what moves, what stays, in every family."""

import copy

import checkpoints
import pytest
import torch
from peft import PeftModel
from torch import nn

from ftkit import Backbone, Full, HeadOnly, ImageClassification, Lora, Lpft, ModelError
from ftkit.backbones.pretrained import load_model
from ftkit.backbones.structure import head_names
from ftkit.strategies import strategy_of
from ftkit.strategies.lora import lora_targets
from ftkit.tasks import task_of
from ftkit.training.modes import keeping_statistics_of_one, training_modes

IMAGES = task_of(ImageClassification())

NAMES = ("blue", "green", "red")


def set_training_mode(model):
    """Put what moves into train mode and the rest into eval mode, as Trainer does here."""
    for module, moves in training_modes(model):
        module.training = moves


def load(family, checkpoint):
    return load_model(Backbone(id=str(checkpoint(family))), NAMES, seed=0, task=IMAGES)[0]


def pixels_for(model):
    size = getattr(model.config, "image_size", None) or 64
    if hasattr(model.config, "pretrained_cfg"):
        size = model.config.pretrained_cfg["input_size"][-1]
    return torch.randn(4, 3, size, size, generator=torch.Generator().manual_seed(0))


def trained_names(model):
    return {name for name, parameter in model.named_parameters() if parameter.requires_grad}


def take_steps(model, count=3):
    """Train as Trainer does: the whole model into train mode first, ours after it."""
    moving = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.SGD(moving, lr=0.1)
    pixels = pixels_for(model)
    for _ in range(count):
        model.train()
        set_training_mode(model)
        logits = model(pixel_values=pixels).logits
        nn.functional.cross_entropy(logits, torch.tensor([0, 1, 2, 0])).backward()
        optimizer.step()
        optimizer.zero_grad()
    return model


@pytest.mark.parametrize("family", checkpoints.FAMILIES)
def test_full_moves_everything(family, checkpoint):
    model = strategy_of(Full()).adapt(load(family, checkpoint))
    assert trained_names(model) == {name for name, _ in model.named_parameters()}


@pytest.mark.parametrize("family", checkpoints.FAMILIES)
def test_head_only_moves_the_head_and_no_other_tensor(family, checkpoint):
    model = load(family, checkpoint)
    (head,) = head_names(model)
    model = strategy_of(HeadOnly()).adapt(model)
    before = copy.deepcopy(model.state_dict())
    after = take_steps(model).state_dict()
    moved = {key for key in before if not torch.equal(before[key], after[key])}
    assert moved
    assert all(key.startswith(f"{head}.") for key in moved)  # BatchNorm statistics included


@pytest.mark.parametrize("family", checkpoints.FAMILIES)
def test_lora_moves_adapter_and_head_and_no_other_tensor(family, checkpoint):
    model = strategy_of(Lora(rank=2)).adapt(load(family, checkpoint))
    before = copy.deepcopy(model.state_dict())
    after = take_steps(model).state_dict()
    moved = {key for key in before if not torch.equal(before[key], after[key])}
    assert any("lora_B" in key for key in moved)
    assert any("modules_to_save" in key for key in moved)
    assert all("lora_" in key or "modules_to_save" in key for key in moved)


@pytest.mark.parametrize("family", checkpoints.FAMILIES)
def test_merged_lora_gives_the_logits_of_the_adapter(family, checkpoint):
    model = take_steps(strategy_of(Lora(rank=2)).adapt(load(family, checkpoint))).eval()
    pixels = pixels_for(model)
    with torch.inference_mode():
        adapted = model(pixel_values=pixels).logits
    merged = copy.deepcopy(model).merge_and_unload().eval()
    assert not any("lora" in key for key in merged.state_dict())
    with torch.inference_mode():
        assert torch.allclose(merged(pixel_values=pixels).logits, adapted, atol=1e-4)


@pytest.mark.parametrize("family", checkpoints.FAMILIES)
def test_adapter_reload_gives_equal_logits(family, checkpoint, tmp_path):
    model = take_steps(strategy_of(Lora(rank=2)).adapt(load(family, checkpoint))).eval()
    model.save_pretrained(tmp_path)
    again = PeftModel.from_pretrained(load(family, checkpoint), tmp_path).eval()
    pixels = pixels_for(model)
    with torch.inference_mode():
        expected, got = (m(pixel_values=pixels).logits for m in (model, again))
    assert torch.allclose(got, expected, atol=1e-6)


@pytest.mark.parametrize("family", checkpoints.FAMILIES)
def test_lora_leaves_out_the_head_and_grouped_convolutions(family, checkpoint):
    model = load(family, checkpoint)
    head = head_names(model)
    targets = [model.get_submodule(name) for name in lora_targets(model, head)]
    assert not set(lora_targets(model, head)) & set(head)
    assert all(isinstance(module, (nn.Linear, nn.Conv2d)) for module in targets)
    assert all(module.groups == 1 for module in targets if isinstance(module, nn.Conv2d))


def test_lora_adapts_every_attention_projection_of_a_vit(checkpoint):
    targets = lora_targets(load("vit", checkpoint), ["classifier"])
    for layer in range(2):
        for projection in ("q_proj", "k_proj", "v_proj", "o_proj"):
            assert f"vit.layers.{layer}.attention.{projection}" in targets


def test_targets_can_be_narrowed_by_the_ends_of_names(checkpoint):
    model = strategy_of(Lora(targets=("q_proj", "v_proj"))).adapt(load("vit", checkpoint))
    adapted = {name.split(".lora_A")[0] for name in trained_names(model) if "lora_A" in name}
    assert len(adapted) == 4
    assert all(name.endswith(("q_proj", "v_proj")) for name in adapted)


def test_targets_that_match_nothing_are_refused_with_names_that_would(checkpoint):
    with pytest.raises(ModelError, match=r"query.*vit\.layers\.0\.attention\.q_proj"):
        strategy_of(Lora(targets=("query",))).adapt(load("vit", checkpoint))


def test_dropout_of_a_frozen_body_is_off_and_that_of_lora_is_on(checkpoint):
    model = strategy_of(Lora(dropout=0.5)).adapt(load("vit", checkpoint))
    model.train()
    set_training_mode(model)
    modes = {
        ("lora_dropout" in name): module.training
        for name, module in model.named_modules()
        if isinstance(module, nn.Dropout)
    }
    assert modes == {True: True, False: False}


def test_full_fine_tuning_keeps_dropout_and_batch_norm_in_train_mode(checkpoint):
    model = strategy_of(Full(keep_statistics=False)).adapt(load("resnet", checkpoint)).eval()
    set_training_mode(model)
    assert all(module.training for module in model.modules())


def batch_norms(model):
    return [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]


@pytest.mark.parametrize("strategy", [Full(), Lpft(probe=HeadOnly())], ids=["full", "lpft"])
def test_batch_norm_that_keeps_its_statistics_learns_scale_and_shift(strategy, checkpoint):
    model = strategy_of(strategy).adapt(load("resnet", checkpoint))
    before = [norm.running_mean.clone() for norm in batch_norms(model)]
    model.train()
    set_training_mode(model)
    model(pixel_values=pixels_for(model)).logits.sum().backward()
    assert len(before) > 0
    for norm, mean in zip(batch_norms(model), before, strict=True):
        assert not norm.training
        assert torch.equal(norm.running_mean, mean)
        assert norm.weight.grad is not None
    others = [m for m in model.modules() if m not in set(batch_norms(model))]
    assert all(module.training for module in others)


def test_a_single_row_goes_through_batch_norm_by_the_statistics_it_has():
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.BatchNorm2d(4).eval())
    pixel, two = torch.ones(1, 3, 1, 1), torch.ones(2, 3, 1, 1)
    with pytest.raises(ValueError, match="more than 1 value"):
        model(pixel)
    before = int(model[1].num_batches_tracked)
    with keeping_statistics_of_one(model, 1):
        model(pixel).sum().backward()
    assert model[1].num_batches_tracked == before
    with keeping_statistics_of_one(model, 2):
        model(two)
    assert model[1].num_batches_tracked == before + 1
    assert [module.training for module in model] == [True, True, False]
