"""What a strategy does in training: LP-FT begins where its probe ended."""

import json
import shutil

import pytest
import torch

from ftkit import Full, HeadOnly, Lpft, RunResult, finetune, runtime
from ftkit.checkpoint import newest_checkpoint
from ftkit.models import place
from ftkit.run import make_ready
from ftkit.stages import train


@pytest.fixture
def recipe(tiny_recipe):
    return tiny_recipe.override({"strategy": Lpft(learning_rate=1e-4), "train.epochs": 3})


def trained(recipe, folder, resume=False):
    machine = runtime.start(recipe.train.seed)
    ready = make_ready(recipe, machine)
    place(ready.model, None, machine.device)
    folder.mkdir(exist_ok=True)
    fitted = train(recipe.strategy, ready.model, ready.inputs, recipe, machine, folder, resume)
    return ready.model, fitted


def losses(folder):
    entries = [json.loads(line) for line in (folder / "log.jsonl").open()]
    return [entry["loss"] for entry in entries if "loss" in entry]


def validations(folder):
    """Return the figures of each validation in a log."""
    entries = [json.loads(line) for line in (folder / "log.jsonl").open()]
    return [
        {
            name.removeprefix("validation_"): value
            for name, value in entry.items()
            if name.startswith("validation_") and name != "validation_seconds"
        }
        for entry in entries
        if "validation_loss" in entry
    ]


def test_full_fine_tuning_begins_with_the_head_of_the_probe(recipe, tmp_path):
    still = recipe.override({"strategy.learning_rate": 1e-12, "train.weight_decay": 0.0})
    model, _ = trained(still, tmp_path / "lpft")
    alone = still.override({"strategy": still.strategy.probe})
    probed, _ = trained(alone, tmp_path / "head")
    for name, tensor in probed.state_dict().items():
        assert torch.allclose(model.state_dict()[name], tensor, atol=1e-6), name
    assert losses(tmp_path / "lpft" / "probe") == losses(tmp_path / "head")


def test_every_parameter_moves_after_the_probe(recipe, tmp_path):
    start = make_ready(recipe, runtime.start(0)).model.state_dict()
    start = {name: tensor.clone() for name, tensor in start.items()}
    model, _ = trained(recipe.override({"strategy.learning_rate": 1e-3}), tmp_path / "out")
    still = [name for name, p in model.named_parameters() if torch.equal(p, start[name])]
    assert still == []
    trained(recipe.override({"strategy": Full()}), tmp_path / "full")
    assert losses(tmp_path / "out")[0] < 0.8 * losses(tmp_path / "full")[0]


def test_a_run_counts_both_stages_and_keeps_the_log_of_each(recipe, tmp_path):
    probe = HeadOnly(learning_rate=1e-2)  # by Trainer, whose checkpoints must not stay
    result = finetune(recipe.override({"strategy.probe": probe}), tmp_path / "out")
    assert result.validation in validations(tmp_path / "out")
    assert RunResult.read(tmp_path / "out") == result
    assert result.parameters_trained == result.parameters_total
    assert result.strategy["probe"]["learning_rate"] == 1e-2
    left = {path.name for path in (tmp_path / "out" / "probe").iterdir()}
    assert left == {"log.jsonl", "fitted.json"}
    assert len(losses(tmp_path / "out")) == len(losses(tmp_path / "out" / "probe"))


def test_resume_goes_on_without_a_second_probe(recipe, tmp_path):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    trained(recipe, whole)
    shutil.copytree(whole, cut)
    shutil.rmtree(newest_checkpoint(cut / "checkpoints"))  # what a kill in the third epoch leaves
    (cut / "probe" / "log.jsonl").unlink()
    trained(recipe, cut, resume=True)
    assert losses(cut) == losses(whole)
    assert not (cut / "probe" / "log.jsonl").exists()
