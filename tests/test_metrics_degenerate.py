"""Any rows can be measured: each figure of each task has finite ends within its own scale."""

import itertools
import math

import numpy as np
import pytest
from scipy.stats import chi2

from ftkit import (
    LanguageModelling,
    TabularClassification,
    TextRegression,
    TextTagging,
    TokenClassification,
    Translation,
)
from ftkit.tasks import task_of
from ftkit.tasks.metrics.language import TextScores
from ftkit.tasks.metrics.numbers import measure_numbers
from ftkit.tasks.metrics.translation import Translated
from ftkit.tasks.metrics.words import Tagged

BOUNDS = {"rmse": (0, math.inf), "mae": (0, math.inf), "r2": (-math.inf, 1)}
BOUNDS |= dict.fromkeys(("matthews", "pearson", "spearman"), (-1, 1))
BOUNDS |= {"perplexity": (1, math.inf), "bleu": (0, 100), "chrf": (0, 100)}
SIZES = (1, 2, 3, 5, 12)
GROUPS = {
    "none": lambda N: None,
    "one group": lambda N: np.zeros(N, int),
    "pairs": lambda N: np.arange(N) // 2,
}


def classes(N, kind):
    labels = np.arange(N) % 2
    if kind in ("one class", "one class, one wrong"):
        labels = np.zeros(N, int)
    if kind == "a class a row":
        labels = np.arange(N)
    told = labels.copy()
    if kind == "one told":
        told[:] = 0
    if kind == "all wrong":
        told += 1
    if "one wrong" in kind:
        told[0] += 1
    logits = np.zeros((N, N + 2)) if kind == "scores alike" else np.eye(N + 2)[told]
    return TabularClassification(), labels, logits


def tags(N, kind):
    labels = np.tile([1.0, 0.0, 1.0], (N, 1))
    if kind in ("no tag", "none told"):
        labels = np.zeros((N, 3)) if kind == "no tag" else labels
        return TextTagging(), labels, np.full((N, 3), -1.0)
    logits = 2 * labels - 1
    if kind == "all wrong":
        logits = -logits
    if kind == "one wrong":
        logits[0] *= -1
    return TextTagging(), labels, logits


def numbers(N, kind):
    base = 1.7e9 if "timestamps" in kind else 0.0
    labels = np.random.default_rng(N).normal(size=N)
    if "constant labels" in kind:
        labels = np.full(N, 0.1)
    labels = labels + base
    told = labels + np.random.default_rng(1).normal(0, 0.3, N)
    if "exact" in kind:
        told = labels.copy()
    if "one wrong" in kind:
        told = labels + 2 * (np.arange(N) == 0)
    if "constant told" in kind:
        told = np.full(N, 0.1) + base
    if "linear" in kind:
        told = 3.3 * labels + 1
    if "off alike" in kind:
        told = labels + 2
    return TextRegression(), labels, told[:, None]


