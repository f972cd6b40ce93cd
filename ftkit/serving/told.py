"""Answers in the shapes that `InferenceClient` reads: those of transformers' pipelines."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np

from ftkit.exported.about import About
from ftkit.exported.model import Answers, columns_of
from ftkit.serving.asked import Asked
from ftkit.serving.entities import entities_of
from ftkit.serving.options import FIRST_IMAGES, Options

NUMBER = "LABEL_0"
"""What a pipeline of transformers calls the one output of a model that tells a number."""


def body_of(value: Any) -> bytes:
    """Return a value as JSON, null in place of what is no number."""
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except ValueError:
        return json.dumps(_finite(value), ensure_ascii=False).encode()


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def told(about: About, asked: Asked, answers: Answers) -> Any:
    """Return what is sent for the answers to the rows of a request."""
    if about.tells == "words":
        found = [
            entities_of(about, text, scores, asked.options)
            for text, scores in zip(asked.rows, answers.scores, strict=True)
        ]
        return found if asked.many else found[0]
    if about.reads == "table" and asked.options == Options():
        return [_plain(one) for one in columns_of(about, answers)["prediction"]]
    rows = _rows_told(about, asked.options, answers)
    return rows[0] if about.reads == "images" else rows


def _plain(prediction: Any) -> Any:
    """Return a prediction as a value of JSON."""
    return prediction.item() if isinstance(prediction, np.generic) else prediction


def _rows_told(about: About, options: Options, answers: Answers) -> list[list[dict[str, Any]]]:
    """Return for each row a list of classes with their scores, the most probable first."""
    names = about.classes or (NUMBER,)
    most = options.top_k
    if most is None and about.reads == "images" and about.tells == "class":
        most = FIRST_IMAGES
    scores = _scores(options.function_to_apply, answers)
    found = []
    for row in scores.reshape(len(scores), -1).astype(float):
        order = np.argsort(-row, kind="stable")[:most]
        found.append([{"label": names[k], "score": float(row[k])} for k in order])
    return found


def _scores(function: str | None, answers: Answers) -> np.ndarray:
    """Return the scores: those of the task, or what a function makes of the logits."""
    if function is None:
        return np.asarray(answers.scores)
    logits = np.asarray(answers.logits, dtype=np.float64)
    if function == "sigmoid":
        return 0.5 * (1 + np.tanh(0.5 * logits))  # the same, and no number is too large for it
    if function == "softmax":
        powers = np.exp(logits - logits.max(1, keepdims=True))
        return powers / powers.sum(1, keepdims=True)
    return logits
