"""What people try before any network: a linear model of words, and boosted trees of columns.

Both are scikit-learn's, on the rows that the other rungs see. Validation rows choose the grams, the
penalty and the number of trees; the model is fitted once more with them too, as a head is.
"""

from __future__ import annotations

import logging
import pickle
import time
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np
from datasets import Dataset, concatenate_datasets
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import make_pipeline

from ftkit.compare.baseline_answers import BaselineAnswers, rows_of, threshold_of
from ftkit.data.splits import Splits
from ftkit.finetuning.latency import latency_of
from ftkit.machine import interruption, runtime
from ftkit.recipe import Recipe
from ftkit.runs.result import Latency
from ftkit.tasks.base import Task

log = logging.getLogger(__name__)
GRAMS = {"words": ("word", (1, 2)), "characters": ("char_wb", (2, 4))}
"""What a text is cut into. Characters tell languages apart, and words that are written together."""
WORD = r"\w+|[^\w\s]+"
"""Signs and emoji are words too."""
MOST_GRAMS = 50_000
"""The commonest ones of the training rows are kept."""
CS = (10.0, 1.0, 100.0)
"""Weights of the rows' losses beside the penalty; the first is tried with both kinds of grams."""
ITERATIONS = 500
"""Of logistic regression at most; the log says where they were too few."""
LEAF = 20
"""Rows in a leaf of a tree at least, as scikit-learn has it; of few rows a quarter."""
L2 = 1.0
"""Penalty of a leaf. With none, which is scikit-learn's own, the loss of rare classes can run away:
of the end games of king and rook in 18 classes 0.66 were told right, with this penalty 0.90."""
TREES, PATIENCE = 300, 20
"""Trees for each class at most; no more are added where so many did not help validation rows."""


class Candidate(ABC):
    """A model that is not fitted yet; of one row, or several, it tells what a task averages."""

    name: ClassVar[str]
    """What the log calls it."""

    def __init__(self, task: Task, classes: int, seed: int, **settings: Any) -> None:
        self.task, self.classes, self.seed, self.settings = task, classes, seed, settings
        self.model: Any = None

    @abstractmethod
    def inputs(self, rows: Dataset) -> Any:
        """Return what the model reads of canonical rows."""

    @abstractmethod
    def fit(self, rows: Dataset, validation: Dataset | None) -> None:
        """Fit the model to rows.

        Args:
            validation: tells when to end; None to do as much as before.
        """

    def means(self, inputs: Sequence[Any]) -> np.ndarray:
        """Return (N, K) as `Task.outputs_of_means` takes it: probabilities, or numbers."""
        tells = self.task.settings.tells
        if tells == "number":
            return self.model.predict(inputs)[:, None]
        found = self.model.predict_proba(inputs)
        if tells == "tags":
            return found
        probabilities = np.zeros((len(found), self.classes))
        probabilities[:, self.model.classes_] = found
        return probabilities

    def one(self, row: Any) -> np.ndarray:
        """Return (1, K) of a single row."""
        return self.means([row])

    def labels(self, rows: Dataset) -> np.ndarray:
        """Return what is to be told of canonical rows, as scikit-learn takes it."""
        return self.task.label_array(rows, self.classes)


class LinearOnWords(Candidate):
    """Logistic regression, or ridge for a number, on the TF-IDF of n-grams."""

    name = "tfidf"

    def inputs(self, rows: Dataset) -> list[str]:
        """Return the texts; of a pair, one after the other."""
        columns = [rows[name][:] for name in ("text", "pair") if name in rows.column_names]
        return ["\n".join(texts) for texts in zip(*columns, strict=True)]

    def fit(self, rows: Dataset, validation: Dataset | None) -> None:
        """See `Candidate`."""
        analyzer, lengths = GRAMS[self.settings["grams"]]
        grams = TfidfVectorizer(
            analyzer=analyzer,
            token_pattern=WORD,
            ngram_range=lengths,
            max_features=MOST_GRAMS,
            sublinear_tf=True,
        )
        C, tells = self.settings["C"], self.task.settings.tells
        model: Any = Ridge(1 / C)
        if tells != "number":
            model = LogisticRegression(C=C, max_iter=ITERATIONS)
        if tells == "tags":
            model = OneVsRestClassifier(model)
        self.model = make_pipeline(grams, model)
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            self.model.fit(self.inputs(rows), self.labels(rows))
        if any(issubclass(one.category, ConvergenceWarning) for one in said):
            log.info(f"tfidf: C {C:g} had not converged after {ITERATIONS} iterations")


