"""The strategy `contrastive`: its loss, its batches, and what a training leaves."""

import json
import math
from itertools import islice

import numpy as np
import pytest
import torch
from fruit_texts import make_rows, recipe_for, write
from torch.nn import functional as F

from ftkit import Contrastive, RecipeError, TextClassification
from ftkit.backbones.pooling import pooling_parts
from ftkit.finetuning.finetune import make_ready
from ftkit.machine import runtime
from ftkit.strategies import strategy_of
from ftkit.strategies.class_names import rows_of_names, texts_of_names
from ftkit.strategies.head import HeadOnlyStrategy
from ftkit.strategies.head_inputs import HeadInputs
from ftkit.strategies.heads import recorded_head_inputs
from ftkit.strategies.pairs import batches_of_classes, contrastive_loss
from ftkit.tasks.evaluation import collate_of
from ftkit.tasks.inputs import NO_LABEL, JoinedRows, examples_of
from ftkit.training.fitted import Session

LABELS = torch.tensor([0, 1, 0, 2, 1, 0])


def loss_by_hand(features, labels, temperature):
    """Equation 2 of Khosla et al. 2020, term by term."""
    found = []
    for i in range(len(labels)):
        others = [j for j in range(len(labels)) if j != i]
        cosine = {
            j: float(features[i] @ features[j] / features[i].norm() / features[j].norm())
            for j in others
        }
        total = sum(math.exp(cosine[j] / temperature) for j in others)
        same = [j for j in others if labels[j] == labels[i]]
        if same:
            logs = [math.log(math.exp(cosine[j] / temperature) / total) for j in same]
            found.append(-sum(logs) / len(same))
    return sum(found) / len(found)


@pytest.mark.parametrize("temperature", [0.1, 0.5])
def test_the_loss_is_that_of_the_paper(temperature):
    features = torch.randn(6, 5, generator=torch.Generator().manual_seed(0))
    expected = loss_by_hand(features, LABELS, temperature)
    assert float(contrastive_loss(features, LABELS, temperature)) == pytest.approx(expected)


def test_the_loss_goes_down_its_gradient_and_never_to_a_nan():
    features = torch.randn(6, 5, requires_grad=True)
    loss = contrastive_loss(features, LABELS, 0.1)
    loss.backward()
    assert features.grad.isfinite().all()
    with torch.no_grad():
        moved = features - 0.01 * features.grad
    assert contrastive_loss(moved, LABELS, 0.1) < loss
    alone = torch.randn(3, 5, requires_grad=True)
    none = contrastive_loss(alone, torch.tensor([0, 1, 2]), 0.1)
    none.backward()
    assert float(none) == 0
    assert not alone.grad.any()


@pytest.mark.parametrize("rows", [2, 5, 8, 32])
def test_classes_count_alike_and_rows_take_turns(rows):
    labels = np.array([0] * 20 + [1] * 5 + [2] + [NO_LABEL] * 3 + [3] * 9)
    taken = np.zeros(len(labels), int)
    classes = np.zeros(4, int)
    for batch in islice(batches_of_classes(labels, rows, seed=0), 200):
        assert 1 <= len(batch) <= max(rows, 4)
        assert len(set(batch.tolist())) == len(batch)
        taken[batch] += 1
        classes[np.unique(labels[batch])] += 1
    assert classes.max() - classes.min() <= 1
    for label in range(4):
        own = taken[labels == label]
        assert own.min() > 0
        assert own.max() - own.min() <= 1
    assert not taken[labels == NO_LABEL].any()


def test_batches_are_those_of_the_seed():
    labels = np.arange(40) % 5

    def first(seed):
        return [batch.tolist() for batch in islice(batches_of_classes(labels, 8, seed), 5)]

    assert first(0) == first(0) != first(1)


@pytest.fixture
def recipe(tiny_recipe):
    return tiny_recipe.override({"strategy": Contrastive(learning_rate=1e-3, steps=6)})


def trained(recipe, folder):
    folder.mkdir()
    machine = runtime.start(recipe.train.seed)
    ready = make_ready(recipe, machine)
    fitted = strategy_of(recipe.strategy).train(
        ready.model, ready.inputs, recipe, Session(machine, folder)
    )
    return ready, fitted


