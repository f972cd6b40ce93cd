"""The chapter: gradients, updates and the training loop against independent answers."""

from __future__ import annotations

import math
import socket
from itertools import product
from typing import get_args

import pytest
import torch
import torch.multiprocessing as processes
from torch import nn

from ftkit.mlp import (
    Activation,
    Loss,
    Moments,
    Network,
    Training,
    Update,
    Work,
    backward,
    forward,
    learning_rate,
    loss,
    update,
)
from ftkit.mlp_check import check_gradients
from ftkit.mlp_training import evaluate, one_hot, predict, replace_last, train

ACTIVATIONS, LOSSES = get_args(Activation), get_args(Loss)
MODULES = {
    "sigmoid": nn.Sigmoid,
    "tanh": nn.Tanh,
    "relu": nn.ReLU,
    "gelu": nn.GELU,
    "identity": nn.Identity,
}
COMBINATIONS = list(product(ACTIVATIONS, LOSSES, (1, 2, 3, 4)))


def problem(sizes, N=40, kind="cross_entropy", seed=1, dtype=torch.float32):
    """Rows and targets that a network of these sizes can be trained on."""
    generator = torch.Generator().manual_seed(seed)
    X = torch.randn(N, sizes[0], generator=generator, dtype=dtype)
    if kind == "mse":
        return X, torch.randn(N, sizes[-1], generator=generator, dtype=dtype)
    labels = (X @ torch.randn(sizes[0], sizes[-1], generator=generator, dtype=dtype)).argmax(1)
    return X, one_hot(labels, sizes[-1], dtype)


def sizes_of(depth):
    return (*(6, 7, 5, 8)[:depth], 3)


def gradients(network, X, Y):
    work = Work(network, len(X))
    forward(network, work, X)
    error = loss(network, work, Y, len(Y)).item()
    backward(network, work)
    return error, work


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

    monkeypatch.setattr("ftkit.mlp_check.backward", wrong)
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


def test_every_update_goes_downhill():
    for name in get_args(Update):
        network = Network((6, 7, 3), seed=3)
        X, Y = problem(network.sizes, 64)
        before, _ = evaluate(network, X, Y)
        train(network, X, Y, Training(update=name, epochs=5, batch_size=16, learning_rate=0.01))
        assert evaluate(network, X, Y)[0] < before, name


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


def test_training_equals_a_torch_loop_over_the_same_batches():
    """Ragged last batch, Adam, cosine schedule: parameters after three epochs, mean loss."""
    how = Training(epochs=3, batch_size=16, schedule="cosine", learning_rate=0.01, seed=5)
    network = Network((6, 7, 3), "gelu", dtype=torch.float64)
    X, Y = problem(network.sizes, 40, dtype=torch.float64)
    model = torch_twin(network)
    history = train(network, X, Y, how)
    optimiser = torch.optim.Adam(model.parameters(), 0.01)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, 9)
    shuffle = torch.Generator().manual_seed(5)
    for epoch in history:
        total = 0.0
        for rows in torch.randperm(40, generator=shuffle).split(16):
            optimiser.zero_grad()
            error = torch_error(network, model, X[rows], Y[rows])
            error.backward()
            optimiser.step()
            schedule.step()
            total += error.item() * len(rows)
        assert epoch.train_loss == pytest.approx(total / 40, rel=1e-9)
    torch.testing.assert_close(network.parameters, flat(model), rtol=0, atol=1e-9)


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


def test_early_stopping_keeps_the_epoch_of_lowest_validation_loss():
    network = Network((6, 32, 3))
    X, Y = problem(network.sizes, 30)
    other = problem(network.sizes, 60, seed=7)  # other labels: fitting X makes these worse
    seen = []
    how = Training(epochs=100, patience=3, learning_rate=0.01)
    history = train(
        network,
        X,
        Y,
        how,
        validation=other,
        on_epoch=lambda e: seen.append((e, network.parameters.clone())),
    )
    best = min(history, key=lambda epoch: epoch.validation_loss)
    assert len(history) == best.number + 3 < 100
    assert [epoch for epoch, _ in seen] == history
    assert network.parameters.equal(seen[best.number - 1][1])
    assert evaluate(network, *other)[0] == best.validation_loss


