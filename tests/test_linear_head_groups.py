"""A Linear head solved to the end, on rows that belong together: which of them are held out."""

from dataclasses import replace

import numpy as np
import pytest
from conftest import leave_unverified
from datasets import DatasetDict, concatenate_datasets
from sklearn.metrics import log_loss
from test_linear_head import RECIPE_TASK, head_of, inputs_of

from ftkit import HeadOnly, TextRegression, TextTagging, finetune
from ftkit.strategies.linear_head import solve_head
from ftkit.strategies.penalty import folds_of
from ftkit.tasks import task_of
from ftkit.tasks.loading import load_splits


@pytest.fixture
def tiny_recipe(tiny_recipe):
    return tiny_recipe.override({"strategy": HeadOnly()})


def in_parts(which, groups):
    """Of each group the parts that its rows are held out with."""
    return {int(group): set(which[groups == group].tolist()) for group in groups}


@pytest.mark.parametrize("task", [RECIPE_TASK, TextRegression(), TextTagging()])
def test_rows_of_a_group_are_held_out_together(task):
    random = np.random.default_rng(0)
    groups = random.permutation(np.repeat(np.arange(40), random.integers(1, 12, 40)))
    labels = random.integers(0, 3, 40)[groups]
    which = folds_of(task, labels, 0, groups)
    assert set(which) == {0, 1, 2, 3, 4}
    assert all(len(parts) == 1 for parts in in_parts(which, groups).values())
    alone = np.arange(len(labels)) + 7
    np.testing.assert_array_equal(folds_of(task, labels, 0, alone), folds_of(task, labels, 0))


def test_no_head_is_judged_by_a_class_whose_groups_it_has_not_seen():
    groups = np.repeat(np.arange(12), 4)
    labels = np.array([0, 0, 1, 1] * 11 + [2, 0, 0, 0])  # group 11 alone has the third class
    which = folds_of(RECIPE_TASK, labels, 0, groups)
    assert set(which[groups == 11]) == {-1}
    assert set(which[groups != 11]) == set(range(which.max() + 1))
    for part in range(which.max() + 1):
        assert set(labels[which == part]) <= set(labels[which != part])
    few = folds_of(RECIPE_TASK, np.repeat([0, 0, 1, 1], 5), 0, np.repeat([0, 1, 2, 3], 5))
    assert set(few) == {0, 1}  # two groups of a class make two parts
    for author in (np.repeat([0, 1, 2], 5), np.zeros(15, int)):  # a class each; one group
        assert not folds_of(RECIPE_TASK, np.repeat([0, 1, 2], 5), 0, author).any()


def patients(P, rows, random):
    """Rows of P patients: each has a pattern of its own and a class that shows only a little."""
    who, classes = np.repeat(np.arange(P), rows), random.integers(0, 2, P)
    X = random.normal(size=(P, 64))[who] + 0.1 * random.normal(size=(P * rows, 64))
    X[:, 0] += 0.3 * (2 * classes[who] - 1)
    return X, classes[who], who


@pytest.mark.parametrize("refit", [True, False])
def test_the_penalty_is_chosen_for_patients_that_are_new(tiny_recipe, refit):
    """Held-out accuracy was 0.84 where new patients have 0.50: their other rows were trained on."""
    random = np.random.default_rng(0)
    X, y, who = patients(48, 10, random)
    fresh, truth, _ = patients(400, 2, random)
    inputs = replace(inputs_of(X, y, 80), train_groups=who[:400], validation_groups=who[400:])
    recipe = tiny_recipe.override({"strategy.refit": refit})
    found = solve_head(head_of(64, 2), inputs, recipe)
    logits = fresh @ found.weight.T + found.bias
    probability = 1 / (1 + np.exp(logits[:, 0] - logits[:, 1]))
    accuracy = np.mean((probability > 0.5) == truth)
    assert log_loss(truth, probability) < 0.75  # 3.7 to 4.5 before; log 2 is chance
    assert found.penalty > 1
    if refit:  # 48 patients tell an accuracy to within 2 * sqrt(0.25 / 48)
        assert found.figures["accuracy"] == pytest.approx(accuracy, abs=0.15)


def test_a_run_holds_copies_out_together(tiny_recipe, tmp_path, monkeypatch):
    leave_unverified(monkeypatch)
    monkeypatch.setenv("FTKIT_CACHE", str(tmp_path / "cache"))
    rows = load_splits(tiny_recipe.data, task_of(tiny_recipe.task)).train
    twice = concatenate_datasets([rows, rows]).remove_columns("index")
    DatasetDict(train=twice).save_to_disk(tmp_path / "rows")
    seen = []

    def watch(task, labels, seed, groups):
        seen.append(groups)
        return folds_of(task, labels, seed, groups)

    monkeypatch.setattr("ftkit.strategies.linear_head.folds_of", watch)
    recipe = tiny_recipe.override({"data.path": str(tmp_path / "rows")})
    splits = load_splits(recipe.data, task_of(recipe.task))
    finetune(recipe, tmp_path / "out")
    (groups,) = seen
    index = np.array(splits.train["index"][:] + splits.validation["index"][:]) % len(rows)
    pairs = {tuple(pair) for pair in np.stack([groups, index]).T.tolist()}
    assert len(pairs) == len(set(groups)) == len(set(index)) == len(groups) / 2
