"""The shipped recipes: valid, short, pinned, and run at smoke size on tiny checkpoints."""

import re
from pathlib import Path

import pytest
from conftest import make_image

from ftkit import Recipe, finetune, registry

FOLDER = Path(__file__).resolve().parent.parent / "recipes"
FILES = sorted(path for path in FOLDER.glob("*.py") if path.name != "__init__.py")
FAMILY = {"vit-cifar": "vit", "resnet-cifar": "timm-resnet", "convnext-pets": "convnext"}


@pytest.mark.parametrize("file", FILES, ids=lambda path: path.stem)
def test_a_recipe_is_short_and_named_like_its_file(file):
    recipe = registry.find(file.stem.replace("_", "-"))
    assert recipe.name == file.stem.replace("_", "-")
    assert recipe.description
    assert 12 <= len(file.read_text().splitlines()) <= 50
    assert Recipe.from_json(recipe.to_json()) == recipe


@pytest.mark.parametrize("name", ["vit-cifar", "resnet-cifar"])
def test_hub_revisions_are_pinned_to_a_commit(name):
    recipe = registry.find(name)
    for revision in (recipe.data.revision, recipe.backbone.revision):
        assert re.fullmatch(r"[0-9a-f]{40}", revision)


@pytest.mark.parametrize("name", FAMILY)
@pytest.mark.parametrize("strategy", ["full", "head", "lora"])
def test_a_hub_recipe_trains_on_a_tiny_backbone_of_its_family(
    name, strategy, checkpoint, tmp_path_factory, monkeypatch
):
    import ftkit.run

    folder = tmp_path_factory.mktemp("data")
    for colour in ("red", "blue"):
        (folder / colour).mkdir()
        for number in range(12):
            make_image(colour, number).save(folder / colour / f"{number}.png")
    recipe = registry.find(name).with_strategy(strategy)
    recipe = recipe.override(
        {
            "data.path": str(folder),
            "data.revision": None,
            "task.image": "image",
            "backbone.id": str(checkpoint(FAMILY[name])),
            "backbone.revision": None,
            "train.max_steps": 2,
            "train.batch_size": 8,
        }
    )
    if (name, strategy) != ("vit-cifar", "lora"):  # test_run verifies every strategy
        monkeypatch.setattr(ftkit.run, "verify", lambda *_: 0)
    result = finetune(recipe, tmp_path_factory.mktemp("run") / "out")
    assert result.n == 5
    assert result.strategy["kind"] == strategy


def test_embedded_digits_learn_in_a_few_steps(tmp_path):
    recipe = registry.find("effnet-digits").with_strategy("head")
    recipe = recipe.override({"data.train_rows": 400, "data.test_rows": 100})
    assert finetune(recipe, tmp_path / "out").metrics["accuracy"].value > 0.8
