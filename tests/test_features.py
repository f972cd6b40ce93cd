"""Cached features: the head sees exactly what the whole model would have given it."""

import checkpoints
import numpy as np
import pytest
import torch

from ftkit import HeadOnly, finetune, runtime
from ftkit.features import Head, cache_features, why_not_cached
from ftkit.models import head_names
from ftkit.run import make_ready


@pytest.mark.parametrize("family", checkpoints.FAMILIES)
def test_head_on_features_gives_the_logits_of_the_whole_model(family, tiny_recipe, checkpoint):
    recipe = tiny_recipe.override(
        {"backbone.id": str(checkpoint(family)), "strategy": HeadOnly(), "data.train_rows": 12}
    )
    machine = runtime.start(0)
    ready = make_ready(recipe, machine)
    assert why_not_cached(ready.model, ready.inputs, machine) is None
    cached = cache_features(ready.model, ready.inputs, recipe.train, machine)
    head = Head(ready.model).eval()
    for position in (0, 5):
        pixels = ready.inputs.train_plain[position]["pixel_values"][None]
        features = cached.train[position]["features"][None]
        with torch.inference_mode():
            expected = ready.model.eval()(pixel_values=pixels).logits
            assert torch.allclose(head(features)["logits"], expected, atol=1e-5)
    assert np.array_equal(cached.train.labels, ready.inputs.train.labels)


def test_a_model_whose_head_is_not_its_end_is_not_cached(tiny_recipe):
    machine = runtime.start(0)
    ready = make_ready(tiny_recipe.override({"strategy": HeadOnly()}), machine)
    head = ready.model.classifier
    ready.model.register_forward_hook(
        lambda *seen: seen[2].__setitem__("logits", seen[2].logits * 2)
    )
    assert "not the output" in why_not_cached(ready.model, ready.inputs, machine)
    assert head is ready.model.get_submodule(head_names(ready.model)[0])


def test_cached_and_uncached_head_training_agree(tiny_recipe, tmp_path):
    # without random changes both see the same features in the same order
    base = tiny_recipe.override(
        {"task.augment.crop": None, "task.augment.flip": False, "train.epochs": 3}
    )
    scores = {}
    for cache in (True, False):
        recipe = base.override({"strategy": HeadOnly(learning_rate=1e-2, cache=cache)})
        result = finetune(recipe, tmp_path / str(cache))
        scores[cache] = result.metrics["accuracy"].value
        assert (result.seconds.features > 0.005) == cache
    logs = [
        (tmp_path / str(cache) / "log.jsonl").read_text().count("\n") for cache in (True, False)
    ]
    assert logs[0] == logs[1]
    assert scores[True] == scores[False]
