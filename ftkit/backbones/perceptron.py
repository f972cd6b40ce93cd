"""The perceptron by hand as a model among others: its family, its model, and how it answers.

`Perceptron` shows a network's buffer as torch parameters, so that everything that asks a model for
its parameters, its head or its logits works on it as on a Transformer. Its gradients never come
from autograd: `ftkit.training.perceptron_fit` trains it with the chapter's four steps.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import nn

from ftkit.backbones.base import Family, Loaded
from ftkit.data.encoders import Encoder, from_settings, to_settings
from ftkit.data.splits import Splits
from ftkit.errors import ModelError
from ftkit.hub.download import fetch
from ftkit.hub.errors import loading_errors
from ftkit.hub.names import is_hub_id
from ftkit.machine import memory
from ftkit.machine.runtime import Machine
from ftkit.perceptron.estimators import MlpClassifier, MlpRegressor, load
from ftkit.perceptron.files import CONFIG, load_network, save_network
from ftkit.perceptron.network import Network, views
from ftkit.perceptron.training import predict, replace_last
from ftkit.recipe import Augment, Mlp, Recipe
from ftkit.runs.finished import require_verified

log = logging.getLogger(__name__)
NO_CHANGES = Augment(crop=None, flip=False)


class Perceptron(nn.Module):
    """A network of `ftkit.perceptron.network` with named parameters: body.0.weight (D, H), ...,
    head.bias (C,).

    They are views of the network's one buffer: what one sees, the other has.
    """

    base_model_prefix = "body"

    def __init__(self, network: Network, label_names: tuple[str, ...]) -> None:
        super().__init__()
        self.network, self.label_names = network, label_names
        names = dict(enumerate(label_names))
        self.config = SimpleNamespace(num_labels=network.sizes[-1], id2label=names)
        *body, head = (nn.ParameterDict() for _ in network.layers)
        self.body, self.head = nn.ModuleList(body), head
        self._show()

    def forward(self, features: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return {"logits": (B, C)} of encoded rows (B, D)."""
        return {"logits": predict(self.network, features.contiguous())}

    def frozen_layers(self) -> int:
        """Return how many layers, counted from the input, do not move."""
        moves = [layer["weight"].requires_grad for layer in (*self.body, self.head)]
        return moves.index(True)

    def _show(self) -> None:
        for layer, (W, b) in zip((*self.body, self.head), self.network.layers, strict=True):
            for name, part in (("weight", W), ("bias", b)):
                moves = layer[name].requires_grad if name in layer else True
                layer[name] = nn.Parameter(part, requires_grad=moves)

    def _apply(self, fn: Callable[[torch.Tensor], torch.Tensor], recurse: bool = True) -> Any:
        """Move the buffer, as `.to(device)` asks, and look at it anew."""
        self.network.parameters = fn(self.network.parameters)
        self.network.layers = views(self.network.parameters, self.network.sizes)
        self._show()
        return self


class PerceptronFamily(Family):
    """Perceptrons by hand."""

    settings: Mlp
    opened_by = "ftkit.load_perceptron"

    def load(self, task: Any, splits: Splits, seed: int) -> Loaded:
        """Return a perceptron, its encoder, and every split as vectors in memory.

        The encoder is the one that suits the training rows, or that of the perceptron to go on
        from: its weights know no other.
        """
        mlp = self.settings
        encoder = task.encoder(mlp, splits.train)
        if mlp.start is not None:
            encoder = _encoder_of(mlp.start, encoder)
        rows = sum(splits.counts().values())
        memory.require(
            memory.FLOAT * rows * encoder.size,
            f"{rows:,} rows as vectors of {encoder.size:,} numbers",
            "use a smaller backbone.image_size or backbone.buckets, or fewer rows "
            "(data.train_rows)",
        )
        inputs = task.encode(splits, encoder)
        width = inputs.train[0]["features"].shape[0]
        model = new_perceptron(mlp, width, splits.label_names, seed)
        log.info("%s: vectors of %s numbers, one pass in memory", mlp.id, f"{width:,}")
        if getattr(task.settings, "augment", NO_CHANGES) != NO_CHANGES:
            log.info("task.augment is not used: a perceptron sees every image as it is")
        return Loaded(model, encoder, inputs, task)

    def save(
        self,
        model: Perceptron,
        processor: Encoder,
        recipe: Recipe,
        folder: Path,
        for_saving: Callable[[Any], Any],
    ) -> None:
        """Write model.safetensors and config.json, for `load_perceptron` and `estimators.load`."""
        mlp, train, names = self.settings, recipe.train, model.label_names
        assert train.schedule != "wsd"
        estimator = (MlpClassifier if names else MlpRegressor)(
            hidden=mlp.hidden,
            activation=mlp.activation,
            update=mlp.update,
            learning_rate=recipe.strategy.learning_rate,
            batch_size=train.rows_per_step,
            epochs=train.epochs,
            schedule=train.schedule,
            warmup=train.warmup,
            momentum=mlp.momentum,
            weight_decay=train.weight_decay,
            dropout=mlp.dropout,
            random_state=train.seed,
        )
        learned = {"classes": list(names), "classes_dtype": "str"} if names else {"columns": False}
        settings = {
            "estimator": type(estimator).__name__,
            "parameters": estimator.get_params(),
            "feature_names": None,
            "n_iter": train.epochs,
            **learned,
            "encoder": to_settings(processor),
        }
        save_network(model.network, folder, settings)

    def label_names(self, folder: Path) -> tuple[str, ...]:
        """Return the classes that config.json names."""
        with loading_errors("model", str(folder), ModelError):
            return tuple(_read_settings(folder)["classes"])

    def answer(
        self, folder: Path, recipe: Recipe, task: Any, splits: Splits, machine: Machine
    ) -> np.ndarray:
        """Return the outputs (N, C)."""
        return load_perceptron(folder).outputs(task.raw_inputs(splits.test))


