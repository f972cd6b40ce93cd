"""The one minimum of a Linear head's loss: L-BFGS on standardised features, in float64.

The problem is convex for every loss that `row_loss` knows: cross-entropy (with class weights and
label smoothing, too), binary cross-entropy of several classes, and squared error.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from ftkit.errors import TrainingError
from ftkit.strategies.features import Features, require_finite

MOST_ITERATIONS = 500
TOLERANCE = 1e-5
"""L-BFGS stops where no entry of the gradient is larger."""
CENTRING = 20
"""Iterations of L-BFGS for the bias alone."""
HISTORY = 10
"""Pairs of steps and gradients that L-BFGS keeps, as scipy does (Liu and Nocedal 1989)."""
HELD_BYTES = 1 << 30
"""Up to this size the features are held in float64; larger ones are read in every pass."""
ROWS = 4096
"""Rows taken at once, so that memory stays flat."""
WIDEST = 1 << 22
"""Logits that are in memory at once; with many classes fewer rows are taken at once."""
CONSTANT = 1e-6
"""A column whose deviation is smaller than this share of its mean is constant: float32 rounds to
6e-8 of a number."""
FLATTEST = 1e-2
"""A deviation counts as at least this share of the column's mean. bfloat16, in which features may
be computed, rounds to 4e-3 of a number; and the scales go back into weights of float32, which take
off the means again and leave 6e-8 of mean times weight."""

QUIETEST = 0.3
"""A deviation counts as at least this share of the mean of all deviations. Otherwise a feature that
is nearly always zero in the training rows, as many are after a ReLU, is a thousand deviations away
in another row and outweighs all other features there: on 120 pictures one such test row turned an R
squared of 0.6 on held-out rows into -27. Chosen among 0, 0.1, 0.3 and 1 by the loss of held-out
training rows. `scripts/measure_head.py effnet-digits --ways lbfgs` gives without and with it test
accuracies of 0.805 and 0.865 (100 rows), 0.907 and 0.925 (300), 0.944 and 0.959 (1,000); with the
heads of MiniLM nothing changes. The mean, since one feature of huge deviation hardly moves it."""

RowLoss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""From logits (K, C) and the numbers (K,) of their rows to the loss (K,) of each."""


