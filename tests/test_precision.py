"""Arithmetic by measurement: what is faster is taken, once for each machine and model."""

import os
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from ftkit.errors import RecipeError
from ftkit.machine import runtime
from ftkit.tasks.evaluation import in_halves
from ftkit.training.fastest_way import chosen, try_out
from ftkit.training.precision import fastest_precision

KNOWS, KNOWS_NOT, SAYS_NOTHING = (  # /proc/cpuinfo with and without bfloat16, or with neither word
    "processor : 0\nmodel name : Some CPU\nflags\t\t: fpu avx512f avx512_bf16\n",
    "processor : 0\nmodel name : Some CPU\nflags\t\t: fpu avx512f\n",
    "processor : 0\n",
)


class Slow(nn.Module):
    """A model that takes so many seconds in fp32 and in bf16, by a clock of its own."""

    def __init__(self, fp32, bf16):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(3))
        self.seconds, self.calls, self.clock = (fp32, bf16), 0, 0.0
        self.rows, self.threads = [], set()

    def forward(self, pixel_values):
        self.calls += 1
        self.rows.append(len(pixel_values))
        self.threads.add(torch.get_num_threads())
        share = len(pixel_values) / 16
        self.clock += share * self.seconds[torch.is_autocast_enabled("cpu")]


@pytest.fixture
def processor(tmp_path, monkeypatch):
    def say(text):
        (tmp_path / "cpuinfo").write_text(text)
        monkeypatch.setattr("ftkit.machine.processor.CPUINFO", tmp_path / "cpuinfo")

    say(SAYS_NOTHING)
    return say


@pytest.fixture
def inputs(tmp_path, monkeypatch, processor):
    monkeypatch.setenv("FTKIT_CACHE", str(tmp_path))
    monkeypatch.delenv("FTKIT_PRECISION")
    row = {"pixel_values": torch.zeros(3), "labels": 0, "index": 0}
    return SimpleNamespace(validation=[row] * 16)


@pytest.fixture
def ask(inputs, monkeypatch):
    """Return what is fastest for a model, by its own clock and with no notes."""

    def ask(model):
        clock = SimpleNamespace(process_time=lambda: model.clock)
        monkeypatch.setattr("ftkit.training.fastest_way.time", clock)
        monkeypatch.setenv("FTKIT_CACHE", os.environ["FTKIT_CACHE"] + "x")
        return fastest_precision(model, inputs, "auto", runtime.start(0))

    return ask


@pytest.mark.parametrize("said", [KNOWS, SAYS_NOTHING])
@pytest.mark.parametrize(("fp32", "bf16", "taken"), [(0.06, 0.02, "bf16"), (0.02, 0.06, "fp32")])
def test_what_is_faster_is_taken(fp32, bf16, taken, said, ask, inputs, processor):
    processor(said)
    model = Slow(fp32, bf16)
    assert ask(model) == taken
    tried = model.calls
    assert fastest_precision(model, inputs, "auto", runtime.start(0)) == taken
    assert model.calls == tried  # from the notes


@pytest.mark.parametrize(("said", "expected"), [(KNOWS, "bf16"), (SAYS_NOTHING, "fp32")])
@pytest.mark.parametrize("seconds", [(0.002, 0.001), (0.06, 0.057), (0.057, 0.06)])
def test_what_is_expected_stays_where_little_is_gained(seconds, said, expected, ask, processor):
    processor(said)
    assert ask(Slow(*seconds)) == expected


def test_bf16_is_not_tried_without_instructions_for_it(ask, processor):
    processor(KNOWS_NOT)
    model = Slow(0.06, 0.02)
    assert ask(model) == "fp32"
    assert model.calls == 0


def test_a_way_that_is_far_slower_is_tried_once(ask):
    model = Slow(0.06, 5.0)
    assert ask(model) == "fp32"
    few = 2 * 0.06 / 16 + 0.06 / 4  # one row, once more, and four
    assert model.clock == pytest.approx(few + 0.06 + 5.0 + 0.06)