def test_rows_of_a_class_come_together(recipe, tmp_path):
    def gap(ready):
        """Return by how much cosines within classes are above those across them."""
        rows = ready.inputs.test
        batch = collate_of(rows)(examples_of(rows, list(range(len(rows)))))
        labels = batch.pop("labels")
        batch.pop("index")
        with torch.inference_mode(), recorded_head_inputs(ready.model.eval()) as given:
            ready.model(**batch)
        unit = F.normalize(given.pop().flatten(1), dim=1)
        cosines, same = unit @ unit.T, labels[:, None] == labels
        return float(cosines[same].mean() - cosines[~same].mean())

    before = gap(make_ready(recipe, runtime.start(0)))
    after, fitted = trained(recipe, tmp_path / "out")
    assert gap(after) > 2 * before
    entries = [json.loads(each) for each in (tmp_path / "out/contrastive/log.jsonl").open()]
    assert [entry["step"] for entry in entries] == list(range(1, 7))
    assert entries[-1]["loss"] < entries[0]["loss"]
    assert fitted.strategy.kind == "contrastive"
    assert fitted.strategy.probe.solver == "lbfgs"


def test_the_validation_rows_are_learned_from_last_and_judge_before(recipe, tmp_path):
    once, judged = trained(recipe.override({"strategy.refit": False}), tmp_path / "once")
    twice, fitted = trained(recipe, tmp_path / "twice")
    assert fitted.validation == judged.validation
    entries = [json.loads(each) for each in (tmp_path / "twice/log.jsonl").open()]
    assert entries[-1]["validation_loss"] == fitted.validation["loss"]
    assert (tmp_path / "twice/contrastive/again/contrastive/log.jsonl").is_file()
    weights, others = once.model.state_dict(), twice.model.state_dict()
    assert any(not torch.equal(weights[name], others[name]) for name in weights)


def test_joined_rows_are_those_of_both(recipe):
    inputs = make_ready(recipe, runtime.start(0)).inputs
    both = JoinedRows(inputs.train_plain, inputs.validation)
    N = len(inputs.train)
    assert len(both) == N + len(inputs.validation)
    assert both.labels.tolist() == [*inputs.train.labels, *inputs.validation.labels]
    for epoch in (0, 3):
        key = epoch * len(both) + N + 1
        assert both[key]["index"] == N + 1
        assert torch.equal(both[key]["pixel_values"], inputs.validation[1]["pixel_values"])
    changed = JoinedRows(inputs.train, inputs.validation)
    assert torch.equal(
        changed[2 * len(both) + 4]["pixel_values"], inputs.train[2 * N + 4]["pixel_values"]
    )


def test_the_layer_that_takes_the_mean_stays_and_the_layers_below_move(checkpoint, tmp_path):
    recipe = recipe_for(write(tmp_path, make_rows()), checkpoint("bert"))
    recipe = recipe.override({"backbone.pooling": "mean", "strategy": Contrastive(steps=3)})
    before = make_ready(recipe, runtime.start(0)).model
    after = trained(recipe, tmp_path / "out")[0].model
    parts, weights = pooling_parts(before), dict(after.named_parameters())
    moved = {name for name, p in before.named_parameters() if not torch.equal(p, weights[name])}
    assert parts
    assert not any(name.startswith(tuple(parts)) for name in moved)
    assert "bert.encoder.layer.0.attention.self.query.weight" in moved


NEWS = {
    "Sports": (
        "The goalkeeper saved a penalty in the final",
        "She won the marathon in record time",
        "The coach praised his young strikers",
        "Three goals in ten minutes decided the match",
        "The champion lost her tennis racket",
        "Fans cheered as the team lifted the cup",
    ),
    "business_news": (
        "Shares of the bank fell after its quarterly report",
        "The company will merge with its rival",
        "Oil prices rose by two dollars a barrel",
        "The retailer cuts a thousand jobs",
        "Investors wait for the interest rate",
        "Profits of the car maker doubled",
    ),
}


