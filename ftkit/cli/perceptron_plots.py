"""See a perceptron: does its gradient agree, how did it learn, what are its first weights."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ftkit.backbones import family_of
from ftkit.backbones.perceptron import Perceptron, load_perceptron
from ftkit.data.encoders import Encoder, PixelEncoder
from ftkit.errors import ModelError, RecipeError
from ftkit.hub.errors import loading_errors
from ftkit.machine import runtime
from ftkit.perceptron.files import load_network
from ftkit.perceptron.gradient_check import GradientRow, check_gradients
from ftkit.perceptron.network import Network
from ftkit.recipe import Mlp, Recipe
from ftkit.recipe.strangers import require_asked
from ftkit.registry import find, is_own
from ftkit.runs.finished import (
    MODEL,
    RECIPE,
    read_finished,
    read_journal,
    read_recipe,
    require_verified,
)
from ftkit.runs.plots import plot_learning_curve
from ftkit.tasks import task_of
from ftkit.tasks.loading import load_splits, screen
from ftkit.training.perceptron_fit import tensors_of
from ftkit.training.target_scaling import scale_of

MOST_UNITS = 64


def check_network(
    name: str, rows: int, per_layer: int, changes: Mapping[str, Any] | None = None
) -> list[GradientRow]:
    """Return how far backpropagation is from central differences in somebody's network.

    Args:
        name: a recipe, whose new network is checked, or the folder of a run: its trained network.
        rows: validation rows on which the error is computed.
        per_layer: parameters compared in each layer.
        changes: of the recipe, as `Recipe.override` takes them.

    Raises:
        RecipeError: the recipe has no perceptron.
        RunError, ModelError: the run is damaged.
        DataError: its data cannot be read.
    """
    trained, asked = (Path(name) / RECIPE).exists(), changes or {}
    recipe = read_recipe(Path(name)) if trained else find(name, asked)
    if trained or not is_own(name):
        require_asked(recipe, asked, name)
    recipe = recipe.override(asked)
    _require_perceptron(recipe)
    machine = runtime.start(recipe.train.seed)
    splits = load_splits(recipe.data, task_of(recipe.task))
    splits = screen(splits, recipe.data.on_bad_row, runtime.on_main)
    loaded = family_of(recipe.backbone).load(task_of(recipe.task), splits, recipe.train.seed)
    labels, untrained = loaded.inputs.train.labels, loaded.model
    scale, network = scale_of(task_of(recipe.task), labels, untrained), untrained.network
    if trained:
        model = Path(name) / MODEL
        require_verified(model)
        with loading_errors("model", str(model), ModelError):
            network, _ = load_network(model, str(machine.device))
        if scale is not None:
            scale.unfold(Perceptron(network, splits.label_names))
    X, Y = tensors_of(loaded.inputs.validation, untrained, scale)
    return check_gradients(network, X[:rows], Y[:rows], per_layer)


def draw_run(run: Path) -> list[Path]:
    """Draw learning curve, gradient norms and first layer into plots/ of a run; return the files.

    Raises:
        RunError: the folder holds no finished run of a perceptron.
    """
    read_finished(run)
    recipe = read_recipe(run)
    _require_perceptron(recipe)
    title, plots = f"{recipe.name}, {recipe.strategy.kind}", run / "plots"
    trained, (network, _) = load_perceptron(run / "model"), load_network(run / "model")
    files = [plots / f"{name}.png" for name in ("learning_curve", "gradient_norms", "first_layer")]
    task = recipe.task
    if not plot_learning_curve(run, files[0], title, task.figures[0], task.loss):
        del files[0]
    plot_gradient_norms(run, files[-2], title)
    plot_first_layer(network, trained.encoder, files[-1], title)
    return files


def plot_gradient_norms(run: Path, file: Path, title: str) -> None:
    """Draw the norm of each layer's gradient over epochs; where they part, gradients vanish.

    Args:
        run: its folder.
    """
    entries = [entry for entry in read_journal(run) if {"epoch", "gradient_norms"} <= entry.keys()]
    figure = Figure(figsize=(5.6, 3.6), layout="constrained")
    axes: Axes = figure.subplots()
    epochs = [entry["epoch"] for entry in entries]
    for k, norms in enumerate(zip(*(entry["gradient_norms"] for entry in entries), strict=True)):
        if any(norms):
            axes.semilogy(epochs, norms, "o-", markersize=3, label=f"layer {k + 1}")
    axes.set(xlabel="epoch", ylabel="|dE/dw| of a layer", title=title)
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    figure.savefig(file, dpi=120)


def plot_first_layer(network: Network, encoder: Encoder, file: Path, title: str) -> None:
    """Draw the weights (D, H) of the first layer: of images a picture for each unit, else a map.

    Blue is negative, red positive; a picture's colours are scaled to its own largest weight.
    """
    W = network.layers[0][0].cpu().numpy()
    if not isinstance(encoder, PixelEncoder):
        figure = Figure(figsize=(7, 4.4), layout="constrained")
        axes: Axes = figure.subplots()
        limit = float(np.abs(W).max())
        picture = axes.imshow(W.T, aspect="auto", cmap="RdBu_r", vmin=-limit, vmax=limit)
        axes.set(xlabel="input", ylabel="unit", title=f"{title}: first layer")
        figure.colorbar(picture, ax=axes, label="weight")
        figure.savefig(file, dpi=120)
        return
    count = min(MOST_UNITS, W.shape[1])
    columns = math.ceil(math.sqrt(count))
    figure = Figure(figsize=(7, 7.4 * math.ceil(count / columns) / columns), layout="constrained")
    tiles = figure.subplots(math.ceil(count / columns), columns, squeeze=False).ravel()
    for tile in tiles:
        tile.axis("off")
    for unit, tile in zip(range(count), tiles, strict=False):
        weights = W[:, unit].reshape(encoder.shape).mean(2)
        limit = float(np.abs(weights).max()) or 1.0
        tile.imshow(weights, cmap="RdBu_r", vmin=-limit, vmax=limit)
    figure.suptitle(f"{title}: first-layer weights of {count} of {W.shape[1]} units")
    figure.savefig(file, dpi=120)


def _require_perceptron(recipe: Recipe) -> None:
    if not isinstance(recipe.backbone, Mlp):
        raise RecipeError(
            f"{recipe.name} has no perceptron: its backbone is {recipe.backbone.id}; "
            f"'ftkit list' shows the mlp recipes"
        )
