"""The words of a verdict say what the tests support, and nothing against the sign."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
from test_compare_evidence import a_run, of_classes, rung

from ftkit.compare.finished_runs import Run
from ftkit.compare.report import write
from ftkit.compare.summary import summarize
from ftkit.runs.result import Seconds

SCRIPT = Path(__file__).resolve().parent.parent / "scripts" / "simulate_comparisons.py"


def test_the_verdict_says_how_much_better_the_best_may_be(tmp_path):
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
    gap = found.row("lora").to_best
    assert gap.difference == pytest.approx(1 / 360)
    assert gap.low < 0 < gap.difference < gap.high
    assert found.verdict == (
        f"full has the best accuracy at n = 360, 0.944, and is better than head, but cannot be "
        f"told apart from lora: it is at most {gap.high:.3f} better than lora (95 %). lora trains "
        f"5 % of the parameters in 122 s, but is not shown to be within the margin of 0.01."
    )
    assert summarize(runs, margin=0.1).verdict.endswith(
        f"lora is good enough: it trains 5 % of the parameters in 122 s, and no other is more than "
        f"{gap.high:.3f} better (95 %), which is below the margin of 0.1."
    )
    assert (found.best, found.baseline, found.n) == ("full", "head", 360)
    assert found.row("head").to_best.p < 0.001
    assert found.row("full").over_baseline.difference == pytest.approx(90 / 360)
    assert found.row("full").to_best is None
    assert found.row("lora").front_of_trained
    assert found.row("head").front_of_trained


def test_strategies_with_one_figure_are_said_to_have_the_same(tmp_path):
    right = np.arange(40) < 36
    runs = [
        rung(tmp_path, "majority", np.arange(40) < 10),
        rung(tmp_path, "knn", right),
        rung(tmp_path, "head", right[::-1]),
    ]
    found = summarize(runs)
    gap = found.row("head").to_best
    assert gap.difference == 0
    assert found.verdict.startswith(
        f"knn and head have the same accuracy at n = 40, 0.900; knn is better than majority. On "
        f"other rows knn may be up to {gap.high:.3f} better than head (95 %)."
    )
    assert "-0.000" not in found.verdict


def test_of_equals_the_others_that_are_alike_are_named_too(tmp_path):
    right = np.arange(40) < 36
    runs = [rung(tmp_path, name, right) for name in ("knn", "head")]
    runs.append(rung(tmp_path, "lora", np.arange(40) < 35))
    assert summarize(runs).verdict.startswith(
        "knn and head have the same accuracy at n = 40, 0.900; knn cannot be told apart from lora. "
        "On other rows knn may be up to "
    )


def alike(folder, costs):
    """The verdict on runs that answer nearly alike, the first the best of them.

    Args:
        costs: of each the parameters that are trained, and the seconds that it takes.
    """
    runs = []
    for place, (label, (trained, seconds)) in enumerate(costs.items()):
        spent = Seconds(data=1, features=0, train=seconds, evaluate=1, total=seconds + 2)
        changes = {"parameters_trained": trained, "seconds": spent}
        runs.append(rung(folder, label, np.arange(360) < 340 - place, **changes))
    return summarize(runs).verdict.partition("(95 %). ")[2]


def test_of_those_that_train_as_much_it_says_which_takes_less_time(tmp_path):
    every = 4_000_000
    costs = {"full": (every, 90), "lpft": (every, 60), "other": (every, 30)}
    assert alike(tmp_path, costs) == (
        "other and lpft take less time, but are not shown to be within the margin of 0.01."
    )


def test_of_two_that_train_as_much_neither_trains_the_least(tmp_path):
    costs = {"full": (4_000_000, 30), "lpft": (4_000_000, 60)}
    assert alike(tmp_path, costs) == "None of these trains less, or as much in less time."


def test_the_one_that_takes_less_time_has_both_times_said(tmp_path):
    costs = {"full": (4_000_000, 60), "lpft": (4_000_000, 30)}
    assert alike(tmp_path, costs) == (
        "lpft takes 30 s, where full takes 60 s, but is not shown to be within the margin of 0.01."
    )


def test_of_those_that_train_less_and_as_much_both_are_said(tmp_path):
    costs = {"full": (4_000_000, 60), "lpft": (4_000_000, 30), "lora": (200_000, 90)}
    assert alike(tmp_path, costs).startswith(
        "lora and lpft train less, or as much in less time, but are not shown"
    )
    (tmp_path / "more").mkdir()
    costs = {"lora": (200_000, 90), "full": (4_000_000, 30)}
    assert alike(tmp_path / "more", costs) == "It also trains the least of these."


def test_of_many_rows_the_cheaper_that_is_as_good_is_recommended(tmp_path):
    right = np.arange(4000) < 3800
    alike = right.copy()
    alike[:4], alike[-2:] = False, True
    runs = [
        rung(tmp_path, "lora", alike, parameters_trained=200_000),
        rung(tmp_path, "full", right, parameters_trained=4_000_000),
    ]
    verdict = summarize(runs).verdict
    assert "lora is good enough: it trains 5 % of the parameters in 122 s" in verdict
    assert verdict.endswith("better (95 %), which is below the margin of 0.01.")


def test_the_best_is_of_the_seeds_that_all_have_and_never_against_the_sign(tmp_path):
    """lora is the better one on the only seed that both have; the mean of its own is the lower."""
    counts = {0: 355, 1: 324, 2: 328}  # .985 .900 .910
    runs = [
        rung(tmp_path, "lora", np.arange(360) < right, seed=seed) for seed, right in counts.items()
    ]
    runs.append(rung(tmp_path, "full", np.arange(360) < 338, seed=0))  # .940
    found = summarize(runs)
    assert found.row("lora").score.value < found.row("full").score.value
    assert found.best == "lora"
    assert found.verdict == (
        "On seed 0, which all have: lora is better than full at n = 360, by 0.047 (p < 0.001)."
    )
    assert found.row("full").to_best.difference == pytest.approx(17 / 360)


def test_no_simulated_verdict_names_the_wrong_side():
    """scripts/simulate_comparisons.py does it 2,000 times."""
    spec = importlib.util.spec_from_file_location("simulate_comparisons", SCRIPT)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    better, worse, wrong = script.unequal_claims(60)
    assert better > 20 < worse + 20
    assert wrong == 0


def test_settings_of_one_strategy_are_chosen_by_validation_rows(tmp_path):
    """The third is the best on test rows; the second on validation rows, which are for choosing."""
    random, runs = np.random.default_rng(0), []
    for number, (share, validation) in enumerate(((0.80, 0.7), (0.81, 0.9), (0.83, 0.8))):
        run = rung(tmp_path, f"trial-{number}", random.random(300) < share)
        lines = [{"validation_accuracy": value} for value in (0.1, validation, 0.2)]
        (run.folder / "log.jsonl").write_text("\n".join(map(json.dumps, lines)))
        result = run.result.model_copy(update={"strategy": {"kind": "lora"}})
        runs.append(Run(run.label, run.folder, result))
    found = summarize(runs)
    assert (found.best, found.baseline) == ("trial-1", None)
    assert found.verdict.startswith("trial-1 has the best validation figure, and accuracy ")
    assert "is named because its validation accuracy, 0.9000, is the best" in found.notes[-1]
    assert "over 2 pairs" in found.row("trial-0").to_best.method  # those of the chosen alone
    kept = {"loss": 0.1, "accuracy": 0.95}  # what run.json says goes before the log
    result = runs[2].result.model_copy(update={"validation": kept})
    assert summarize([*runs[:2], Run("trial-2", runs[2].folder, result)]).best == "trial-2"
    for run in runs[:2]:
        (run.folder / "predictions.parquet").rename(run.folder / "away")
    untested = summarize(runs)
    assert (untested.best, untested.row("trial-1").score.value < 0.83) == ("trial-1", True)
    assert untested.verdict == (
        "trial-1 has the best validation figure, but no paired test could be made against trial-0 "
        "and trial-2."
    )
    for run in runs[:2]:
        (run.folder / "away").rename(run.folder / "predictions.parquet")
    (runs[0].folder / "log.jsonl").unlink()  # then nothing but test rows is left to choose by
    found = summarize(runs)
    assert found.best == max(runs, key=lambda run: run.score.value).label
    assert "was picked for its figure on these test rows" in found.notes[-1]


def of_tokens(nats, tokens):
    N = len(nats)
    blank = {"text": ["a"] * N, "label": [""] * N, "prediction": [""] * N}
    return {"index": np.arange(N), "loss": nats, "tokens": tokens, **blank}


def test_perplexities_of_other_tokens_are_not_ranked(tmp_path):
    random = np.random.default_rng(0)
    nats, tokens = random.uniform(1, 2, 40), random.integers(5, 50, 40)

    def of(label, scale, counts):
        table = of_tokens(nats * scale, counts)
        return a_run(tmp_path, label, table, task="text-generation", figure="perplexity")

    first = of("head", 1, tokens)
    same = summarize([first, of("full", 0.9, tokens)])
    assert same.verdict.startswith("full is better than head at n = 40, by ")
    other = summarize([first, of("lora", 0.5, tokens + 1)])
    assert other.best is None
    assert other.verdict == (
        f"These perplexities cannot be ranked: head and lora part the same texts into "
        f"{tokens.sum():,} and {tokens.sum() + 40:,} tokens; compare models of one tokenizer."
    )
    last = of("lpft", 0.5, tokens)
    task = {**last.result.task, "max_length": 64}
    result = last.result.model_copy(update={"task": task})
    longer = summarize([first, Run("lpft", last.folder, result)])
    assert "they were measured with task.max_length 64 and None" in longer.verdict
    assert "cannot be ranked" in write(longer, tmp_path / "out")[0].read_text()


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
    assert verdict.endswith(" head is worse than mlp. lpft could not be shown to beat mlp.")


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
    assert found.verdict.startswith("On seed 0, which all have: full ")
    assert found.n == 90
    assert found.row("head").spread is not None
    assert found.row("full").spread is None


def test_where_the_majority_is_as_good_as_the_rest_it_trains_nothing(tmp_path):
    right = np.arange(90) < 60
    none = {"parameters_trained": 0, "parameters_total": 0}
    runs = [rung(tmp_path, "majority", right, **none), rung(tmp_path, "full", right[::-1])]
    found = summarize(runs)
    assert found.verdict.startswith("majority and full have the same accuracy at n = 90, 0.667. ")
    assert found.verdict.endswith(" It also trains no network.")
    assert "majority" in (write(found, tmp_path / "out")[0]).read_text()


def test_test_rows_that_are_others_for_each_seed_are_counted_once(tmp_path):
    runs = [
        a_run(tmp_path, label, of_classes(np.arange(30) < right, 10 * seed), seed=seed)
        for label, right in (("head", 15), ("full", 29))
        for seed in range(3)
    ]
    found = summarize(runs)
    assert found.n == 50
    assert found.notes[:1] == (
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
        "head has the best accuracy in the table, but no paired test could be made against full."
    )
