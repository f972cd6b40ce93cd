"""Train a multilayer perceptron epoch by epoch, watch it, stop it early, and fine-tune it.

`ftkit.perceptron.network` has the mathematics; here are the history of a training, validation, the
choice of CPU threads, and what a pretrained network needs: continue with a smaller learning rate
(train again), keep the first layers as they are (`Training.frozen`), give it new classes
(`replace_last`).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import pairwise

import torch
from torch import Tensor

from ftkit.perceptron.network import (
    Moments,
    Network,
    Training,
    Work,
    forward,
    initialise,
    learning_rate,
    loss,
    one_epoch,
)

EVALUATION_ROWS = 1024
PART_STEPS = 16
"""Steps between two moments at which an epoch may be left; those of the gradient norms too."""
# Multiply-adds of the largest product of a step from which a second CPU thread pays. Two threads
# took 157 microseconds for (784, 256) (256, 64) and one 274; at 32 rows 96 and 38.
THREADS_PAY_FROM = 8_000_000


@dataclass(frozen=True)
class Epoch:
    """What one pass over the training rows showed."""

    number: int
    """From 1."""
    train_loss: float
    """Mean over the rows, each seen before its batch's update."""
    validation_loss: float | None
    validation_accuracy: float | None
    """Share of right classes; None for mean squared error."""
    gradient_norms: tuple[float, ...]
    """Per layer, mean over every 16th batch; zero where frozen."""
    learning_rate: float
    """Of the last update."""
    seconds: float
    """Training alone, validation left out."""


@dataclass
class Part:
    """What is known in the middle of an epoch, besides parameters and moments."""

    steps: int
    """Done in this epoch."""
    total: Tensor
    """() summed error, of this process's rows."""
    norms: Tensor
    """(L,) of the gradient of each layer, its part of the mean so far."""
    seconds: float
    drop: Tensor
    """State of the generator of dropout's masks."""


