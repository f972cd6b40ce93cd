"""What a model card says otherwise for each kind of task: what it predicts, and how it is used."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from ftkit.errors.names import as_code, visible
from ftkit.recipe import Mlp, Recipe
from ftkit.recipe.task import TaskSettings

HERE = "PATH_OR_REPO"
"""Stands in a card for where its model lies; `ftkit push` puts the repository there."""


@dataclass(frozen=True)
class Wording:
    """What a card says otherwise for each kind of task."""

    trained: str
    """What was trained."""
    answers: str
    """What the model predicts, a sentence."""
    any_input: str
    """What any input gets."""
    picture: str
    """The picture's name, which its file has in small letters."""
    same: str
    """What the reloaded model gave again."""
    snippet: str
    """The lines that load and use the folder."""


def wording_of_classes(recipe: Recipe, label_names: tuple[str, ...], example: str) -> Wording:
    """Return what the card says of one class out of several, or of a number.

    Args:
        example: an input, as Python writes it.
    """
    task, classes = recipe.task, "one of the classes above, also one that is none of them"
    label = as_code(getattr(task, "label", None) or "the label")
    told = f"{len(label_names)} classes of {task.noun} apart: {listed(label_names)}"
    return Wording(
        trained=recipe.strategy.what_was_trained(new_head=True),
        answers=f"It tells {told if label_names else f'a number of {task.noun}: {label}'}.",
        any_input=classes if label_names else "a number",
        picture="Confusion matrix" if label_names else "Predictions",
        same="logits",
        snippet=_snippet(recipe, example),
    )


def listed(label_names: tuple[str, ...]) -> str:
    """Return the names of the first classes, for Markdown."""
    return ", ".join(map(plain, label_names[:20])) + (", ..." if len(label_names) > 20 else "")


def plain(name: str) -> str:
    """Return a name that Markdown shows as it is: no emphasis, link or HTML is made of it."""
    return SIGNS.sub(r"\\\g<0>", " ".join(visible(name).split()))


SIGNS = re.compile(r"[\\`*_\[\]<>|~$#&!]")
"""What Markdown makes something of."""
CLASSES = {
    "images": ("AutoImageProcessor", "AutoModelForImageClassification"),
    "texts": ("AutoTokenizer", "AutoModelForSequenceClassification"),
}
INPUTS = {
    "images": '[Image.open("image.png").convert("RGB")]',
    "texts": '["a text"]',
    "rows": "[[0.0, 1.0]]  # the columns in their order, as many as in training",
}


def _snippet(recipe: Recipe, example: str) -> str:
    """Return the lines that load and use the folder."""
    noun = recipe.task.noun
    if isinstance(recipe.backbone, Mlp):
        pillow = "from PIL import Image\n\n" if noun == "images" else ""
        return f"""{pillow}from ftkit import load_perceptron

model = load_perceptron("{HERE}")
inputs = {INPUTS[noun]}
print(model.predict(inputs))"""
    if recipe.strategy.adapter_alone:
        return adapter_snippet(recipe.backbone.id, *CLASSES[noun])
    use = f"""for answer in tell({example}, top_k=5):
    print(answer["label"], answer["score"])"""
    return pipeline_snippet(recipe.task, use)


def adapter_snippet(backbone: str, processor: str, model: str) -> str:
    """Return the lines that load an adapter with its new head.

    Args:
        processor: the class of transformers that loads it, and `model` likewise.
    """
    return f"""from peft import PeftModel
from transformers import AutoConfig, {model}, {processor}

config = AutoConfig.from_pretrained("{HERE}")
base = {model}.from_pretrained(
    {json.dumps(backbone)}, config=config, ignore_mismatched_sizes=True
)
model = PeftModel.from_pretrained(base, "{HERE}")
processor = {processor}.from_pretrained("{HERE}")"""


def pipeline_snippet(task: TaskSettings, use: str, more: str = "") -> str:
    """Return the lines that load the folder as a pipeline called `tell`, and use it.

    Args:
        more: that the pipeline is told.
    """
    kind = task.pipeline or task.kind
    return f"""from transformers import pipeline

tell = pipeline("{kind}", model="{HERE}"{more})
{use}"""
