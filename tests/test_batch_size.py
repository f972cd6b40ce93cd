"""The batch size by measuring: it leaves no trace, and what it finds is an ordinary setting."""

import copy
import json
import random

import numpy as np
import pytest
import torch
from conftest import leave_unverified
from safetensors.torch import load_file

from ftkit import Full, Lora, Lpft, RecipeError, Train, finetune, registry
from ftkit.cli.main import main
from ftkit.cli.request import Flags, resolve
from ftkit.finetuning.finetune import make_ready
from ftkit.machine import runtime
from ftkit.recipe import Recipe
from ftkit.strategies import batch_size
from ftkit.strategies.batch_size import measure, pick, scaled, settle_batch_size, sizes
from ftkit.strategies.range_test import put_back_afterwards
from ftkit.training.trainer import FrozenTrainer


@pytest.fixture(autouse=True)
def _short(monkeypatch):
    leave_unverified(monkeypatch)
    monkeypatch.setattr(batch_size, "STEPS_PER_EPOCH", 2)  # there are few rows
    monkeypatch.setattr(batch_size, "SECONDS", 0.1)


@pytest.fixture
def recipe(tiny_recipe):
    return tiny_recipe.override({"train.batch_size": "auto"})


def test_sizes_double_while_an_epoch_keeps_its_steps(monkeypatch):
    monkeypatch.setattr(batch_size, "STEPS_PER_EPOCH", 20)
    assert sizes(1000, 1) == [8, 16, 32]
    assert sizes(1280, 2) == [8, 16, 32, 64]
    assert sizes(10, 1) == [8]
    assert sizes(1000, 3) == [9, 18, 36]
    assert sizes(400, 16) == [16]


def test_the_smallest_within_five_per_cent_is_picked():
    assert pick({8: 100.0, 16: 190.0, 32: 199.0, 64: 180.0}) == 16
    assert pick({8: 100.0, 16: 180.0, 32: 199.0}) == 32


@pytest.mark.parametrize("strategy", [Full(), Lora(rank=2), Lpft()], ids=lambda s: s.kind)
def test_everything_is_as_it_was_bit_by_bit(strategy, recipe):
    recipe = recipe.override({"strategy": strategy})
    machine = runtime.start(0)
    model = (ready := make_ready(recipe, machine)).model
    before = copy.deepcopy(model.state_dict())
    moves = {name: p.requires_grad for name, p in model.named_parameters()}
    states = random.getstate(), np.random.get_state()[1].copy(), torch.get_rng_state()
    found = settle_batch_size(recipe, model, ready.inputs, machine)
    assert found.train.batch_size in sizes(len(ready.inputs.train), 1)
    assert all(torch.equal(before[name], after) for name, after in model.state_dict().items())
    assert {name: p.requires_grad for name, p in model.named_parameters()} == moves
    assert all(parameter.grad is None for parameter in model.parameters())
    assert random.getstate() == states[0]
    assert np.array_equal(np.random.get_state()[1], states[1])
    assert torch.equal(torch.get_rng_state(), states[2])


def test_the_run_is_that_of_the_number_which_is_found_and_resumes_with_it(
    recipe, tmp_path, monkeypatch, caplog
):
    caplog.set_level("INFO", logger="ftkit")
    monkeypatch.setattr(batch_size, "pick", max)
    finetune(recipe, tmp_path / "auto")
    assert "batch size: 16; rows per second: " in caplog.text
    written = Recipe.from_json((tmp_path / "auto" / "recipe.json").read_text())
    assert written == recipe.override({"train.batch_size": 16})
    finetune(written, tmp_path / "given")
    one, other = (
        load_file(tmp_path / run / "model" / "model.safetensors") for run in ("auto", "given")
    )
    assert all(torch.equal(one[name], other[name]) for name in one)
    monkeypatch.setattr(batch_size, "pick", min)  # nothing is measured any more
    assert finetune(recipe, tmp_path / "auto", resume=True).status == "complete"


