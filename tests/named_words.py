"""Sentences with names of one to three words, and a recipe that learns to find them."""

import json

import numpy as np

from ftkit import Backbone, Data, Full, Recipe, TokenClassification, Train

FRUIT, METAL = ["apple", "pear-plum", "cherry"], ["iron", "gold-tin", "lead"]
LABELS = ["O", "B-FRUIT", "I-FRUIT", "B-METAL", "I-METAL"]


def sentence(random):
    """Words, some of several tokens, with names of one to three of them."""
    words, tags = [], []
    for _ in range(random.integers(1, 5)):
        kind, known = [("FRUIT", FRUIT), ("METAL", METAL)][random.integers(2)]
        for place in range(random.integers(1, 4)):
            words.append(str(random.choice(known)))
            tags.append(f"{'I' if place else 'B'}-{kind}")
        words.append("and")
        tags.append("O")
    return {"tokens": words, "ner_tags": tags}


def make_rows():
    """Return 80 sentences with their tags."""
    random = np.random.default_rng(0)
    return [sentence(random) for _ in range(80)]


def write(folder, rows):
    folder.mkdir(exist_ok=True)
    file = folder / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return Data(path=str(file))


def recipe_for(data, model):
    """Return a recipe for such rows and a tiny checkpoint."""
    return Recipe(
        name="bert-names",
        data=data,
        backbone=Backbone(id=str(model)),
        task=TokenClassification(),
        strategy=Full(learning_rate=5e-3),
        train=Train(epochs=2, batch_size=8),
    )
