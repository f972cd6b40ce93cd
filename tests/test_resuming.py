"""Stopped by a signal after any step and resumed: bit for bit the run that nothing stopped."""

import json
import os
import signal

import pytest
import torch
from conftest import leave_unverified
from safetensors.torch import load_file

import ftkit.perceptron.training
from ftkit import (
    Augment,
    Backbone,
    Data,
    Full,
    HeadOnly,
    ImageClassification,
    Lora,
    Lpft,
    Mlp,
    Recipe,
    Train,
    finetune,
)
from ftkit.machine.interruption import Interrupted, watched
from ftkit.runs.result import RunResult
from ftkit.training.trainer import FrozenTrainer


@pytest.fixture(autouse=True)
def _unverified(monkeypatch):
    leave_unverified(monkeypatch)


@pytest.fixture
def recipe(class_folders, checkpoint):
    """7 steps an epoch, with dropout, random crops and accumulation; two epochs."""
    return Recipe(
        name="tiny-colours",
        data=Data(path=str(class_folders)),
        backbone=Backbone(id=str(checkpoint("vit"))),
        task=ImageClassification(augment=Augment(crop=(0.8, 1.0), mixup=0.2)),
        strategy=Full(learning_rate=3e-3),
        train=Train(epochs=2, batch_size=8, micro_batch_size=4, early_stopping=1),
    )


def stopped(recipe, folder, monkeypatch, step, resume=False, what="training_step"):
    """Run until a signal comes in this step, or in the validation after it."""
    method, sent = getattr(FrozenTrainer, what), []

    def told(self, *arguments):
        if self.state.global_step == step and not sent:
            sent.append(step)
            os.kill(os.getpid(), signal.SIGTERM)
        return method(self, *arguments)

    monkeypatch.setattr(FrozenTrainer, what, told)
    with pytest.raises(Interrupted, match=r"SIGTERM at step"), watched():
        finetune(recipe, folder, resume=resume)
    monkeypatch.setattr(FrozenTrainer, what, method)


def figures(folder):
    """All that a run has found out: weights, metrics, predictions, and its log but for seconds."""
    entries = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    log = [{k: v for k, v in entry.items() if "seconds" not in k} for entry in entries]
    weights = {
        f"{file.name} {name}": values
        for file in sorted((folder / "model").rglob("*.safetensors"))
        for name, values in load_file(file).items()
    }
    return (
        RunResult.read(folder).metrics,
        log,
        (folder / "predictions.parquet").read_bytes(),
        weights,
    )


def assert_equal(one, other):
    *rest, weights = figures(one)
    *others, other_weights = figures(other)
    assert rest == others
    assert weights.keys() == other_weights.keys()
    assert all(torch.equal(weights[name], other_weights[name]) for name in weights)


def test_full_is_the_same_after_stops_in_the_epoch_and_at_its_end(recipe, tmp_path, monkeypatch):
    finetune(recipe, tmp_path / "whole")
    run = tmp_path / "stopped"
    for step in (0, 3, 6, 13):  # 6 and 13 are the last of an epoch: its validation is still to come
        stopped(recipe, run, monkeypatch, step, resume=step > 0)
        assert len(list((run / "checkpoints").glob("checkpoint-*"))) <= 3
    finetune(recipe, run, resume=True)
    assert_equal(run, tmp_path / "whole")
    assert not (run / "checkpoints").exists()


@pytest.mark.parametrize(
    "strategy",
    [
        Lora(learning_rate=1e-2),
        HeadOnly(learning_rate=1e-2, solver="adamw", least_steps=0),
        HeadOnly(cache=False),
        Lpft(),
    ],
    ids=["lora", "cached", "uncached", "lpft"],
)
def test_every_strategy_is_the_same_after_a_stop(recipe, tmp_path, monkeypatch, strategy):
    recipe = recipe.override({"strategy": strategy, "backbone.id": recipe.backbone.id})
    finetune(recipe, tmp_path / "whole")
    stopped(recipe, tmp_path / "stopped", monkeypatch, 9)
    finetune(recipe, tmp_path / "stopped", resume=True)
    assert_equal(tmp_path / "stopped", tmp_path / "whole")


def test_a_perceptron_is_the_same_after_stops_within_epochs(monkeypatch, tmp_path):
    recipe = Recipe(
        name="mlp-digits",
        data=Data(path="embedded:digits", train_rows=500),
        backbone=Mlp(hidden=(16,), dropout=0.2),
        strategy=Full(learning_rate=1e-2),
        train=Train(epochs=3, batch_size=8),  # 63 steps an epoch
    )
    finetune(recipe, tmp_path / "whole")
    run, part = tmp_path / "stopped", ftkit.perceptron.training.one_epoch
    for count in (1, 6, 3):  # calls of 16 steps each: in the first, second and third epoch

        def told(*arguments, left=[count], **rest):  # noqa: B006
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGUSR1)
            return part(*arguments, **rest)

        monkeypatch.setattr(ftkit.perceptron.training, "one_epoch", told)
        with pytest.raises(Interrupted, match=r"SIGUSR1 at step"), watched():
            finetune(recipe, run, resume=run.exists())
    monkeypatch.setattr(ftkit.perceptron.training, "one_epoch", part)
    finetune(recipe, run, resume=True)
    assert_equal(run, tmp_path / "whole")
