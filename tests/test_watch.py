"""Numbers that are looked at late are looked at before anything rests on them."""

import json
import math

import pytest
import torch
from test_training import fitted
from transformers import TrainerCallback

from ftkit import TrainingError
from ftkit.finetuning.finetune import make_ready
from ftkit.machine import runtime
from ftkit.runs.checkpoint import newest_checkpoint
from ftkit.strategies.range_test import take_steps
from ftkit.training.trainer import FrozenTrainer
from ftkit.training.watch import Watch

DIVERGING = {"strategy.learning_rate": 1e30, "train.warmup": 0.0, "train.max_grad_norm": 0}


def complaint(value):
    return f"it became {value}"


def test_at_once_is_at_once():
    watch = Watch(late=False)
    watch.note(torch.tensor(1.0), complaint)
    with pytest.raises(TrainingError, match="it became nan"):
        watch.note(torch.tensor(math.nan), complaint)


def test_late_is_at_the_next_look_and_once():
    watch = Watch(late=True)
    watch.note(torch.tensor(math.inf), complaint)
    with pytest.raises(TrainingError, match="it became inf"):
        watch.look()
    watch.look()


@pytest.mark.parametrize("epochs", [1, 2])
def test_a_run_that_is_looked_at_late_stops_with_the_same_words(
    tiny_recipe, tmp_path, monkeypatch, epochs
):
    recipe = tiny_recipe.override(DIVERGING | {"train.epochs": epochs})
    said = []
    for late in (False, True):
        monkeypatch.setattr("ftkit.training.trainer.Watch", lambda late, how=late: Watch(how))
        with pytest.raises(TrainingError) as found:
            fitted(recipe, tmp_path / str(late))
        said.append(str(found.value))
        assert newest_checkpoint(tmp_path / str(late) / "checkpoints") is None
    assert said[0] == said[1]
    assert "became" in said[0]


def test_a_number_of_the_last_step_is_looked_at_before_its_checkpoint(
    tiny_recipe, tmp_path, monkeypatch
):
    monkeypatch.setattr("ftkit.training.trainer.Watch", lambda late: Watch(True))
    loss = FrozenTrainer.compute_loss

    def broken(self, *given, **named):
        last = self.state.global_step == self.state.max_steps - 1
        return loss(self, *given, **named) * (math.nan if last else 1.0)

    monkeypatch.setattr(FrozenTrainer, "compute_loss", broken)
    with pytest.raises(TrainingError, match="the loss became nan at step 7 "):
        fitted(tiny_recipe.override({"train.epochs": 1}), tmp_path)
    assert newest_checkpoint(tmp_path / "checkpoints") is None


def test_a_look_leaves_what_came_in_that_step_or_later():
    watch = Watch(late=True)
    for step in range(3):
        watch.note(torch.tensor(math.nan if step == 1 else 1.0), complaint, step)
    watch.look(before=1)
    assert [note.step for note in watch.waiting] == [1, 2]
    with pytest.raises(TrainingError, match="it became nan"):
        watch.look(before=2)
    watch.look()


class Arrival:
    """An event of a GPU that takes down when it is waited for."""

    def __init__(self, happened, step):
        self.happened, self.step = happened, step

    def synchronize(self):
        self.happened.append(("waited", self.step))


@pytest.mark.parametrize("micro_batches", [1, 2])
def test_a_step_is_launched_before_the_last_one_is_waited_for(
    tiny_recipe, tmp_path, monkeypatch, micro_batches
):
    happened: list[tuple[str, int]] = []
    launch, now = FrozenTrainer.compute_loss, [0]

    def launching(self, *given, **named):
        now[0] = self.state.global_step
        happened.append(("launched", now[0]))
        return launch(self, *given, **named)

    monkeypatch.setattr(FrozenTrainer, "compute_loss", launching)
    monkeypatch.setattr(
        "ftkit.training.watch.on_its_way", lambda value: (value, Arrival(happened, now[0]))
    )
    monkeypatch.setattr("ftkit.training.trainer.Watch", lambda late: Watch(True))
    monkeypatch.setattr(
        FrozenTrainer, "_maybe_log_save_evaluate", unlogged(FrozenTrainer._maybe_log_save_evaluate)
    )
    size = tiny_recipe.train.batch_size
    fitted(
        tiny_recipe.override({"train.epochs": 1, "train.micro_batch_size": size // micro_batches}),
        tmp_path,
    )
    last = max(step for _, step in happened)
    assert last > 3
    assert happened.count(("launched", 0)) == micro_batches
    for step in range(last):
        assert ("waited", step) in happened
        launched = [i for i, what in enumerate(happened) if what == ("launched", step + 1)]
        assert happened.index(("waited", step)) > launched[-1]


def unlogged(method):
    """Return Trainer's method that logs, saves and validates, where it logs nothing."""

    def without_log(self, *given, **named):
        self.control.should_log = False
        return method(self, *given, **named)

    return without_log


@pytest.mark.parametrize("step", [0, 2])
def test_a_loss_that_is_no_number_is_never_logged(tiny_recipe, tmp_path, monkeypatch, step):
    monkeypatch.setattr("ftkit.training.trainer.Watch", lambda late: Watch(True))
    break_loss(monkeypatch, step)
    with pytest.raises(TrainingError, match=f"the loss became nan at step {step + 1} "):
        fitted(tiny_recipe.override({"train.epochs": 1}), tmp_path)
    log = tmp_path / "log.jsonl"
    lines = log.read_text(encoding="utf-8").splitlines() if log.exists() else []
    assert all(math.isfinite(json.loads(line).get("loss", 0.0)) for line in lines)
    assert "NaN" not in "".join(lines)


def test_steps_that_are_only_tried_are_looked_at_before_they_end(
    tiny_recipe, tmp_path, monkeypatch
):
    monkeypatch.setattr("ftkit.training.trainer.Watch", lambda late: Watch(True))
    monkeypatch.setattr(
        FrozenTrainer, "_maybe_log_save_evaluate", unlogged(FrozenTrainer._maybe_log_save_evaluate)
    )
    break_loss(monkeypatch, 2)
    machine, recipe = runtime.start(0), tiny_recipe.override({"train.max_steps": 3})
    ready = make_ready(recipe, machine)
    with pytest.raises(TrainingError, match="the loss became nan at step 3 "):
        take_steps(FrozenTrainer, ready.model, ready.inputs, recipe, machine, TrainerCallback())


def break_loss(monkeypatch, step):
    loss = FrozenTrainer.compute_loss

    def broken(self, *given, **named):
        return loss(self, *given, **named) * (math.nan if self.state.global_step == step else 1.0)

    monkeypatch.setattr(FrozenTrainer, "compute_loss", broken)
