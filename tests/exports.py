"""Finished runs of tiny models, one of each kind of task, to be exported."""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
from conftest import COLOURS, make_image

from ftkit import (
    Backbone,
    Data,
    Full,
    HeadOnly,
    ImageClassification,
    ImageRegression,
    ImageTagging,
    Lora,
    Mlp,
    Recipe,
    TabularClassification,
    TabularRegression,
    TextClassification,
    TextRegression,
    TextTagging,
    TokenClassification,
    Train,
)

SIZES = ((20, 16), (64, 48), (33, 90), (32, 32), (120, 31))
"""Widths and heights of images; one is as the models read it."""
KINDS = {
    "vit": (ImageClassification(), Full()),
    "resnet": (ImageRegression(), Full()),
    "convnext": (ImageTagging(label="tags"), Full()),
    "swin": (ImageClassification(), HeadOnly()),
    "timm-efficientnet": (ImageClassification(), Lora(rank=2)),
    "bert": (TextClassification(pair="second"), Full()),
    "roberta": (TextRegression(), Full()),
    "gpt2": (TextTagging(label="tags"), Full()),
    "distilbert": (TokenClassification(), Full()),
}
"""Each family of tests/checkpoints.py with a task and a strategy."""
TABLES = {
    "table": TabularClassification(label="kind"),
    "numbers": TabularRegression(label="price", read_levels=True),
}
WORDS = ("red", "green", "blue", "sky", "grass", "fire", "is", "the", "a", "very")


def image_rows(folder: Path) -> Path:
    """Return a table of images of several sizes with a class, a number and tags for each."""
    names, lines = list(COLOURS), []
    for number in range(60):
        colour = names[number % len(names)]
        file = folder / f"{number:02d}.png"
        make_image(colour, number, SIZES[number % len(SIZES)]).save(file)
        tags = [colour, "even"] if number % 2 == 0 else [colour]
        row = {"image": str(file), "label": colour, "tags": tags, "number": number / 10}
        lines.append(json.dumps(row))
    return _written(folder / "images.jsonl", lines)


def text_rows(folder: Path) -> Path:
    """Return a table of texts of several lengths, with second texts, classes, tags and numbers."""
    draw, lines = np.random.default_rng(0), []
    for number in range(60):
        words = [str(word) for word in draw.choice(WORDS, 1 + number % 9)]
        row = {
            "text": " ".join(words),
            "second": " ".join(reversed(words)) + (" fire" if number % 2 else ""),
            "label": ("cold", "warm")[number % 2],
            "tags": [word for word in ("red", "sky") if word in words],
            "number": float(number % 7),
            "tokens": words,
            "ner_tags": ["B-A" if word in ("red", "sky") else "O" for word in words],
        }
        lines.append(json.dumps(row))
    return _written(folder / "texts.jsonl", lines)


def table_rows(folder: Path) -> Path:
    """Return a table of numbers, words, whole numbers and gaps."""
    draw, lines = np.random.default_rng(0), ["width,colour,day,gap,kind,price"]
    for number in range(120):
        gap = "" if number % 5 == 0 else f"{draw.normal():.3f}"
        colour = ("red", "green", "blue")[number % 3]
        lines.append(
            f"{draw.normal():.3f},{colour},{number % 6},{gap},{'ab'[number % 2]},{number * 3.5}"
        )
    return _written(folder / "table.csv", lines)


def _written(file: Path, lines: list[str]) -> Path:
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return file


def recipe_of(kind: str, checkpoint, folder: Path) -> Recipe:
    """Return a recipe of one of KINDS or TABLES, or of a perceptron: "pixels" or "ngrams"."""
    train = Train(epochs=2, batch_size=8)
    if kind in TABLES:
        task, data = TABLES[kind], table_rows(folder)
        columns = ("width", "colour", "day", "gap")
        task = task.model_copy(update={"columns": columns})
    elif kind in ("pixels", "ngrams"):
        task = ImageClassification(label="label") if kind == "pixels" else TextClassification()
        data = image_rows(folder) if kind == "pixels" else text_rows(folder)
    else:
        task = KINDS[kind][0]
        data = image_rows(folder) if task.noun == "images" else text_rows(folder)
    columns = _columns(task)
    task = task.model_copy(update=columns)
    if kind in KINDS:
        backbone = Backbone(id=str(checkpoint(kind)))
        return Recipe(name=kind, data=Data(path=str(data)), backbone=backbone, task=task,
                      strategy=KINDS[kind][1], train=train)  # fmt: skip
    mlp = Mlp(
        hidden=(8,), activation="gelu", image_size=6 if kind == "pixels" else None, buckets=64
    )
    return Recipe(name=kind, data=Data(path=str(data)), backbone=mlp, task=task,
                  strategy=Full(learning_rate=1e-2), train=train)  # fmt: skip


def _columns(task) -> dict[str, str]:
    """Return the columns of a task that are not named yet."""
    found = {}
    if task.noun == "texts" and task.tells != "words":
        found["text"] = "text"
    if task.tells == "number" and task.label is None:
        found["label"] = "number"
    if task.tells == "class" and task.label is None:
        found["label"] = "label"
    return found


def train(recipe: Recipe, folder: Path) -> Path:
    """Train without the process that verifies the model, which other tests have."""
    from ftkit.finetuning.finetune import finetune
    from ftkit.finetuning.verify import Verified

    with pytest.MonkeyPatch.context() as patched:
        nothing = Verified(rows=0, latency_seconds=None)
        patched.setattr("ftkit.finetuning.finetune.verify", lambda *_: nothing)
        patched.setattr("ftkit.finetuning.finetune.fresh_reader", lambda _: nullcontext())
        finetune(recipe, folder)
    return folder
