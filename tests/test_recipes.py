"""The shipped recipes: valid, short, pinned, and run at smoke size on tiny checkpoints."""

import json
import re
from pathlib import Path

import pytest
from conftest import make_image

from ftkit import Backbone, Recipe, RunResult, finetune, registry
from ftkit.cli.main import main
from ftkit.finetuning.verify import Verified

FOLDER = Path(__file__).resolve().parent.parent / "recipes"
FILES = sorted(path for path in FOLDER.glob("*.py") if path.name != "__init__.py")
UNPINNED = {  # no commit of these could be verified yet
    "lhoestq/conll2003",
    "bentrevett/multi30k",
    "timm/oxford-iiit-pet",
    "facebook/convnext-tiny-224",
}
FAMILY = {"vit-cifar": "vit", "resnet-cifar": "timm-resnet", "convnext-pets": "convnext"}


@pytest.mark.parametrize("file", FILES, ids=lambda path: path.stem)
def test_a_recipe_is_short_and_named_like_its_file(file):
    recipe = registry.find(file.stem.replace("_", "-"))
    assert recipe.name == file.stem.replace("_", "-")
    assert recipe.description
    assert 12 <= len(file.read_text().splitlines()) <= 50
    assert Recipe.from_json(recipe.to_json()) == recipe


@pytest.mark.parametrize("file", FILES, ids=lambda path: path.stem)
def test_what_comes_from_the_hub_is_pinned_to_a_commit(file):
    recipe = registry.find(file.stem.replace("_", "-"))
    sources = {recipe.data.path: recipe.data.revision}
    if isinstance(recipe.backbone, Backbone) and recipe.backbone.id:
        sources[recipe.backbone.id] = recipe.backbone.revision
    for source, revision in sources.items():
        if "/" in source and source not in UNPINNED:
            assert re.fullmatch(r"[0-9a-f]{40}", revision), source


@pytest.mark.parametrize("name", FAMILY)
@pytest.mark.parametrize("strategy", ["full", "head", "lora"])
def test_a_hub_recipe_trains_on_a_tiny_backbone_of_its_family(
    name, strategy, checkpoint, tmp_path_factory, monkeypatch
):
    import ftkit.finetuning.finetune

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
    if (name, strategy) != ("vit-cifar", "lora"):  # test_finetune verifies every strategy
        monkeypatch.setattr(ftkit.finetuning.finetune, "verify", lambda *_: Verified(0, None))
    result = finetune(recipe, tmp_path_factory.mktemp("run") / "out")
    assert result.n == 5
    assert result.strategy["kind"] == strategy


CLASSES = [("up", "down"), ("apple pear", "iron gold")]
TEXTS = {
    "distilbert-sst2": ("distilbert", "validation", {"sentence": "text", "label": "class"}),
    "bert-agnews": ("bert", "test", {"text": "text", "label": "class"}),
    "roberta-banking": (
        "roberta",
        "test",
        {"text": "text", "label": "number", "label_text": "class"},
    ),
    "distilbert-ner": ("distilbert", "test", {"tokens": "words", "ner_tags": "tags"}),
}
"""Of each recipe: family of its backbone, split that it is tested on, columns of its data."""


@pytest.mark.parametrize("name", TEXTS)
@pytest.mark.parametrize("strategy", ["full", "head", "lora"])
def test_a_recipe_of_texts_runs_at_smoke_size(
    name, strategy, checkpoint, tmp_path, monkeypatch, capsys
):
    import ftkit.finetuning.finetune

    family, test, columns = TEXTS[name]
    splits = {"train": 24, test: 8} | ({"validation": 8} if name == "distilbert-ner" else {})
    for split, size in splits.items():
        rows = []
        for number in range(size):
            words = [*CLASSES[1][number % 2].split(), "and", "more"][: 2 + number % 3]
            values = {
                "text": " ".join(words),
                "class": CLASSES[0][number % 2],
                "number": number % 2,
                "words": words,
                "tags": ["B-X" if number % 2 else "O", "I-X" if number % 2 else "O", "O", "O"],
            }
            values["tags"] = values["tags"][: len(words)]
            rows.append({column: values[kind] for column, kind in columns.items()})
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (tmp_path / f"{split}.jsonl").write_text(text)
    if strategy != "full":  # test_tasks_text and test_tasks_words verify every strategy
        monkeypatch.setattr(ftkit.finetuning.finetune, "verify", lambda *_: Verified(0, None))
    recipe = registry.find(name).with_strategy(strategy)
    words = ["train", name, "--strategy", strategy, "--smoke", "--out", str(tmp_path / "run")]
    words += ["--data", str(tmp_path), "--backbone", str(checkpoint(family))]
    words += ["--set", f"data.test={recipe.data.test}"]
    assert main(words) == 0, capsys.readouterr().err
    result = RunResult.read(tmp_path / "run")
    assert (result.n, result.strategy["kind"]) == (8, strategy)
    assert result.split == recipe.data.test == test


def test_embedded_digits_learn_in_a_few_steps(tmp_path):
    recipe = registry.find("effnet-digits").with_strategy("head")
    recipe = recipe.override({"data.train_rows": 400, "data.test_rows": 100})
    assert finetune(recipe, tmp_path / "out").metrics["accuracy"].value > 0.8
