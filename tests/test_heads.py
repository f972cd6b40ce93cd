"""Heads that stand alone: several modules, one token of a sequence, a pooler before them."""

import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
import transformers as hf

from ftkit import HeadOnly
from ftkit.errors import ModelError
from ftkit.machine import runtime
from ftkit.strategies import strategy_of
from ftkit.strategies.features import cache_features
from ftkit.strategies.heads import Head, why_not_alone
from ftkit.tasks.inputs import Inputs
from ftkit.training.fit import fit
from ftkit.training.fitted import Session


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """A cache of its own for each test."""
    monkeypatch.setenv("FTKIT_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def recipe(tiny_recipe):
    return tiny_recipe.override({"strategy": HeadOnly()})


class Sentences:
    """Token ids of different lengths, padded to one length in batches of one."""

    def __init__(self, count):
        draw = np.random.default_rng(0)
        self.ids = draw.integers(3, 50, (count, 9))
        self.labels = draw.integers(0, 3, count)

    def __len__(self):
        return len(self.ids)

    def __getitem__(self, key):
        position = key % len(self)
        tokens = torch.from_numpy(self.ids[position])
        return {"input_ids": tokens, "labels": self.labels[position], "index": position}


def distilbert():
    torch.manual_seed(0)
    config = hf.DistilBertConfig(
        dim=16, hidden_dim=32, n_layers=1, n_heads=2, vocab_size=50, num_labels=3
    )
    return hf.DistilBertForSequenceClassification(config).eval()


def bert():
    torch.manual_seed(0)
    config = hf.BertConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
        vocab_size=50, num_labels=3,
    )  # fmt: skip
    return hf.BertForSequenceClassification(config).eval()


def test_of_a_sequence_only_the_token_that_the_head_reads_is_cached(recipe):
    torch.manual_seed(0)
    model = hf.RobertaForSequenceClassification(
        hf.RobertaConfig(
            hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
            vocab_size=50, num_labels=3,
        )
    ).eval()  # fmt: skip
    rows, machine = Sentences(20), runtime.start(0)
    inputs = Inputs(rows, rows, rows, rows)
    assert why_not_alone(model, inputs, machine) is None
    cached = cache_features(model, inputs, recipe, machine)
    assert cached.train.values.shape == (20, 1, 16)
    with torch.inference_mode():
        expected = model(input_ids=torch.from_numpy(rows.ids)).logits
        got = Head(model).eval()(cached.train.at(np.arange(20)))["logits"]
    assert torch.allclose(got, expected, atol=1e-5)


class Pictures(Sentences):
    """Images of one size."""

    def __getitem__(self, key):
        position = key % len(self)
        pixels = torch.full((3, 32, 32), float(self.ids[position].mean()))
        pixels[:, : self.ids[position, 0]] = 0
        return {"pixel_values": pixels, "labels": self.labels[position], "index": position}


def test_two_heads_that_read_two_tokens_get_both(recipe):
    torch.manual_seed(0)
    model = hf.DeiTForImageClassificationWithTeacher(
        hf.DeiTConfig(
            hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
            image_size=32, patch_size=16, num_labels=3,
        )
    ).eval()  # fmt: skip
    rows, machine = Pictures(20), runtime.start(0)
    inputs = Inputs(rows, rows, rows, rows)
    assert why_not_alone(model, inputs, machine) is None
    cached = cache_features(model, inputs, recipe, machine)
    with torch.inference_mode():
        expected = model(torch.stack([rows[n]["pixel_values"] for n in range(20)])).logits
        got = Head(model).eval()(cached.train.at(np.arange(20)))["logits"]
    assert torch.allclose(got, expected, atol=1e-5)


def test_a_head_of_two_modules_is_cached_and_trained_as_one(recipe, tmp_path):
    model = distilbert()
    rows, machine = Sentences(20), runtime.start(0)
    inputs = Inputs(rows, rows, rows, rows)
    assert why_not_alone(model, inputs, machine) is None
    cached = cache_features(model, inputs, recipe, machine)
    assert cached.train.values.shape == (20, 1, 16)
    head, at = Head(model), cached.train.at(np.arange(20))
    with torch.inference_mode():
        expected = model(input_ids=torch.from_numpy(rows.ids)).logits
        assert torch.allclose(head.eval()(at)["logits"], expected, atol=1e-5)
        with ThreadPoolExecutor(4) as pool:  # as a CPU evaluates
            wait = head.head.body.register_forward_pre_hook(lambda *_: time.sleep(0.005))
            found = list(pool.map(lambda row: head(at[row : row + 1])["logits"], range(20)))
            wait.remove()
        assert torch.allclose(torch.cat(found), expected, atol=1e-5)
    strategy_of(recipe.strategy).adapt(model)
    before = {name: values.clone() for name, values in model.state_dict().items()}
    fit(
        head,
        strategy_of(recipe.strategy),
        cached,
        recipe.override({"train.epochs": 2}),
        Session(machine, tmp_path),
    )
    moved = {n for n, values in model.state_dict().items() if not torch.equal(values, before[n])}
    assert {name.partition(".")[0] for name in moved} == {"pre_classifier", "classifier"}


def test_a_pooler_is_trained_with_the_head_on_cached_features(recipe, tmp_path):
    model, rows, machine = bert(), Sentences(20), runtime.start(0)
    inputs, recipe = Inputs(rows, rows, rows, rows), recipe.override({"strategy.pooler": True})
    strategy_of(recipe.strategy).adapt(model)
    assert why_not_alone(model, inputs, machine) is None
    cached = cache_features(model, inputs, recipe, machine)
    assert cached.train.values.shape == (20, 1, 16)  # the first token is all that it reads
    before = {name: values.clone() for name, values in model.state_dict().items()}
    head = Head(model)
    fit(
        head,
        strategy_of(recipe.strategy),
        cached,
        recipe.override({"train.epochs": 2}),
        Session(machine, tmp_path),
    )
    moved = {n for n, values in model.state_dict().items() if not torch.equal(values, before[n])}
    assert {name.rpartition(".")[0] for name in moved} == {"bert.pooler.dense", "classifier"}
    with torch.inference_mode():
        expected = model.eval()(input_ids=torch.from_numpy(rows.ids)).logits
        got = head.eval()(cached.train.at(np.arange(20)))["logits"]
    assert torch.allclose(got, expected, atol=1e-5)


def test_features_of_a_pooler_are_not_taken_for_those_of_a_head(recipe, caplog):
    rows, machine = Sentences(20), runtime.start(0)
    for pooler, shape in ((False, (20, 16)), (True, (20, 1, 16))):
        chosen = recipe.override({"strategy.pooler": pooler})
        model = strategy_of(chosen.strategy).adapt(bert())
        cached = cache_features(model, Inputs(rows, rows, rows, rows), chosen, machine)
        assert cached.train.values.shape == shape


def test_a_pooler_that_is_not_there_is_refused():
    with pytest.raises(ModelError, match="has no pooler; leave"):
        strategy_of(HeadOnly(pooler=True)).adapt(distilbert())