def test_patience_without_validation_rows_is_refused():
    network = Network((6, 3))
    with pytest.raises(ValueError, match="needs validation rows"):
        train(network, *problem((6, 3)), Training(patience=1))


def test_frozen_layers_do_not_move_and_the_others_do():
    network = Network((6, 7, 5, 3))
    X, Y = problem(network.sizes)
    before = network.parameters.clone()
    how = Training(epochs=2, frozen=2, update="adamw", weight_decay=0.1)
    history = train(network, X, Y, how)
    start = network.starts[2]
    assert network.parameters[:start].equal(before[:start])
    assert not network.parameters[start:].isclose(before[start:]).all()
    assert history[0].gradient_norms[:2] == (0, 0)
    assert history[0].gradient_norms[2] > 0


def test_frozen_training_equals_training_the_last_layer_on_features():
    network = Network((6, 7, 5, 3), "tanh", dtype=torch.float64)
    X, Y = problem(network.sizes, dtype=torch.float64)
    h = X
    for W, b in network.layers[:2]:
        h = torch.tanh(h @ W + b)
    head = Network((5, 3), "tanh", dtype=torch.float64)
    head.parameters.copy_(network.parameters[network.starts[2] :])
    train(network, X, Y, Training(frozen=2, epochs=3))
    train(head, h, Y, Training(epochs=3))
    torch.testing.assert_close(network.parameters[network.starts[2] :], head.parameters)


def test_replaced_last_layer_is_fresh_and_the_body_stays():
    old = Network((6, 7, 5, 3), seed=1)
    new = replace_last(old, 4, seed=9)
    body = old.starts[2]
    assert new.sizes == (6, 7, 5, 4)
    assert new.parameters[:body].equal(old.parameters[:body])
    assert new.layers[-1][0].shape == (5, 4)
    assert new.layers[-1][1].count_nonzero() == 0


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Network((2, 2), "swish"), "activation: no 'swish'"),
        (lambda: Network((2, 2), loss="hinge"), "loss: no 'hinge'"),
        (lambda: Training(update="lion"), "update: no 'lion'"),
        (lambda: Training(schedule="step"), "schedule: no 'step'"),
        (lambda: Training(dropout=1.0), "dropout lies in"),
        (
            lambda: train(Network((2, 2)), torch.zeros(4, 3), torch.zeros(4, 2), Training()),
            r"X \(N, 2\)",
        ),
        (
            lambda: train(
                Network((2, 2)), torch.zeros(4, 2), torch.zeros(4, 2), Training(frozen=1)
            ),
            "leaves none to train",
        ),
    ],
)
def test_a_bad_setting_gets_one_clear_error(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def _train_share(rank, port, out):
    torch.distributed.init_process_group(
        "gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2
    )

    def average(buffer):
        torch.distributed.all_reduce(buffer)
        buffer.div_(2)

    network, (X, Y) = Network((6, 7, 3), "gelu"), problem((6, 7, 3), 43)
    history = train(network, X, Y, PARALLEL, average=average, ranks=(rank, 2))
    torch.save((network.parameters, history[-1].train_loss), f"{out}/{rank}.pt")
    torch.distributed.destroy_process_group()


# 43 rows in batches of 14: the last batch has one row, so one process has none of it.
PARALLEL = Training(epochs=3, batch_size=14, learning_rate=0.01)


def test_two_processes_equal_one_with_the_same_global_batch(tmp_path):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    processes.spawn(_train_share, (port, str(tmp_path)), nprocs=2)
    network, (X, Y) = Network((6, 7, 3), "gelu"), problem((6, 7, 3), 43)
    history = train(network, X, Y, PARALLEL)
    shares = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1)]
    assert shares[0][0].equal(shares[1][0])
    torch.testing.assert_close(shares[0][0], network.parameters, rtol=0, atol=1e-6)
    assert shares[0][1] == pytest.approx(history[-1].train_loss, abs=1e-6)
