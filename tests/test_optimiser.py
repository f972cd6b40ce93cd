"""Depth: groups of layers in order, learning rates that fall with it, unfreezing from above."""

import math

import pytest
import torch
from checkpoints import FAMILIES, TEXTS
from test_lora_variants import cut_after_an_epoch
from test_strategies import load
from test_training import fitted

from ftkit import Backbone, Full, Lora, ModelError, RecipeError, TextClassification, registry
from ftkit.backbones.layers import layer_groups
from ftkit.backbones.pretrained import load_model
from ftkit.finetuning.finetune import make_ready
from ftkit.machine import runtime
from ftkit.recipe import Train
from ftkit.runs.journal import Journal
from ftkit.strategies import strategy_of
from ftkit.tasks import task_of
from ftkit.training.fit import fit, schedule_of, training_arguments
from ftkit.training.fitted import Session
from ftkit.training.optimiser import decaying_names, parameter_groups
from ftkit.training.trainer import FrozenTrainer

BLOCKS = {
    "vit": ("vit.layers.1.", "vit.layers.0."),
    "resnet": tuple(f"resnet.encoder.stages.{i}." for i in (3, 2, 1, 0)),
    "convnext": tuple(f"convnext.encoder.stages.{i}." for i in (3, 2, 1, 0)),
    "timm-resnet": tuple(f"timm_model.layer{i}." for i in (4, 3, 2, 1)),
    "timm-vit": tuple(f"timm_model.blocks.{i}." for i in (5, 4, 3, 2, 1, 0)),
    "bert": ("bert.encoder.layer.1.", "bert.encoder.layer.0."),
    "distilbert": ("distilbert.transformer.layer.1.", "distilbert.transformer.layer.0."),
    "gpt2": ("transformer.h.1.", "transformer.h.0."),
}


def model_of(family, checkpoint):
    if family in TEXTS:
        task = TextClassification()
        return load_model(Backbone(id=str(checkpoint(family))), ("a", "b"), 0, task_of(task))[0]
    return load(family, checkpoint)


@pytest.mark.parametrize("family", [*FAMILIES, *TEXTS])
def test_groups_hold_every_parameter_once_with_the_head_on_top(family, checkpoint):
    model = model_of(family, checkpoint)
    groups = layer_groups(model)
    names = [name for group in groups for name in group]
    assert sorted(names) == sorted(name for name, _ in model.named_parameters())
    assert any(name.startswith(("classifier", "score", "timm_model")) for name in groups[0])
    for group, block in zip(groups[1:], BLOCKS.get(family, ()), strict=False):
        assert all(name.startswith(block) for name in group)
    if family in BLOCKS:
        assert len(groups) == len(BLOCKS[family]) + 2
        assert not any("layer" in name and "norm" not in name.lower() for name in groups[-1])


def test_an_encoder_beside_a_decoder_has_no_order(checkpoint):
    import transformers

    model = transformers.AutoModelForSeq2SeqLM.from_pretrained(checkpoint("t5"))
    with pytest.raises(ModelError, match=r"no single row of blocks.*layer_decay"):
        layer_groups(model)


def test_learning_rate_falls_by_the_same_factor_with_each_group(checkpoint):
    model, strategy = load("vit", checkpoint), Full(learning_rate=1e-3, layer_decay=0.5)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    decaying = {name for name, parameter in model.named_parameters() if parameter.ndim > 1}
    groups = parameter_groups(strategy_of(strategy), model, 1e-3, 0.01, decaying)
    assert groups[0]["lr"] == 1e-3  # it is the one that is logged
    rates = {names[id(p)]: group["lr"] for group in groups for p in group["params"]}
    decays = {names[id(p)]: group["weight_decay"] for group in groups for p in group["params"]}
    assert rates["classifier.weight"] == 1e-3
    assert rates["vit.layers.1.mlp.fc1.weight"] == 5e-4
    assert rates["vit.layers.0.mlp.fc1.weight"] == 2.5e-4
    assert rates["vit.embeddings.cls_token"] == 1.25e-4
    assert {name for name, decay in decays.items() if decay} == decaying


def test_the_trainer_uses_the_rates_and_the_schedule_moves_them_together(tiny_recipe, tmp_path):
    recipe = tiny_recipe.override({"strategy": Full(learning_rate=1e-3, layer_decay=0.5)})
    recipe = recipe.override({"train.schedule": "wsd"})
    machine = runtime.start(0)
    ready = make_ready(recipe, machine)
    trainer = FrozenTrainer(
        model=ready.model,
        args=training_arguments(recipe, machine, tmp_path, len(ready.inputs.train), "fp32"),
        strategy=strategy_of(recipe.strategy),
        recipe=recipe,
        machine=machine,
        inputs=ready.inputs,
        journal=Journal(tmp_path / "log.jsonl", writes=False),
    )
    trainer.create_optimizer_and_scheduler(100)
    trainer.lr_scheduler.step(50)
    rates = sorted({group["lr"] for group in trainer.optimizer.param_groups}, reverse=True)
    assert rates == pytest.approx([1e-3, 5e-4, 2.5e-4, 1.25e-4])


