"""Phrases in English and German, and a recipe that learns to translate them."""

import numpy as np

from ftkit import Backbone, Data, Full, Recipe, Train, Translation

NOUNS = {"hat": "Hut", "house": "Haus", "tree": "Baum", "man": "Mann", "sea": "See"}
COLOURS = {"red": "rot", "blue": "blau", "green": "grün", "old": "alt"}
LANGUAGES = {
    "mbart": ("en_XX", "de_DE"),
    "mbart50": ("en_XX", "de_DE"),
    "nllb": ("eng_Latn", "deu_Latn"),
}


def write_phrases(folder):
    """Write a CSV of 60 phrases in both languages, of different lengths, and return it."""
    random, lines = np.random.default_rng(0), ["en,de"]
    for number in range(60):
        count = 1 + number % 3
        nouns, colours = random.choice([*NOUNS], count), random.choice([*COLOURS], count)
        english = " and ".join(f"{c} {n}" for c, n in zip(colours, nouns, strict=True))
        german = " und ".join(
            f"{NOUNS[n]} {COLOURS[c]}" for c, n in zip(colours, nouns, strict=True)
        )
        lines.append(f"{english},{german}")
    file = folder / "pairs.csv"
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return file


def recipe_for(file, family, model, **changes):
    """Return a recipe for these phrases and a tiny checkpoint of that family."""
    source, target = LANGUAGES.get(family, (None, None))
    recipe = Recipe(
        name=f"{family}-phrases",
        data=Data(path=str(file)),
        backbone=Backbone(id=str(model)),
        task=Translation(
            source="en",
            target="de",
            source_language=source,
            target_language=target,
            prefix="in German: " if family == "t5" else "",
            max_length=48,
            beams=2,
        ),
        strategy=Full(learning_rate=3e-3),
        train=Train(epochs=1, batch_size=16),
    )
    return recipe.override(changes)
