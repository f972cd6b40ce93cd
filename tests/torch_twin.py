"""Problems for the hand-written perceptron, and its twin in torch modules with autograd."""

from __future__ import annotations

import torch
from torch import nn

from ftkit.perceptron.training import one_hot

MODULES = {
    "sigmoid": nn.Sigmoid,
    "tanh": nn.Tanh,
    "relu": nn.ReLU,
    "gelu": nn.GELU,
    "identity": nn.Identity,
}


def problem(sizes, N=40, kind="cross_entropy", seed=1, dtype=torch.float32):
    """Rows and targets that a network of these sizes can be trained on."""
    generator = torch.Generator().manual_seed(seed)
    X = torch.randn(N, sizes[0], generator=generator, dtype=dtype)
    if kind == "mse":
        return X, torch.randn(N, sizes[-1], generator=generator, dtype=dtype)
    labels = (X @ torch.randn(sizes[0], sizes[-1], generator=generator, dtype=dtype)).argmax(1)
    return X, one_hot(labels, sizes[-1], dtype)


def torch_twin(network):
    """The same network as torch modules with autograd."""
    layers = []
    for k, (W, b) in enumerate(network.layers):
        linear = nn.Linear(*W.shape, dtype=W.dtype)
        linear.weight.data.copy_(W.t())
        linear.bias.data.copy_(b)
        layers += [linear] if k == 0 else [MODULES[network.activation](), linear]
    return nn.Sequential(*layers)


def torch_error(network, model, X, Y):
    if network.loss == "mse":
        return nn.functional.mse_loss(model(X), Y)
    return nn.functional.cross_entropy(model(X), Y.argmax(1))


def flat(model, of=lambda parameter: parameter.data):
    """Values of a torch twin in the order of our buffer."""
    linears = [m for m in model if isinstance(m, nn.Linear)]
    return torch.cat([v for m in linears for v in (of(m.weight).t().reshape(-1), of(m.bias))])
