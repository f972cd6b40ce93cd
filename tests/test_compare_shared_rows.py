"""Strategies that share no test rows, or not all: the best is never a worse one."""

import numpy as np
import pytest
from test_compare_evidence import a_run, of_classes
from test_compare_verdict import of_tokens

from ftkit.compare.report import write
from ftkit.compare.row_statistics import read_row_statistics, shared_rows
from ftkit.compare.summary import summarize
from ftkit.compare.tables import headings


def of(folder, label, right, n=200, seed=0, start=0):
    """A run that has so many of n rows right."""
    return a_run(folder, label, of_classes(np.arange(n) < right, start), seed=seed)


def test_of_other_seeds_the_best_is_that_of_the_table(tmp_path):
    runs = [of(tmp_path, "head", 100, seed=0), of(tmp_path, "full", 180, seed=1)]
    found = summarize(runs)
    assert found.best == "full"
    assert found.verdict == (
        "full has the best accuracy in the table, but no paired test could be made against head."
    )
    assert found.row("full").front_of_seconds
    assert not found.row("head").front_of_seconds


def test_as_many_as_possible_are_tested_together_whichever_is_listed_first(tmp_path):
    runs = [
        of(tmp_path, "head", 10, n=20, start=1000),
        of(tmp_path, "lora", 120),
        of(tmp_path, "full", 190),
    ]
    cells = shared_rows({run.label: read_row_statistics([run]) for run in runs})
    assert (cells.labels, len(cells.all_rows)) == (("lora", "full"), 200)
    found = summarize(runs)
    assert found.best == "full"
    assert found.verdict == (
        "full is better than lora at n = 200, by 0.350 (p < 0.001). No paired test could be made "
        "against head."
    )


def test_of_sets_of_equally_many_the_one_with_the_most_rows_is_tested(tmp_path):
    """One and two share 5 rows, two and three 15, one and three none."""
    spans = {"one": (0, 15), "two": (10, 30), "three": (15, 40)}
    found = {
        label: read_row_statistics([of(tmp_path, label, 9, n=end - start, start=start)])
        for label, (start, end) in spans.items()
    }
    cells = shared_rows(found)
    assert cells.labels == ("two", "three")
    assert cells.rows[0].tolist() == list(range(15, 30))


def test_one_without_predictions_is_the_best_where_the_table_says_so(tmp_path):
    right = {"head": 100, "lora": 120, "full": 198}
    runs = [of(tmp_path, label, count) for label, count in right.items()]
    (tmp_path / "full-0" / "predictions.parquet").unlink()
    found = summarize(runs)
    assert found.best == "full"
    assert found.verdict == (
        "full has the best accuracy in the table, but no paired test could be made of it. "
        "Without it: lora is better than head at n = 200, by 0.100 (p < 0.001)."
    )
    assert found.row("lora").over_baseline.difference == pytest.approx(0.1)


def test_one_without_predictions_that_is_no_better_is_named_as_untested(tmp_path):
    right = {"head": 100, "lora": 190, "full": 120}
    runs = [of(tmp_path, label, count) for label, count in right.items()]
    (tmp_path / "head-0" / "predictions.parquet").unlink()
    found = summarize(runs)
    assert found.best == "lora"
    assert found.verdict == (
        "lora is better than full at n = 200, by 0.350 (p < 0.001). No paired test could be made "
        "against head."
    )


def test_perplexities_whose_tokens_are_not_all_known_are_not_ranked(tmp_path):
    nats, tokens = np.linspace(1, 2, 40), np.arange(5, 45)
    runs = [
        a_run(
            tmp_path,
            label,
            of_tokens(nats * scale, tokens),
            task="text-generation",
            figure="perplexity",
        )
        for label, scale in (("head", 1.0), ("lora", 0.9), ("full", 0.8))
    ]
    assert summarize(runs).best == "full"
    (runs[1].folder / "predictions.parquet").unlink()
    found = summarize(runs)
    assert (found.best, found.baseline) == (None, None)
    assert found.verdict.startswith("These perplexities cannot be ranked: the texts of lora are ")
    assert not any(row.front_of_seconds for row in found.rows)
    assert headings(found)[:3] == ("perplexity", "seeds", "trained")
    for file in write(found, tmp_path / "out"):
        assert "None" not in file.read_text()


def test_the_report_of_perplexities_without_a_rank_names_no_best(tmp_path):
    nats, tokens = np.linspace(1, 2, 40), np.arange(5, 45)
    runs = [
        a_run(
            tmp_path,
            label,
            of_tokens(nats, tokens + more),
            task="text-generation",
            figure="perplexity",
        )
        for label, more in (("head", 0), ("full", 1))
    ]
    for file in write(summarize(runs), tmp_path / "out"):
        text = file.read_text()
        assert "Test texts with the highest perplexity of head." in text
        assert "the best" not in text
