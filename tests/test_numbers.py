"""Numbers as people read them."""

import numpy as np
import pytest

from ftkit.machine.numbers import fixed, plain, size, span


@pytest.mark.parametrize(
    ("value", "digits", "said"),
    [
        (1760.4, 3, "1,760"),
        (999.7, 3, "1,000"),
        (429.4, 3, "429"),
        (0.01234, 3, "0.0123"),
        (1e-5, 3, "1e-05"),
        (-1_234_567.0, 4, "-1,234,567"),
        (1.5e20, 3, "1.5e+20"),
        (-0.0, 3, "0"),
        (np.float32(3000), 2, "3,000"),
        (float("inf"), 3, "inf"),
    ],
)
def test_large_numbers_are_written_without_an_exponent(value, digits, said):
    assert plain(value, digits) == said


@pytest.mark.parametrize(
    ("value", "said"), [(-0.0001, "+0.000"), (0.0, "+0.000"), (-0.0006, "-0.001"), (0.25, "+0.250")]
)
def test_what_rounds_to_zero_is_not_negative(value, said):
    assert fixed(value, sign="+") == said
    assert fixed(np.float64(value), sign="+") == said


@pytest.mark.parametrize(
    ("count", "said"),
    [(960, "960 B"), (41_000, "41 kB"), (999_900, "1,000 kB"), (13_600_000, "13.6 MB"), (0, "0 B")],
)
def test_small_sizes_have_a_small_unit(count, said):
    assert size(count) == said


def test_two_equal_ends_are_one_number():
    assert (span("29", "29"), span("28", "29")) == ("29", "28 to 29")
