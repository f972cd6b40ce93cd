"""Mean pooling in an ordinary Transformer: one more layer that transformers loads by itself."""

import json
import logging
import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from huggingface_hub import constants, snapshot_download
from test_tasks_text import recipe, texts  # noqa: F401
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

from ftkit import Full, HeadOnly, Lora, ModelError, Recipe, RecipeError, finetune, registry
from ftkit.backbones import pooling
from ftkit.backbones.pretrained import load_model
from ftkit.finetuning.finetune import make_ready
from ftkit.finetuning.folder import as_run_began
from ftkit.hub.download import fetch
from ftkit.hub.names import POOLING
from ftkit.machine import runtime
from ftkit.prediction.predict import predict
from ftkit.tasks import task_of

MEAN = {"word_embedding_dimension": 16, "pooling_mode_mean_tokens": True}
BERTS = ("bert", "roberta")


@pytest.fixture
def encoder(checkpoint, tmp_path):
    """Make the folder of a sentence encoder."""

    def make(family="bert", **settings):
        folder = tmp_path / f"encoder-{family}"
        shutil.copytree(checkpoint(family), folder)
        (folder / "modules.json").write_text("[]")
        (folder / POOLING).parent.mkdir()
        (folder / POOLING).write_text(json.dumps(settings or MEAN))
        return folder

    return make


def first_tokens(model, inputs):
    """Return what the head is given of the first token, before any pooler."""
    with torch.inference_mode():
        return getattr(model.eval(), model.base_model_prefix)(**inputs).last_hidden_state


@pytest.mark.parametrize("family", BERTS)
def test_the_first_token_leaves_the_layer_as_the_mean_of_all(family, checkpoint, tmp_path):
    folder = checkpoint(family)
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    inputs = tokenizer(
        ["iron", "apple and pear and plum and more"], padding=True, return_tensors="pt"
    )
    before = first_tokens(model, inputs)
    counted = inputs["attention_mask"][..., None]
    assert counted.min() == 0  # one is filled up
    mean = (before * counted).sum(1) / counted.sum(1)
    wanted = torch.nn.functional.layer_norm(mean, mean.shape[-1:])
    assert pooling.can_pool(model)
    pooling.pool_by_mean(model)
    after = first_tokens(model, inputs)[:, 0]
    assert torch.allclose(after, wanted, atol=0.05)
    assert not torch.allclose(before[:, 0], wanted, atol=0.5)

    model.save_pretrained(tmp_path / "saved")
    again = AutoModelForSequenceClassification.from_pretrained(tmp_path / "saved")
    assert torch.equal(first_tokens(again, inputs)[:, 0], after)
    assert again.config.num_hidden_layers == 3


@pytest.mark.parametrize("kind", pooling.LIKE_BERT)
def test_every_family_that_is_named_takes_the_mean(kind, tmp_path):
    torch.manual_seed(0)
    own = {"xmod": {"languages": ["en"], "default_language": "en"}}.get(kind, {})
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    about = {**sizes, "intermediate_size": 32, "vocab_size": 40, "pad_token_id": 0, **own}
    config = AutoConfig.for_model(kind, max_position_embeddings=32, **about)
    model = AutoModelForSequenceClassification.from_config(config)
    ids = torch.tensor([[5, 6, 7, 8, 9], [5, 6, 0, 0, 0]])
    inputs = {"input_ids": ids, "attention_mask": (ids != 0).long()}
    before, counted = first_tokens(model, inputs), inputs["attention_mask"][..., None]
    mean = (before * counted).sum(1) / counted.sum(1)
    assert pooling.can_pool(model)
    pooling.pool_by_mean(model)
    after = first_tokens(model, inputs)[:, 0]
    assert torch.allclose(after, torch.nn.functional.layer_norm(mean, (16,)), atol=0.05)
    model.save_pretrained(tmp_path)
    again = AutoModelForSequenceClassification.from_pretrained(tmp_path)
    assert torch.equal(first_tokens(again, inputs)[:, 0], after)


@pytest.mark.parametrize("family", ["distilbert", "gpt2"])
def test_a_model_of_other_layers_is_left_and_says_so_when_asked(family, recipe, encoder):  # noqa: F811
    own = recipe.override({"backbone.id": str(encoder(family))})
    plain = make_ready(own, runtime.start(0)).model
    assert not pooling.pooling_parts(plain)
    with pytest.raises(
        ModelError, match=r"backbone.pooling = mean: the layers of .* leave backbone.pooling out"
    ):
        make_ready(own.override({"backbone.pooling": "mean"}), runtime.start(0))


