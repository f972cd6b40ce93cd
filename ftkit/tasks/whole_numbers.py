"""Are few whole numbers an order or names? A linear model of training rows says what helps it.

Marks from 1 to 5 are an order: an input for each of them is four more to learn, and costs accuracy
where rows are few. Squares of a board are names: no line through their numbers tells anything.
"""

from __future__ import annotations

import warnings

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GroupKFold
from sklearn.preprocessing import StandardScaler

MOST_ROWS = 2_000
"""So many are asked at most."""
FOLDS = 5
PENALTIES = (0.1, 3.0, 30.0)
"""Of standardised inputs; each form of the inputs is judged by the best of them."""
SURE = 2.0
"""Standard errors by which the loss must fall: a reader of the log is told of each new input."""
SMALLEST = 1e-3
"""The least probability that is told of a class, so that no single row decides."""


def levels_help(
    numbers: np.ndarray, levels: np.ndarray, labels: np.ndarray, groups: np.ndarray | None = None
) -> bool:
    """Return whether held-out rows are told better where each whole number is an input too.

    Args:
        numbers: (N, D) of rows as they are, NaN for gaps.
        levels: (N, L) of 0 and 1, which number some of the columns have.
        labels: (N,) class numbers as int, or floats to be told.
        groups: (N,) equal for rows that belong together, which are held out together.
    """
    some = np.random.default_rng(0).permutation(len(labels))[:MOST_ROWS]
    if groups is None:
        groups = np.arange(len(labels))
    together = np.unique(groups, return_inverse=True)[1][some]
    if len(np.unique(together)) < 2 * FOLDS:
        return False
    there, labels = _scaled(numbers[some]), labels[some]
    both = np.concatenate([there, _scaled(levels[some])], axis=1)
    rows = _losses(there, labels, together) - _losses(both, labels, together)
    gain = np.bincount(together, rows)[np.unique(together)]
    return bool(gain.sum() > SURE * gain.std() * np.sqrt(len(gain)))


def _scaled(values: np.ndarray) -> np.ndarray:
    """Return each column with mean 0 and variance 1; 0 where there is no finite number."""
    finite = np.where(np.isfinite(values), values, np.nan)
    finite[:, np.isnan(finite).all(0)] = 0
    return np.nan_to_num(StandardScaler().fit_transform(finite))


def _losses(inputs: np.ndarray, labels: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Return (N,) the loss of each row by a linear model of the other folds."""
    tried = [_losses_by(inputs, labels, groups, penalty) for penalty in PENALTIES]
    return min(tried, key=np.mean)


def _losses_by(
    inputs: np.ndarray, labels: np.ndarray, groups: np.ndarray, penalty: float
) -> np.ndarray:
    found = np.zeros(len(labels))
    for train, held in GroupKFold(FOLDS, shuffle=True, random_state=0).split(inputs, groups=groups):
        if labels.dtype.kind == "f":
            told = Ridge(penalty).fit(inputs[train], labels[train]).predict(inputs[held])
            found[held] = (told - labels[held]) ** 2
        elif len(np.unique(labels[train])) > 1:
            model = LogisticRegression(C=1 / penalty, max_iter=200, tol=1e-3)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)
                model.fit(inputs[train], labels[train])
            told = np.full((len(held), labels.max() + 1), SMALLEST)
            told[:, model.classes_] = model.predict_proba(inputs[held]).clip(SMALLEST)
            found[held] = -np.log(told[np.arange(len(held)), labels[held]])
    return found
