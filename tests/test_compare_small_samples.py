"""Few test rows, or all alike: sentences and JSON have no infinite number, and a table is shown."""

import json
import warnings

import numpy as np
import pytest
from test_compare_evidence import a_run

from ftkit.compare.claims import Cost
from ftkit.compare.paired_tests import PairedTests
from ftkit.compare.report import write
from ftkit.compare.statistics import Paired, critical, paired_differences
from ftkit.compare.summary import summarize
from ftkit.compare.tables import with_bounds
from ftkit.compare.verdict import verdict


def strict(text):
    """What a reader of JSON by its standard has; Python's own reads Infinity and NaN too."""

    def refuse(word):
        raise ValueError(word)

    return json.loads(text, parse_constant=refuse)


ROWS = {
    "five labels alike": ([1, 1, 1, 1, 1], [1, 1, 1, 1, 1], [1, 1, 1, 1, 3]),
    "one row": ([1], [1], [3]),
    "two rows": ([1, 2], [1, 2.1], [3, 1]),
    "one label of its own": ([1, 1, 1, 1, 1, 2], [1, 1, 1, 1, 1, 2.1], [3, 1, 1, 1, 1, 1]),
}


@pytest.mark.parametrize("seeds", [1, 2])
@pytest.mark.parametrize("name", ROWS)
def test_numbers_of_few_rows_have_a_table_and_a_report(tmp_path, name, seeds):
    label, *told = ROWS[name]
    runs = [
        a_run(
            tmp_path,
            strategy,
            {
                "index": np.arange(len(label)),
                "label": np.array(label, float),
                "prediction": np.array(each, float) + 0.01 * seed,
            },
            seed=seed,
            task="text-regression",
            figure="r2",
        )
        for strategy, each in zip(("full", "head"), told, strict=True)
        for seed in range(seeds)
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        found = summarize(runs)
    assert not {"inf", "-inf", "nan"} & {*found.verdict.replace(",", " ").split()}
    for row in found.rows:
        assert row.score.low <= row.score.high
    markdown = write(found, tmp_path / "out")[1].read_text()
    assert " inf" not in markdown
    assert "nan" not in markdown
    values = strict((tmp_path / "out" / "comparison.json").read_text())
    assert values["verdict"] == found.verdict


def test_an_interval_without_ends_is_said_to_have_none():
    test = Paired(0.25, -np.inf, np.inf, 0.4, 2, "some")
    tests = PairedTests((0,), 2, 2, {"head": 0.5, "full": 0.75}, {("head", "full"): test})
    costs = [Cost("head", 10, 100, 1.0), Cost("full", 100, 100, 5.0)]
    assert verdict(tests, costs, "full", "head", "r2") == (
        "full has the best r2 at n = 2, 0.750, but cannot be told apart from head; so few rows do "
        "not say how much better it may be. head trains 10 % of the parameters in 1 s, but is not "
        "shown to be within the margin of 0.01."
    )
    assert with_bounds(test) == "+0.250 [-∞, +∞]"


def test_a_row_without_which_a_figure_is_infinite_leaves_the_others_intervals():
    """Without its first row the third strategy's figure is none; the first two have their own."""
    parts = np.ones((3, 1, 12, 2))
    parts[:, 0, :, 0] = np.random.default_rng(0).normal(size=(3, 12))
    parts[2, 0, :, 1] = 0
    parts[2, 0, 0, 1] = 12

    def figure(sums):
        with np.errstate(divide="ignore", invalid="ignore"):
            return sums[..., 0] / sums[..., 1]

    pairs = np.array([[0, 1], [0, 2]])
    moves = np.full((3, 12), np.inf)
    moves[:2] = parts[:2, 0, :, 0]
    assert np.isfinite(critical(moves, pairs))
    first, second = paired_differences(parts, figure, pairs, 12, rate=False)
    assert np.isfinite([first.low, first.high]).all()
    assert (second.low, second.high) == (-np.inf, np.inf)
