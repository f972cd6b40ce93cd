"""The strategy `contrastive` goes on where a signal stopped it, to the same weights."""

import json
import os
import shutil
import signal

import pytest
import torch
from safetensors.torch import load_file

from ftkit import Contrastive, RunError, RunResult, finetune
from ftkit.finetuning.finetune import make_ready
from ftkit.machine import runtime
from ftkit.machine.interruption import Interrupted, watched
from ftkit.runs.checkpoint import why_damaged
from ftkit.strategies import strategy_of
from ftkit.strategies.contrastive_steps import Steps
from ftkit.training.fitted import Session

ROUNDS = ("contrastive", "contrastive/again/contrastive")


@pytest.fixture
def recipe(tiny_recipe, checkpoint):
    """Of a ViT with dropout, whose images are changed at random."""
    changes = {"backbone.id": str(checkpoint("vit")), "task.augment": {"crop": [0.8, 1.0]}}
    strategy = Contrastive(learning_rate=1e-3, steps=6)
    return tiny_recipe.override({**changes, "strategy": strategy})


def stopped(recipe, folder, monkeypatch, number, resume=False):
    """Run until a signal comes in so manieth a step of this session."""
    take, taken = Steps.take, []

    def told(self, *arguments):
        taken.append(self.done)
        if len(taken) == number:
            os.kill(os.getpid(), signal.SIGTERM)
        return take(self, *arguments)

    monkeypatch.setattr(Steps, "take", told)
    with pytest.raises(Interrupted, match=r"SIGTERM at step .* written"), watched():
        finetune(recipe, folder, resume=resume)
    monkeypatch.setattr(Steps, "take", take)
    return taken


def losses(folder):
    """The steps and losses in the logs of both rounds."""
    lines = [(folder / each / "log.jsonl").read_text().splitlines() for each in ROUNDS]
    return [[(line["step"], line["loss"]) for line in map(json.loads, own)] for own in lines]


def test_a_run_that_was_stopped_in_both_rounds_is_the_same(recipe, tmp_path, monkeypatch):
    finetune(recipe, tmp_path / "whole")
    run = tmp_path / "stopped"
    assert stopped(recipe, run, monkeypatch, 2) == [0, 1]
    assert stopped(recipe, run, monkeypatch, 4, resume=True) == [2, 3, 4, 5]
    # all steps of the first round are in its last checkpoint, so what comes now is the second one
    assert stopped(recipe, run, monkeypatch, 3, resume=True) == [0, 1, 2]
    assert (run / ROUNDS[1] / "checkpoints" / "checkpoint-3" / "checksums.json").is_file()
    finetune(recipe, run, resume=True)
    assert losses(run) == losses(tmp_path / "whole")
    one, other = (load_file(each / "model/model.safetensors") for each in (run, tmp_path / "whole"))
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert RunResult.read(run).metrics == RunResult.read(tmp_path / "whole").metrics
    assert not list(run.rglob("checkpoint-*"))


def test_other_settings_that_are_asked_for_anyway_count(recipe, tmp_path, monkeypatch):
    run, seen = tmp_path / "run", []
    stopped(recipe, run, monkeypatch, 5)
    fewer = recipe.override({"strategy.steps": 3})
    with pytest.raises(RunError, match=r"has taken 5 contrastive steps already, and 3 are wanted"):
        finetune(fewer, run, resume=True, anyway=True)
    take = Steps.take

    def noted(self, *arguments):
        seen.append({(g["initial_lr"], g["weight_decay"]) for g in self.optimiser.param_groups})
        return take(self, *arguments)

    monkeypatch.setattr(Steps, "take", noted)
    other = recipe.override({"strategy.learning_rate": 1e-6, "train.weight_decay": 0.5})
    finetune(other, run, resume=True, anyway=True)
    assert seen[0] == {(1e-6, 0.5), (1e-6, 0.0)}


def test_gradients_that_are_not_clipped_move_the_backbone(recipe, tmp_path):
    (tmp_path / "run").mkdir()
    machine = runtime.start(0)
    # without decay, which would move the weights though all gradients were 0
    changes = {"train.max_grad_norm": 0, "train.weight_decay": 0, "strategy.refit": False}
    unclipped = recipe.override(changes)
    ready = make_ready(unclipped, machine)
    before = {name: p.clone() for name, p in ready.model.named_parameters()}
    session = Session(machine, tmp_path / "run")
    strategy_of(unclipped.strategy).train(ready.model, ready.inputs, unclipped, session)
    moved = [n for n, p in ready.model.named_parameters() if not torch.equal(p, before[n])]
    assert any("attention" in name for name in moved)


def test_checkpoints_come_as_often_as_is_asked_and_the_newest_stay(recipe, tmp_path, monkeypatch):
    recipe = recipe.override({"train.checkpoint_every": "2", "train.checkpoints_kept": 1})
    stopped(recipe, tmp_path / "run", monkeypatch, 5)
    there = tmp_path / "run" / ROUNDS[0] / "checkpoints"
    assert [path.name for path in there.iterdir()] == ["checkpoint-5"]
    (there / "checkpoint-5").rename(there / "checkpoint-4")
    shutil.copytree(there / "checkpoint-4", there / "checkpoint-6")
    (there / "checkpoint-6" / "state.pt").write_bytes(b"no state")
    assert stopped(recipe, tmp_path / "run", monkeypatch, 1, resume=True) == [5]
    assert [path.name for path in there.iterdir()] == ["checkpoint-6"]
    assert why_damaged(there / "checkpoint-6") is None
