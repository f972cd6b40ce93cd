"""Draw the figures of docs/backpropagation.md into docs/figures/.

    python scripts/draw_backpropagation.py

Every curve is computed here: the functions, one step down the gradient, the check against central
differences, and gradient norms in networks trained on scikit-learn's digits.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal, get_args

import matplotlib
import torch
from matplotlib import pyplot as plt
from sklearn.datasets import load_digits

from ftkit.perceptron.gradient_check import check_gradients
from ftkit.perceptron.network import (
    Activation,
    Network,
    Training,
    Work,
    activate,
    backward,
    forward,
    loss,
    times_slope,
)
from ftkit.perceptron.training import one_hot, train

FIGURES = Path(__file__).parents[1] / "docs" / "figures"


def main() -> None:
    """Write the four figures."""
    matplotlib.use("Agg")
    plt.rcParams.update({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False})
    FIGURES.mkdir(parents=True, exist_ok=True)
    draw_activations()
    draw_descent()
    draw_step_sizes()
    draw_vanishing()


def save(figure: plt.Figure, name: str) -> None:
    """Write one figure, small."""
    figure.tight_layout()
    figure.savefig(FIGURES / f"{name}.png", dpi=110)
    plt.close(figure)


def draw_activations() -> None:
    """f and f' of every activation, from the chapter's own functions."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(7, 2.6))
    z = torch.linspace(-4, 4, 401, dtype=torch.float64).view(-1, 1)
    for name in get_args(Activation):
        kept, h = z.clone(), torch.empty_like(z)
        h = activate(name, kept, h)
        left.plot(z, h.clone(), label=name)
        slope = torch.ones_like(z)
        times_slope(name, slope, kept, h)
        right.plot(z, slope)
    left.set(title="h = f(z)", xlabel="z", ylim=(-1.5, 3))
    right.set(title="f'(z), what delta is multiplied by", xlabel="z", ylim=(-0.2, 1.25))
    left.legend(frameon=False, fontsize=8)
    save(figure, "activations")


def draw_descent() -> None:
    """The error along a line through the parameters: down against the gradient, up along it."""
    X, Y = digits()
    network = Network((64, 32, 10), "tanh", dtype=torch.float64)
    work = Work(network, len(X))
    forward(network, work, X)
    here = loss(network, work, Y, len(Y)).item()
    backward(network, work)
    g, w = work.gradient.clone(), network.parameters.clone()
    steps = torch.linspace(-0.5, 1.5, 81).tolist()
    errors = []
    for step in steps:
        network.parameters.copy_(w - step * g)
        forward(network, work, X)
        errors.append(loss(network, work, Y, len(Y)).item())
    figure, axes = plt.subplots(figsize=(4.6, 2.8))
    axes.plot(steps, errors, label="E(w - rate g)")
    slope = (g @ g).item()
    line = [step for step in steps if abs(step) <= 0.4]
    axes.plot(line, [here - step * slope for step in line], "--", label="E - rate |g|²")
    axes.plot([0], [here], "ko", markersize=4)
    axes.set(xlabel="rate (left of 0: along +g)", ylabel="cross-entropy E")
    axes.legend(frameon=False)
    save(figure, "descent")


def draw_step_sizes() -> None:
    """How the difference quotient's error depends on its step."""
    import ftkit.perceptron.gradient_check as check

    X, Y = digits()
    network = Network((64, 32, 10), "tanh")
    sizes, usual = [10.0**-k for k in range(1, 12)], check.STEP
    worst = []
    for size in sizes:
        check.STEP = size
        worst.append(max(r.relative_error for r in check_gradients(network, X[:16], Y[:16], 50)))
    check.STEP = usual
    figure, axes = plt.subplots(figsize=(4.6, 2.8))
    axes.loglog(sizes, worst, "o-", markersize=4)
    axes.axhline(1e-7, color="grey", linewidth=0.8, linestyle=":")
    axes.set(xlabel="step s", ylabel="largest relative difference")
    save(figure, "central_differences")


def draw_vanishing() -> None:
    """Gradient norm per layer and epoch in a deep sigmoid and a deep ReLU network."""
    X, Y = digits()
    X, Y = X.float(), Y.float()
    figure, axes = plt.subplots(1, 2, figsize=(7, 2.8), sharey=True)
    names: tuple[Literal["sigmoid", "relu"], ...] = ("sigmoid", "relu")
    for plot, name in zip(axes, names, strict=True):
        network = Network((64, 32, 32, 32, 32, 32, 10), name)
        history = train(network, X, Y, Training(epochs=15))
        for k in range(len(network.layers)):
            norms = [epoch.gradient_norms[k] for epoch in history]
            shade = plt.cm.viridis(k / len(network.layers))
            plot.semilogy([e.number for e in history], norms, color=shade, label=f"layer {k + 1}")
        plot.set(title=name, xlabel="epoch")
    axes[0].set_ylabel("|dE/dw| of a layer")
    axes[1].legend(frameon=False, fontsize=7)
    save(figure, "vanishing")


def digits() -> tuple[torch.Tensor, torch.Tensor]:
    """Return scikit-learn's digits, X (1797, 64) in [0, 1] and one-hot Y, in float64."""
    X, y = load_digits(return_X_y=True)
    return torch.from_numpy(X / 16), one_hot(torch.from_numpy(y), 10, torch.float64)


if __name__ == "__main__":
    main()
