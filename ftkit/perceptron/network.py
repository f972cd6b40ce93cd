"""A multilayer perceptron and its gradient by hand: forward, loss, backward, update.

The network maps a row of D features to C outputs through L layers. With a[0] = x, layer l computes
    z[l] = a[l-1] W[l] + b[l],      h[l] = f(z[l]),      a[l] = dropout(h[l]);
the last one keeps z[L]. Training is supervised: it takes mini-batches of B of the N examples whose
targets y are known, measures the error E of z[L], passes it back by the chain rule (Rumelhart,
Hinton and Williams 1986), and moves the parameters w along the NEGATIVE gradient g = dE/dw.

H is the width of a hidden layer, P the count of parameters, delta[l] = dE/dz[l]; a matrix has one
example per row; in code layer l has index k = l-1. All parameters lie in one buffer, all gradients
in another, every W and b is a view: an update is a few passes over P numbers, a frozen layer a
shorter slice, processes average one buffer. All results go into buffers made once.
The arrays are torch tensors without autograd: the same lines run on a CPU and on a GPU. The same in
NumPy took 0.92 times as long at batch 32, 1.5 times at batch 256 (two cores, MNIST, 784-64-64-10).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, get_args

import torch
from torch import Tensor

Activation = Literal["sigmoid", "tanh", "relu", "gelu", "identity"]
Loss = Literal["cross_entropy", "mse"]
Update = Literal["sgd", "momentum", "nesterov", "adam", "adamw"]
Schedule = Literal["constant", "linear", "cosine"]


@dataclass(frozen=True)
class Training:
    """How a network is trained."""

    epochs: int = 5
    batch_size: int = 32
    update: Update = "adam"
    learning_rate: float = 1e-3
    schedule: Schedule = "constant"
    warmup: float = 0.0  # share of the steps in which the learning rate rises from zero
    momentum: float = 0.9
    betas: tuple[float, float] = (0.9, 0.999)
    epsilon: float = 1e-8
    weight_decay: float = 0.0  # of weights, never of biases
    dropout: float = 0.0  # probability that a hidden unit is silent for one example
    patience: int | None = None  # stop after so many epochs without a lower validation loss
    frozen: int = 0  # so many layers, counted from the input, keep their parameters
    seed: int = 0  # of the order of rows and of dropout
    threads: int | None = None  # of the CPU; by the size of the products when not given

    def __post_init__(self) -> None:
        one_of("update", self.update, Update)
        one_of("schedule", self.schedule, Schedule)
        if self.epochs < 1 or self.batch_size < 1 or not 0 <= self.dropout < 1:
            raise ValueError("epochs and batch_size start at 1; dropout lies in [0, 1)")


class Network:
    """Layer sizes (D, H, ..., C), activation, loss, and all parameters in one buffer (P,)."""

    def __init__(
        self,
        sizes: tuple[int, ...],
        activation: Activation = "relu",
        loss: Loss = "cross_entropy",
        seed: int = 0,
        device: str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        one_of("activation", activation, Activation)
        one_of("loss", loss, Loss)
        self.sizes, self.activation, self.loss = tuple(sizes), activation, loss
        counts = [(D + 1) * H for D, H in pairwise(sizes)]
        self.starts = [sum(counts[:k]) for k in range(len(sizes))]  # where in (P,) a layer begins
        self.parameters = torch.zeros(sum(counts), device=device, dtype=dtype)
        self.layers = views(self.parameters, self.sizes)
        initialise(self, seed)


def one_of(field: str, given: str, allowed: object) -> None:
    """Raise ValueError where `given` is not one of the allowed names."""
    if given not in get_args(allowed):
        raise ValueError(f"{field}: no '{given}'; choose one of {', '.join(get_args(allowed))}")


def views(buffer: Tensor, sizes: tuple[int, ...]) -> list[tuple[Tensor, Tensor]]:
    """Return W (D, H) and b (H,) of every layer as views of a buffer (P,)."""
    pairs, rest = [], buffer
    for D, H in pairwise(sizes):
        W, b, rest = rest.split([D * H, H, len(rest) - (D + 1) * H])
        pairs.append((W.view(D, H), b))
    return pairs


def initialise(network: Network, seed: int, first: int = 0) -> None:
    """Draw the weights of all layers from index `first` on; biases start at zero."""
    generator = torch.Generator().manual_seed(seed)
    for W, b in network.layers[first:]:
        D, H = W.shape
        drawn = torch.empty(D, H, dtype=W.dtype)
        if network.activation in ("relu", "gelu"):
            # W ~ N(0, 2 / D) keeps Var z level where half of the units are off   (He et al. 2015)
            drawn.normal_(0, math.sqrt(2 / D), generator=generator)
        else:
            # W ~ U(-r, r), r = sqrt(6 / (D + H)): level both ways      (Glorot and Bengio 2010)
            drawn.uniform_(-1, 1, generator=generator).mul_(math.sqrt(6 / (D + H)))
        W.copy_(drawn)
        b.zero_()


class Work:
    """The buffers that a batch of B rows needs, made once."""

    def __init__(self, network: Network, B: int, dropout: float = 0.0, seed: int = 0) -> None:
        def buffers(sizes: tuple[int, ...]) -> list[Tensor]:
            return [network.parameters.new_empty(B, size) for size in sizes]

        hidden = network.sizes[1:-1]
        self.x, self.y = buffers((network.sizes[0], network.sizes[-1]))
        self.z, self.delta = buffers(network.sizes[1:]), buffers(network.sizes[1:])
        # GELU's slope needs z itself; the slopes of the others follow from h, which overwrites z.
        self.h = buffers(hidden) if network.activation == "gelu" else self.z[:-1]
        self.q, self.masks = 1 - dropout, buffers(hidden if dropout else ())
        self.drop = torch.Generator(network.parameters.device).manual_seed(seed)
        self.a = [self.x, *(buffers(hidden) if dropout else self.h)]
        self.error = self.y.new_empty(())
        self.gradient = torch.zeros_like(network.parameters)
        self.gradients = views(self.gradient, network.sizes)

    def rows(self, B: int) -> Work:
        """Return the same buffers cut to B rows, for a smaller batch."""
        part = copy.copy(self)
        for name in ("z", "h", "masks", "a", "delta"):
            setattr(part, name, [buffer[:B] for buffer in getattr(self, name)])
        part.x, part.y = self.x[:B], self.y[:B]
        return part


def forward(network: Network, work: Work, x: Tensor) -> Tensor:
    """Step 1. Return z[L] (B, C) of x (B, D)."""
    a = work.a[0] = x
    for k, (W, b) in enumerate(network.layers):
        # z[l] = a[l-1] W[l] + b[l]                                  (B, H) = (B, D) (D, H) + (H,)
        z = torch.addmm(b, a, W, out=work.z[k])
        if k + 1 < len(network.layers):
            a = activate(network.activation, z, work.h[k])
            if work.masks:
                # a = h m / q with m ~ Bernoulli(q), q = 1 - dropout      (Srivastava et al. 2014)
                mask = work.masks[k].bernoulli_(work.q, generator=work.drop).div_(work.q)
                a = work.a[k + 1] = torch.mul(a, mask, out=work.a[k + 1])
    return z


def activate(name: Activation, z: Tensor, h: Tensor) -> Tensor:
    """Return h = f(z), written into h (B, H)."""
    if name == "sigmoid":
        return torch.sigmoid(z, out=h)  # 1 / (1 + exp(-z))
    if name == "tanh":
        return torch.tanh(z, out=h)
    if name == "relu":
        return torch.clamp(z, min=0, out=h)  # max(z, 0)
    if name == "gelu":
        return torch.special.ndtr(z, out=h).mul_(z)  # z Phi(z)         (Hendrycks and Gimpel 2016)
    return z


def times_slope(name: Activation, delta: Tensor, z: Tensor, h: Tensor) -> None:
    """Multiply delta (B, H) by f'(z) in place; z and h are used up."""
    if name == "sigmoid":
        delta.mul_(torch.addcmul(h, h, h, value=-1, out=h))  # f' = h - h h
    elif name == "tanh":
        delta.addcmul_(delta, h.mul_(h), value=-1)  # f' = 1 - h h
    elif name == "relu":
        delta.mul_(h.sign_())  # f' = 1 where h > 0, else 0
    elif name == "gelu":
        # f' = Phi(z) + z phi(z), phi(z) = exp(-z z / 2) / sqrt(2 pi)
        torch.special.ndtr(z, out=h).mul_(delta)
        delta.mul_(z)
        torch.addcmul(h, delta, z.mul_(z).mul_(-0.5).exp_(), value=(2 * math.pi) ** -0.5, out=delta)


