"""A Transformer with its first layers alone: an ordinary model of its kind."""

import numpy as np
import pytest
import torch
from PIL import Image
from test_tasks_text import recipe, texts  # noqa: F401
from transformers import (
    AutoConfig,
    AutoImageProcessor,
    AutoModelForImageClassification,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    EfficientNetConfig,
    FunnelConfig,
    ModernBertConfig,
    ModernBertForSequenceClassification,
    pipeline,
)

from ftkit import ModelError, Recipe, finetune
from ftkit.backbones.layers import count_layers
from ftkit.backbones.pretrained import load_model
from ftkit.recipe import Backbone, ImageClassification, TextClassification
from ftkit.tasks import task_of

IMAGES, TEXTS = task_of(ImageClassification()), task_of(TextClassification())


def inputs_of(family, folder):
    """Return inputs of a checkpoint, made by transformers alone, and its class for them."""
    if family in ("vit", "deit", "dinov2"):
        pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
        read = AutoImageProcessor.from_pretrained(folder)
        made = read(Image.fromarray(pixels), return_tensors="pt")
        return AutoModelForImageClassification, {"pixel_values": made["pixel_values"]}
    inputs = AutoTokenizer.from_pretrained(folder)("apple and pear", return_tensors="pt")
    return AutoModelForSequenceClassification, inputs


@pytest.mark.parametrize("family", ["vit", "deit", "dinov2", "bert", "distilbert", "roberta"])
def test_the_head_reads_what_the_layer_gave_in_the_whole_model(family, checkpoint):
    folder = checkpoint(family)
    auto, inputs = inputs_of(family, folder)
    task = IMAGES if "pixel_values" in inputs else TEXTS
    short, _ = load_model(Backbone(id=str(folder), layers=1), ("a", "b"), 0, task)
    whole = auto.from_pretrained(folder).eval()
    base = getattr(whole, whole.base_model_prefix)
    with torch.inference_mode():
        wanted = base(**inputs, output_hidden_states=True).hidden_states[1]
        norm = getattr(base, "layernorm", None)  # vision Transformers have it after the last one
        wanted = wanted if norm is None else norm(wanted)
        found = getattr(short, short.base_model_prefix)(**inputs).last_hidden_state
    assert torch.allclose(found, wanted, atol=1e-6)


@pytest.mark.parametrize("family", ["vit", "dinov2", "bert", "distilbert", "gpt2"])
def test_what_is_saved_loads_with_as_many_layers(family, checkpoint, tmp_path):
    folder = checkpoint(family)
    auto, inputs = inputs_of(family, folder)
    task = IMAGES if "pixel_values" in inputs else TEXTS
    short, _ = load_model(Backbone(id=str(folder), layers=1), ("a", "b"), 0, task)
    short.save_pretrained(tmp_path)
    again = auto.from_pretrained(tmp_path).eval()
    assert again.config.num_hidden_layers == 1
    with torch.inference_mode():
        assert torch.allclose(again(**inputs).logits, short(**inputs).logits, atol=1e-6)


def test_kinds_of_layers_are_as_many_as_layers(checkpoint, tmp_path):
    folder = tmp_path / "modern"
    config = ModernBertConfig(
        vocab_size=64, hidden_size=16, num_hidden_layers=4, num_attention_heads=2,
        intermediate_size=32, pad_token_id=0, bos_token_id=1, eos_token_id=2, cls_token_id=1,
        sep_token_id=2,
    )  # fmt: skip
    ModernBertForSequenceClassification(config).save_pretrained(folder)
    AutoTokenizer.from_pretrained(checkpoint("bert")).save_pretrained(folder)
    short, _ = load_model(Backbone(id=str(folder), layers=2), ("a", "b"), 0, TEXTS)
    assert len(short.model.layers) == 2
    assert short.config.layer_types == config.layer_types[:2]


def test_a_run_with_fewer_layers_is_finished_and_answers(recipe, tmp_path):  # noqa: F811
    changed = recipe.override({"backbone.layers": 1})
    finetune(changed, tmp_path / "run")
    model = tmp_path / "run" / "model"
    assert AutoConfig.from_pretrained(model).num_hidden_layers == 1
    assert Recipe.from_json((tmp_path / "run" / "recipe.json").read_text()).backbone.layers == 1
    (told,) = pipeline("text-classification", str(model))(["apple"])
    assert told["label"] in AutoConfig.from_pretrained(model).id2label.values()


@pytest.mark.parametrize(
    "family", ["resnet", "convnext", "swin", "regnet", "timm-vit", "timm-resnet"]
)
def test_stages_cannot_be_left_out(family, checkpoint):
    folder = checkpoint(family)
    assert count_layers(AutoConfig.from_pretrained(folder)) is None
    with pytest.raises(ModelError, match="no single row of layers that could end earlier"):
        load_model(Backbone(id=str(folder), layers=1), ("a", "b"), 0, IMAGES)


def test_layers_that_are_a_sum_over_stages_cannot_be_left_out():
    """EfficientNet and Funnel say how many layers they have, and are not built by that number."""
    for config in (EfficientNetConfig(), FunnelConfig()):
        assert count_layers(config) is None


def test_a_model_of_one_layer_has_one(checkpoint):
    config = AutoConfig.from_pretrained(checkpoint("bert"), num_hidden_layers=1)
    assert len(config.architectures) == 1
    assert count_layers(config) == 1


def test_more_layers_than_there_are_is_refused(checkpoint):
    with pytest.raises(ModelError, match="has 2 layers; give a number from 1 to 2"):
        load_model(Backbone(id=str(checkpoint("bert")), layers=3), ("a", "b"), 0, TEXTS)
