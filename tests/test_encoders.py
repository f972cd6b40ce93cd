"""Columns brought to mean 0 and variance 1, beside scikit-learn's StandardScaler."""

import numpy as np
import pytest
from sklearn.preprocessing import StandardScaler

from ftkit.data.encoders import ColumnEncoder, NgramEncoder, deviations

COLUMNS = {
    "a tenth": np.full(100, 0.1),  # its deviation in float64 is 1e-17, not 0
    "a third of a million": np.full(77, 1e6 / 3),
    "nothing": np.zeros(50),
    "one row": np.array([0.3]),
    "small but real": 1e-9 * np.arange(40.0),
    "far from 0": 1e9 + np.arange(30.0),
    "usual": np.random.default_rng(0).normal(3, 2, 200),
}


@pytest.mark.parametrize("name", COLUMNS)
def test_a_column_is_constant_where_scikit_learn_finds_it_so(name):
    column = COLUMNS[name][:, None]
    expected = StandardScaler().fit(column).scale_
    np.testing.assert_allclose(deviations(column), expected, rtol=1e-12)


def test_a_new_value_in_a_constant_column_stays_small():
    """It became 7e12 where the deviation of 100 rows of 0.1 was taken as it came out."""
    encoder = ColumnEncoder.of(np.full((100, 1), 0.1))
    assert abs(encoder.encode([[0.2]])[0, 0]) < 0.11


def test_a_gap_is_the_mean_of_the_column():
    values = np.array([[1.0, np.nan], [3.0, np.nan], [np.nan, np.nan]])
    encoder = ColumnEncoder.of(values)
    assert encoder.mean == (2.0, 0.0)
    assert encoder.encode(values).tolist() == [[-1.0, 0.0], [1.0, 0.0], [0.0, 0.0]]
    assert encoder.encode([[2.0, 5.0]]).tolist() == [[0.0, 5.0]]


def test_texts_encoded_piece_by_piece_are_those_encoded_at_once(monkeypatch):
    texts = [f"text {number} of some" for number in range(7)]
    at_once = NgramEncoder(1, 3, 32).encode(iter(texts))
    monkeypatch.setattr("ftkit.data.encoders.AT_ONCE", 3)
    np.testing.assert_array_equal(NgramEncoder(1, 3, 32).encode(iter(texts)), at_once)
    assert NgramEncoder(1, 3, 32).encode([]).shape == (0, 32)
