"""Figures of names: seqeval's, with intervals."""

import numpy as np
import pytest
from named_words import LABELS

from ftkit import (
    TokenClassification,
)
from ftkit.tasks import task_of
from ftkit.tasks.metrics.words import Tagged


def logits_of(tags, names=LABELS):
    """Logits that tell these tags, None for a word that was not seen."""
    rows = []
    for row in tags:
        told = np.array([np.eye(len(names))[names.index(t)] if t else np.full(len(names), np.nan)
                         for t in row])  # fmt: skip
        rows.append(4 * told.astype(np.float32))
    return Tagged(tuple(names), rows)


def numbers(tags, names=LABELS):
    found = np.empty(len(tags), object)
    found[:] = [[names.index(tag) for tag in row] for row in tags]
    return found


def test_figures_of_a_hand_worked_case():
    truth = [["B-FRUIT", "I-FRUIT", "O"], ["B-METAL", "O"], ["O", "O", "B-METAL"]]
    found = [["B-FRUIT", "O", "O"], ["B-METAL", "O"], ["O", "B-FRUIT", None]]
    scored = task_of(TokenClassification()).score(numbers(truth), logits_of(found))
    # names: 3 true (the third was cut off, and is missed), 3 told, 1 right; words: 5 of 8 right
    assert scored["precision"] == pytest.approx(1 / 3)
    assert scored["recall"] == pytest.approx(1 / 3)
    assert scored["f1"] == pytest.approx(1 / 3)
    assert scored["accuracy"] == pytest.approx(5 / 8)
    assert logits_of(found).unseen == 1
    sure, rest = np.exp(4) / (np.exp(4) + 4), 1 / (np.exp(4) + 4)
    assert scored["loss"] == pytest.approx(-(5 * np.log(sure) + 2 * np.log(rest)) / 7, rel=1e-5)
    measured = task_of(TokenClassification()).measure(numbers(truth), logits_of(found))
    assert {n: f.value for n, f in measured.items()} == pytest.approx(
        {name: scored[name] for name in ("f1", "precision", "recall", "accuracy")}
    )
    assert all(f.low <= f.value <= f.high and "Wilson" in f.method for f in measured.values())


def test_intervals_cover_the_truth():
    covered = 0
    for seed in range(40):
        random = np.random.default_rng(seed)
        truth = [["B-FRUIT", "O"] for _ in range(120)]
        found = [["B-FRUIT" if random.random() < 0.8 else "O", "O"] for _ in truth]
        recall = task_of(TokenClassification()).measure(numbers(truth), logits_of(found), seed)[
            "recall"
        ]
        covered += recall.low <= 0.8 <= recall.high
    assert covered >= 34


def test_tags_that_begin_no_names_are_names_of_one_word():
    names = ["NOUN", "VERB", "DET"]
    truth, found = [["DET", "NOUN", "NOUN", "VERB"]], [["DET", "NOUN", "VERB", "VERB"]]
    scored = task_of(TokenClassification()).score(numbers(truth, names), logits_of(found, names))
    assert scored["f1"] == scored["accuracy"] == pytest.approx(3 / 4)
