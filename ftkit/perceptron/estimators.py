"""MlpClassifier and MlpRegressor: the hand-written perceptron as scikit-learn estimators.

They work in pipelines, grid searches and cross-validation like any other, and besides can be saved
without pickle (`save`, `load`) and fine-tuned on other rows or other classes (`fine_tune`).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import ArrayLike
from sklearn.base import ClassifierMixin, RegressorMixin
from sklearn.utils.multiclass import check_classification_targets
from torch import Tensor

from ftkit.perceptron.estimator_base import MlpEstimator
from ftkit.perceptron.files import load_network
from ftkit.perceptron.network import Loss, Moments
from ftkit.perceptron.training import one_hot


class MlpClassifier(ClassifierMixin, MlpEstimator):
    """A multilayer perceptron with softmax cross-entropy, one output for each class.

    After `fit`: `classes_` (C,), `parameters_` (P,), `sizes_` (D, ..., C), `history_` with one
    `Epoch` per pass, `n_iter_` passes in all.
    """

    loss: ClassVar[Loss] = "cross_entropy"

    def predict_proba(self, X: ArrayLike) -> np.ndarray:
        """Return the probability of each class, (N, C), each row summing to one."""
        z = self._outputs(X)
        p = np.exp(z - z.max(axis=1, keepdims=True))
        return p / p.sum(axis=1, keepdims=True)

    def predict(self, X: ArrayLike) -> np.ndarray:
        """Return the most probable class of each row, (N,)."""
        best = self._outputs(X).argmax(axis=1)
        return self.classes_[best]

    def _targets(
        self, X: np.ndarray, y: np.ndarray, reset: bool, classes: ArrayLike | None = None
    ) -> tuple[Tensor, Tensor]:
        check_classification_targets(y)
        known = np.unique(y) if classes is None else np.unique(np.asarray(classes))
        if reset:
            self._former = getattr(self, "classes_", known)
            same = np.array_equal(np.unique(self._former), known)
            self.classes_ = self._former if same else known
        elif classes is not None and not np.array_equal(known, np.unique(self.classes_)):
            raise ValueError(f"classes {known} are not those of the first call, {self.classes_}")
        outside = np.setdiff1d(y, self.classes_)
        if len(outside):
            raise ValueError(f"y has labels outside the classes {self.classes_}: {outside[:5]}")
        if len(self.classes_) < 2:
            raise ValueError(f"a classifier needs two classes, y has one class: {self.classes_}")
        order = np.argsort(self.classes_)  # a run's classes stand in the order of its data
        labels = torch.from_numpy(order[np.searchsorted(self.classes_, y, sorter=order)])
        return torch.from_numpy(X), one_hot(labels, len(self.classes_))

    def _classes_changed(self) -> bool:
        return not np.array_equal(self._former, self.classes_)

    def partial_fit(self, X: ArrayLike, y: ArrayLike, classes: ArrayLike | None = None) -> Any:
        """Return self after one more pass over these rows; the first call needs `classes`."""
        if classes is None and not hasattr(self, "parameters_"):
            raise ValueError("classes must be given in the first call of partial_fit")
        return super().partial_fit(X, y, classes)

    def _learned(self) -> dict[str, Any]:
        classes = {"classes": self.classes_.tolist(), "classes_dtype": str(self.classes_.dtype)}
        return super()._learned() | classes

    def _restore(self, learned: Mapping[str, Any]) -> None:
        super()._restore(learned)
        self.classes_ = np.array(learned["classes"], dtype=learned["classes_dtype"])


class MlpRegressor(RegressorMixin, MlpEstimator):
    """A multilayer perceptron with mean squared error and linear outputs, one or several.

    Scale the targets to about unit variance first, as scikit-learn's TransformedTargetRegressor
    does; the rate suits that. After `fit`: as `MlpClassifier`, without `classes_`.
    """

    loss: ClassVar[Loss] = "mse"

    def predict(self, X: ArrayLike) -> np.ndarray:
        """Return the value of each row: (N,), or (N, C) where `fit` had several columns."""
        z = self._outputs(X)
        return z if self._columns else z.ravel()

    def partial_fit(self, X: ArrayLike, y: ArrayLike) -> Any:  # type: ignore[override]
        """Return self after one more pass over these rows; the first call makes the weights."""
        return super().partial_fit(X, y)

    def _targets(
        self, X: np.ndarray, y: np.ndarray, reset: bool, classes: ArrayLike | None = None
    ) -> tuple[Tensor, Tensor]:
        if reset:
            self._columns = y.ndim == 2
        targets = y.astype(np.float32).reshape(len(y), -1)
        return torch.from_numpy(X), torch.from_numpy(targets)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    def _learned(self) -> dict[str, Any]:
        return super()._learned() | {"columns": self._columns}

    def _restore(self, learned: Mapping[str, Any]) -> None:
        super()._restore(learned)
        self._columns = learned["columns"]


def load(folder: str | Path) -> MlpClassifier | MlpRegressor:
    """Return the estimator that `save` wrote. No pickle is read.

    Training can go on from it; the moments of Adam start anew.

    Raises:
        ValueError: the folder holds no saved perceptron, or its weights do not fit its settings.
    """
    network, settings = load_network(Path(folder))
    known = {kind.__name__: kind for kind in (MlpClassifier, MlpRegressor)}
    if settings.get("estimator") not in known:
        raise ValueError(f"{folder} holds none of {', '.join(known)}")
    parameters = settings["parameters"]
    parameters["hidden"] = tuple(parameters["hidden"])
    estimator = known[settings["estimator"]](**parameters)
    estimator._seed, estimator.n_features_in_ = 0, network.sizes[0]
    estimator._keep(network, Moments(network))
    estimator._restore(settings)
    estimator.history_ = []
    return estimator
