"""Figures from predictions.parquet are those of the run; the verdict says what tests support."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sacrebleu.metrics import BLEU
from scipy.stats import pearsonr
from sklearn.metrics import f1_score, r2_score
from test_compare import make

from ftkit import RunError
from ftkit.compare.finished_runs import Run
from ftkit.compare.intervals import measured
from ftkit.compare.row_statistics import bleu_of, read_row_statistics, shared_rows, sums_by_unit
from ftkit.compare.summary import summarize
from ftkit.compare.tables import rung_line
from ftkit.runs.result import Measured
from ftkit.tasks.metrics.translation import Overlap

NUMBERS = np.random.default_rng(0).normal(size=(2, 60)).cumsum(axis=0)


def a_run(
    folder,
    label,
    table,
    seed=0,
    task="image-classification",
    figure="accuracy",
    names=None,
    **changes,
):
    """A run folder with these columns of predictions, whose run.json has the right figure."""
    place = folder / f"{label}-{seed}"
    place.mkdir()
    usual = ("O", "B-PER", "I-PER", "B-LOC") if task == "token-classification" else ("no", "yes")
    names = {"label_names": json.dumps(names or usual)}
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


def total(found):
    """What a single run's figure is made of, summed over its rows."""
    return sums_by_unit({"": found}, shared_rows({"": found}))[0, 0].sum(0)


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
        2 / 4,  # one name of two is right, the unseen one missed, another told where there is none
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
    found = read_row_statistics([a_run(tmp_path, "full", table, task=kind)])
    sums = total(found)
    assert found.figure(sums) == pytest.approx(value)
    assert found.figure(np.stack([sums, 3 * sums])) == pytest.approx([value, value])


def test_whether_tags_say_where_a_name_begins_is_known_from_all_classes(tmp_path):
    """PER does not say so, though in these rows it does not occur."""
    table = {
        "index": [0],
        "label": [["B-PER", "I-PER", "O"]],
        "prediction": [["B-PER", "I-PER", "O"]],
    }
    of = {"task": "token-classification"}
    within = read_row_statistics(
        [a_run(tmp_path, "lora", table, names=("O", "B-PER", "I-PER"), **of)]
    )
    alone = read_row_statistics(
        [a_run(tmp_path, "full", table, names=("O", "B-PER", "I-PER", "PER"), **of)]
    )
    assert within.seeds[0].parts.tolist() == [[2, 2]]  # one name of two words
    assert alone.seeds[0].parts.tolist() == [[4, 4]]  # each word is a name


def test_runs_of_earlier_versions_that_show_a_correlation_first_are_compared_by_it(tmp_path):
    label, prediction = NUMBERS
    table = {"index": np.arange(len(label)), "label": list(label), "prediction": list(prediction)}
    run = a_run(tmp_path, "full", table, task="text-regression", figure="pearson")
    found = read_row_statistics([run])
    assert found.figure(total(found)) == pytest.approx(pearsonr(label, prediction)[0])


def test_perplexity_is_that_of_all_tokens(tmp_path):
    table = {"index": [0, 1], "loss": [1.0, 2.0], "tokens": [30, 10]}
    table |= {"label": ["", ""], "prediction": ["", ""]}
    found = read_row_statistics([a_run(tmp_path, "full", table, task="text-generation")])
    assert found.figure(found.seeds[0].parts.sum(0)) == pytest.approx(np.exp(1.25))


def test_bleu_of_many_sums_is_sacrebleus_of_each():
    overlap = Overlap()
    counts = overlap.bleu_counts(list(TEXTS[0]), list(TEXTS[1]))
    sums = np.stack([counts.sum(0), counts[0], counts[1], 2 * counts.sum(0)])[None]
    expected = [overlap.bleu_of(row) for row in sums[0].astype(int)]
    assert bleu_of(overlap, sums)[0] == pytest.approx(expected)
    assert (counts[1][2:6] == 0).any()  # which sacrebleu smooths


def test_examples_are_paired_by_their_index_and_not_by_their_place(tmp_path):
    right = np.array([True] * 6 + [False] * 4)
    table = of_classes(right)
    turned = {name: list(values)[::-1] for name, values in table.items()}
    runs = [a_run(tmp_path, "first", table), a_run(tmp_path, "second", turned)]
    test = summarize(runs).row("second").over_baseline
    assert (test.difference, test.p, test.n) == (0, 1, 10)
    assert "0 rows tell" in test.method


