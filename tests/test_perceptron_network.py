"""The chapter: gradients and updates against independent answers."""

from __future__ import annotations

import math
from itertools import product
from typing import get_args

import pytest
import torch
from torch import nn
from torch_twin import flat, problem, torch_error, torch_twin

from ftkit.perceptron.gradient_check import check_gradients
from ftkit.perceptron.network import (
    Activation,
    Loss,
    Moments,
    Network,
    Training,
    Work,
    backward,
    forward,
    learning_rate,
    loss,
    update,
)
from ftkit.perceptron.training import predict

ACTIVATIONS, LOSSES = get_args(Activation), get_args(Loss)
COMBINATIONS = list(product(ACTIVATIONS, LOSSES, (1, 2, 3, 4)))


def sizes_of(depth):
    return (*(6, 7, 5, 8)[:depth], 3)


def gradients(network, X, Y):
    work = Work(network, len(X))
    forward(network, work, X)
    error = loss(network, work, Y, len(Y)).item()
    backward(network, work)
    return error, work


@pytest.mark.parametrize(("activation", "kind", "depth"), COMBINATIONS)
def test_gradient_equals_central_differences(activation, kind, depth):
    network = Network(sizes_of(depth), activation, kind, seed=depth)
    X, Y = problem(network.sizes, 9, kind)
    rows = check_gradients(network, X, Y)
    assert [row.layer for row in rows] == list(range(1, depth + 1))
    assert max(row.relative_error for row in rows) <= 1e-7
    assert all(row.checked > 4 * row.kinks for row in rows)


def test_gradient_check_sees_a_wrong_gradient(monkeypatch):
    def wrong(network, work):
        backward(network, work)
        work.gradients[0][0][0, 0] += 1e-3

    monkeypatch.setattr("ftkit.perceptron.gradient_check.backward", wrong)
    network = Network((6, 7, 3), "tanh")
    rows = check_gradients(network, *problem(network.sizes, 9))
    assert rows[0].relative_error > 1e-4
    assert rows[1].relative_error <= 1e-7


@pytest.mark.parametrize(("activation", "kind", "depth"), COMBINATIONS)
def test_gradient_equals_torch_autograd(activation, kind, depth):
    network = Network(sizes_of(depth), activation, kind, seed=depth)
    X, Y = problem(network.sizes, 32, kind)
    error, work = gradients(network, X, Y)
    model = torch_twin(network)
    expected = torch_error(network, model, X, Y)
    expected.backward()
    assert error == pytest.approx(expected.item(), rel=1e-5)
    reference = flat(model, lambda parameter: parameter.grad)
    for start, stop in zip(network.starts, network.starts[1:], strict=False):
        difference = (work.gradient[start:stop] - reference[start:stop]).abs().max()
        assert difference <= 1e-5 * reference[start:stop].abs().max()


def test_two_two_one_network_worked_by_hand():
    """x = (1, 2), sigmoid, W1 = [[.1, .2], [.3, .4]], W2 = [.5, .6], no biases, y = 1, MSE."""
    network = Network((2, 2, 1), "sigmoid", "mse", dtype=torch.float64)
    weights = [0.1, 0.2, 0.3, 0.4, 0, 0, 0.5, 0.6, 0]
    network.parameters.copy_(torch.tensor(weights, dtype=torch.float64))
    x = torch.tensor([[1.0, 2.0]], dtype=torch.float64)
    error, work = gradients(network, x, torch.ones(1, 1, dtype=torch.float64))
    h = [1 / (1 + math.exp(-0.7)), 1 / (1 + math.exp(-1.0))]
    z = 0.5 * h[0] + 0.6 * h[1]
    delta2 = 2 * (z - 1)
    delta1 = [delta2 * w * a * (1 - a) for w, a in zip((0.5, 0.6), h, strict=True)]
    assert error == pytest.approx((z - 1) ** 2, abs=1e-15)
    expected = [
        *delta1,
        2 * delta1[0],
        2 * delta1[1],
        *delta1,
        delta2 * h[0],
        delta2 * h[1],
        delta2,
    ]
    assert work.gradient.tolist() == pytest.approx(expected, abs=1e-15)


def test_every_weight_and_gradient_is_a_view_of_one_buffer():
    network = Network((5, 4, 3))
    work = Work(network, 2)
    for buffer, pairs in (
        (network.parameters, network.layers),
        (work.gradient, work.gradients),
    ):
        assert buffer.is_contiguous()
        buffer.copy_(torch.arange(len(buffer)))
        assert torch.cat([part.reshape(-1) for pair in pairs for part in pair]).equal(buffer)
    assert network.starts == [0, 24, 39]


