"""The threshold of tags against scikit-learn's F1 over all thresholds, and where it is kept."""

import json
import logging

import numpy as np
import pytest
from scipy.special import expit
from sklearn.metrics import f1_score

from ftkit import TextTagging
from ftkit.tasks import task_of
from ftkit.tasks.metrics.tags import tags_of
from ftkit.tasks.thresholds import LEAST_LABELS, best_threshold, choose_threshold


def shy(N=80, C=4, seed=0, digits=6):
    """Labels (N, C), and logits that are all too low; rounded, so that there may be ties."""
    random = np.random.default_rng(seed)
    labels = (random.random((N, C)) < 0.3).astype(int)
    return labels, random.normal(2 * labels - 2.5, 1).round(digits)


@pytest.mark.parametrize("digits", [0, 1, 6])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_threshold_is_the_best_of_all_by_scikit_learn(seed, digits):
    labels, logits = shy(seed=seed, digits=digits)
    threshold, best = best_threshold(labels, logits)
    every = [f1_score(labels, logits >= value, average="micro") for value in np.unique(logits)]
    assert best == pytest.approx(max(every))
    assert f1_score(labels, expit(logits) > threshold, average="micro") == pytest.approx(best)
    assert best > f1_score(labels, logits > 0, average="micro") + 0.1


def test_the_figures_use_it():
    labels, logits = shy()
    threshold, best = best_threshold(labels, logits)
    assert task_of(TextTagging(threshold=threshold)).score(labels, logits)[
        "micro_f1"
    ] == pytest.approx(best)
    half = f1_score(labels, logits > 0, average="micro")
    assert task_of(TextTagging()).score(labels, logits)["micro_f1"] == pytest.approx(half)
    assert (tags_of(logits, 0.2) == (expit(logits) > 0.2)).all()


def test_too_few_labels_keep_one_half_and_say_so(caplog):
    labels, logits = shy(30, 4)
    assert labels.sum() < LEAST_LABELS
    with caplog.at_level(logging.INFO):
        assert choose_threshold(labels, logits) == 0.5
    assert f"have {labels.sum()} labels" in caplog.text


def test_a_task_of_an_earlier_run_tells_above_one_half():
    logits = shy()[1]
    task = TextTagging.model_validate(json.loads('{"kind": "text-tagging", "text": "a"}'))
    assert (tags_of(logits, task.threshold) == (logits > 0)).all()
