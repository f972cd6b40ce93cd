"""What a model card says otherwise for each kind of task: what it tells, and how it is used."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from ftkit.errors.names import as_code, visible
from ftkit.recipe import Mlp, Recipe

HERE = "PATH_OR_REPO"
"""Stands in a card for where its model lies; `ftkit push` puts the repository there."""


@dataclass(frozen=True)
class Wording:
    """What a card says otherwise for each kind of task."""

    trained: str
    """What was trained."""
    answers: str
    """What the model tells, a sentence."""
    any_input: str
    """What any input gets."""
    picture: str
    """The picture's name, which its file has in small letters."""
    same: str
    """What the reloaded model gave again."""
    snippet: str
    """The lines that load and use the folder."""


def wording_of_classes(recipe: Recipe, label_names: tuple[str, ...]) -> Wording:
    """Return what the card says of one class out of several, or of a number."""
    classes = "one of the classes above, also one that is none of them"
    return Wording(
        trained=recipe.strategy.what_was_trained(new_head=True),
        answers=_answers(recipe, label_names),
        any_input=classes if label_names else "a number",
        picture="Confusion matrix" if label_names else "Predictions",
        same="logits",
        snippet=_snippet(recipe),
    )


def _answers(recipe: Recipe, label_names: tuple[str, ...]) -> str:
    """Return what the model tells."""
    if not label_names:
        label = getattr(recipe.task, "label", None) or "the label"
        return f"It tells a number of {recipe.task.noun}: {as_code(label)}."
    return (
        f"It tells {len(label_names)} classes of {recipe.task.noun} apart: {listed(label_names)}."
    )


def listed(label_names: tuple[str, ...]) -> str:
    """Return the names of the first classes, for Markdown."""
    return ", ".join(map(plain, label_names[:20])) + (", ..." if len(label_names) > 20 else "")


def plain(name: str) -> str:
    """Return a name that Markdown shows as it is: no emphasis, link or HTML is made of it."""
    return SIGNS.sub(r"\\\g<0>", " ".join(visible(name).split()))


SIGNS = re.compile(r"[\\`*_\[\]<>|~$#&!]")
"""What Markdown makes something of."""
EXAMPLES = {"images": "image.png", "texts": "a text"}
CLASSES = {
    "images": ("AutoImageProcessor", "AutoModelForImageClassification"),
    "texts": ("AutoTokenizer", "AutoModelForSequenceClassification"),
}
INPUTS = {
    "images": '[Image.open("image.png").convert("RGB")]',
    "texts": '["a text"]',
    "rows": "[[0.0, 1.0]]  # the columns in their order, as many as in training",
}


def _snippet(recipe: Recipe) -> str:
    """Return the lines that load and use the folder."""
    if isinstance(recipe.backbone, Mlp):
        pillow = "from PIL import Image\n\n" if recipe.task.noun == "images" else ""
        return f"""{pillow}from ftkit import load_perceptron

model = load_perceptron("{HERE}")
inputs = {INPUTS[recipe.task.noun]}
print(model.predict(inputs))"""
    processor, model = CLASSES[recipe.task.noun]
    if recipe.strategy.adapter_alone:
        return f"""from peft import PeftModel
from transformers import AutoConfig, {processor}, {model}

config = AutoConfig.from_pretrained("{HERE}")
base = {model}.from_pretrained(
    {json.dumps(recipe.backbone.id)}, config=config, ignore_mismatched_sizes=True
)
model = PeftModel.from_pretrained(base, "{HERE}")
processor = {processor}.from_pretrained("{HERE}")"""
    return f"""from transformers import pipeline

classify = pipeline("{recipe.task.pipeline or recipe.task.kind}", model="{HERE}")
for answer in classify("{EXAMPLES[recipe.task.noun]}", top_k=5):
    print(answer["label"], answer["score"])"""
