"""Counts of character n-grams, hashed, as scikit-learn's HashingVectorizer has them by char_wb.

A perceptron for texts is trained on those of scikit-learn; here they are computed with NumPy alone,
so that an exported one needs nothing else. tests/test_exported_ngrams.py compares both.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np

from ftkit.exported.about import Ngrams

SPACES = re.compile(r"\s\s+")
BITS = 0xFFFFFFFF


def count_ngrams(texts: Sequence[str], how: Ngrams) -> np.ndarray:
    """Return (N, buckets) float32 counts of n-grams, each row of length one, or zero."""
    found = np.zeros((len(texts), how.buckets), np.float32)
    for row, text in enumerate(texts):
        for ngram, count in Counter(_ngrams(text, how)).items():
            found[row, _bucket(ngram, how.buckets)] += count
    lengths = np.sqrt((found.astype(np.float64) ** 2).sum(1, keepdims=True))
    return (found / np.where(lengths == 0, 1, lengths)).astype(np.float32)


def _ngrams(text: str, how: Ngrams) -> Iterator[str]:
    """Yield the n-grams of each word with a space on both sides.

    A word that is shorter than an n-gram counts once as a whole.
    """
    for word in SPACES.sub(" ", text).split():
        padded = f" {word} "
        for n in range(how.shortest, how.longest + 1):
            yield padded[:n]
            yield from (padded[start : start + n] for start in range(1, len(padded) - n + 1))
            if n >= len(padded):
                break


def _bucket(ngram: str, buckets: int) -> int:
    signed = murmur3(ngram.encode())
    signed -= (signed & 0x80000000) << 1
    return abs(signed) % buckets


def murmur3(data: bytes) -> int:
    """Return the 32 bits of MurmurHash3 with seed 0 (Appleby 2011, public domain)."""
    found, whole = 0, len(data) // 4 * 4
    for start in range(0, whole, 4):
        found ^= _mixed(int.from_bytes(data[start : start + 4], "little"))
        found = (_turned(found, 13) * 5 + 0xE6546B64) & BITS
    if rest := data[whole:]:
        found ^= _mixed(int.from_bytes(rest, "little"))
    found ^= len(data)
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
        found = ((found ^ found >> shift) * factor) & BITS
    return found ^ found >> 16


def _mixed(block: int) -> int:
    return _turned(block * 0xCC9E2D51 & BITS, 15) * 0x1B873593 & BITS


def _turned(value: int, by: int) -> int:
    return (value << by | value >> (32 - by)) & BITS
