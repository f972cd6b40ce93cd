"""The range test: it leaves no trace, and its curve is read rightly."""

import copy
import json
import random
import typing

import numpy as np
import pytest
import torch

from ftkit import Full, HeadOnly, Lora, Lpft, RecipeError, TrainingError, registry
from ftkit.cli.main import main
from ftkit.finetuning.finetune import make_ready
from ftkit.machine import runtime
from ftkit.recipe import Recipe
from ftkit.strategies.range_test import (
    HIGHEST,
    LOWEST,
    diverged,
    pick,
    range_test,
    rate_of,
    smoothed,
)


def ready_of(recipe):
    machine = runtime.start(recipe.train.seed)
    return make_ready(recipe, machine), machine


def curve(falls_from, least, rises_from, steps=80):
    """Return (rates, losses): flat, falling with the log of the rate, and shooting up."""
    rates = [rate_of(step, steps) for step in range(steps)]
    losses = []
    for rate in rates:
        way = np.log(rate / falls_from) / np.log(least / falls_from)
        loss = 2.3 - 1.5 * np.clip(way, 0, 1)
        losses.append(float(loss if rate < rises_from else 5.0))
    return rates, losses


@pytest.mark.parametrize(
    "strategy",
    [
        Full(),
        Lora(rank=2, lora_plus=16),
        HeadOnly(solver="adamw"),
        HeadOnly(cache=False),
        Lpft(probe=HeadOnly(solver="adamw", epochs=1, least_steps=0, refit=False)),
    ],
)
def test_everything_is_as_it_was_bit_by_bit(strategy, tiny_recipe):
    recipe = tiny_recipe.override({"strategy": strategy})
    ready, machine = ready_of(recipe)
    before = copy.deepcopy(ready.model.state_dict())
    moves = {name: p.requires_grad for name, p in ready.model.named_parameters()}
    modes = {name: module.training for name, module in ready.model.named_modules()}
    states = random.getstate(), np.random.get_state()[1].copy(), torch.get_rng_state()
    found = range_test(ready.model, ready.inputs, recipe, machine, steps=40)
    assert found.losses[0] != found.losses[-1]  # it did train
    after = ready.model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert {name: p.requires_grad for name, p in ready.model.named_parameters()} == moves
    assert {name: m.training for name, m in ready.model.named_modules()} == modes
    assert all(parameter.grad is None for parameter in ready.model.parameters())
    assert random.getstate() == states[0]
    assert np.array_equal(np.random.get_state()[1], states[1])
    assert torch.equal(torch.get_rng_state(), states[2])
    assert LOWEST < found.chosen < HIGHEST


def test_rates_grow_by_the_same_factor():
    rates = np.array([rate_of(step, 80) for step in range(80)])
    assert (rates[0], rates[-1]) == pytest.approx((LOWEST, HIGHEST))
    assert np.allclose(rates[1:] / rates[:-1], rates[1] / rates[0])


def test_smoothing_corrects_the_bias_of_the_first_steps():
    assert smoothed([3.0] * 5) == pytest.approx([3.0] * 5)
    assert smoothed([1.0, 2.0]) == pytest.approx([1.0, (0.8 * 0.2 * 1 + 0.2 * 2) / (1 - 0.64)])


def test_a_quarter_of_the_rate_of_the_least_loss_is_picked():
    rates, losses = curve(1e-4, 3e-3, rises_from=6e-3)
    least = rates[int(smoothed(losses).argmin())]
    assert 3e-3 < least < 6e-3
    assert pick(rates, losses) == pytest.approx(least / 4, rel=0.05)


def test_a_loss_that_never_falls_is_refused():
    rates = [rate_of(step, 80) for step in range(80)]
    with pytest.raises(TrainingError, match=r"no learning rate.*give --learning-rate a number"):
        pick(rates, [2.3] * 80)


def test_a_loss_that_is_no_number_from_the_first_step_on_is_refused():
    with pytest.raises(TrainingError, match=r"no number in the first step.*NaN"):
        pick([], [])


def test_divergence_is_seen_after_a_fall_and_noise_is_not_taken_for_it():
    _, losses = curve(1e-4, 3e-3, rises_from=6e-3)
    ends = [step for step in range(1, 81) if diverged(losses[:step])]
    assert rate_of(ends[0], 80) == pytest.approx(6e-3, rel=0.5)
    noise = 2.3 + 0.1 * np.random.default_rng(0).standard_normal(200)
    assert not any(diverged(list(noise[:step])) for step in range(1, 200))


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        (registry.find("mlp-digits"), "not for a perceptron"),
        (
            registry.find("effnet-digits").override({"strategy": HeadOnly(solver="lbfgs")}),
            "L-BFGS solves this head without a learning rate",
        ),
    ],
)
def test_what_has_no_learning_rate_to_find_is_refused(recipe, message):
    with pytest.raises(RecipeError, match=message):
        range_test(make_model(recipe), None, recipe, runtime.start(0))


def make_model(recipe):
    from ftkit.recipe import Mlp

    if isinstance(recipe.backbone, Mlp):
        return ready_of(recipe)[0].model
    return torch.nn.Linear(1, 1)


def test_the_command_writes_an_ordinary_recipe_and_the_curve(tiny_recipe, tmp_path, capsys):
    (tmp_path / "recipe.json").write_text(tiny_recipe.to_json())
    out = tmp_path / "out"
    words = ["train", "--recipe", str(tmp_path / "recipe.json"), "--learning-rate", "auto"]
    words += ["--out", str(out), "--max-steps", "3"]
    assert main(words) == 0, capsys.readouterr().err
    found = json.loads((out / "learning_rate.json").read_text())
    recipe = Recipe.from_json((out / "recipe.json").read_text())
    assert recipe.strategy.learning_rate == found["chosen"] != tiny_recipe.strategy.learning_rate
    assert len(found["rates"]) == len(found["losses"]) == len(found["smoothed"]) > 30
    assert (out / "plots" / "learning_rate.png").stat().st_size > 1000
    assert json.loads((out / "run.json").read_text())["status"] == "complete"
    assert main(words) == 2  # the folder is taken
    assert main([*words, "--resume"]) == 0, capsys.readouterr().err  # what was found stands
    assert main([*words, "--resume", "--epochs", "9"]) == 2  # the rest must be as it was


@pytest.mark.parametrize("solver", ["lbfgs", "auto"])
def test_a_head_without_a_learning_rate_is_said_and_trained(solver, tiny_recipe, tmp_path, caplog):
    """`auto` is L-BFGS for a head of one Linear layer, where the recipe knows that word."""
    if solver not in typing.get_args(HeadOnly.model_fields["solver"].annotation):
        pytest.skip("this version has no solver of that name")
    leave = tiny_recipe.override({"strategy": HeadOnly(solver=solver)})
    (tmp_path / "recipe.json").write_text(leave.to_json())
    words = ["train", "--recipe", str(tmp_path / "recipe.json"), "--learning-rate", "auto"]
    with caplog.at_level("INFO"):
        assert main([*words, "--out", str(tmp_path / "out")]) == 0
    said = [line for line in caplog.messages if line.startswith("learning rate: not looked for")]
    assert len(said) == 1
    assert not (tmp_path / "out" / "learning_rate.json").exists()
    assert main([*words, "--out", str(tmp_path / "out"), "--resume"]) == 0