def loss(network: Network, work: Work, y: Tensor, B: float) -> Tensor:
    """Step 2. Return E of z[L] against y (B, C), and leave delta[L] = dE/dz[L] in work."""
    z, delta, E = work.z[-1], work.delta[-1], work.error
    if network.loss == "mse":
        # E = sum (z - y)^2 / (B C),    dE/dz = 2 (z - y) / (B C)                         (B, C)
        torch.sub(z, y, out=delta)
        torch.dot(delta.view(-1), delta.view(-1), out=E)
        delta.mul_(2 / (B * y.shape[1]))
        return E.mul_(1 / (B * y.shape[1]))
    # log p = z - log sum_c exp z, computed after the row's maximum is taken off: no exp overflows
    torch.log_softmax(z, 1, out=delta)
    # E = - sum_n sum_c y_nc log p_nc / B,    y one-hot or any other probabilities
    torch.dot(delta.view(-1), y.view(-1), out=E).mul_(-1 / B)
    # dE/dz = (p - y) / B                                                                 (B, C)
    delta.exp_().sub_(y).mul_(1 / B)
    return E


def backward(network: Network, work: Work, frozen: int = 0) -> None:
    """Step 3. Fill the gradient buffer for every layer that is not frozen, from the last down."""
    for k in reversed(range(frozen, len(network.layers))):
        W, (dW, db), delta = network.layers[k][0], work.gradients[k], work.delta[k]
        # dE/dW[l] = a[l-1]^T delta[l]                               (D, H) = (D, B) (B, H)
        torch.mm(work.a[k].t(), delta, out=dW)
        # dE/db[l] = sum_n delta[l]_n                                (H,)
        torch.sum(delta, 0, out=db)
        if k > frozen:
            # delta[l-1] = (delta[l] W[l]^T) (m / q) f'(z[l-1])      (B, D) = (B, H) (H, D)
            below = torch.mm(delta, W.t(), out=work.delta[k - 1])
            if work.masks:
                below.mul_(work.masks[k - 1])
            times_slope(network.activation, below, work.z[k - 1], work.h[k - 1])