class Examples:
    """The rows of one or two splits in all their views, as standardised features.

    A row has the same weight for any number of views.
    """

    def __init__(
        self, splits: Sequence[Features], device: torch.device, width: int, centre: bool = True
    ) -> None:
        """Standardise each feature to mean 0 and variance 1 over the rows, a quiet one to less.

        Args:
            width: logits that are computed for a row.
            centre: false where the head has no bias that could take the mean back.

        Raises:
            TrainingError: a feature is no finite number.
        """
        self.splits, self.device = splits, device
        self.labels = np.concatenate([split.labels for split in splits])
        self.rows_at_once = min(ROWS, max(1, WIDEST // width))
        self.N, self.D = len(self.labels), splits[0].values.shape[-1]
        views = sum(len(split) * len(split.places) for split in splits)
        mean, square = torch.zeros(2, self.D, dtype=torch.float64)
        for piece, _, share in self._read():
            mean += share @ piece / self.N
        require_finite(mean)
        for piece, _, share in self._read():
            square += share @ (piece - mean).square() / self.N
        constant = square.sqrt() <= CONSTANT * mean.abs()
        if centre:
            square = torch.maximum(square, (FLATTEST * mean).square())
        if not centre:
            square, mean = square + mean.square(), torch.zeros_like(mean)
        square = torch.maximum(square, (QUIETEST * square.sqrt().mean()).square())
        self.mean = mean
        self.scale = torch.where(constant & centre, 0.0, square.rsqrt().nan_to_num(posinf=0.0))
        self.held = list(self._standardised()) if 8 * views * self.D <= HELD_BYTES else None

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
        """Yield (features (B, D), numbers of their rows (B,), weights of these views (B,))."""
        return iter(self.held) if self.held is not None else self._standardised()

    def _standardised(self) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
        for piece, rows, share in self._read():
            values = piece.sub_(self.mean).mul_(self.scale)
            yield values.to(self.device), rows.to(self.device), share.to(self.device)

    def _read(self) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
        first = 0
        for split in self.splits:
            views = len(split.places)
            for view in range(views):
                for start in range(0, len(split), self.rows_at_once):
                    rows = np.arange(start, min(start + self.rows_at_once, len(split)))
                    share = torch.full((len(rows),), 1 / views, dtype=torch.float64)
                    yield split.at(rows, view).double(), torch.from_numpy(first + rows), share
            first += len(split)


@dataclass(frozen=True)
class Solution:
    """The optima of F problems that share their rows: weights of standardised features."""

    weight: torch.Tensor
    """(F, C, D) float64."""
    bias: torch.Tensor
    """(F, C) float64, zero where the head has none."""
    losses: list[float]
    """The sum of the penalised losses in each pass over the rows, line searches among them."""
    gradient: float
    """Its largest entry at the end."""

    def mean(self) -> Solution:
        """Return the mean of the F solutions, as one."""
        weight, bias = (v.mean(0, keepdim=True) for v in (self.weight, self.bias))
        return Solution(weight, bias, self.losses, self.gradient)

    def scores(self, examples: Examples) -> torch.Tensor:
        """Return (N, F, C) the logits of each row without the bias, a mean over its views."""
        count, C = self.bias.shape
        found = torch.zeros(examples.N, count * C, dtype=torch.float64, device=self.bias.device)
        none = torch.zeros_like(self.bias)
        for features, rows, share in examples:
            found.index_add_(0, rows, _logits(features, self.weight, none) * share[:, None])
        return found.view(-1, count, C)


def minimise(
    examples: Examples,
    row_loss: RowLoss,
    penalty: float,
    classes: int,
    parts: np.ndarray | None = None,
    start: Solution | None = None,
    bias: bool = True,
    iterations: int = MOST_ITERATIONS,
    change: float = 1e-12,
) -> Solution:
    """Return the minimum of mean loss + penalty / 2 |V|^2 over the weights V, and a free bias.

    Args:
        classes: C.
        parts: (F, N) of 0 and 1: the rows of each of F problems that are solved side by side; one
            problem of all rows when not given.
        start: begin there.
        change: stop where the loss falls by less in an iteration.

    Raises:
        TrainingError: the loss is no finite number.
    """
    device = examples.device
    shares = shares_of(parts, examples)
    count = shares.shape[1]
    if start is None:
        V = torch.zeros(count, classes, examples.D, dtype=torch.float64, device=device)
        b = torch.zeros(count, classes, dtype=torch.float64, device=device)
    else:
        V, b = start.weight.clone(), start.bias.clone()
    moving = [V.requires_grad_(), *([b.requires_grad_()] if bias else [])]
    losses: list[float] = []

    def closure() -> float:
        for parameter in moving:
            parameter.grad = None
        total = penalty / 2 * V.square().sum()
        total.backward()
        loss = float(total.detach())
        for features, rows, share in examples:
            logits = _logits(features, V, b).view(-1, classes)
            each = row_loss(logits, rows.repeat_interleave(count)).view(-1, count)
            part = (each * shares[rows] * share[:, None]).sum()
            part.backward()
            loss += float(part.detach())
        losses.append(loss)
        return loss

    optimizer = torch.optim.LBFGS(
        moving,
        max_iter=iterations,
        history_size=HISTORY,
        tolerance_grad=TOLERANCE,
        tolerance_change=change,
        line_search_fn="strong_wolfe",
    )
    optimizer.step(closure)
    if not (math.isfinite(losses[0]) and V.isfinite().all()):
        raise TrainingError(
            f"the head's loss became {losses[-1]} with penalty {penalty:.2g}; look for huge "
            "numbers among the labels"
        )
    gradient = max(float(p.grad.abs().max()) for p in moving if p.grad is not None)
    return Solution(V.detach(), b.detach(), losses, gradient)


def centred(
    scores: torch.Tensor, row_loss: RowLoss, shares: torch.Tensor, start: torch.Tensor
) -> torch.Tensor:
    """Return (F, C) the biases with which the mean loss of each of F problems is least.

    Scores that were multiplied need others: the bias that a strong penalty leaves beside small
    weights is about the shares of the classes, and multiplied it would be all that is told.

    Args:
        scores: (N, F, C) logits without the bias.
        shares: (N, F) what each row weighs in each problem.
        start: (F, C), begin there.
    """
    N, count, C = scores.shape
    b = start.clone().requires_grad_()
    step = max(1, WIDEST // (count * C))

    def closure() -> float:
        b.grad, loss = None, 0.0
        for first in range(0, N, step):
            piece = scores[first : first + step]
            rows = torch.arange(first, first + len(piece), device=scores.device)
            each = row_loss((piece + b).view(-1, C), rows.repeat_interleave(count))
            part = (each.view(-1, count) * shares[rows]).sum()
            part.backward()
            loss += float(part.detach())
        return loss

    torch.optim.LBFGS(
        [b],
        max_iter=CENTRING,
        tolerance_grad=TOLERANCE,
        tolerance_change=1e-9,
        line_search_fn="strong_wolfe",
    ).step(closure)
    return b.detach()


def shares_of(parts: np.ndarray | None, examples: Examples) -> torch.Tensor:
    """Return (N, F) what each row weighs in the mean loss of each problem; see `minimise`."""
    shares = torch.ones(1, examples.N) if parts is None else torch.from_numpy(parts)
    return (shares.double() / shares.double().sum(1, keepdim=True)).T.to(examples.device)


def _logits(features: torch.Tensor, V: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Return (B, F C)."""
    return torch.addmm(b.flatten(), features, V.flatten(0, 1).T)
