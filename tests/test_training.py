"""Training: the same numbers for any accumulation, exact epochs, resume, and a stop on NaN."""

import json
import math
import shutil

import numpy as np
import pytest
import torch
from conftest import make_image

from ftkit import Augment, ImageClassification, TrainingError, finetune
from ftkit.finetuning.finetune import make_ready
from ftkit.machine import runtime
from ftkit.runs.checkpoint import newest_checkpoint
from ftkit.runs.journal import Journal
from ftkit.strategies import strategy_of
from ftkit.tasks import task_of
from ftkit.tasks.evaluation import predict_logits
from ftkit.training.fit import fit, training_arguments
from ftkit.training.fitted import Session
from ftkit.training.trainer import FrozenTrainer

IMAGES = task_of(ImageClassification())


def losses(folder):
    entries = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [entry["loss"] for entry in entries if "loss" in entry]


def fitted(recipe, folder, resume=False):
    machine = runtime.start(recipe.train.seed)
    ready = make_ready(recipe, machine)
    folder.mkdir(exist_ok=True)
    session = Session(machine, folder, resume)
    result = fit(ready.model, strategy_of(recipe.strategy), ready.inputs, recipe, session)
    return ready, result


def test_loss_falls(tiny_recipe, tmp_path):
    recipe = tiny_recipe.override({"train.epochs": 8, "strategy.learning_rate": 3e-3})
    fitted(recipe, tmp_path)
    seen = losses(tmp_path)
    assert np.mean(seen[-5:]) < 0.5 * np.mean(seen[:5])


def test_the_same_recipe_gives_the_same_weights(tiny_recipe, tmp_path):
    first, second = (
        fitted(tiny_recipe, tmp_path / name)[0].model.state_dict() for name in ("first", "second")
    )
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_accumulation_gives_the_losses_of_the_whole_batch(tiny_recipe, tmp_path):
    # no dropout: its masks are drawn per forward pass
    recipe = tiny_recipe.override(
        {"strategy.learning_rate": 1e-3, "train.epochs": 1, "train.batch_size": 16}
    )
    recipe = recipe.override({"backbone.id": without_dropout(recipe.backbone.id, tmp_path)})
    for name, micro in (("whole", None), ("parts", 3)):
        fitted(recipe.override({"train.micro_batch_size": micro}), tmp_path / name)
    assert losses(tmp_path / "parts") == pytest.approx(losses(tmp_path / "whole"), rel=1e-4)


def without_dropout(checkpoint, tmp_path):
    copy = tmp_path / "no-dropout"
    shutil.copytree(checkpoint, copy)
    config = json.loads((copy / "config.json").read_text())
    config |= {"hidden_dropout_prob": 0.0}
    (copy / "config.json").write_text(json.dumps(config))
    return str(copy)


def test_trainer_sees_each_row_once_an_epoch(tiny_recipe, tmp_path, monkeypatch):
    seen = []
    step = FrozenTrainer.training_step

    def noting(self, model, inputs, *rest):
        seen.extend((int(self.state.epoch or 0), row) for row in inputs["index"].tolist())
        return step(self, model, inputs, *rest)

    monkeypatch.setattr(FrozenTrainer, "training_step", noting)
    ready, result = fitted(tiny_recipe, tmp_path)
    N = len(ready.inputs.train)
    assert sorted(seen) == [(epoch, row) for epoch in range(2) for row in range(N)]
    assert result.steps == 2 * math.ceil(N / 8)
    assert result.examples == 2 * N


def test_weight_decay_spares_biases_and_norms(tiny_recipe, tmp_path):
    machine = runtime.start(0)
    ready = make_ready(tiny_recipe, machine)
    trainer = FrozenTrainer(
        model=ready.model,
        args=training_arguments(tiny_recipe, machine, tmp_path, len(ready.inputs.train), "fp32"),
        strategy=strategy_of(tiny_recipe.strategy),
        recipe=tiny_recipe,
        machine=machine,
        inputs=ready.inputs,
        journal=Journal(tmp_path / "log.jsonl", True),
    )
    decayed = set(trainer.get_decay_parameter_names(ready.model))
    assert "vit.layers.0.mlp.fc1.weight" in decayed
    assert not any("norm" in name or name.endswith("bias") for name in decayed)


