"""What MlpClassifier and MlpRegressor share: scikit-learn's contract over network and training."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor

from ftkit.machine import memory
from ftkit.perceptron.files import save_network
from ftkit.perceptron.network import Activation, Loss, Moments, Network, Schedule, Training, Update
from ftkit.perceptron.training import Epoch, predict, replace_last, train

TRAINING = {field.name for field in fields(Training)}


@dataclass(eq=False, repr=False)
class MlpEstimator(BaseEstimator, ABC):
    """A multilayer perceptron; a child gives it its `loss` and turns y into targets."""

    loss: ClassVar[Loss]
    hidden: tuple[int, ...] = (64, 64)
    activation: Activation = "relu"
    update: Update = "adam"
    learning_rate: float = 1e-3
    batch_size: int = 32
    epochs: int = 50
    schedule: Schedule = "constant"
    warmup: float = 0.0
    momentum: float = 0.9
    weight_decay: float = 0.0
    dropout: float = 0.0
    patience: int | None = None
    validation_fraction: float = 0.1
    random_state: int | np.random.RandomState | None = None
    device: str = "cpu"

    def fit(self, X: ArrayLike, y: ArrayLike) -> Any:
        """Return self, trained from new weights on X (N, D) and y.

        With `patience`, `validation_fraction` of the rows are held out to stop early, of each class
        as many in proportion.

        Raises:
            ValueError: NaN in the data, one class only, or an unknown name in the settings.
        """
        how = self._training()
        rows, targets = self._targets(*self._check(X, y, reset=True), reset=True)
        self._begin(rows.shape[1], targets)
        self.history_ = self._train(rows, targets, how)
        return self

    def partial_fit(self, X: ArrayLike, y: ArrayLike, classes: ArrayLike | None = None) -> Any:
        """Return self after one more pass, over these rows; the first call makes the weights.

        Args:
            classes: all classes that will ever come; needed in a classifier's first call.

        Raises:
            ValueError: as in `fit`, or a label outside `classes`.
        """
        first = not hasattr(self, "parameters_")
        how = self._training(epochs=1, schedule="constant", warmup=0.0, patience=None)
        rows, targets = self._targets(*self._check(X, y, reset=first), reset=first, classes=classes)
        if first:
            self._begin(rows.shape[1], targets)
            self.history_ = []
        self.history_ = self.history_ + self._train(rows, targets, how)
        return self

    def fine_tune(
        self,
        X: ArrayLike,
        y: ArrayLike,
        *,
        learning_rate: float,
        epochs: int | None = None,
        frozen: int = 0,
    ) -> Any:
        """Return self, trained on from its weights with new moments and its own schedule.

        A classifier that meets other classes than its own gets a fresh last layer.

        Args:
            learning_rate: a tenth of the first training's is a usual start.
            frozen: layers, from the input on, that keep their weights.
        """
        check_is_fitted(self)
        changed: dict[str, Any] = {"learning_rate": learning_rate, "frozen": frozen}
        how = self._training(**changed | ({} if epochs is None else {"epochs": epochs}))
        rows, targets = self._targets(*self._check(X, y, reset=False), reset=True)
        network = self._network()
        if targets.shape[1] != network.sizes[-1] or self._classes_changed():
            network = replace_last(network, targets.shape[1], self._seed)
        self._keep(network, Moments(network))
        self.history_ = self._train(rows, targets, how)
        return self

    def _training(self, **changed: Any) -> Training:
        own = {name: value for name, value in self.get_params().items() if name in TRAINING}
        return Training(**own | changed)

    def _check(self, X: ArrayLike, y: ArrayLike, reset: bool) -> tuple[np.ndarray, np.ndarray]:
        numeric = self.loss == "mse"
        rows, targets = validate_data(
            self, X, y, reset=reset, dtype=np.float32, y_numeric=numeric, multi_output=numeric
        )
        return np.ascontiguousarray(rows), np.asarray(targets)

    @abstractmethod
    def _targets(
        self, X: np.ndarray, y: np.ndarray, reset: bool, classes: ArrayLike | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return X (N, D) and y as targets (N, C); learn what the targets are where `reset`."""

    def _classes_changed(self) -> bool:
        return False

    def _begin(self, D: int, targets: Tensor) -> None:
        """Draw the seed and new weights."""
        self._seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        if any(width < 1 for width in self.hidden):
            raise ValueError(f"hidden: expected widths from 1 on, got {self.hidden}")
        sizes = (D, *self.hidden, targets.shape[1])
        memory.require_layers(sizes)
        network = Network(sizes, self.activation, self.loss, self._seed, self.device)
        self.n_iter_ = 0
        self._keep(network, Moments(network))

    def _network(self, dtype: torch.dtype = torch.float32) -> Network:
        """Return the network with the learned parameters."""
        network = Network(self.sizes_, self.activation, self.loss, device=self.device, dtype=dtype)
        network.parameters.copy_(torch.from_numpy(self.parameters_))
        return network

    def _keep(self, network: Network, moments: Moments) -> None:
        """Hold what was learned as plain arrays, which every copy and pickle understands."""
        self.sizes_ = network.sizes
        self.parameters_ = network.parameters.cpu().numpy().copy()
        self._moments = (moments.m.cpu().numpy(), moments.v.cpu().numpy(), moments.step)

    def _train(self, X: Tensor, Y: Tensor, how: Training) -> list[Epoch]:
        network, validation = self._network(), None
        moments = Moments(network)
        moments.m.copy_(torch.from_numpy(self._moments[0]))
        moments.v.copy_(torch.from_numpy(self._moments[1]))
        moments.step = self._moments[2]
        # Each further pass shuffles anew, and still depends on random_state alone.
        how = Training(**vars(how) | {"seed": self._seed + self.n_iter_})
        if how.patience is not None:
            classes = None if self.loss == "mse" else Y.argmax(1).cpu().numpy()
            kept, held = _held_out(len(X), classes, self.validation_fraction, self._seed)
            X, Y, validation = X[kept], Y[kept], (X[held].to(self.device), Y[held].to(self.device))
        X, Y = X.to(self.device), Y.to(self.device)
        history = train(network, X, Y, how, validation=validation, moments=moments)
        self.n_iter_ += len(history)
        self._keep(network, moments)
        return history

    def _outputs(self, X: ArrayLike) -> np.ndarray:
        """Return z[L] (N, C), computed in float64: a row's answer then does not depend on others.

        In float32 the products of another batch size round otherwise, by about 1e-7.
        """
        check_is_fitted(self)
        rows = np.ascontiguousarray(validate_data(self, X, reset=False, dtype=np.float64))
        network = self._network(torch.float64)
        return predict(network, torch.from_numpy(rows).to(self.device)).cpu().numpy()

    def save(self, folder: str | Path) -> None:
        """Write model.safetensors (weights, settings as metadata) and config.json (settings)."""
        check_is_fitted(self)
        parameters = self.get_params()
        if not isinstance(self.random_state, int):
            parameters["random_state"] = None  # a RandomState cannot be written
        settings = {"estimator": type(self).__name__, "parameters": parameters, **self._learned()}
        save_network(self._network(), Path(folder), settings)

    def _learned(self) -> dict[str, Any]:
        """Return what was learned besides the weights, as JSON can hold it."""
        names = getattr(self, "feature_names_in_", None)
        return {"feature_names": None if names is None else names.tolist(), "n_iter": self.n_iter_}

    def _restore(self, learned: Mapping[str, Any]) -> None:
        """Take back what `_learned` gave."""
        if learned["feature_names"] is not None:
            self.feature_names_in_ = np.array(learned["feature_names"], dtype=object)
        self.n_iter_ = learned["n_iter"]


def _held_out(
    N: int, classes: np.ndarray | None, fraction: float, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows to train on and those held out, by class as scikit-learn's MLPClassifier.

    The one row of a class is trained on. Where fewer rows are held out than there are classes, no
    stratified draw is possible, and they are drawn at random.
    """
    rows, alone = np.arange(N), np.zeros(N, bool)
    if classes is not None:
        _, which, counts = np.unique(classes, return_inverse=True, return_counts=True)
        alone = counts[which] == 1
        held = math.ceil(fraction * (N - alone.sum()))
        if min(held, N - alone.sum() - held) < max(1, (counts > 1).sum()):
            classes, alone = None, np.zeros(N, bool)
    kept, held_out = train_test_split(
        rows[~alone],
        test_size=fraction,
        random_state=seed,
        stratify=None if classes is None else classes[~alone],
    )
    return np.concatenate([kept, rows[alone]]), held_out
