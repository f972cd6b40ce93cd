"""Figures from predictions.parquet are those of the run; the verdict says what tests support."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sacrebleu.metrics import BLEU
from sklearn.metrics import f1_score, r2_score
from test_compare import make

from ftkit import RunError
from ftkit.compare.evidence import evidence, measured, paired
from ftkit.compare.runs import Run
from ftkit.compare.summary import summarize
from ftkit.compare.tables import rung_line
from ftkit.report import write
from ftkit.result import Measured

NUMBERS = np.random.default_rng(0).normal(size=(2, 60)).cumsum(axis=0)


def a_run(folder, label, table, seed=0, task="image-classification", figure="accuracy", **changes):
    """A run folder with these columns of predictions, whose run.json has the right figure."""
    place = folder / f"{label}-{seed}"
    place.mkdir()
    names = {"label_names": json.dumps(["no", "yes"])}
    pq.write_table(pa.table(table).replace_schema_metadata(names), place / "predictions.parquet")
    right = np.mean([a == b for a, b in zip(table["label"], table["prediction"], strict=True)])
    values = {
        "seed": seed,
        "n": len(table["label"]),
        "task": {"kind": task},
        "metrics": {figure: Measured(value=right, low=right - 0.1, high=right + 0.1, method="x")},
    }
    result = make("some-data", label, (0, 0, 0), **(values | changes))
    result.write(place)
    return Run(label, place, result)


def of_classes(right, start=0):
    """Predictions of which these are right."""
    return {
        "index": np.arange(start, start + len(right)),
        "label": ["yes"] * len(right),
        "prediction": ["yes" if one else "no" for one in right],
        "probability": [[0.2, 0.8] if one else [0.7, 0.3] for one in right],
    }


TEXTS = (["the cat sat on the mat today", "dogs run far"], ["the cat sat on a mat", "dogs run"])
CASES = {
    "image-classification": ("abba", "abab", 0.5),
    "tabular-regression": (*NUMBERS, r2_score(*NUMBERS)),
    "text-regression": (*NUMBERS, r2_score(*NUMBERS)),
    "text-tagging": (
        [["a"], ["a", "b"], []],
        [["a", "b"], ["b"], []],
        f1_score([[1, 0], [1, 1], [0, 0]], [[1, 1], [0, 1], [0, 0]], average="micro"),
    ),
    "token-classification": (
        [["B-PER", "I-PER", "O"], ["O", "B-LOC"]],
        [["B-PER", "I-PER", "O"], ["B-LOC", None]],
        2 / 3,  # one name of one right, another found where there is none, one unseen
    ),
    "translation": (TEXTS[1], TEXTS[0], BLEU().corpus_score(TEXTS[0], [TEXTS[1]]).score),
}


@pytest.mark.parametrize("kind", CASES)
def test_a_figure_of_all_examples_once_is_the_figure(kind, tmp_path):
    label, prediction, value = CASES[kind]
    table = {
        "index": np.arange(len(label)),
        "label": list(label),
        "prediction": list(prediction),
    }
    found = evidence([a_run(tmp_path, "full", table, task=kind)])
    statistic = found.of(found.index)
    once = np.ones((1, len(label)))
    assert statistic(once)[0] == pytest.approx(value)
    assert statistic(3 * once)[0] == pytest.approx(value)


def test_perplexity_is_that_of_all_tokens(tmp_path):
    table = {"index": [0, 1], "loss": [1.0, 2.0], "tokens": [30, 10]}
    table |= {"label": ["", ""], "prediction": ["", ""]}
    found = evidence([a_run(tmp_path, "full", table, task="text-generation")])
    assert found.of(found.index)(np.ones((1, 2)))[0] == pytest.approx(np.exp(1.25))


def test_examples_are_paired_by_their_index_and_not_by_their_place(tmp_path):
    right = np.array([True] * 6 + [False] * 4)
    table = of_classes(right)
    first = a_run(tmp_path, "first", table)
    turned = {name: list(values)[::-1] for name, values in table.items()}
    second = a_run(tmp_path, "second", turned)
    found = paired(evidence([first]), evidence([second]))
    assert (found.difference, found.p, found.n) == (0, 1, 10)
    assert "0 examples tell" in found.method
    other = a_run(tmp_path, "other", of_classes(right, start=100))
    with pytest.raises(RunError, match="share no test example"):
        paired(evidence([first]), evidence([other]))


def test_one_seed_is_as_in_run_json_and_several_are_their_mean(tmp_path):
    random = np.random.default_rng(0)
    runs = [
        a_run(tmp_path, "full", of_classes(random.random(300) < 0.8), seed=seed)
        for seed in range(3)
    ]
    found = evidence(runs)
    assert measured(runs[:1], found) == runs[0].score
    mean = measured(runs, found)
    assert mean.value == pytest.approx(np.mean([run.score.value for run in runs]))
    # three independent answers to each of 300 examples: a third of the variance of one
    assert mean.high - mean.low == pytest.approx(2 * 1.96 * np.sqrt(0.16 / 900), rel=0.2)


def rung(folder, label, right, **changes):
    return a_run(folder, label, of_classes(right), **changes)


def test_the_verdict_names_what_cannot_be_told_apart_and_the_cheapest_of_it(tmp_path):
    right = np.arange(360) < 340
    alike = right.copy()
    alike[:3], alike[-2:] = False, True
    worse = np.arange(360) < 250
    runs = [
        rung(tmp_path, "head", worse, parameters_trained=1_000),
        rung(tmp_path, "lora", alike, parameters_trained=200_000),
        rung(tmp_path, "full", right, parameters_trained=4_000_000),
    ]
    found = summarize(runs)
    assert found.verdict == (
        "lora and full cannot be told apart at n = 360; lora trains 5 % of the parameters in 122 s."
    )
    assert (found.best, found.baseline, found.n) == ("full", "head", 360)
    assert found.row("head").to_best.p < 1e-6
    assert found.row("full").over_baseline.difference == pytest.approx(90 / 360)
    assert found.row("full").to_best is None
    assert found.row("lora").front_of_trained
    assert found.row("head").front_of_trained


def test_the_verdict_names_the_best_where_it_is(tmp_path):
    good, bad = np.arange(360) < 350, np.arange(360) < 300
    runs = [
        rung(tmp_path, "mlp", bad),
        rung(tmp_path, "head", np.roll(bad, 3)),
        rung(tmp_path, "full", good),
    ]
    verdict = summarize(runs).verdict
    assert verdict.startswith("full is better than all others at n = 360, than ")
    assert "by 0.139 (p < 0.001)" in verdict
    assert verdict.endswith("head could not be shown to beat mlp.")


def test_the_verdict_says_what_is_worse_than_the_baseline_and_what_is_not_shown_to_be_better(
    tmp_path,
):
    share = {"mlp": 300, "head": 250, "full": 350}
    runs = [rung(tmp_path, label, np.arange(360) < right) for label, right in share.items()]
    alike = np.arange(360) < 305
    alike[:12], alike[-8:] = False, True
    runs.append(rung(tmp_path, "lpft", alike))
    verdict = summarize(runs).verdict
    assert verdict.endswith("; head is worse than mlp; lpft could not be shown to beat mlp."), (
        verdict
    )


def test_where_the_baseline_is_the_best_that_is_all(tmp_path):
    share = {"mlp": 350, "head": 250, "full": 200}
    runs = [rung(tmp_path, label, np.arange(360) < right) for label, right in share.items()]
    found = summarize(runs)
    assert found.verdict == (
        "mlp is better than all others at n = 360, than head by 0.278 (p < 0.001)."
    )
    page = write(found, tmp_path / "out")[0].read_text()
    assert "mlp less head" in page
    assert "head less mlp" not in page  # the same test


def test_a_difference_of_means_whose_seeds_overlap_is_said_to(tmp_path):
    def of(label, counts):
        return [
            rung(tmp_path, label, np.arange(900) < right, seed=seed)
            for seed, right in enumerate(counts)
        ]

    found = summarize([*of("head", (700, 820)), *of("full", (810, 830))])
    assert "full is better than head at n = 900, by 0.067" in found.verdict
    assert "(p < 0.001), though their ranges over seeds overlap" in found.verdict
    apart = summarize([*of("lpft", (700, 705)), *of("lora", (810, 830))])
    assert "overlap" not in apart.verdict


def test_strategies_are_tested_on_the_seeds_that_both_have(tmp_path):
    random = np.random.default_rng(1)
    runs = [rung(tmp_path, "head", random.random(90) < 0.7, seed=seed) for seed in (0, 1)]
    runs.append(rung(tmp_path, "full", random.random(90) < 0.9, seed=0))
    found = summarize(runs)
    assert "McNemar" in found.row("head").to_best.method
    assert found.row("head").spread is not None
    assert found.row("full").spread is None


def test_where_the_majority_is_as_good_as_the_rest_it_trains_nothing(tmp_path):
    right = np.arange(90) < 60
    none = {"parameters_trained": 0, "parameters_total": 0}
    runs = [rung(tmp_path, "majority", right, **none), rung(tmp_path, "full", right[::-1])]
    found = summarize(runs)
    assert found.verdict.startswith("full and majority cannot be told apart at n = 90; majority ")
    assert found.verdict.endswith("; majority trains nothing.")
    assert "majority" in (write(found, tmp_path / "out")[0]).read_text()


def test_test_rows_that_are_others_for_each_seed_are_counted_once(tmp_path):
    runs = [
        a_run(tmp_path, label, of_classes(np.arange(30) < right, 10 * seed), seed=seed)
        for label, right in (("head", 15), ("full", 29))
        for seed in range(3)
    ]
    found = summarize(runs)
    assert found.n == 50
    assert found.notes == (
        "Test rows are drawn anew for each seed: 30 each, 50 different ones in all.",
    )
    assert summarize(runs[::3]).notes == ()


def test_runs_without_a_test_row_in_common_have_no_test(tmp_path):
    runs = [
        rung(tmp_path, "head", np.ones(9, bool)),
        a_run(tmp_path, "full", of_classes(np.zeros(9, bool), start=9)),
    ]
    found = summarize(runs)
    assert found.row("full").to_best is None
    assert found.verdict == (
        "head has the best figure at n = 9, but no paired test could be made against full."
    )


def test_a_line_says_what_a_rung_bought_over_the_one_before_it(tmp_path):
    runs = [rung(tmp_path, "mlp", np.arange(10) < 5)]
    assert "over" not in rung_line(runs)
    runs.append(rung(tmp_path, "head", np.arange(10) < 8))
    assert rung_line(runs).endswith("; +0.300 over mlp for +0 s")
    assert "over" not in rung_line([*runs, rung(tmp_path, "mlp", np.arange(10) < 5, seed=1)])


def test_runs_of_different_data_are_not_compared(tmp_path):
    runs = [
        rung(tmp_path, "head", np.ones(9, bool)),
        rung(tmp_path, "full", np.ones(9, bool), dataset="others"),
    ]
    with pytest.raises(RunError, match="cannot be compared"):
        summarize(runs)
