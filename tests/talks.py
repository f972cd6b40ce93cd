"""Texts and conversations, and a recipe of a tiny language model for them."""

import json

import language_checkpoints as tiny
import numpy as np

from ftkit import Backbone, Data, Full, LanguageModelling, Recipe, Train


def talks(count):
    """Return short conversations, every third one of two turns."""
    random = np.random.default_rng(0)
    found = []
    for number in range(count):
        asked, answered, more = random.choice(tiny.SENTENCES, 3)
        talk = [
            {"role": "user", "content": f"{asked} {number}"},
            {"role": "assistant", "content": str(answered)},
        ]
        if number % 3 == 0:
            talk += [
                {"role": "user", "content": str(more)},
                {"role": "assistant", "content": "Yes."},
            ]
        found.append(talk)
    return found


def write_rows(folder):
    """Write the same few rows as text, as conversations, and as prompts with answers."""
    random = np.random.default_rng(0)
    lines = [" ".join(random.choice(tiny.SENTENCES, 1 + n % 9)) + str(n) for n in range(48)]
    (folder / "rows.txt").write_text("\n\n".join(lines))
    rows = [json.dumps({"messages": talk, "source": "here"}) for talk in talks(48)]
    (folder / "talks.jsonl").write_text("\n".join(rows))
    pairs = [
        json.dumps({"instruction": talk[0]["content"], "response": talk[1]["content"]})
        for talk in talks(48)
    ]
    (folder / "pairs.jsonl").write_text("\n".join(pairs))
    return {
        "text": folder / "rows.txt",
        "talks": folder / "talks.jsonl",
        "pairs": folder / "pairs.jsonl",
    }


def models_in(make_folder):
    """Return a function from family and template to a tiny checkpoint, made once."""
    made = {}

    def make(family, template=None):
        if (family, template) not in made:
            made[family, template] = tiny.make(family, make_folder(family), template, 3.0)
        return made[family, template]

    return make


def recipe_of(model, data, strategy=None, **task):
    return Recipe(
        name="tiny-words",
        data=Data(path=str(data)),
        backbone=Backbone(id=str(model)),
        task=LanguageModelling(max_new_tokens=8, answers=4, **task),
        strategy=strategy or Full(learning_rate=3e-3),
        train=Train(epochs=2, batch_size=4),
    )