def train(
    network: Network,
    X: Tensor,
    Y: Tensor,
    how: Training,
    *,
    validation: tuple[Tensor, Tensor] | None = None,
    on_epoch: Callable[[Epoch], bool | None] | None = None,
    begin: int = 0,
    moments: Moments | None = None,
    average: Callable[[Tensor], None] | None = None,
    ranks: tuple[int, int] = (0, 1),
    on_part: Callable[[Part], None] | None = None,
    part: Part | None = None,
) -> list[Epoch]:
    """Train the network in place and return what each epoch showed.

    Args:
        X: (N, D) features, on the network's device and of its type.
        Y: (N, C) targets; one-hot for cross-entropy.
        validation: rows of the same kind; with `how.patience` the epoch of lowest loss on them is
            kept and training stops early (Prechelt 1998).
        on_epoch: called after each epoch; True ends the training.
        begin: so many epochs were done before; with the parameters and moments that they left, the
            rest is what it would have been.
        moments: of an earlier training, to go on with; new ones when not given.
        average: puts the mean over processes in place of a buffer; every rank calls it equally
            often. Every rank holds all rows.
        ranks: this process's rank, and how many there are.
        on_part: called within an epoch after every 16 steps; may end the training by raising.
        part: of the epoch after `begin`, what `on_part` was given: it goes on from there.

    Raises:
        ValueError: the shapes do not fit the network, or patience without validation rows.
    """
    check_rows(network, X, Y, how)
    if how.patience is not None and validation is None:
        raise ValueError("patience: early stopping needs validation rows")
    rank, world_size = ranks
    batch_rows = min(how.batch_size, len(X))
    share = -(-batch_rows // world_size)
    steps = -(-len(X) // how.batch_size)
    work = Work(network, share, how.dropout)
    moments = moments or Moments(network)
    shuffle = torch.Generator().manual_seed(how.seed)
    history: list[Epoch] = []
    lowest, kept, waited = math.inf, network.parameters.clone(), 0
    for number in range(how.epochs):
        start, before = time.perf_counter(), 0.0
        order = torch.randperm(len(X), generator=shuffle).to(X.device)
        if number < begin:
            continue
        # Each process silences units of its own rows, so each draws from a stream of its own.
        work.drop.manual_seed(how.seed + 1 + rank + world_size * number)
        rates = [learning_rate(number * steps + i, how.epochs * steps, how) for i in range(steps)]
        with torch.inference_mode(), cpu_threads(how.threads or useful_threads(network, share)):
            total, norms = torch.zeros_like(work.error), work.y.new_zeros(len(network.layers))
            now = Part(0, total, norms, 0.0, work.drop.get_state())
            if part is not None:
                now = replace(part, total=total.copy_(part.total), norms=norms.copy_(part.norms))
                work.drop.set_state(part.drop)
                before, part = part.seconds, None
            for first in range(now.steps, steps, PART_STEPS):
                rows = order[first * how.batch_size : (first + PART_STEPS) * how.batch_size]
                some = rates[first : first + PART_STEPS]
                error, norm = one_epoch(
                    network, work, moments, (X, Y, rows), some, how, ranks, average
                )
                total.add_(error)
                norms.add_(norm, alpha=1 / len(rates[::PART_STEPS]))
                now.steps, now.drop = first + len(some), work.drop.get_state()
                now.seconds = before + time.perf_counter() - start
                if on_part is not None and now.steps < steps:
                    on_part(now)
            if average is not None:
                average(total)
        train_loss, seconds = total.item() / len(X), before + time.perf_counter() - start
        checked = evaluate(network, *validation) if validation else (None, None)
        epoch = Epoch(
            number=number + 1,
            train_loss=train_loss,
            validation_loss=checked[0],
            validation_accuracy=checked[1],
            gradient_norms=tuple(norms.tolist()),
            learning_rate=rates[-1],
            seconds=seconds,
        )
        history.append(epoch)
        if on_epoch is not None and on_epoch(epoch):
            break
        if how.patience is not None and checked[0] is not None:
            waited = 0 if checked[0] < lowest else waited + 1
            if checked[0] < lowest:
                lowest = checked[0]
                kept.copy_(network.parameters)
            if waited >= how.patience:
                break
    if how.patience is not None:
        network.parameters.copy_(kept)
    return history


def check_rows(network: Network, X: Tensor, Y: Tensor, how: Training) -> None:
    """Raise ValueError unless X (N, D), Y (N, C) and the frozen layers fit the network."""
    D, C = network.sizes[0], network.sizes[-1]
    if X.ndim != 2 or X.shape[1] != D or Y.shape != (len(X), C) or len(X) == 0:
        raise ValueError(
            f"expected X (N, {D}) and Y (N, {C}), got {tuple(X.shape)} and {tuple(Y.shape)}"
        )
    if not 0 <= how.frozen < len(network.layers):
        raise ValueError(
            f"frozen: {how.frozen} of {len(network.layers)} layers leaves none to train"
        )


def predict(network: Network, X: Tensor) -> Tensor:
    """Return z[L] (N, C) of X (N, D): logits for cross-entropy, values for mean squared error."""
    out = X.new_empty(len(X), network.sizes[-1])
    work = Work(network, min(EVALUATION_ROWS, len(X)))
    with torch.inference_mode(), cpu_threads(useful_threads(network, len(work.x))):
        for x, z in zip(X.split(EVALUATION_ROWS), out.split(EVALUATION_ROWS), strict=True):
            z.copy_(forward(network, work.rows(len(x)), x))
    return out


def evaluate(network: Network, X: Tensor, Y: Tensor) -> tuple[float, float | None]:
    """Return the mean loss over N rows, and for cross-entropy the accuracy, else None."""
    work = Work(network, len(X))
    with torch.inference_mode():
        z = work.z[-1].copy_(predict(network, X))
        hits = (z.argmax(1) == Y.argmax(1)).double().mean().item()
        error = loss(network, work, Y, len(Y)).item()
    return error, hits if network.loss == "cross_entropy" else None


def replace_last(network: Network, outputs: int, seed: int = 0) -> Network:
    """Return a new network with the same body and a fresh last layer of so many outputs."""
    sizes = (*network.sizes[:-1], outputs)
    parameters = network.parameters
    fresh = Network(
        sizes, network.activation, network.loss, seed, str(parameters.device), parameters.dtype
    )
    body = network.starts[-2]
    fresh.parameters[:body].copy_(parameters[:body])
    initialise(fresh, seed, first=len(fresh.layers) - 1)
    return fresh


def one_hot(labels: Tensor, C: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Return targets (N, C) with a one at each of the labels (N,), which lie in [0, C)."""
    return torch.nn.functional.one_hot(labels, C).to(dtype)


def useful_threads(network: Network, B: int) -> int:
    """Return how many CPU threads pay for the products of a batch of B rows."""
    largest = max(B * D * H for D, H in pairwise(network.sizes))
    return torch.get_num_threads() if largest >= THREADS_PAY_FROM else 1


@contextmanager
def cpu_threads(count: int) -> Iterator[None]:
    """Let torch use so many CPU threads, and afterwards as many as before."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
