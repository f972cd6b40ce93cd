"""Recipes of small perceptrons that train in a second."""

import numpy as np
from safetensors.torch import load_file

from ftkit import (
    Data,
    Full,
    ImageClassification,
    Mlp,
    Recipe,
    TabularClassification,
    Train,
)

TRAIN = Train(epochs=3, batch_size=8, weight_decay=0)


def of_colours(class_folders):
    """Return a recipe for class folders of images."""
    return Recipe(
        name="mlp-colours",
        data=Data(path=str(class_folders)),
        backbone=Mlp(hidden=(16, 8), dropout=0.1, image_size=6),
        task=ImageClassification(),
        strategy=Full(learning_rate=1e-2),
        train=TRAIN,
    )


def of_flowers(folder):
    """Return a recipe for a CSV, written into `folder`, of three kinds of points."""
    random = np.random.default_rng(0)
    lines = ["width,height,kind"]
    for number in range(90):
        kind = number % 3
        width, height = random.normal(kind, 0.2), random.normal(-kind, 0.2)
        lines.append(f"{width:.3f},{height:.3f},{'abc'[kind]}")
    (folder / "flowers.csv").write_text("\n".join(lines) + "\n")
    return Recipe(
        name="mlp-flowers",
        data=Data(path=str(folder / "flowers.csv")),
        backbone=Mlp(hidden=(8,), activation="tanh"),
        task=TabularClassification(label="kind"),
        strategy=Full(learning_rate=1e-2),
        train=Train(epochs=30, batch_size=8, weight_decay=0),
    )


def weights(run):
    return load_file(run / "model" / "model.safetensors")