def test_a_plain_way_that_is_far_slower_is_left(ask):
    assert ask(Slow(0.06, 0.005)) == "bf16"


def test_it_is_tried_in_one_thread_whose_number_is_as_before_afterwards(ask):
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    model = Slow(0.06, 0.02)
    try:
        ask(model)
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
    assert model.threads == {1}


@pytest.mark.parametrize(("seconds", "rows"), [(0.9, 16), (1.1, 4), (3.9, 4), (4.1, 1), (31, 1)])
def test_what_takes_long_is_tried_with_few_rows(seconds, rows, ask):
    model = Slow(seconds, seconds / 2)
    assert ask(model) == "bf16"
    assert set(model.rows[-4:]) == {rows}


@pytest.mark.parametrize(("said", "expected"), [(KNOWS, "bf16"), (SAYS_NOTHING, "fp32")])
def test_what_takes_too_long_is_not_tried(said, expected, ask, processor):
    processor(said)
    model = Slow(40.0, 40.0)
    assert ask(model) == expected
    assert model.rows == [1, 1]


@pytest.mark.parametrize("order", [("fp32", "bf16"), ("bf16", "fp32")])
def test_kernels_that_a_gpu_loads_in_the_first_pass_do_not_decide(order):
    now, passes = [0.0], Counter()

    def work(way, rows):
        passes[way] += 1
        now[0] += {"fp32": 0.05, "bf16": 0.02}[way] + (0.3 if passes[way] == 1 else 0.0)

    clock = SimpleNamespace(perf_counter=lambda: now[0])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ftkit.training.fastest_way.time", clock)
        seconds, rows = try_out(order, lambda way: None, work, (16, 4, 1), torch.device("meta"))
    assert rows == 16
    assert chosen(order[0], seconds) == "bf16"


def test_a_first_counted_try_alone_does_not_end_what_is_expected(monkeypatch):
    now, passes = [0.0], Counter()

    def work(way, rows):
        passes[way] += 1
        late = way == "fp32" and passes[way] == 5  # three small passes, the first, and this one
        now[0] += 0.06 * (2.5 if late else 1.0) * rows / 16

    clock = SimpleNamespace(process_time=lambda: now[0])
    monkeypatch.setattr("ftkit.training.fastest_way.time", clock)
    ways = ("fp32", "bf16")
    seconds, _ = try_out(ways, lambda way: None, work, (16, 4, 1), torch.device("cpu"))
    assert chosen("fp32", seconds) == "fp32"
    assert passes["fp32"] > 5


class Noisy(Slow):
    """Its CPU seconds vary as in one thread beside four neighbours, by a twentieth.

    And more: a pass in five takes half as much again.
    """

    def __init__(self, fp32, bf16, seed):
        super().__init__(fp32, bf16)
        self.luck = np.random.default_rng(seed)

    def forward(self, pixel_values):
        before = self.clock
        super().forward(pixel_values)
        slower = self.luck.lognormal(0.0, 0.05) * (1.5 if self.luck.random() < 0.2 else 1.0)
        self.clock = before + slower * (self.clock - before)


@pytest.mark.parametrize("said", [KNOWS, SAYS_NOTHING])
@pytest.mark.parametrize(("bf16", "right"), [(0.04, "bf16"), (0.08, "fp32"), (0.09, "fp32")])
def test_noise_misleads_in_one_start_of_twenty_at_most(bf16, right, said, ask, processor):
    processor(said)
    wrong = sum(ask(Noisy(0.06, bf16, seed)) != right for seed in range(100))
    assert wrong <= 5


@pytest.mark.parametrize(("said", "expected"), [(KNOWS, "bf16"), (SAYS_NOTHING, "fp32")])
@pytest.mark.parametrize("bf16", [0.058, 0.06, 0.062])
def test_of_equals_the_expected_one_is_taken_whatever_the_noise(
    bf16, said, expected, ask, processor
):
    processor(said)
    left = sum(ask(Noisy(0.06, bf16, seed)) != expected for seed in range(100))
    assert left <= 5


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