def test_wsd_stays_at_the_peak_until_the_last_fifth():
    from transformers import get_scheduler

    name, warmup, options = schedule_of(Train(schedule="wsd", warmup=0.1), 100)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=1.0)
    scheduler = get_scheduler(name, optimizer, warmup, 100, options)
    rates = []
    for _ in range(100):
        rates.append(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step()
    assert rates[:10] == pytest.approx([step / 10 for step in range(10)])
    assert rates[10:81] == [1.0] * 71
    assert rates[81:] == pytest.approx([1 - math.sqrt(step / 20) for step in range(1, 20)])


def epoch_of_each_move(recipe, folder, monkeypatch):
    """Train, and return in which epoch each parameter moved first."""
    machine = runtime.start(recipe.train.seed)
    ready = make_ready(recipe, machine)
    before = {name: p.detach().clone() for name, p in ready.model.named_parameters()}
    moved, modes = {}, []
    step = FrozenTrainer.training_step

    def noting(self, model, inputs, *rest):
        epoch = int(self.state.epoch or 0)
        for name, parameter in ready.model.named_parameters():
            if name not in moved and not torch.equal(parameter, before[name]):
                moved[name] = (self.state.global_step - 1) // 7
        loss = step(self, model, inputs, *rest)
        modes.append((epoch, ready.model.vit.layers[0].training, ready.model.classifier.training))
        return loss

    monkeypatch.setattr(FrozenTrainer, "training_step", noting)
    folder.mkdir(exist_ok=True)
    session = Session(machine, folder)
    fit(ready.model, strategy_of(recipe.strategy), ready.inputs, recipe, session)
    return ready.model, moved, modes


def test_one_group_more_moves_in_each_epoch(tiny_recipe, tmp_path, monkeypatch):
    strategy = Full(learning_rate=1e-3, unfreeze="gradually")
    recipe = tiny_recipe.override({"strategy": strategy, "train.epochs": 4})
    recipe = recipe.override({"train.micro_batch_size": 4})
    model, moved, modes = epoch_of_each_move(recipe, tmp_path / "out", monkeypatch)
    for epoch, group in enumerate(layer_groups(model)):
        assert {moved.get(name) for name in group} <= {epoch}, group
    assert {(epoch, lowest) for epoch, lowest, _ in modes} == {
        (0, False), (1, False), (2, True), (3, True),
    }  # fmt: skip
    assert all(head for *_, head in modes)
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_gradients_that_are_dropped_give_the_weights_of_those_never_computed(
    tiny_recipe, tmp_path, monkeypatch
):
    from ftkit.training import modes

    strategy = Full(learning_rate=1e-3, unfreeze="gradually")
    recipe = tiny_recipe.override({"strategy": strategy, "train.max_steps": 9})
    alone = fitted(recipe, tmp_path / "alone")[0].model.state_dict()
    begin = modes.Unfreezing.__init__
    monkeypatch.setattr(  # as under DistributedDataParallel
        modes.Unfreezing, "__init__", lambda *a: begin(*a[:-1], False)
    )
    several = fitted(recipe, tmp_path / "several")[0].model.state_dict()
    assert all(torch.allclose(alone[name], several[name], atol=1e-6) for name in alone)


def test_gradual_unfreezing_resumes(tiny_recipe, tmp_path):
    strategy = Full(learning_rate=1e-3, unfreeze="gradually")
    recipe = tiny_recipe.override({"strategy": strategy, "train.epochs": 3})
    before, after = cut_after_an_epoch(recipe, tmp_path)
    assert after == before


@pytest.mark.parametrize(
    "change",
    [
        {"strategy.layer_decay": 0.8},
        {"strategy.unfreeze": "gradually"},
        {"train.schedule": "wsd"},
    ],
)
def test_what_goes_by_layers_is_not_for_a_perceptron(change):
    with pytest.raises(RecipeError, match="not for Mlp"):
        registry.find("mlp-digits").override(change)


@pytest.mark.parametrize("family", ["timm-vit", "vit", "deit", "swin", "dinov2", "bert", "gpt2"])
def test_positions_and_own_tokens_do_not_decay(family, checkpoint):
    model = model_of(family, checkpoint)
    decayed = set(decaying_names(strategy_of(Full()), model))
    matrices = {name for name, p in model.named_parameters() if p.ndim > 1}
    spared = {
        "timm-vit": {"timm_model.cls_token", "timm_model.pos_embed"},  # timm's no_weight_decay
        "vit": {"vit.embeddings.cls_token", "vit.embeddings.position_embeddings"},
        "bert": {"bert.embeddings.position_embeddings.weight"},
        "gpt2": {"transformer.wpe.weight"},
    }
    words = ("position", "token")
    expected = spared.get(family) or {
        name
        for name in matrices
        if any(word in name for word in words) and "token_type" not in name
    }
    assert expected
    assert matrices - decayed == expected


@pytest.mark.parametrize(("init", "decays"), [("default", True), ("pissa", False)])
def test_the_principal_part_does_not_decay(init, decays, tiny_recipe):
    strategy = Lora(init=init)
    ready = make_ready(tiny_recipe.override({"strategy": strategy}), runtime.start(0))
    names = decaying_names(strategy_of(strategy), ready.model)
    assert any(".lora_A." in name for name in names) == decays
    assert any("classifier.modules_to_save" in name for name in names)