def test_strategies_meet_in_the_seeds_and_rows_that_all_have(tmp_path):
    def of(label, seed, start):
        return a_run(tmp_path, label, of_classes(np.ones(4, bool), start), seed=seed)

    found = {
        "head": read_row_statistics([of("head", 0, 0), of("head", 1, 10)]),
        "lora": read_row_statistics([of("lora", 0, 2), of("lora", 1, 20)]),
        "full": read_row_statistics([of("full", 0, 1), of("full", 1, 10), of("full", 2, 0)]),
        "far": read_row_statistics([of("far", 7, 0)]),
    }
    cells = shared_rows(found)
    assert cells.labels == ("head", "lora", "full")
    assert {seed: rows.tolist() for seed, rows in cells.rows.items()} == {0: [2, 3]}
    assert sums_by_unit(found, cells).tolist() == [[[[1, 1]] * 2]] * 3


def test_rows_of_one_group_count_together(tmp_path):
    table = of_classes(np.array([1, 1, 0, 1], bool))
    found = {
        "full": read_row_statistics([a_run(tmp_path, "full", {**table, "group": [5, 9, 5, 5]})])
    }
    assert sums_by_unit(found, shared_rows(found)).tolist() == [[[[2, 3], [1, 1]]]]


def test_one_seed_is_as_in_run_json_and_several_are_their_mean(tmp_path):
    random = np.random.default_rng(0)
    runs = [
        a_run(tmp_path, "full", of_classes(random.random(300) < 0.8), seed=seed)
        for seed in range(3)
    ]
    found = read_row_statistics(runs)
    assert measured(runs[:1], found) == runs[0].score
    mean = measured(runs, found)
    assert mean.value == pytest.approx(np.mean([run.score.value for run in runs]))
    # three independent answers to each of 300 examples: a third of the variance of one
    assert mean.high - mean.low == pytest.approx(2 * 1.96 * np.sqrt(0.16 / 900), rel=0.2)


def rung(folder, label, right, **changes):
    return a_run(folder, label, of_classes(right), **changes)


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


def numbers_run(folder, label, labels, predictions, **changes):
    """A run that told these numbers."""
    table = {"index": np.arange(len(labels)), "label": labels, "prediction": predictions}
    return a_run(folder, label, table, task="tabular-regression", figure="r2", **changes)


def test_r_squared_of_timestamps_is_that_of_scikit_learn(tmp_path):
    random = np.random.default_rng(0)
    labels = random.normal(size=50) + 1.7e9
    head, full = (labels + random.normal(0, width, 50) for width in (0.5, 0.3))
    runs = [
        numbers_run(tmp_path, "head", labels[:45], head[:45]),
        numbers_run(tmp_path, "full", labels, full),  # five rows more
    ]
    values = [row.shared for row in summarize(runs).rows]
    wanted = [r2_score(labels[:45] - 1.7e9, told[:45] - 1.7e9) for told in (head, full)]
    assert values == pytest.approx(wanted, rel=1e-5)
    assert summarize(runs).best == "full"


@pytest.mark.parametrize("told", [[3.0, 3.0, 3.0], [3.0, 3.0, 4.0]], ids=["exact", "off"])
def test_r_squared_of_equal_labels_is_that_of_scikit_learn(told, tmp_path):
    found = read_row_statistics([numbers_run(tmp_path, "full", [3.0] * 3, told)])
    assert found.figure(total(found)) == r2_score([3.0] * 3, told)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("labels", [[3.0], [3.0, 5.0], [3.0] * 5 + [4.0], [3.0] * 5])
def test_two_seeds_of_few_rows_have_an_interval(labels, tmp_path):
    told = [label + 0.5 * place for place, label in enumerate(labels)]
    runs = [numbers_run(tmp_path, "full", labels, told, seed=seed) for seed in range(2)]
    figure = measured(runs, read_row_statistics(runs))
    assert np.isfinite([figure.low, figure.high]).all()
    assert figure.low <= figure.value <= figure.high
