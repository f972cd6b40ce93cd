"""The axes of a report's charts have round values, written shortly, in their places."""

import pytest

from ftkit.compare.report.drawing import LEFT, RIGHT, WIDTH, Linear, Log, axes, short


@pytest.mark.parametrize(
    ("low", "high", "written"),
    [
        (1, 80, ["1", "2", "5", "10", "20", "50"]),
        (100, 5e9, ["100", "1k", "10k", "100k", "1M", "10M", "100M", "1G"]),
        (2e9, 6e9, ["2G", "5G"]),
        (0.02, 0.3, ["0.02", "0.05", "0.1", "0.2"]),
    ],
)
def test_ticks_of_a_logarithmic_axis(low, high, written):
    assert [text for _, text in Log(low, high, 0, 100).ticks()] == written


def test_equal_factors_are_equally_far_apart():
    axis = Log(1, 10_000, 0, 400)
    assert [axis(value) for value in (1, 10, 100, 1000, 10_000)] == pytest.approx(
        [0, 100, 200, 300, 400]
    )


@pytest.mark.parametrize(
    ("low", "high", "written"),
    [(0, 1, ["0", "0.2", "0.4", "0.6", "0.8", "1"]), (3, 47, ["10", "20", "30", "40"])],
)
def test_ticks_of_a_linear_axis(low, high, written):
    axis = Linear(low, high, 0, 100)
    assert [text for _, text in axis.ticks()] == written
    assert [axis(value) for value in (low - 1, low, high, high + 1)] == [0, 0, 100, 100]


def test_the_name_of_an_axis_stands_in_its_middle():
    drawn = "".join(axes(Linear(0, 1, LEFT, WIDTH - RIGHT), Linear(0, 1, 0, 1), "rows", "", None))
    assert f'<text x="{LEFT + (WIDTH - RIGHT - LEFT) / 2}" y="332.0"' in drawn
    assert ">rows</text>" in drawn


def test_a_long_name_is_cut_after_17_characters():
    assert short("a" * 18) == "a" * 18
    assert short("a" * 19) == "a" * 17 + "…"
