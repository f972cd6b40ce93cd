"""LP-FT: full fine-tuning begins where its probe ended."""

import json
import shutil

import pytest
import torch

from ftkit import (
    Backbone,
    Data,
    Full,
    HeadOnly,
    Lpft,
    Recipe,
    RunResult,
    TextClassification,
    Train,
    finetune,
)
from ftkit.backbones.structure import place
from ftkit.finetuning.finetune import make_ready
from ftkit.machine import runtime
from ftkit.runs.checkpoint import newest_checkpoint
from ftkit.strategies import strategy_of
from ftkit.training.fitted import Session


@pytest.fixture
def recipe(tiny_recipe):
    return tiny_recipe.override({"strategy": Lpft(learning_rate=1e-4), "train.epochs": 3})


def trained(recipe, folder, resume=False):
    machine = runtime.start(recipe.train.seed)
    ready = make_ready(recipe, machine)
    place(ready.model, None, machine.device)
    folder.mkdir(exist_ok=True)
    fitted = strategy_of(recipe.strategy).train(
        ready.model, ready.inputs, recipe, Session(machine, folder, resume)
    )
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
    # by Trainer, whose checkpoints must not stay
    probe = HeadOnly(learning_rate=1e-2, solver="adamw", least_steps=0)
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


def test_a_probe_that_full_fine_tuning_spoils_is_kept(recipe, tmp_path, caplog):
    broken = recipe.override({"strategy.learning_rate": 0.3, "train.warmup": 0.0})
    broken = broken.override({"train.best_by": "loss"})
    with caplog.at_level("INFO", logger="ftkit"):
        model, fitted = trained(broken, tmp_path / "lpft")
    alone = broken.override({"strategy": broken.strategy.probe})
    probed, probe = trained(alone, tmp_path / "head")
    weights = probed.state_dict()
    assert all(torch.equal(tensor, weights[name]) for name, tensor in model.state_dict().items())
    assert fitted.validation == pytest.approx(probe.validation)
    first = json.loads((tmp_path / "lpft" / "log.jsonl").open().readline())
    assert (first["step"], first["epoch"]) == (0, 0)
    assert first["validation_loss"] == pytest.approx(probe.validation["loss"])
    assert "before training: validation loss" in caplog.text
    assert "no epoch did better" in caplog.text


def test_the_probe_takes_adamw_where_the_head_is_no_single_linear_layer(
    tmp_path, checkpoint, caplog
):
    recipe = words(tmp_path, checkpoint("distilbert"))
    with caplog.at_level("INFO", logger="ftkit"):
        wish = Lpft(probe=HeadOnly(solver="lbfgs", least_steps=0))
        _, fitted = trained(recipe.override({"strategy": wish}), tmp_path / "out")
    assert fitted.strategy.probe.solver == "adamw"
    assert "strategy.probe.solver" in caplog.text
    assert type(recipe).model_validate(
        recipe.model_dump() | {"strategy": {"kind": "lpft", "probe": {"solver": "adamw"}}}
    )


def words(folder, backbone):
    """Return a recipe of texts of two kinds of words."""
    rows = [("apple pear", "fruit"), ("iron gold", "metal")] * 20
    text = "".join(
        json.dumps({"text": f"{t} {i % 7}", "label": k}) + "\n" for i, (t, k) in enumerate(rows)
    )
    (folder / "rows.jsonl").write_text(text, encoding="utf-8")
    return Recipe(
        name="tiny-words",
        data=Data(path=str(folder / "rows.jsonl")),
        backbone=Backbone(id=str(backbone)),
        task=TextClassification(text="text", label="label", max_length=24),
        train=Train(epochs=1, batch_size=8),
    )
