"""Encoders: raw inputs to the vectors (N, D) that a perceptron takes, as values saved beside it.

A picture becomes its pixels, a text the hashed counts of its character n-grams, a row of a table
its columns brought to mean 0 and variance 1.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Union

import numpy as np
from PIL import Image
from sklearn.feature_extraction.text import HashingVectorizer


def is_constant(values: np.ndarray) -> np.ndarray:
    """Return (D,) bool: whether each column (N, D) holds one number; NaN does not count.

    A column is constant where its variance may be rounding alone: at most N eps var + (N mean
    eps)^2, the bound of Chan, Golub and LeVeque (1983) on the two-pass algorithm, by which
    scikit-learn's StandardScaler goes too. 100 rows of 0.1 have a deviation of 1e-17 instead of 0.
    """
    N = np.maximum((~np.isnan(values)).sum(0), 1)
    eps, mean, variance = np.finfo(np.float64).eps, np.nanmean(values, 0), np.nanvar(values, 0)
    return variance <= N * eps * variance + (N * mean * eps) ** 2


def deviations(values: np.ndarray) -> np.ndarray:
    """Return (D,) float64: the standard deviation of each column (N, D), 1 where it is constant."""
    values = np.asarray(values, np.float64)
    return np.where(is_constant(values), 1.0, np.nanstd(values, 0))


AT_ONCE = 10_000
"""The n-grams of so many texts are counted together. Before they are hashed into buckets, the
counts of long texts take several times the memory of the vectors."""


@dataclass(frozen=True)
class PixelEncoder:
    """Images to (N, height * width * channels) float32 in [0, 1], row by row, channels last."""

    height: int
    width: int
    grey: bool

    @property
    def shape(self) -> tuple[int, int, int]:
        """(height, width, channels), the order in which a vector holds its numbers."""
        return self.height, self.width, 1 if self.grey else 3

    @property
    def size(self) -> int:
        """Numbers of a vector."""
        return math.prod(self.shape)

    def encode(self, inputs: Iterable[Image.Image]) -> np.ndarray:
        """Return the vectors of RGB images; those of another size are resized (bilinear)."""
        size, rows = (self.width, self.height), []
        for image in inputs:
            sized = image if image.size == size else image.resize(size, Image.Resampling.BILINEAR)
            pixels = np.asarray(sized.convert("L") if self.grey else sized, np.uint8)
            rows.append(pixels.ravel())
        return np.stack(rows).astype(np.float32) / np.float32(255)


@dataclass(frozen=True)
class NgramEncoder:
    """Texts to (N, buckets) float32: counts of character n-grams within words, hashed, of norm 1.

    No vocabulary is kept, so any text can be encoded (Weinberger et al. 2009).
    """

    shortest: int
    longest: int
    buckets: int

    @property
    def size(self) -> int:
        """Numbers of a vector."""
        return self.buckets

    def encode(self, inputs: Iterable[str]) -> np.ndarray:
        """Return the vectors of texts."""
        hashed = HashingVectorizer(
            analyzer="char_wb",
            ngram_range=(self.shortest, self.longest),
            n_features=self.buckets,
            lowercase=False,
            alternate_sign=False,
            dtype=np.float32,
        )
        texts = list(inputs)
        found = np.empty((len(texts), self.buckets), np.float32)
        for start in range(0, len(texts), AT_ONCE):
            part = slice(start, start + AT_ONCE)
            found[part] = hashed.transform(texts[part]).toarray()
        return found


@dataclass(frozen=True)
class ColumnEncoder:
    """Rows of D numbers to (N, D) float32: each column less its mean, over its deviation.

    NaN, where there is no number, becomes 0, as the mean does. scikit-learn's StandardScaler does
    the same, but is kept as a pickle, which can run code.
    """

    mean: tuple[float, ...]
    deviation: tuple[float, ...]

    @classmethod
    def of(cls, values: np.ndarray) -> ColumnEncoder:
        """Return the encoder for rows like these (N, D). A constant column becomes zero."""
        there = np.where(np.isnan(values).all(0), 0.0, values)  # a column of gaps alone is 0
        return cls(tuple(np.nanmean(there, 0).tolist()), tuple(deviations(there).tolist()))

    @property
    def size(self) -> int:
        """Numbers of a vector."""
        return len(self.mean)

    def encode(self, inputs: Iterable[Iterable[float]]) -> np.ndarray:
        """Return the vectors of rows (N, D).

        Raises:
            ValueError: the rows have another width.
        """
        values = np.asarray(inputs, np.float64)
        if values.ndim != 2 or values.shape[1] != len(self.mean):
            raise ValueError(
                f"expected rows of {len(self.mean)} numbers, got {values.shape[-1]} in shape "
                f"{values.shape}"
            )
        scaled = (values - self.mean) / self.deviation
        return np.where(np.isnan(values), 0.0, scaled).astype(np.float32)


Encoder = Union[PixelEncoder, NgramEncoder, ColumnEncoder]
KINDS: dict[str, type[PixelEncoder] | type[NgramEncoder] | type[ColumnEncoder]] = {
    "pixels": PixelEncoder,
    "ngrams": NgramEncoder,
    "columns": ColumnEncoder,
}


def to_settings(encoder: Encoder) -> dict[str, Any]:
    """Return the encoder as JSON can hold it."""
    (kind,) = (name for name, known in KINDS.items() if type(encoder) is known)
    return {"kind": kind, **asdict(encoder)}


def from_settings(settings: Mapping[str, Any]) -> Encoder:
    """Return the encoder that `to_settings` wrote."""
    values = dict(settings)
    return KINDS[values.pop("kind")](**values)