def test_a_loss_that_is_no_number_names_step_rows_and_mend(tiny_recipe, tmp_path, monkeypatch):
    def broken(outputs, labels, *rest, **more):
        return outputs["logits"].sum() * float("nan")

    monkeypatch.setattr("ftkit.tasks.base.classification_loss", broken)
    with pytest.raises(TrainingError, match=r"nan at step 1.*training rows \[.*learning-rate"):
        finetune(tiny_recipe, tmp_path / "out")
    assert not (tmp_path / "out" / "run.json").exists()


def test_resume_goes_on_with_the_losses_of_the_uninterrupted_run(tiny_recipe, tmp_path):
    recipe = tiny_recipe.override({"train.epochs": 3})
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    fitted(recipe, whole)
    shutil.copytree(whole, cut)
    last = newest_checkpoint(cut / "checkpoints")
    shutil.rmtree(last)  # what a kill in the third epoch leaves
    _, result = fitted(recipe, cut, resume=True)
    assert losses(cut) == losses(whole)
    assert result.steps == 3 * math.ceil(52 / 8)


def of_chance(recipe, folder, rows, **settings):
    """Return the recipe on labels by chance: what is learned makes validation worse."""
    draw = np.random.default_rng(0)
    for number in range(rows):
        of_class = folder / "data" / f"class{draw.integers(3)}"
        of_class.mkdir(parents=True, exist_ok=True)
        make_image("red", number).save(of_class / f"{number}.png")
    changes = {"train.epochs": 10, "strategy.learning_rate": 1e-2, **settings}
    return recipe.override(changes).override({"data.path": str(folder / "data")})


def kept_and_seen(recipe, folder):
    """Train, and return the validation loss of what is kept, and those of all epochs."""
    ready, result = fitted(recipe, folder)
    entries = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    seen = [entry["validation_loss"] for entry in entries if "validation_loss" in entry]
    rows = ready.inputs.validation
    logits = predict_logits(ready.model, rows, recipe.train, runtime.start(0))
    kept = torch.nn.functional.cross_entropy(torch.tensor(logits), torch.tensor(rows.labels))
    assert result.validation["loss"] == pytest.approx(float(kept), rel=1e-5)
    assert result.validation["accuracy"] == (logits.argmax(1) == rows.labels).mean()
    return float(kept), seen


def test_the_best_checkpoint_is_kept_not_the_last(tiny_recipe, tmp_path):
    recipe = of_chance(tiny_recipe, tmp_path, 60, **{"train.best_by": "loss"})
    kept, seen = kept_and_seen(recipe, tmp_path)
    assert min(seen) < seen[-1]
    assert kept == pytest.approx(min(seen), rel=1e-5)


def test_few_validation_images_do_not_choose_an_epoch(tiny_recipe, tmp_path, caplog):
    caplog.set_level("INFO")
    kept, seen = kept_and_seen(of_chance(tiny_recipe, tmp_path, 60), tmp_path)
    assert min(seen) < seen[-1]
    assert kept == pytest.approx(seen[-1], rel=1e-5)
    assert "validation images are too few to choose an epoch by" in caplog.text


def kept_of_equal_figures(recipe, folder, monkeypatch, resume=False):
    """Train with validations that all have the same accuracy, and return the step that is kept."""
    told = FrozenTrainer.score

    def alike(trainer):
        return told(trainer) | {"accuracy": 0.5}

    monkeypatch.setattr(FrozenTrainer, "score", alike)
    return fitted(recipe, folder, resume)[1]


