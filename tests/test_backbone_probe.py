"""Candidates for a backbone, and the probes that judge them."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.linear_model import Ridge
from test_tasks_text import recipe, texts  # noqa: F401
from transformers import AutoConfig, AutoImageProcessor, AutoModelForImageClassification

from ftkit import (
    ModelError,
    RecipeError,
    registry,
)
from ftkit.backbones.layers import count_layers
from ftkit.machine import runtime
from ftkit.planning import backbone_probe
from ftkit.planning.backbone_candidates import Candidate, candidates_of
from ftkit.planning.backbone_names import backbones_at_hand, require_probes
from ftkit.planning.backbone_probe import PENALTIES, Probe, held_out_means
from ftkit.planning.backbone_search import in_order
from ftkit.strategies.penalty import folds_of
from ftkit.tasks import task_of
from ftkit.tasks.loading import read_rows

COLOURS = ("blue", "green", "red")


def names(candidates):
    return [str(candidate) for candidate in candidates]


@pytest.fixture(scope="module")
def splits(tiny_recipe):
    return in_order(read_rows(tiny_recipe.data, task_of(tiny_recipe.task)), 0)


# candidates


def test_a_transformer_may_end_after_any_layer_and_a_cnn_takes_any_side(tiny_recipe, checkpoint):
    vit, resnet = str(checkpoint("vit")), str(checkpoint("timm-resnet"))
    found, refused = candidates_of(tiny_recipe, [vit, resnet], COLOURS)
    sides = [f"{resnet} {side} px" for side in (128, 96, 64, 32)]  # its own are 160
    assert names(found) == [vit, f"{vit} 1 layer", resnet, *sides]
    assert refused == []


def test_tokens_are_read_in_both_ways(recipe, checkpoint):  # noqa: F811
    bert, gpt2 = str(checkpoint("bert")), str(checkpoint("gpt2"))
    found, _ = candidates_of(recipe, [bert, gpt2], ("fruit", "metal"))
    ways = [bert, f"{bert} mean token", f"{bert} 1 layer", f"{bert} 1 layer mean token"]
    assert names(found) == [*ways, gpt2, f"{gpt2} 1 layer"]


def test_what_the_user_said_stays(tiny_recipe, checkpoint):
    changed = tiny_recipe.override({"backbone.layers": 1})
    found, _ = candidates_of(changed, [str(checkpoint("vit"))], COLOURS, {"layers"})
    assert [candidate.layers for candidate in found] == [1]


def test_at_most_six_depths_are_tried(tiny_recipe, checkpoint, tmp_path):
    config = AutoConfig.from_pretrained(checkpoint("vit"), num_hidden_layers=12)
    AutoModelForImageClassification.from_config(config).save_pretrained(tmp_path)
    AutoImageProcessor.from_pretrained(checkpoint("vit")).save_pretrained(tmp_path)
    found, _ = candidates_of(tiny_recipe, [str(tmp_path)], COLOURS)
    assert [candidate.layers for candidate in found] == [None, 10, 8, 6, 4, 2]
    assert count_layers(config) == 12


def test_a_backbone_that_cannot_be_had_is_named_and_the_others_are_tried(tiny_recipe, checkpoint):
    vit = str(checkpoint("vit"))
    found, refused = candidates_of(tiny_recipe, ["./nowhere", vit], COLOURS)
    assert {candidate.id for candidate in found} == {vit}
    assert refused == ["backbone './nowhere': there is no such folder"]
    with pytest.raises(ModelError, match="there is no such folder"):
        candidates_of(tiny_recipe, ["./nowhere"], COLOURS)


def test_another_backbone_is_not_trusted_for_the_recipes_own(tiny_recipe):
    trusted = tiny_recipe.override(
        {"backbone.trust_remote_code": True, "backbone.revision": "abc", "backbone.layers": 1}
    )
    other = Candidate("alice/other").of(trusted).backbone
    assert (other.trust_remote_code, other.revision, other.layers) == (False, None, None)
    own = Candidate(trusted.backbone.id, layers=1).of(trusted).backbone
    assert (own.trust_remote_code, own.revision) == (True, "abc")


def test_backbones_at_hand_are_the_recipes_own_and_the_embedded_ones():
    assert backbones_at_hand(registry.find("vit-cifar")) == (
        registry.find("vit-cifar").backbone.id,
        "embedded:efficientnet-lite0",
        "embedded:efficientnet-lite1",
        "embedded:efficientnet-lite2",
    )
    assert backbones_at_hand(registry.find("minilm-langid")) == ("embedded:minilm-l6",)


@pytest.mark.parametrize(
    ("name", "said"),
    [("mlp-digits", "trains a perceptron"), ("bart-cldr", "translation has none")],
)
def test_recipes_without_one_vector_of_a_row_are_refused(name, said):
    with pytest.raises(RecipeError, match=said):
        require_probes(registry.find(name))


# probes


@pytest.mark.parametrize(("N", "D"), [(60, 5), (30, 80)])
@pytest.mark.parametrize("penalty", [1.0, 100.0])
def test_held_out_rows_are_told_by_scikit_learns_ridge_on_the_others(N, D, penalty, monkeypatch):
    random = np.random.default_rng(0)
    values, which = random.normal(3, 2, (N, D)), random.integers(-1, 4, N)
    targets = np.eye(3)[random.integers(0, 3, N)]
    monkeypatch.setattr(backbone_probe, "PENALTIES", (penalty,))
    found = held_out_means(values, targets, which)
    wanted = np.empty((N, 3))
    for fold in range(4):
        others = Ridge(penalty).fit(values[which != fold], targets[which != fold])
        wanted[which == fold] = others.predict(values[which == fold])
    assert np.allclose(found, wanted[which >= 0], atol=1e-8)


def test_the_penalty_is_the_one_whose_held_out_rows_are_told_best():
    random = np.random.default_rng(0)
    values, which = random.normal(size=(80, 200)), np.arange(80) % 5
    targets = values[:, :1] + random.normal(size=(80, 1))
    errors = []
    for penalty in PENALTIES:
        told = np.empty((80, 1))
        for fold in range(5):
            others = Ridge(penalty).fit(values[which != fold], targets[which != fold])
            told[which == fold] = others.predict(values[which == fold]).reshape(-1, 1)
        errors.append(((told - targets) ** 2).mean())
    found = held_out_means(values, targets, which)
    assert ((found - targets) ** 2).mean() == pytest.approx(min(errors))
    assert 0 < int(np.argmin(errors)) < len(PENALTIES) - 1


def test_labels_of_chance_are_told_by_chance(splits):
    random, task = np.random.default_rng(1), task_of(splits.task)
    values = random.normal(size=(400, 300)).astype(np.float32)
    labels = random.integers(0, 3, 400)
    which = folds_of(task.settings, labels, 0)
    found = Probe(Candidate("any"), None, [values]).outputs(task, np.eye(3)[labels], which)
    assert abs((found.argmax(1) == labels).mean() - 1 / 3) < 0.1


def test_rows_are_read_once_and_in_order(tiny_recipe, splits, checkpoint):
    machine, precisions = runtime.start(0), {}
    probe = Probe(Candidate(tiny_recipe.backbone.id), tiny_recipe)
    for stop in (20, 50):
        probe.read(splits, stop, machine, precisions)
    assert [len(part) for part in probe.values] == [20, 30]
    whole = Probe(Candidate(tiny_recipe.backbone.id), tiny_recipe)
    whole.read(splits, 50, machine, precisions)
    assert np.allclose(np.concatenate(probe.values), whole.values[0], atol=1e-5)
    assert 0 < probe.seconds_per_row < 1
    assert probe.model_bytes == 4 * probe.parameters


# the order of rows


def test_every_beginning_has_the_shares_of_all_rows(splits):
    labels = np.array(splits.train["label"])
    whole = np.bincount(labels) / len(labels)
    for stop in (9, 18, 30):
        assert np.abs(np.bincount(labels[:stop], minlength=3) / stop - whole).max() < 0.12


def test_the_order_loses_no_row_and_groups_go_with_their_rows(tiny_recipe):
    read = read_rows(tiny_recipe.data, task_of(tiny_recipe.task))
    groups = np.array(read.train["index"])
    moved = in_order(replace(read, train_groups=groups), 3)
    assert sorted(moved.train["index"]) == sorted(read.train["index"])
    assert moved.train_groups.tolist() == moved.train["index"][:]


def test_an_embedded_backbone_is_not_called_as_a_folder_is(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    embedded = Candidate("embedded:minilm-l6", layers=1)
    assert str(embedded) == "minilm-l6 1 layer"
    (tmp_path / "minilm-l6").mkdir()
    assert str(embedded) == "embedded:minilm-l6 1 layer"
    assert str(Candidate("minilm-l6")) == "minilm-l6"
