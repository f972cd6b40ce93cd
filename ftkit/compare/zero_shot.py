"""Telling the class of a text by the names of the classes alone, before any row was learned from.

A sentence encoder puts a text about sports near the text "Sports" (Yin et al. 2019, arXiv
1909.00161). So every class has a vector, the mean of its name and of a sentence with it, and a row
is of the class whose vector is nearest by cosine.
"""

from __future__ import annotations

import time

import numpy as np

from ftkit.backbones.pooling import pooling_parts
from ftkit.backbones.structure import count_parameters, place
from ftkit.compare.baseline_answers import BaselineAnswers, Unfit
from ftkit.compare.neighbours import TEMPERATURE, latency_of_votes, unit
from ftkit.finetuning.finetune import make_ready
from ftkit.machine import runtime
from ftkit.recipe import Recipe
from ftkit.strategies.class_names import FORMS, named_rows
from ftkit.strategies.head_inputs import head_inputs_of
from ftkit.tasks.inputs import Rows
from ftkit.training.precision import fastest_precision


def by_class_names(recipe: Recipe, machine: runtime.Machine) -> BaselineAnswers:
    """Tell for every row the class whose name is nearest. Every rank must call this.

    Raises:
        Unfit: the names hold no words, or the backbone is no sentence encoder.
    """
    ready = make_ready(recipe, machine)
    model, inputs = ready.model, ready.inputs
    place(model, recipe.train.channels_last, machine.device)
    named = named_rows(model.config, inputs.train)
    if isinstance(named, str):
        raise Unfit(f"the names of the classes are no texts of them: {named}")
    if not pooling_parts(model):
        raise Unfit(
            f"{recipe.backbone.id} is not read as a sentence encoder, which puts a text near the "
            f"name of its class"
        )
    precision = fastest_precision(model, inputs, recipe.train.precision, machine)

    def vectors(rows: Rows) -> np.ndarray:
        """Return (N, D), each of length 1."""
        return unit(head_inputs_of(model, rows, inputs, recipe.train, machine, precision))

    begin = time.perf_counter()
    forms = vectors(named)  # (F C, D), the names of all classes in one form after the other
    names = unit(forms.reshape(len(FORMS), -1, forms.shape[1]).mean(0))
    test = vectors(inputs.test)
    seconds = time.perf_counter() - begin
    parameters, _ = count_parameters(model)
    weights = sum(p.numel() * p.element_size() for p in model.parameters())
    return BaselineAnswers(
        ready.splits,
        ready.task,
        ready.task.outputs_of_means(shares(test, names)),
        {"texts_of_a_class": len(FORMS)},
        parameters=parameters,
        features_seconds=seconds,
        size=weights + names.nbytes,
        latency=latency_of_votes(ready, names.shape[1], lambda row: shares(row, names), machine),
    )


def shares(rows: np.ndarray, names: np.ndarray) -> np.ndarray:
    """Return (N, C): how probable each class is by the cosine to its name.

    Args:
        rows: (N, D) vectors of length 1.
        names: (C, D) vectors of length 1.
    """
    similar = rows @ names.T
    weights = np.exp((similar - similar.max(1, keepdims=True)) / TEMPERATURE)
    return weights / weights.sum(1, keepdims=True)