class Moments:
    """What an update remembers of earlier gradients, each (P,), and how many it has seen."""

    def __init__(self, network: Network) -> None:
        self.m, self.v = (torch.zeros_like(network.parameters) for _ in range(2))
        self.step = 0


def update(network: Network, work: Work, moments: Moments, rate: float, how: Training) -> None:
    """Step 4. Move the parameters w that are not frozen against their gradient g, used up in it."""
    first = network.starts[how.frozen]
    buffers = network.parameters, work.gradient, moments.m, moments.v
    w, g, m, v = (buffer[first:] for buffer in buffers) if first else buffers
    moments.step += 1
    if how.weight_decay:
        for (W, _), (dW, _) in list(zip(network.layers, work.gradients, strict=True))[how.frozen :]:
            if how.update == "adamw":  # W <- W - rate lambda W      (Loshchilov and Hutter 2019)
                W.mul_(1 - rate * how.weight_decay)
            else:  # g <- g + lambda W: the gradient of lambda/2 |W|^2
                dW.add_(W, alpha=how.weight_decay)
    if how.update == "sgd":
        # w <- w - rate g
        w.add_(g, alpha=-rate)
    elif how.update in ("momentum", "nesterov"):
        # m <- mu m + g,   w <- w - rate m                   (Rumelhart, Hinton and Williams 1986)
        # Nesterov: w <- w - rate (g + mu m)                 (Sutskever et al. 2013)
        m.mul_(how.momentum).add_(g)
        w.add_(g.add_(m, alpha=how.momentum) if how.update == "nesterov" else m, alpha=-rate)
    else:
        # m <- b1 m + (1 - b1) g,   v <- b2 v + (1 - b2) g g,   c_i = 1 - b_i^t
        # w <- w - rate (m / c1) / (sqrt(v / c2) + eps)      (Kingma and Ba 2015, algorithm 1)
        b1, b2 = how.betas
        c1, root_c2 = 1 - b1**moments.step, math.sqrt(1 - b2**moments.step)
        m.lerp_(g, 1 - b1)
        v.mul_(b2).addcmul_(g, g, value=1 - b2)
        # Numerator and denominator times sqrt(c2): the corrections cost no pass over P.
        # sqrt as 1 / rsqrt: torch.sqrt takes 6 times as long where v is zero, as at black pixels.
        torch.rsqrt(v, out=g).reciprocal_().add_(how.epsilon * root_c2)
        w.addcdiv_(m, g, value=-rate * root_c2 / c1)


