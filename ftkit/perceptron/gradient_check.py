"""Is the gradient right? Backpropagation against central differences, layer by layer.

    dE/dw is nearly (E(w + s) - E(w - s)) / (2 s)

and needs the forward pass and the loss alone, so it is an independent answer. In float64 with
s = 1e-5 the truncation error, of order s squared, and the rounding error, 1e-16 / s, are both near
1e-11 (Press et al., Numerical Recipes, section 5.7). Where w - s and w + s lie on two sides of a
ReLU's kink the quotient means nothing; those parameters are left out and counted.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from ftkit.perceptron.network import Network, Work, backward, forward, loss

STEP = 1e-5


@dataclass(frozen=True)
class GradientRow:
    """How well the gradient of one layer agrees."""

    layer: int
    """From 1, counted from the input."""
    shape: tuple[int, int]
    """(D, H) of its weights."""
    checked: int
    """Parameters compared."""
    kinks: int
    """Parameters left out because a ReLU switched within the step."""
    relative_error: float
    """Largest difference, over the layer's largest derivative by central differences."""


def check_gradients(
    network: Network, X: Tensor, Y: Tensor, per_layer: int = 200, seed: int = 0
) -> list[GradientRow]:
    """Return for each layer how far its gradient is from central differences.

    Works on a float64 copy on the CPU; the network itself is not touched.

    Args:
        X: (B, D) rows to compute the error on; a few are enough.
        Y: (B, C) their targets.
        per_layer: parameters compared in a layer, drawn by `seed`; all where it has no more.
    """
    copy = Network(network.sizes, network.activation, network.loss, dtype=torch.float64)
    copy.parameters.copy_(network.parameters)
    x, y = X.to("cpu", torch.float64), Y.to("cpu", torch.float64)
    work, generator = Work(copy, len(x)), torch.Generator().manual_seed(seed)

    def error_at(index: int, value: float) -> tuple[float, list[Tensor]]:
        """Return E with this parameter at this value, and which hidden ReLUs are on."""
        copy.parameters[index] = value
        forward(copy, work, x)
        on = [h > 0 for h in work.h] if copy.activation == "relu" else []
        return loss(copy, work, y, len(y)).item(), on

    rows = []
    with torch.inference_mode():
        forward(copy, work, x)
        loss(copy, work, y, len(y))
        backward(copy, work)
        gradient = work.gradient.clone()
        for k, (start, stop) in enumerate(pairwise(copy.starts)):
            chosen = start + torch.randperm(stop - start, generator=generator)[:per_layer]
            pairs = []
            for index in chosen.tolist():
                w = copy.parameters[index].item()
                (above, on), (below, on_below) = (
                    error_at(index, w + STEP),
                    error_at(index, w - STEP),
                )
                copy.parameters[index] = w
                if all(map(torch.equal, on, on_below)):
                    pairs.append((gradient[index].item(), (above - below) / (2 * STEP)))
            ours, differences = torch.tensor(pairs, dtype=torch.float64).view(-1, 2).unbind(1)
            worst = (ours - differences).abs().max() / differences.abs().max() if pairs else 0.0
            shape = (copy.sizes[k], copy.sizes[k + 1])
            missed = len(chosen) - len(pairs)
            rows.append(GradientRow(k + 1, shape, len(pairs), missed, float(worst)))
    return rows
