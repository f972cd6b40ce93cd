"""Arithmetic by measurement: what is faster is taken, once for each machine and model."""

import os
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from ftkit.errors import RecipeError
from ftkit.machine import runtime
from ftkit.tasks.evaluation import in_halves
from ftkit.training.precision import fastest_precision


class Slow(nn.Module):
    """A model that takes so many seconds in fp32 and in bf16, by a clock of its own."""

    def __init__(self, fp32, bf16):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(round(1e4 * fp32), round(1e4 * bf16)))
        self.seconds, self.calls, self.clock = (fp32, bf16), 0, 0.0

    def forward(self, pixel_values):
        self.calls += 1
        self.clock += self.seconds[torch.is_autocast_enabled("cpu")]


@pytest.fixture
def inputs(tmp_path, monkeypatch):
    monkeypatch.setenv("FTKIT_CACHE", str(tmp_path))
    monkeypatch.delenv("FTKIT_PRECISION")
    return SimpleNamespace(validation=[{"pixel_values": torch.zeros(3), "labels": 0, "index": 0}])


@pytest.mark.parametrize(
    ("fp32", "bf16", "taken"),
    [(0.06, 0.02, "bf16"), (0.02, 0.06, "fp32"), (0.002, 0.001, "fp32")],
)
def test_bf16_is_taken_where_it_is_faster_and_something_is_gained(
    fp32, bf16, taken, inputs, monkeypatch
):
    model, machine = Slow(fp32, bf16), runtime.start(0)
    clock = SimpleNamespace(process_time=lambda: model.clock)
    monkeypatch.setattr("ftkit.training.precision.time", clock)
    assert fastest_precision(model, inputs, "auto", machine) == taken
    tried = model.calls
    assert fastest_precision(model, inputs, "auto", machine) == taken
    assert model.calls == tried  # from the notes


def test_a_way_that_is_far_slower_is_tried_once(inputs, monkeypatch):
    model, machine = Slow(0.06, 5.0), runtime.start(0)
    clock = SimpleNamespace(process_time=lambda: model.clock)
    monkeypatch.setattr("ftkit.training.precision.time", clock)
    assert fastest_precision(model, inputs, "auto", machine) == "fp32"
    assert model.clock == pytest.approx(5.06)


def test_a_plain_way_that_is_far_slower_is_left(inputs, monkeypatch):
    model, machine = Slow(0.06, 0.005), runtime.start(0)
    clock = SimpleNamespace(process_time=lambda: model.clock)
    monkeypatch.setattr("ftkit.training.precision.time", clock)
    assert fastest_precision(model, inputs, "auto", machine) == "bf16"


class Noisy(Slow):
    """Its CPU seconds vary as beside busy neighbours: by a tenth, and one in five by half more."""

    def __init__(self, fp32, bf16, seed):
        super().__init__(fp32, bf16)
        self.luck = np.random.default_rng(seed)

    def forward(self, pixel_values):
        before = self.clock
        super().forward(pixel_values)
        slower = self.luck.lognormal(0.0, 0.1) * (1.5 if self.luck.random() < 0.2 else 1.0)
        self.clock = before + slower * (self.clock - before)


@pytest.mark.parametrize(("bf16", "right"), [(0.04, "bf16"), (0.062, "fp32"), (0.09, "fp32")])
def test_noise_changes_the_choice_in_one_start_of_twenty_at_most(bf16, right, inputs, monkeypatch):
    machine, wrong = runtime.start(0), 0
    for seed in range(100):
        model = Noisy(0.06, bf16, seed)
        clock = SimpleNamespace(process_time=lambda model=model: model.clock)
        monkeypatch.setattr("ftkit.training.precision.time", clock)
        monkeypatch.setenv("FTKIT_CACHE", os.environ["FTKIT_CACHE"] + "x")
        wrong += fastest_precision(model, inputs, "auto", machine) != right
    assert wrong <= 5


def test_what_the_recipe_asks_for_is_not_measured(inputs):
    model = Slow(0.06, 0.02)
    assert fastest_precision(model, inputs, "fp32", runtime.start(0)) == "fp32"
    assert model.calls == 0


def test_the_owner_of_a_machine_may_say_what_auto_means(inputs, monkeypatch):
    model, machine = Slow(0.06, 0.02), runtime.start(0)
    monkeypatch.setenv("FTKIT_PRECISION", "bf16")
    assert fastest_precision(model, inputs, "auto", machine) == "bf16"
    assert fastest_precision(model, inputs, "fp32", machine) == "fp32"
    assert model.calls == 0
    monkeypatch.setenv("FTKIT_PRECISION", "half")
    with pytest.raises(RecipeError, match="FTKIT_PRECISION=half: expected fp32, bf16"):
        fastest_precision(model, inputs, "auto", machine)


def test_a_batch_that_does_not_fit_is_halved_until_it_does():
    sizes = []

    def compute(inputs):
        rows = inputs["x"]
        if len(rows) > 3:
            raise torch.OutOfMemoryError("no room")
        sizes.append(len(rows))
        return rows * 2

    rows = torch.arange(11)
    assert torch.equal(in_halves(compute, {"x": rows}), rows * 2)
    assert sum(sizes) == 11


def test_a_row_that_does_not_fit_is_an_error():
    def compute(inputs):
        raise torch.OutOfMemoryError("no room")

    with pytest.raises(torch.OutOfMemoryError):
        in_halves(compute, {"x": torch.arange(4)})