def learning_rate(step: int, steps: int, how: Training) -> float:
    """Return the rate of update `step` (from 0) of `steps`: a rise from zero, then the schedule."""
    rising = round(how.warmup * steps)
    done = (step - rising) / max(steps - rising, 1)  # cosine: Loshchilov and Hutter 2017
    falls = {"constant": 1.0, "linear": 1 - done, "cosine": (1 + math.cos(math.pi * done)) / 2}
    return how.learning_rate * ((step + 1) / rising if step < rising else falls[how.schedule])


def one_epoch(
    network: Network,
    work: Work,
    moments: Moments,
    rows: tuple[Tensor, Tensor, Tensor],
    rates: list[float],
    how: Training,
    ranks: tuple[int, int] = (0, 1),
    average: Callable[[Tensor], None] | None = None,
) -> tuple[Tensor, Tensor]:
    """Train on all rows, X (N, D), Y (N, C) and their order (N,), with a rate for each mini-batch.

    Returns the summed error, and of every 16th batch the mean gradient norm of each layer. Process
    `rank` of `world_size` takes a share of each batch; `average` puts a buffer's mean over them.
    """
    (X, Y, order), (rank, world_size), full = rows, ranks, work
    total, norms = torch.zeros_like(work.error), work.y.new_zeros(len(network.layers))
    for step, batch in enumerate(order.split(how.batch_size)):
        own = batch[rank::world_size] if world_size > 1 else batch
        work = full if len(own) == len(full.x) else full.rows(len(own))
        x, y = torch.index_select(X, 0, own, out=work.x), torch.index_select(Y, 0, own, out=work.y)
        forward(network, work, x)
        # Several processes: with B / world_size here, unequal shares average to the gradient of B.
        total.add_(loss(network, work, y, len(batch) / world_size), alpha=len(batch))
        backward(network, work, how.frozen)
        if average is not None:
            average(work.gradient[network.starts[how.frozen] :])
        if step % 16 == 0:
            parts = [work.gradient[a:b].norm() for a, b in pairwise(network.starts)]
            norms.add_(torch.stack(parts), alpha=1 / len(rates[::16]))
        update(network, work, moments, rates[step], how)
    return total, norms
