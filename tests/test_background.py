"""Checkpoints are written beside training: of the moment they were taken, or an error says so."""

import threading
from types import SimpleNamespace

import pytest
import torch
from conftest import leave_unverified
from safetensors.torch import load_file

import ftkit.runs.checkpoint
from ftkit import TrainingError, finetune
from ftkit.finetuning.clock import Clock
from ftkit.runs.checkpoint import FILE
from ftkit.training import background
from ftkit.training.background import Background, copy_to_host, size_of
from ftkit.training.trainer import FrozenTrainer


@pytest.fixture(autouse=True)
def _unverified(monkeypatch):
    leave_unverified(monkeypatch)


def test_what_is_written_is_of_the_moment_it_was_given():
    weights, go_on, found = torch.zeros(3), threading.Event(), []
    worker = Background()

    def write(content):
        assert go_on.wait(300)
        found.append((content["weights"], threading.current_thread()))

    worker.write({"weights": weights}, write)
    weights += 1  # as the next step does
    go_on.set()
    worker.wait()
    ((written, thread),) = found
    assert written.tolist() == [0, 0, 0]
    assert thread is not threading.main_thread()


def test_a_copy_keeps_strides_and_takes_over_what_is_no_tensor():
    kernels = torch.randn(2, 3, 4, 4).to(memory_format=torch.channels_last)
    content = {"a": [kernels, 1.5], "b": (torch.arange(3), None)}
    again = copy_to_host(content)
    assert torch.equal(again["a"][0], kernels)
    assert again["a"][0].stride() == kernels.stride()
    assert again["a"][0].data_ptr() != kernels.data_ptr()
    assert (again["a"][1], again["b"][1]) == (1.5, None)
    assert size_of(content) == 96 * 4 + 3 * 8


def test_without_memory_for_a_copy_the_caller_waits(monkeypatch):
    monkeypatch.setattr(background, "ROOM", 1e18)
    threads = []
    Background().write([torch.ones(1)], lambda _: threads.append(threading.current_thread()))
    assert threads == [threading.main_thread()]


def test_the_seconds_are_those_in_which_the_caller_stood_still(monkeypatch):
    ticks = iter(range(0, 1000, 10))
    clock = SimpleNamespace(perf_counter=lambda: next(ticks))
    monkeypatch.setattr(background, "time", clock)
    worker = Background()
    worker.write([torch.ones(1)], lambda content: None)
    assert worker.seconds == 10  # for the copy
    worker.wait()
    worker.wait()  # for nothing
    assert worker.seconds == 20


@pytest.mark.parametrize("perceptron", [False, True])
def test_a_run_says_how_long_checkpoints_took(perceptron, tiny_recipe, colours, tmp_path):
    clock = Clock()
    recipe = colours.override({"train.checkpoint_every": "1"}) if perceptron else tiny_recipe
    finetune(recipe, tmp_path / "run", clock=clock)
    assert clock.seconds["checkpoints"] > 0
    assert list(clock.seconds)[-1] == "card"


def test_what_goes_wrong_is_said_by_the_next_call_and_once():
    def fail(content):
        raise TrainingError("the disk is full")

    worker = Background()
    worker.write([], fail)
    with pytest.raises(TrainingError, match="the disk is full"):
        worker.write([], fail)
    assert not worker.failed
    worker.wait()


def test_training_goes_on_while_a_checkpoint_is_written(tiny_recipe, tmp_path, monkeypatch):
    finetune(tiny_recipe, tmp_path / "one")
    step, write = FrozenTrainer.training_step, ftkit.runs.checkpoint.save_moving
    taken = threading.Event()

    def noting(self, *given):
        loss = step(self, *given)
        if self.state.global_step == 9:  # 7 steps an epoch
            taken.set()
        return loss

    def late(tensors, folder):
        assert taken.wait(300), "training waits for its checkpoint"
        write(tensors, folder)

    monkeypatch.setattr(FrozenTrainer, "training_step", noting)
    monkeypatch.setattr(ftkit.runs.checkpoint, "save_moving", late)
    finetune(tiny_recipe, tmp_path / "other")
    one, other = (
        load_file(tmp_path / run / "model" / "model.safetensors") for run in ("one", "other")
    )
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_an_error_ends_training_long_before_the_next_checkpoint(tiny_recipe, tmp_path, monkeypatch):
    def full(tensors, folder):
        (folder / FILE).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(ftkit.runs.checkpoint, "save_moving", full)
    steps, taking = [], FrozenTrainer.training_step

    def noting(self, *given):
        if self.state.global_step == 7:
            self.background._work.exception()  # wait until it has gone wrong
        steps.append(self.state.global_step)
        return taking(self, *given)

    monkeypatch.setattr(FrozenTrainer, "training_step", noting)
    with pytest.raises(TrainingError, match=r"checkpoint-7 cannot be written: No space left on"):
        finetune(tiny_recipe.override({"train.epochs": 3}), tmp_path / "run")
    assert steps[-1] == 7
    assert list((tmp_path / "run" / "checkpoints").glob("checkpoint-*")) == []