def test_of_epochs_with_equal_figures_that_with_the_lowest_loss_is_kept(
    tiny_recipe, tmp_path, monkeypatch
):
    recipe = tiny_recipe.override(
        {"train.epochs": 4, "strategy.learning_rate": 3e-3, "train.early_stopping": 1}
    )
    result = kept_of_equal_figures(recipe, tmp_path, monkeypatch)
    entries = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    seen = [entry["validation_loss"] for entry in entries if "validation_loss" in entry]
    assert result.validation["loss"] == min(seen) < seen[0]
    assert len(seen) == 4  # a lower loss at an equal figure is a gain, so nothing ended the run


def test_early_stopping_ends_the_run(tiny_recipe, tmp_path):
    recipe = tiny_recipe.override(
        {"train.epochs": 30, "strategy.learning_rate": 1e-9, "train.early_stopping": 2}
    )
    _, result = fitted(recipe, tmp_path)
    assert result.steps == 3 * math.ceil(52 / 8)  # one that is best, two without gain


def test_mixup_and_cutmix_train(tiny_recipe, tmp_path):
    task = ImageClassification(augment=Augment(mixup=0.2, cutmix=1.0))
    recipe = tiny_recipe.override({"task": task, "train.max_steps": 4})
    _, result = fitted(recipe, tmp_path)
    assert result.steps == 4
    assert all(math.isfinite(loss) for loss in losses(tmp_path))


def test_channels_last_is_the_layout_of_cnns(checkpoint):
    from ftkit import Backbone
    from ftkit.backbones.pretrained import load_model
    from ftkit.backbones.structure import place

    for family, expected in (("resnet", True), ("vit", False)):
        model, _ = load_model(Backbone(id=str(checkpoint(family))), ("a", "b"), 0, task=IMAGES)
        place(model, None, torch.device("cpu"))
        kernel = next(p for p in model.parameters() if p.ndim == 4)
        assert kernel.is_contiguous(memory_format=torch.channels_last) == expected


class Crowded(torch.nn.Module):
    """A module in whose forward pass no more than so many rows find room."""

    def __init__(self, inner, most):
        super().__init__()
        self.inner, self.most = inner, most

    def forward(self, rows):
        if self.training and len(rows) > self.most:
            raise torch.OutOfMemoryError("no room")
        return self.inner(rows)


def crowded(recipe, folder, most):
    machine = runtime.start(recipe.train.seed)
    ready = make_ready(recipe, machine)
    ready.model.classifier = Crowded(ready.model.classifier, most)
    session = Session(machine, folder)
    fit(ready.model, strategy_of(recipe.strategy), ready.inputs, recipe, session)


def test_a_batch_that_does_not_fit_is_halved_and_the_result_stays(tiny_recipe, tmp_path, caplog):
    (tmp_path / "all").mkdir()
    (tmp_path / "few").mkdir()
    copy = without_dropout(tiny_recipe.backbone.id, tmp_path)
    tiny_recipe = tiny_recipe.override({"backbone.id": copy})
    crowded(tiny_recipe, tmp_path / "all", most=8)
    with caplog.at_level("WARNING"):
        crowded(tiny_recipe, tmp_path / "few", most=3)
    assert [r.message for r in caplog.records if "out of memory" in r.message] == [
        "out of memory with 8 rows at once; going on with 4",
        "out of memory with 4 rows at once; going on with 2",
    ]
    assert losses(tmp_path / "few") == pytest.approx(losses(tmp_path / "all"), rel=1e-3)


def test_no_batch_is_kept_for_the_try_after_memory_ran_out(tiny_recipe, tmp_path, monkeypatch):
    seen, end = [], FrozenTrainer.end_readers

    def ending(self):
        before = self.ahead
        end(self)
        seen.append((before is not None, self.ahead))

    monkeypatch.setattr(FrozenTrainer, "end_readers", ending)
    crowded(tiny_recipe.override({"train.epochs": 1}), tmp_path, most=4)
    assert seen == [(True, None), (True, None)]


def test_a_row_that_does_not_fit_is_told_in_one_line(tiny_recipe, tmp_path):
    with pytest.raises(TrainingError, match=r"out of memory at step 1 with 1 rows.*gradient_check"):
        crowded(tiny_recipe, tmp_path, most=0)