@pytest.mark.parametrize("strategy", [Full(learning_rate=1e-3), Lora(learning_rate=1e-3), Lpft()])
def test_learning_rates_follow_the_root_of_the_batch_and_the_log_says_so(
    strategy, tiny_recipe, caplog
):
    """Malladi et al. 2022: four times the batch, twice the rate; a quarter of it, half."""
    caplog.set_level("INFO", logger="ftkit")
    auto = {"train.batch_size": "auto", "train.learning_rate_batch": 32, "strategy": strategy}
    others = [Full(learning_rate=3e-3), Lora(learning_rate=4e-3)]
    recipe = tiny_recipe.override({**auto, "train.epochs": 3, "alternatives": others})
    found = scaled(recipe, 128, 1000)
    assert found.strategy.learning_rate == pytest.approx(2 * strategy.learning_rate)
    assert (found.train.batch_size, found.train.learning_rate_batch) == (128, None)
    assert [other.learning_rate for other in found.alternatives] == [6e-3, 8e-3]
    if isinstance(strategy, Lpft):
        rate = strategy.probe.learning_rate
        assert found.strategy.probe.learning_rate == pytest.approx(2 * rate)
    assert "of 32 rows becomes" in caplog.text
    assert "24 steps in all" in caplog.text  # 3 epochs of ceil(1000 / 128)
    assert scaled(recipe, 8, 1000).strategy.learning_rate == pytest.approx(
        strategy.learning_rate / 2
    )
    assert scaled(recipe, 32, 1000).strategy == strategy


def test_without_a_batch_that_it_is_for_the_learning_rate_stays(recipe, caplog):
    caplog.set_level("INFO", logger="ftkit")
    assert scaled(recipe, 128, 1000).strategy == recipe.strategy
    assert "the learning rate stays as it is" in caplog.text


def asked(*words, rate=None):
    return resolve(
        "effnet-digits",
        None,
        None,
        None,
        words,
        False,
        Flags(batch_size="auto", learning_rate=rate),
    ).train.learning_rate_batch


def test_a_command_scales_from_the_recipes_batch_unless_it_gives_a_learning_rate():
    assert asked() == 32
    assert asked("train.epochs=3") == 32
    assert asked(rate=1e-3) is None
    assert asked(rate="auto") is None  # the range test comes after
    assert asked("strategy.learning_rate=1e-3") is None
    given = resolve("effnet-digits", None, None, None, ["train.batch_size=64"], False, None)
    assert given.train.learning_rate_batch is None


def test_a_scaled_run_resumes_with_what_was_found(recipe, tmp_path, monkeypatch):
    monkeypatch.setattr(batch_size, "pick", max)
    recipe = recipe.override({"train.learning_rate_batch": 4})
    finetune(recipe, tmp_path / "auto")
    written = Recipe.from_json((tmp_path / "auto" / "recipe.json").read_text())
    assert written.strategy.learning_rate == pytest.approx(2 * recipe.strategy.learning_rate)
    assert written.train.learning_rate_batch is None
    monkeypatch.setattr(batch_size, "pick", min)
    assert finetune(recipe, tmp_path / "auto", resume=True).status == "complete"


def test_memory_that_runs_out_ends_the_search(recipe, monkeypatch):
    monkeypatch.setattr(batch_size, "WORTH", 0.0)  # every size is worth trying
    step = FrozenTrainer.training_step

    def small_memory(self, model, inputs, *rest):
        if len(inputs["index"]) > 8:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return step(self, model, inputs, *rest)

    monkeypatch.setattr(FrozenTrainer, "training_step", small_memory)
    machine = runtime.start(0)
    ready = make_ready(recipe, machine)
    with put_back_afterwards(ready.model, machine):
        assert list(measure(ready.model, ready.inputs, recipe, machine, [8, 16, 32])) == [8]


@pytest.mark.parametrize("name", ["mlp-digits", "effnet-digits"])
def test_what_trains_in_seconds_is_not_measured(name, caplog):
    caplog.set_level("INFO", logger="ftkit")
    recipe = registry.find(name).with_strategy("full" if name == "mlp-digits" else "head")
    recipe = recipe.override({"train.batch_size": "auto", "data.train_rows": 100})
    machine = runtime.start(0)
    ready = make_ready(recipe, machine)
    assert settle_batch_size(recipe, ready.model, ready.inputs, machine).train.batch_size == 32
    assert "batch size: 32, not measured: a " in caplog.text


def test_other_words_are_refused_and_so_is_counting_with_what_is_not_known_yet():
    with pytest.raises(RecipeError, match=r"train\.batch_size = 'many'"):
        Train(batch_size="many")
    with pytest.raises(RecipeError, match="a run measures it when it begins; give a number"):
        _ = Train(batch_size="auto").rows_per_step


def test_the_command_settles_it_before_the_range_test(tiny_recipe, tmp_path, capsys):
    (tmp_path / "recipe.json").write_text(tiny_recipe.to_json())
    words = ["train", "--recipe", str(tmp_path / "recipe.json"), "--batch-size", "auto"]
    words += ["--learning-rate", "auto", "--max-steps", "2", "--out", str(tmp_path / "out")]
    assert main(words) == 0, capsys.readouterr().err
    settings = json.loads((tmp_path / "out" / "recipe.json").read_text())
    assert settings["train"]["batch_size"] in (8, 16)
    assert main([*words, "--resume"]) == 0, capsys.readouterr().err
