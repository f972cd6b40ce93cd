"""The training loop against torch's, its early stopping, frozen layers, and two processes."""

from __future__ import annotations

import socket
import time
from typing import get_args

import pytest
import torch
import torch.multiprocessing as processes
from torch_twin import flat, problem, torch_error, torch_twin

from ftkit.perceptron.network import Network, Training, Update
from ftkit.perceptron.training import evaluate, replace_last, train


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


def test_the_seconds_of_the_epochs_are_no_more_than_the_training_took():
    network = Network((6, 7, 3))
    X, Y = problem(network.sizes, 40)
    began = time.perf_counter()
    history = train(network, X, Y, Training(epochs=3))
    took = time.perf_counter() - began
    assert all(epoch.seconds > 0 for epoch in history)
    assert sum(epoch.seconds for epoch in history) <= took


def test_every_update_goes_downhill():
    for name in get_args(Update):
        network = Network((6, 7, 3), seed=3)
        X, Y = problem(network.sizes, 64)
        before, _ = evaluate(network, X, Y)
        train(network, X, Y, Training(update=name, epochs=5, batch_size=16, learning_rate=0.01))
        assert evaluate(network, X, Y)[0] < before, name


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
