"""What the card says of a model that reads texts: pairs, numbers, several classes, words."""

from __future__ import annotations

import json
from dataclasses import replace

from ftkit.card_words import HERE, STRATEGY_WORDS, Wording, listed, wording
from ftkit.recipe import (
    Recipe,
    TextClassification,
    TextRegression,
    TextTagging,
    TokenClassification,
)

PAIR = '{"text": "a text", "text_pair": "another"}'


@wording.register
def _(task: TextClassification, recipe: Recipe, label_names: tuple[str, ...]) -> Wording:
    usual = wording.dispatch(object)(task, recipe, label_names)
    return replace(usual, snippet=usual.snippet.replace('"a text"', _text(task)))


@wording.register
def _(task: TextRegression, recipe: Recipe, label_names: tuple[str, ...]) -> Wording:
    usual = wording.dispatch(object)(task, recipe, label_names)
    told = f"""from transformers import pipeline

tell = pipeline("text-classification", model="{HERE}")
print(tell({_text(task)}, function_to_apply="none")[0]["score"])"""
    return replace(usual, same="numbers", snippet=_whole(recipe, usual, told))


@wording.register
def _(task: TextTagging, recipe: Recipe, label_names: tuple[str, ...]) -> Wording:
    usual = wording.dispatch(object)(task, recipe, label_names)
    threshold = task.threshold or 0.5
    told = f"""from transformers import pipeline

tell = pipeline("text-classification", model="{HERE}")
for answer in tell({_text(task)}, top_k=None, function_to_apply="sigmoid"):
    print(answer["label"], answer["score"], answer["score"] > {threshold:.3g})"""
    return replace(
        usual,
        answers=f"It tells which of {len(label_names)} classes a text has, none, one or several: "
        f"{listed(label_names)}. A class is told where its probability is above {threshold:.3g}"
        f"{', see `threshold` in config.json' if task.threshold else ''}.",
        any_input="a probability for each of the classes above",
        picture="Precision recall",
        snippet=_whole(recipe, usual, told),
    )


@wording.register
def _(task: TokenClassification, recipe: Recipe, label_names: tuple[str, ...]) -> Wording:
    told = f"""from transformers import pipeline

tell = pipeline("token-classification", model="{HERE}", aggregation_strategy="first")
for answer in tell("a text"):
    print(answer["word"], answer["entity_group"], answer["score"])"""
    adapter = f"""from peft import PeftModel
from transformers import AutoConfig, AutoModelForTokenClassification, AutoTokenizer

config = AutoConfig.from_pretrained("{HERE}")
base = AutoModelForTokenClassification.from_pretrained(
    {json.dumps(recipe.backbone.id)}, config=config, ignore_mismatched_sizes=True
)
model = PeftModel.from_pretrained(base, "{HERE}")
tokenizer = AutoTokenizer.from_pretrained("{HERE}")"""
    return Wording(
        trained=STRATEGY_WORDS[recipe.strategy.kind],
        answers=f"It tells a class for each word of a text, one of {len(label_names)}: "
        f"{listed(label_names)}.",
        any_input="a class for each word, also where none is right",
        picture="Confusion matrix",
        same="logits",
        snippet=adapter if _is_adapter(recipe) else told,
    )


def _whole(recipe: Recipe, usual: Wording, snippet: str) -> str:
    """Return the snippet, or the usual one where it loads an adapter."""
    return usual.snippet if _is_adapter(recipe) else snippet


def _is_adapter(recipe: Recipe) -> bool:
    return recipe.strategy.kind == "lora" and not recipe.strategy.merge


def _text(task: TextClassification | TextRegression | TextTagging) -> str:
    return '"a text"' if task.pair is None else PAIR
