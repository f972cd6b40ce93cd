"""Numbers that are looked at late are looked at before anything rests on them."""

import math

import pytest
import torch
from test_training import fitted

from ftkit import TrainingError
from ftkit.runs.checkpoint import newest_checkpoint
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