def texts(N, kind):
    random = np.random.default_rng(N)
    tokens = random.integers(1, 60, N).astype(float)
    nats = tokens * random.gamma(4, 0.6, N)
    if kind == "alike":
        nats, tokens = np.full(N, 20.0), np.full(N, 10.0)
    if kind == "one very unlikely":
        nats[0] *= 40
    if kind == "told exactly":
        nats = np.zeros(N)
    return LanguageModelling(), np.zeros(N), TextScores(nats, tokens, tokens // 2, (None,) * N)


def translations(N, kind):
    references = np.array([f"the cat number {n} sat on the mat today" for n in range(N)], object)
    told = {"exact": references, "nothing": [""] * N, "alike": ["the cat sat"] * N}.get(
        kind, ["no word in common"] * N
    )
    nats = np.full(N, 30.0) + np.arange(N) ** 2
    return (
        Translation(source="a", target="b"),
        references,
        Translated(nats, np.full(N, 9), tuple(told)),
    )


def words(N, kind):
    names = ("O", "B-x", "I-x")
    labels = np.empty(N, object)
    labels[:] = [[0, 0, 0] if kind == "no name" else [1, 2, 0]] * N
    logits = [np.eye(3, dtype=np.float32)[row] for row in labels]
    if kind == "all wrong":
        logits = [-row for row in logits]
    if kind == "unseen":
        logits = [np.full((3, 3), np.nan, np.float32)] * N
    if kind == "one wrong":
        logits[0] = -logits[0]
    return TokenClassification(), labels, Tagged(names, logits)


KINDS = {
    classes: (
        *("all right", "one class", "one class, one wrong", "a class a row"),
        *("one told", "all wrong", "one wrong", "scores alike"),
    ),
    tags: ("all right", "no tag", "none told", "all wrong", "one wrong"),
    numbers: tuple(
        f"{labels}{told}"
        for labels in ("", "constant labels ", "timestamps ", "constant labels timestamps ")
        for told in ("near", "exact", "one wrong", "constant told", "linear", "off alike")
    ),
    texts: ("plain", "alike", "one very unlikely", "told exactly"),
    translations: ("exact", "nothing", "alike", "all wrong"),
    words: ("all right", "no name", "all wrong", "unseen", "one wrong"),
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(("make", "kind"), [(m, k) for m, kinds in KINDS.items() for k in kinds])
def test_any_rows_have_finite_intervals_on_the_figures_scale(make, kind):
    for N, (name, groups_of) in itertools.product(SIZES, GROUPS.items()):
        if make is translations and (N > 3 or name == "pairs"):
            continue  # 2,000 resamples by sacrebleu take their time
        task, labels, outputs = make(N, kind)
        assert all(map(math.isfinite, task_of(task).score(labels, outputs).values())), (N, name)
        for figure, found in task_of(task).measure(labels, outputs, groups=groups_of(N)).items():
            about = (figure, N, name, found)
            least, most = BOUNDS.get(figure, (0, 1))
            assert least <= found.low <= found.value <= found.high <= most, about
            assert np.isfinite([found.low, found.high]).all(), about
            assert found.low < found.high, about
            if found.method.startswith("none"):
                assert (found.low, found.high) in ((0, 1), (-1, 1)), about
            if figure in ("rmse", "mae") and found.value:
                assert found.high < 40 * found.value, about  # a single normal error's is 32
            if figure == "perplexity":
                assert found.high <= max(2**18, found.value) * (1 + 1e-12), about


def test_a_few_normal_errors_have_the_exact_interval():
    """The sum of N squared standard normal numbers has a chi-squared distribution."""
    errors = np.array([1.0, -2.0, 0.5])
    found = measure_numbers(np.array([0.0, 5.0, 9.0]), np.array([0.0, 5.0, 9.0]) + errors)["rmse"]
    total = float((errors**2).sum())
    wanted = np.sqrt(total / chi2.ppf(0.975, 3)), np.sqrt(total / chi2.ppf(0.025, 3))
    assert (found.low, found.high) == pytest.approx(wanted)


def test_intervals_of_a_few_normal_numbers_cover_the_truth():
    random, times = np.random.default_rng(0), 150
    covered = dict.fromkeys(("r2", "rmse", "mae", "pearson", "spearman"), 0)
    truth = {"r2": 0.75, "rmse": 0.5, "mae": 0.5 * np.sqrt(2 / np.pi), "pearson": np.sqrt(0.8)}
    truth["spearman"] = 6 / np.pi * np.arcsin(truth["pearson"] / 2)  # Pearson 1907
    for _ in range(times):
        labels = random.normal(size=7)
        found = measure_numbers(labels, labels + random.normal(0, 0.5, 7))
        for name in covered:
            covered[name] += found[name].low <= truth[name] <= found[name].high
    shares = {name: count / times for name, count in covered.items()}
    assert all(share >= 0.9 for share in shares.values()), shares


def test_labels_of_any_origin_have_the_same_intervals():
    random = np.random.default_rng(0)
    labels = random.integers(-8, 8, 40) / 4
    told = labels + random.integers(-2, 3, 40) / 4
    plain, far = measure_numbers(labels, told), measure_numbers(labels + 1.7e9, told + 1.7e9)
    for name, found in plain.items():
        wanted = found.value, found.low, found.high
        assert (far[name].value, far[name].low, far[name].high) == pytest.approx(wanted, rel=1e-6)


@pytest.mark.parametrize("slope", [2, 3.3, 0.1])
def test_a_perfect_correlation_is_one_whatever_the_rounding(slope):
    labels = np.random.default_rng(0).normal(size=30)
    found = measure_numbers(labels, slope * labels + 1)["pearson"]
    assert found.value == found.high == 1
    assert 0.9 < found.low < 1