class BoostedTrees(Candidate):
    """Trees one after the other, each of which mends what those before it left (Friedman 2001)."""

    name = "boosting"
    trees: int | None = None
    """How many there were when validation rows told when to end."""

    def inputs(self, rows: Dataset) -> np.ndarray:
        """Return (N, D), NaN where there is no number."""
        return np.asarray(self.task.raw_inputs(rows), np.float64)

    def fit(self, rows: Dataset, validation: Dataset | None) -> None:
        """See `Candidate`."""
        number = self.task.settings.tells == "number"
        kind = HistGradientBoostingRegressor if number else HistGradientBoostingClassifier
        watched = {} if validation is None else self._watched(validation)
        self.model = kind(
            max_iter=self.trees or TREES,
            min_samples_leaf=max(1, min(LEAF, len(rows) // 4)),
            l2_regularization=L2,
            early_stopping=bool(watched),
            n_iter_no_change=PATIENCE,
            random_state=self.seed,
        )
        self.model.fit(self.inputs(rows), self.labels(rows), **watched)
        if validation is not None:  # those after the best one did not help
            self.trees = max(1, int(np.argmax(self.model.validation_score_)))

    def _watched(self, validation: Dataset) -> dict[str, np.ndarray]:
        return {"X_val": self.inputs(validation), "y_val": self.labels(validation)}


def linear_on_words(recipe: Recipe, machine: runtime.Machine) -> BaselineAnswers:
    """Tell by the n-grams of a text, whatever their order. Every rank must call this."""

    def search(tried: _Search) -> None:
        for grams in GRAMS:
            tried.add(grams=grams, C=CS[0])
        grams = tried.best.settings["grams"]
        for C in CS[1:]:
            tried.add(grams=grams, C=C)

    return _best(LinearOnWords, search, recipe, machine)


def boosted_trees(recipe: Recipe, machine: runtime.Machine) -> BaselineAnswers:
    """Tell by trees of questions about single columns. Every rank must call this."""

    return _best(BoostedTrees, lambda tried: tried.add(), recipe, machine)


class _Search:
    """Candidates that were fitted to the training rows, and how they did on validation rows."""

    best: Candidate
    task: Task
    """The task with what is decided by what the best one gives."""

    def __init__(self, kind: type[Candidate], splits: Splits, task: Task, seed: int) -> None:
        self.kind, self.splits, self.seed = kind, splits, seed
        self.asked = task
        self.figure: float | None = None

    def add(self, **settings: Any) -> None:
        """Fit a candidate with these settings, and keep it if it is the best so far."""
        interruption.check()
        splits, classes = self.splits, len(self.splits.label_names)
        one = self.kind(self.asked, classes, self.seed, **settings)
        one.fit(splits.train, splits.validation)
        outputs = self.asked.outputs_of_means(one.means(one.inputs(splits.validation)))
        truth = self.asked.label_array(splits.validation, classes)
        task = self.asked.with_best_threshold(truth, outputs)
        figure = task.score(truth, outputs)[task.settings.figures[0]]
        said = ", ".join(f"{name} {value}" for name, value in settings.items())
        name = task.settings.figures[0].replace("_", " ")
        log.info(f"{self.kind.name}: {said or 'fitted'}: validation {name} {figure:.4f}")
        if self.figure is None or figure > self.figure:
            self.best, self.task, self.figure = one, task, figure


def _best(
    kind: type[Candidate],
    search: Callable[[_Search], None],
    recipe: Recipe,
    machine: runtime.Machine,
) -> BaselineAnswers:
    """Return what the best candidate says, fitted to training and validation rows together."""
    splits, task = rows_of(recipe)
    begin = time.perf_counter()

    def answers() -> dict[str, Any]:
        tried = _Search(kind, splits, task, recipe.train.seed)
        search(tried)
        best = tried.best
        best.fit(concatenate_datasets([splits.train, splits.validation]), None)
        seconds = time.perf_counter() - begin
        inputs = best.inputs(splits.test)
        return {
            "task": tried.task,
            "outputs": tried.task.outputs_of_means(best.means(inputs)),
            "settings": {**best.settings, **threshold_of(tried.task)},
            "train_seconds": seconds,
            "size": len(pickle.dumps(best.model)),  # counted, and never read
            "latency": Latency(**latency_of(best.one, inputs)._asdict()),
        }

    return BaselineAnswers(splits, **runtime.on_main(answers))