@pytest.mark.parametrize(
    ("settings", "mean"),
    [
        (MEAN, True),
        ({"pooling_mode": "mean"}, True),
        ({"pooling_mode": "cls"}, False),
        ({"pooling_mode": ["cls", "mean"]}, False),
        ({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}, False),
        ([1], False),
    ],
)
def test_a_folder_says_how_it_was_trained(encoder, checkpoint, settings, mean, caplog):
    caplog.set_level(logging.INFO, logger="ftkit")
    folder = encoder("bert")
    (folder / POOLING).write_text(json.dumps(settings))
    assert pooling.was_trained_by_mean(folder) is mean
    (folder / POOLING).write_text("{")
    caplog.clear()
    assert not pooling.was_trained_by_mean(folder)
    assert "does not say how tokens were pooled" in caplog.text  # a damaged file is no silence
    caplog.clear()
    assert not pooling.was_trained_by_mean(checkpoint("bert"))
    assert not caplog.text


@pytest.mark.parametrize(
    ("asked", "trained_so", "layers"),
    [
        ("auto", True, 3),
        ("auto", False, 2),
        ("first", True, 2),
        ("mean", False, 3),
        ("mean", True, 3),
    ],
)
def test_the_layer_is_added_where_it_is_wanted(
    recipe,  # noqa: F811
    encoder,
    checkpoint,
    asked,
    trained_so,
    layers,
):
    folder = encoder() if trained_so else checkpoint("bert")
    own = recipe.override({"backbone.id": str(folder), "backbone.pooling": asked})
    assert make_ready(own, runtime.start(0)).model.config.num_hidden_layers == layers


@pytest.mark.parametrize("family", BERTS)
@pytest.mark.parametrize(
    "strategy",
    [
        HeadOnly(learning_rate=1e-2, epochs=2),
        Lora(learning_rate=1e-2, rank=2, alpha=4),
        Lora(learning_rate=1e-2, rank=2, alpha=4, merge=False),
        Full(learning_rate=1e-3),
    ],
    ids=["head", "lora", "adapter alone", "full"],
)
def test_what_is_saved_answers_alike_in_a_fresh_process(
    recipe,  # noqa: F811
    encoder,
    texts,  # noqa: F811
    tmp_path,
    strategy,
    family,
):
    """finetune verifies the plain model, and the adapter on the backbone as it was."""
    changes = {"backbone.id": str(encoder(family)), "train.epochs": 1}
    own = recipe.model_copy(update={"strategy": strategy}).override(changes)
    result = finetune(own, tmp_path / "out")
    assert result.n > 0
    config = json.loads((tmp_path / "out" / "model" / "config.json").read_text())
    assert config["num_hidden_layers"] == 3
    row = "| pooling | mean of all tokens, by one layer of attention that was added |"
    assert f"|\n{row}\n\n" in (tmp_path / "out" / "model" / "README.md").read_text()
    measured = pq.read_table(tmp_path / "out" / "predictions.parquet").to_pydict()
    rows = [line.rpartition(",")[0] for line in texts.read_text().splitlines()[1:]]
    asked = [rows[index] for index in measured["index"]]
    told = predict(tmp_path / "out", asked, texts=True).columns
    assert np.allclose(told["probability"], measured["probability"], atol=1e-4)


def test_full_fine_tuning_moves_the_whole_layer(recipe, encoder, tmp_path):  # noqa: F811
    """Keys and one matrix begin at zero; with more zeros their gradients would be zero for ever."""
    own = recipe.override({"backbone.id": str(encoder()), "train.epochs": 1})
    before = make_ready(own, runtime.start(0)).model.bert.encoder.layer[2].state_dict()
    finetune(own, tmp_path / "out")
    saved = AutoModelForSequenceClassification.from_pretrained(tmp_path / "out" / "model")
    after = saved.bert.encoder.layer[2].state_dict()
    still = {name for name in before if torch.equal(before[name], after[name])}
    assert still <= {"attention.self.key.bias"}  # which softmax does not see


def test_a_head_that_is_kept_gets_no_layer_and_says_so(recipe, encoder, tmp_path):  # noqa: F811
    first = recipe.override({"backbone.id": str(encoder()), "train.epochs": 1})
    finetune(first, tmp_path / "out")
    again = first.override(
        {"backbone.id": str(tmp_path / "out" / "model"), "backbone.pooling": "mean"}
    )
    with pytest.raises(ModelError, match=r"goes with a new head, and .* keeps its own"):
        make_ready(again, runtime.start(0))


@pytest.mark.parametrize("kind", ["longformer", "convbert", "big_bird", "layoutlm", "deberta"])
def test_layers_that_are_only_called_alike_are_none(kind, checkpoint):
    model = AutoModelForSequenceClassification.from_pretrained(checkpoint("bert"))
    assert pooling.can_pool(model)
    model.config.model_type = kind
    assert not pooling.can_pool(model)


def test_relative_positions_and_code_of_others_are_left(checkpoint):
    model = AutoModelForSequenceClassification.from_pretrained(checkpoint("bert"))
    model.config.position_embedding_type = "alibi"
    assert not pooling.can_pool(model)
    model.config.position_embedding_type = "absolute"
    model.__class__ = type("JinaBert", (type(model),), {"__module__": "transformers_modules.jina"})
    assert not pooling.can_pool(model)


