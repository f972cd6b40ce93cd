"""Texts of fruit and metal words with other labels than one class, and a recipe that reads them."""

import json

import numpy as np

from ftkit import (
    Backbone,
    Data,
    Full,
    Recipe,
    TextClassification,
    TextRegression,
    TextTagging,
    Train,
)

FRUIT, METAL = ["apple", "pear", "plum", "cherry"], ["iron", "gold", "tin", "lead"]


def write(folder, rows):
    """Write rows as JSON lines, and return the file."""
    file = folder / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def make_rows():
    """Return 80 texts of fruit and metal words, with what can be told of them."""
    random, found = np.random.default_rng(0), []
    for _ in range(80):
        fruit, metal = random.integers(0, 3, 2)
        metal += (fruit + metal) == 0
        words = [*random.choice(FRUIT, fruit), *random.choice(METAL, metal)]
        found.append(
            {
                "text": " ".join(random.permutation(words)),
                "other": str(random.choice(FRUIT + METAL)),
                "share": float(fruit / (fruit + metal)),
                "kinds": [n for n, there in (("fruit", fruit), ("metal", metal)) if there],
                "fruit": int(fruit > 0),
                "metal": int(metal > 0),
                "same": "yes" if fruit else "no",
            }
        )
    return found


def recipe_for(file, model):
    """Return a recipe for these rows and a tiny checkpoint of BERT."""
    return Recipe(
        name="bert-words",
        data=Data(path=str(file)),
        backbone=Backbone(id=str(model)),
        task=TextClassification(text="text", label="same", max_length=24),
        strategy=Full(learning_rate=3e-3),
        train=Train(epochs=2, batch_size=8),
    )


def pair(recipe):
    """Return the recipe for pairs of texts."""
    return recipe.override({"task.pair": "other"})


def number(recipe):
    """Return the recipe for a number of each text."""
    return recipe.override({"task": TextRegression(text="text", label="share", max_length=24)})


def tagged(recipe):
    """Return the recipe for any number of classes."""
    return recipe.override({"task": TextTagging(text="text", label="kinds", max_length=24)})