def new_perceptron(
    backbone: Mlp, width: int, label_names: tuple[str, ...], seed: int
) -> Perceptron:
    """Return a perceptron for vectors (N, width): from new weights, or from `backbone.start`.

    Without label names it has one linear output and mean squared error.

    Raises:
        ModelError: `backbone.start` holds no perceptron of this shape.
    """
    outputs, loss = len(label_names) or 1, "cross_entropy" if label_names else "mse"
    sizes = (width, *backbone.hidden, outputs)
    if backbone.start is None:
        memory.require_layers(sizes)
        return Perceptron(Network(sizes, backbone.activation, loss, seed), label_names)  # type: ignore[arg-type]
    network, settings = load_start(backbone.start)
    there = (network.sizes[:-1], network.activation, network.loss)
    if there != (sizes[:-1], backbone.activation, loss):
        raise ModelError(
            f"backbone.start = {backbone.start}: holds {there[0]} {there[1]} {there[2]}, the "
            f"recipe has {sizes[:-1]} {backbone.activation} {loss}"
        )
    if label_names and settings.get("classes") != list(label_names):
        network = replace_last(network, outputs, seed)
    return Perceptron(network, label_names)


def load_start(start: str) -> tuple[Network, Mapping[str, Any]]:
    """Return the network to go on from, and the settings saved with it, its encoder among them.

    Raises:
        ModelError: there is no saved perceptron.
        RunError: it is not the one that its run verified.
    """
    folder = model_folder(start)
    require_verified(folder)
    try:
        return load_network(folder)
    except ValueError as error:
        raise ModelError(f"backbone.start: {error}") from None


def _encoder_of(start: str, suits: Encoder) -> Encoder:
    """Return the encoder saved with a perceptron; a bare estimator has none and gets what suits."""
    settings = load_start(start)[1].get("encoder")
    saved = suits if settings is None else from_settings(settings)
    if type(saved) is not type(suits):
        raise ModelError(
            f"backbone.start = {start}: it reads {to_settings(saved)['kind']}, this task gives "
            f"{to_settings(suits)['kind']}; give a perceptron of the same task"
        )
    return saved


def _read_settings(folder: Path) -> dict[str, Any]:
    return json.loads((folder / CONFIG).read_text(encoding="utf-8"))["settings"]


@dataclass(frozen=True)
class Trained:
    """A saved perceptron with its encoder: raw inputs in, answers out."""

    estimator: MlpClassifier | MlpRegressor
    encoder: Encoder

    def outputs(self, inputs: Iterable[Any]) -> np.ndarray:
        """Return the network's outputs z[L] (N, C): logits of classes, or numbers."""
        return self.estimator._outputs(self.encoder.encode(inputs))

    def predict(self, inputs: Iterable[Any]) -> np.ndarray:
        """Return class names, or numbers, (N,) of RGB images, texts, or rows of numbers."""
        return self.estimator.predict(self.encoder.encode(inputs))

    def predict_proba(self, inputs: Iterable[Any]) -> np.ndarray:
        """Return (N, C) the probability of each class, in the order of `estimator.classes_`."""
        assert isinstance(self.estimator, MlpClassifier)
        return self.estimator.predict_proba(self.encoder.encode(inputs))


def model_folder(path: str | Path) -> Path:
    """Return the folder of a saved model: of a run its model/, else the path itself."""
    folder = Path(os.path.expanduser(path))
    return folder / "model" if (folder / "recipe.json").exists() else folder


def load_perceptron(folder: str | Path) -> Trained:
    """Return what a run with `Mlp` left in its model/ folder. No pickle is read.

    Args:
        folder: of the run or of its model, or the Hub id that it was published as.

    Raises:
        ModelError: the folder holds no such model.
        RunError: it is not the one that its run verified.
        HubError: the Hub does not give it.
    """
    name = str(folder)
    if is_hub_id(name):
        folder = fetch(name)
    else:
        folder = model_folder(folder)
        require_verified(folder)
    try:
        estimator = load(folder)
    except ValueError as error:
        raise ModelError(str(error)) from None
    with loading_errors("model", name, ModelError):
        settings = _read_settings(folder)
        if "encoder" in settings:
            return Trained(estimator, from_settings(settings["encoder"]))
    raise ModelError(
        f"{folder} holds a bare estimator; load it with ftkit.perceptron.estimators.load"
    )
