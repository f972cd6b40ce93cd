"""The perceptron by hand in NumPy: a contender of bench_mlp.py, to choose the array library by."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from itertools import pairwise

import numpy as np


def numpy_by_hand(
    data: dict[str, np.ndarray], sizes: list[int], options: argparse.Namespace
) -> tuple[Callable[[], None], Callable[[], float]]:
    """The chapter's steps for ReLU, cross-entropy and Adam in NumPy, on one thread."""
    from threadpoolctl import threadpool_limits

    threadpool_limits(1)
    rng, B, X, t = np.random.default_rng(0), options.batch_size, data["X"], [0]
    Y, L = np.eye(sizes[-1], dtype=np.float32)[data["y"]], len(sizes) - 1
    cuts = np.cumsum([0] + [(D + 1) * H for D, H in pairwise(sizes)])
    w, g, m, v, scratch = (np.zeros(cuts[-1], np.float32) for _ in range(5))
    W, dW = (
        [p[a:b].reshape(-1, H) for (a, b), H in zip(pairwise(cuts), sizes[1:], strict=True)]
        for p in (w, g)
    )
    for matrix in W:
        matrix[:-1] = rng.normal(0, np.sqrt(2 / (len(matrix) - 1)), matrix[:-1].shape)
    rows = {n: [np.empty((n, H), np.float32) for H in sizes] for n in {B, len(X) % B or B}}
    errors = {n: [np.empty((n, H), np.float32) for H in sizes] for n in rows}

    def forward(a: list[np.ndarray]) -> None:
        for k in range(L):
            np.add(np.matmul(a[k], W[k][:-1], out=a[k + 1]), W[k][-1], out=a[k + 1])
            if k + 1 < L:
                np.maximum(a[k + 1], np.float32(0), out=a[k + 1])

    def run_epoch() -> None:
        order = rng.permutation(len(X))
        for start in range(0, len(X), B):
            own = order[start : start + B]
            a, delta = rows[len(own)], errors[len(own)]
            np.take(X, own, axis=0, out=a[0], mode="clip")
            forward(a)
            z = np.subtract(a[L], a[L].max(1, keepdims=True), out=a[L])
            p = np.exp(z, out=delta[L])
            p /= p.sum(1, keepdims=True)
            p -= Y[own]
            p *= np.float32(1 / len(own))
            for k in reversed(range(L)):
                np.matmul(a[k].T, delta[k + 1], out=dW[k][:-1])
                np.add.reduce(delta[k + 1], 0, out=dW[k][-1])
                if k:
                    np.matmul(delta[k + 1], W[k][:-1].T, out=delta[k])
                    delta[k] *= np.sign(a[k], out=a[k])
            t[0] += 1
            c1, c2 = 1 - 0.9 ** t[0], np.sqrt(1 - 0.999 ** t[0])
            np.multiply(g, np.float32(0.1), out=scratch)
            np.add(np.multiply(m, np.float32(0.9), out=m), scratch, out=m)
            np.multiply(g, g, out=g)
            np.multiply(g, np.float32(0.001), out=g)
            np.add(np.multiply(v, np.float32(0.999), out=v), g, out=v)
            np.add(np.sqrt(v, out=g), np.float32(1e-8 * c2), out=g)
            np.divide(m, g, out=g)
            np.subtract(w, np.multiply(g, np.float32(1e-3 * c2 / c1), out=g), out=w)

    def accuracy() -> float:
        a = [data["X_test"], *(np.empty((len(data["y_test"]), H), np.float32) for H in sizes[1:])]
        forward(a)
        return float((a[L].argmax(1) == data["y_test"]).mean())

    return run_epoch, accuracy