def test_cross_entropy_of_huge_logits_is_finite():
    network = Network((1, 2), "identity")
    network.parameters.copy_(torch.tensor([1e4, -1e4, 0, 0]))
    error, work = gradients(network, torch.ones(1, 1), torch.tensor([[0.0, 1.0]]))
    assert error == pytest.approx(2e4)
    assert work.gradient.tolist() == [1, -1, 1, -1]


@pytest.mark.parametrize(
    ("how", "optimiser"),
    [
        ({"update": "sgd"}, lambda p: torch.optim.SGD(p, 0.05)),
        ({"update": "momentum"}, lambda p: torch.optim.SGD(p, 0.05, momentum=0.9)),
        (
            {"update": "nesterov"},
            lambda p: torch.optim.SGD(p, 0.05, momentum=0.9, nesterov=True),
        ),
        ({"update": "adam"}, lambda p: torch.optim.Adam(p, 0.05)),
        ({"update": "adamw"}, lambda p: torch.optim.AdamW(p, 0.05, weight_decay=0)),
        (
            {"update": "sgd", "weight_decay": 0.1},
            lambda p: torch.optim.SGD(p, 0.05, weight_decay=0.1),
        ),
        (
            {"update": "adam", "weight_decay": 0.1},
            lambda p: torch.optim.Adam(p, 0.05, weight_decay=0.1),
        ),
        (
            {"update": "adamw", "weight_decay": 0.1},
            lambda p: torch.optim.AdamW(p, 0.05, weight_decay=0.1),
        ),
    ],
    ids=lambda value: "-".join(map(str, value.values())) if isinstance(value, dict) else "",
)
def test_updates_equal_those_of_torch_optim(how, optimiser):
    how = Training(learning_rate=0.05, **how)
    network = Network((6, 7, 3), "tanh", dtype=torch.float64)
    X, Y = problem(network.sizes, 16, dtype=torch.float64)
    model, moments, work = torch_twin(network), Moments(network), Work(network, 16)
    decayed = optimiser([p for name, p in model.named_parameters() if "weight" in name])
    plain = optimiser([p for name, p in model.named_parameters() if "bias" in name])
    plain.param_groups[0]["weight_decay"] = 0  # biases are not decayed
    for _ in range(20):
        forward(network, work, X)
        loss(network, work, Y, len(Y))
        backward(network, work)
        update(network, work, moments, 0.05, how)
        model.zero_grad()
        torch_error(network, model, X, Y).backward()
        decayed.step()
        plain.step()
    torch.testing.assert_close(network.parameters, flat(model), rtol=0, atol=1e-9)


def test_initial_weights_have_the_variance_of_their_source():
    he = Network((400, 300, 2), "relu").layers[0][0]
    assert he.var().item() == pytest.approx(2 / 400, rel=0.02)
    glorot = Network((400, 300, 2), "tanh").layers[0][0]
    assert glorot.var().item() == pytest.approx(2 / 700, rel=0.02)
    assert glorot.abs().max() <= math.sqrt(6 / 700)


def test_schedules_at_points_worked_by_hand():
    rate = {
        kind: [learning_rate(i, 12, Training(learning_rate=1, schedule=kind, warmup=1 / 6))
               for i in (0, 1, 2, 7, 11)]
        for kind in ("constant", "linear", "cosine")
    }  # fmt: skip
    assert rate["constant"] == pytest.approx([0.5, 1, 1, 1, 1])
    assert rate["linear"] == pytest.approx([0.5, 1, 1, 0.5, 0.1])
    assert rate["cosine"] == pytest.approx([0.5, 1, 1, 0.5, (1 + math.cos(0.9 * math.pi)) / 2])


def test_dropout_keeps_the_expected_activation_and_its_gradient_follows_the_mask():
    network = Network((4, 2000, 2), "sigmoid", dtype=torch.float64)
    X, Y = problem(network.sizes, 8, dtype=torch.float64)
    work = Work(network, 8, dropout=0.25)
    z = forward(network, work, X).clone()
    mask, h = work.masks[0].clone(), torch.sigmoid(X @ network.layers[0][0])
    assert mask.unique().tolist() == [0, 1 / 0.75]
    assert mask.mean().item() == pytest.approx(1, abs=0.02)
    loss(network, work, Y, 8)
    backward(network, work)
    W1 = network.layers[0][0].clone().requires_grad_()
    z_torch = (torch.sigmoid(X @ W1) * mask) @ network.layers[1][0]
    torch.testing.assert_close(z, z_torch.detach())
    nn.functional.cross_entropy(z_torch, Y.argmax(1)).backward()
    torch.testing.assert_close(work.gradients[0][0], W1.grad)
    torch.testing.assert_close(predict(network, X), h @ network.layers[1][0])
