"""Counts of n-grams without scikit-learn are those of scikit-learn."""

import random

import numpy as np
import pytest

from ftkit.data.encoders import NgramEncoder
from ftkit.exported.about import Ngrams
from ftkit.exported.ngrams import count_ngrams, murmur3

TEXTS = [
    "a text here",
    "  spaces   two ",
    "",
    "äöü ß 漢字 😀",
    "x",
    "x" * 50,
    "tab\tand\nnew  line",
]


@pytest.mark.parametrize("how", [(1, 3, 64), (2, 5, 4096), (3, 3, 1000), (1, 8, 10_007)])
def test_counts_are_those_of_scikit_learn(how):
    draw = random.Random(0)
    made = ["".join(draw.choices("abc dé\t\n😀xyz ", k=draw.randint(0, 60))) for _ in range(200)]
    wanted = NgramEncoder(*how).encode(TEXTS + made)
    assert np.array_equal(count_ngrams(TEXTS + made, Ngrams(*how)), wanted)


def test_the_hash_is_murmur3():
    from sklearn.utils import murmurhash3_32

    for text in (*TEXTS, "abcd", "abcde", "abcdefg"):
        assert murmur3(text.encode()) == murmurhash3_32(text.encode(), 0, positive=True)