def test_lora_leaves_the_layer_as_it_is(recipe, encoder):  # noqa: F811
    own = recipe.override({"backbone.id": str(encoder())}).model_copy(
        update={"strategy": Lora(learning_rate=1e-2, rank=2)}
    )
    model = make_ready(own, runtime.start(0)).model
    moving = {name for name, p in model.named_parameters() if p.requires_grad}
    assert any("encoder.layer.1." in name for name in moving)
    assert not any("encoder.layer.2." in name or "pooler" in name for name in moving)


def test_a_model_with_the_layer_gets_no_second_one(recipe, encoder, tmp_path):  # noqa: F811
    first = recipe.override({"backbone.id": str(encoder()), "train.epochs": 1})
    finetune(first, tmp_path / "out")
    again = first.override({"backbone.id": str(tmp_path / "out" / "model")})
    assert make_ready(again, runtime.start(0)).model.config.num_hidden_layers == 3


def earlier(recipe):  # noqa: F811
    """What a version wrote that read the first token of every backbone."""
    saved = json.loads(recipe.to_json())
    del saved["backbone"]["pooling"]
    return json.dumps(saved)


def test_the_recipe_of_an_earlier_run_has_its_layers(tmp_path):
    own = registry.find("minilm-langid")
    before = Recipe.from_json(earlier(own))
    assert before.backbone.pooling == "first"
    (tmp_path / "recipe.json").write_text(earlier(own))
    assert as_run_began(own, tmp_path, resume=True) == before
    assert as_run_began(own, tmp_path, resume=False) == own
    (tmp_path / "recipe.json").write_text(own.to_json())
    assert as_run_began(own, tmp_path, resume=True) == own
    assert Recipe.from_json(own.to_json()) == own


def test_an_earlier_run_on_own_data_keeps_the_pooler_of_its_head(tmp_path):
    """Then it was trained with the head on any data."""
    began = registry.find("minilm-langid").with_strategy("head")
    (tmp_path / "recipe.json").write_text(earlier(began))
    now = began.override({"strategy.pooler": False, "strategy.weight_decay": None})
    again = as_run_began(now, tmp_path, resume=True)
    assert again.strategy == began.strategy
    other = began.override({"strategy.weight_decay": 0.5})  # asked for: the run is then refused
    assert as_run_began(other, tmp_path, resume=True).strategy == other.strategy
    (tmp_path / "recipe.json").write_text(began.to_json())
    assert as_run_began(now, tmp_path, resume=True) == now


def test_images_have_no_tokens_to_take_the_mean_of(tiny_recipe):
    with pytest.raises(RecipeError, match="pooling = 'mean' is for texts"):
        tiny_recipe.override({"backbone.pooling": "mean"})


def test_the_way_of_a_cached_encoder_is_not_asked_for_again(hub, encoder):
    folder = encoder()
    files = {str(f.relative_to(folder)): f.read_bytes() for f in folder.rglob("*") if f.is_file()}
    commit = hub.add("alice/encoder", files).head.oid
    plain = hub.add("alice/plain", {n: c for n, c in files.items() if n != "modules.json"})
    counts = []
    for name, oid in (("alice/encoder", commit), ("alice/plain", plain.head.oid)):
        fetch(name, oid)
        hub.log.clear()
        fetch(name, oid)
        counts.append(len(hub.log))
    assert counts[0] == counts[1]


def test_the_hub_is_asked_for_the_way_of_a_sentence_encoder_alone(hub, encoder):
    folder = encoder()
    files = {str(f.relative_to(folder)): f.read_bytes() for f in folder.rglob("*") if f.is_file()}
    hub.add("alice/encoder", files | {"onnx/config.json": b"{}"})
    fetched = fetch("alice/encoder")
    assert pooling.was_trained_by_mean(fetched)
    assert not (fetched / "onnx").exists()


def test_a_cache_of_an_earlier_version_is_used_offline(hub, encoder, monkeypatch, caplog):
    """It has no file that says how tokens are pooled, and all others."""
    caplog.set_level(logging.INFO, logger="ftkit")
    folder = encoder()
    files = {str(f.relative_to(folder)): f.read_bytes() for f in folder.rglob("*") if f.is_file()}
    commit = hub.add("alice/encoder", files).head.oid
    wanted = ["*.json", "*.safetensors", "*.txt"]
    snapshot_download(
        "alice/encoder", revision=commit, allow_patterns=wanted, ignore_patterns=["*/*"]
    )
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert not pooling.was_trained_by_mean(fetch("alice/encoder", commit))
    assert f"the cache has no {POOLING}" in caplog.text


def test_the_embedded_minilm_is_read_as_it_was_trained():
    own = registry.find("minilm-langid")
    model, _ = load_model(own.backbone, ("a", "b"), 0, task_of(own.task))
    assert pooling.pooling_parts(model) == ["bert.encoder.layer.6", "bert.pooler"]