def news(folder, names=tuple(NEWS), **columns):
    """A recipe of MiniLM for these texts, their classes called so."""
    texts = zip(names, NEWS.values(), strict=True)
    rows = [{"text": text, "label": name, **columns} for name, own in texts for text in own * 2]
    recipe = recipe_for(write(folder, rows), "embedded:minilm-l6")
    task = TextClassification(text="text", label="label")
    return recipe.override({"task": task, "strategy": Contrastive(steps=2), "train.batch_size": 6})


def names_of(recipe):
    machine = runtime.start(0)
    ready = make_ready(recipe, machine)
    named = rows_of_names(HeadInputs(ready.model, ready.inputs, machine), ready.inputs.train)
    return ready, named


def test_names_that_tell_rows_right_are_texts_of_their_classes(tmp_path, caplog):
    caplog.set_level("INFO")
    ready, named = names_of(news(tmp_path))
    count = len(ready.inputs.train)
    assert f"by the names of their classes {count} of {count} training rows" in caplog.text
    assert named.labels.tolist() == [0, 1] * 2
    assert ready.splits.label_names == ("Sports", "business_news")
    read = [
        ready.processor.decode(ids, skip_special_tokens=True) for ids in named.tokens["input_ids"]
    ]
    assert read[:2] == ["sports", "business news"]
    assert read[2:] == ["this text is about sports.", "this text is about business news."]


def test_names_are_read_as_people_write_them():
    names = ["card_arrival", "Sci/Tech", "lostOrStolenCard", "top-up by  card", "USA", "kein Grund"]
    assert texts_of_names(names) == [
        "card arrival",
        "Sci/Tech",
        "lost Or Stolen Card",
        "top up by card",
        "USA",
        "kein Grund",
    ]


@pytest.mark.parametrize("names", [("0", "1"), ("business", "sports"), ("a", "not a")])
def test_names_that_are_none_or_lie_are_not_used(tmp_path, caplog, names):
    caplog.set_level("INFO")
    assert names_of(news(tmp_path, names))[1] is None
    assert ("they are not used" in caplog.text) == (names == ("business", "sports"))


def test_names_are_for_single_texts_alone(tmp_path, recipe, caplog):
    caplog.set_level("INFO")
    assert names_of(recipe)[1] is None  # of images
    pairs = news(tmp_path, other="and then")
    pairs = pairs.override({"task.pair": "other"})
    assert names_of(pairs)[1] is None
    assert "names of their classes" not in caplog.text


@pytest.mark.parametrize("wanted", [True, False])
def test_a_name_is_in_each_batch_with_rows_of_its_class(tmp_path, monkeypatch, wanted):
    seen, heads = [], []
    of, train = HeadInputs.of, HeadOnlyStrategy.train

    def noted(self, rows, positions, epoch=0):
        if epoch:
            seen.append((len(rows), positions))
        return of(self, rows, positions, epoch)

    def noted_head(self, model, inputs, *rest):
        heads.append(len(inputs.train_plain))
        return train(self, model, inputs, *rest)

    monkeypatch.setattr(HeadInputs, "of", noted)
    monkeypatch.setattr(HeadOnlyStrategy, "train", noted_head)
    recipe = news(tmp_path).override({"strategy.class_names": wanted})
    ready, _ = trained(recipe, tmp_path / "out")
    inputs = ready.inputs
    own = len(inputs.train)
    both = own + len(inputs.validation)
    assert heads == ([own + 4, both + 4] if wanted else [own, both])
    assert len(seen) == 4
    for (rows, positions), before in zip(seen, (own, own, both, both), strict=True):
        assert rows == before + 4 * wanted
        names = [position - before for position in positions if position >= before]
        assert names == ([0, 1, 2, 3] if wanted else [])
        assert len(positions) == 6 + len(names)


def test_a_run_is_the_same_when_it_is_done_again(recipe, tmp_path):
    one, _ = trained(recipe, tmp_path / "one")
    other, _ = trained(recipe, tmp_path / "other")
    weights = other.model.state_dict()
    assert all(torch.equal(value, weights[name]) for name, value in one.model.state_dict().items())


def test_it_is_for_rows_of_one_class_each(recipe):
    with pytest.raises(RecipeError, match=r"compares the classes of rows.*image-tagging"):
        recipe.override({"task": {"kind": "image-tagging"}})
