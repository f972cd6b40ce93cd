"""What cannot be held is refused before any of it is taken, and a denied byte is one line."""

import resource
from types import SimpleNamespace

import numpy as np
import psutil
import pytest
import torch
from torch import nn

from ftkit import ImageClassification, MlpClassifier, registry
from ftkit.backbones.perceptron import new_perceptron
from ftkit.backbones.pretrained import load_model
from ftkit.cli import main as cli
from ftkit.errors import FtkitError, RecipeError, TrainingError
from ftkit.finetuning.finetune import make_ready
from ftkit.machine import control_groups, memory, runtime
from ftkit.machine.memory_denied import denied_in_one_line, is_denied
from ftkit.machine.runtime import share_batch
from ftkit.recipe import Backbone, Lora, Mlp
from ftkit.tasks import task_of
from ftkit.training.micro_batch import limit_rows_at_once

IMAGES = task_of(ImageClassification())

CLASSES = ("a", "b")
CPU = SimpleNamespace(device=torch.device("cpu"), world_size=1)


class Two(nn.Module):
    """Keeps its inputs and a hidden layer of 1,000 numbers a row for the backward pass."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(10, 1_000), nn.Linear(1_000, 2)

    def forward(self, x):
        return {"logits": self.second(self.first(x).relu())}


@pytest.mark.parametrize("hidden", [(10**9,), (10**6, 10**6), (8, 10**9)])
def test_layers_that_cannot_be_held_are_refused_before_they_are_made(hidden):
    with pytest.raises(RecipeError, match=r"parameters would take .* GB of memory"):
        new_perceptron(Mlp(hidden=hidden), 64, CLASSES, 0)
    with pytest.raises(FtkitError, match="give smaller layers"):
        MlpClassifier(hidden=hidden).fit(np.eye(4), [0, 1, 0, 1])


def test_a_rank_that_cannot_be_held_is_refused(tiny_recipe):
    recipe = tiny_recipe.override({"strategy": Lora(rank=10**8)})
    with pytest.raises(RecipeError, match=r"strategy.rank = 100000000: .* new parameters in"):
        make_ready(recipe, runtime.start(0))


def test_what_fits_is_not_refused(monkeypatch):
    sizes = (10, 20, 2)
    count = 10 * 20 + 20 + 20 * 2 + 2
    monkeypatch.setattr(memory, "most", lambda device=None: 5 * 4 * count)
    memory.require_layers(sizes)
    monkeypatch.setattr(memory, "most", lambda device=None: 5 * 4 * count - 1)
    with pytest.raises(RecipeError):
        memory.require_layers(sizes)


def test_the_smallest_limit_of_machine_container_and_addresses_counts(monkeypatch, tmp_path):
    monkeypatch.setattr(memory, "_left_of_addresses", lambda: iter([500]))
    monkeypatch.setattr(memory, "_container_limits", lambda: iter([700, 600]))
    assert memory.most() == 500


@pytest.mark.parametrize(
    ("own", "file", "text"),
    [
        ("0::/outer/inner", "outer/memory.max", "1000000"),
        ("0::/outer/inner", "outer/inner/memory.max", "1000000"),
        ("5:cpu,memory:/outer", "memory/outer/memory.limit_in_bytes", "1000000"),
        ("5:memory:/not/seen/from/here", "memory/memory.limit_in_bytes", "1000000"),
    ],
)
def test_a_containers_limit_is_found_in_either_version(monkeypatch, tmp_path, own, file, text):
    (tmp_path / "groups" / file).parent.mkdir(parents=True)
    (tmp_path / "groups" / file).write_text(f"{text}\n")
    (tmp_path / "cgroup").write_text(f"9:pids:/x\n{own}\n")
    monkeypatch.setattr(control_groups, "ROOT", tmp_path / "groups")
    monkeypatch.setattr(control_groups, "OWN", tmp_path / "cgroup")
    assert list(memory._container_limits()) == [1_000_000]
    (tmp_path / "groups" / file).write_text("max\n")
    assert list(memory._container_limits()) == []
    (tmp_path / "groups" / file).write_text("9223372036854771712\n")
    assert list(memory._container_limits()) == []


def test_a_limit_of_addresses_leaves_what_is_not_used_yet(monkeypatch):
    used = psutil.Process().memory_info().vms
    monkeypatch.setattr(resource, "getrlimit", lambda what: (used + 10**9, -1))
    (left,) = memory._left_of_addresses()
    assert 0.5e9 < left <= 1.5e9


def test_what_one_row_keeps_is_counted_without_the_parameters():
    kept = memory.saved_for_backward(Two(), {"x": torch.zeros(1, 10)})
    assert 4 * 1_000 <= kept <= 4 * 2_100


def test_rows_that_do_not_fit_together_go_one_after_the_other(monkeypatch, tiny_recipe):
    model = Two()
    rows = [{"x": torch.zeros(10), "labels": 0, "index": 0}] * 50
    inputs = SimpleNamespace(train=rows, validation=rows)
    recipe = tiny_recipe.override({"train.batch_size": 10**9})
    assert limit_rows_at_once(model, inputs, recipe, CPU) == recipe
    parameters = 16 * sum(p.numel() for p in model.parameters())
    monkeypatch.setattr(memory, "most", lambda device=None: parameters + 60_000)
    fewer = limit_rows_at_once(model, inputs, recipe, CPU).train
    assert fewer.batch_size == 10**9
    assert 5 <= fewer.micro_batch_size <= 15
    monkeypatch.setattr(memory, "most", lambda device=None: parameters + 1_000)
    with pytest.raises(RecipeError, match="one row alone keeps"):
        limit_rows_at_once(model, inputs, recipe, CPU)


def test_a_batch_of_any_size_is_shared_at_once():
    assert share_batch(10**9, None, 1) == (10**9, 1)
    assert share_batch(10**9, 3_000, 1) == (2_560, 390_625)
    assert share_batch(12, 5, 1) == (4, 3)
    assert share_batch(7, 5, 1) == (1, 7)
    assert share_batch(24, 100, 2) == (12, 1)


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to"),
        RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"),
        OSError(12, "Cannot allocate memory"),
        ImportError("libtorch_cpu.so: failed to map segment from shared object"),
        MemoryError("Unable to allocate 8 GiB for an array with shape (10,)"),
        torch.OutOfMemoryError("HIP out of memory"),
    ],
)
def test_denied_memory_is_one_line_with_what_to_do(error, monkeypatch, capsys):
    advice = r"does not suffice .*train.micro_batch_size"
    with pytest.raises(TrainingError, match=advice), denied_in_one_line():
        raise error

    def fails(name):
        raise error

    monkeypatch.setattr(registry, "find", fails)
    assert cli.main(["show", "x"]) == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "does not suffice" in said


def test_other_errors_are_not_taken_for_denied_memory():
    for error in (ValueError("out of memory"), RuntimeError("shapes differ"), OSError(2, "no")):
        assert not is_denied(error)
    with pytest.raises(RuntimeError, match="shapes"), denied_in_one_line():
        raise RuntimeError("shapes differ")


def test_a_backbone_is_counted_before_it_is_loaded(tiny_recipe, monkeypatch):
    assert isinstance(tiny_recipe.backbone, Backbone)
    monkeypatch.setattr(memory, "most", lambda device=None: 1_000)
    with pytest.raises(RecipeError, match=r"backbone .* parameters would take"):
        load_model(tiny_recipe.backbone, CLASSES, 0, task=IMAGES)
