"""Simulated comparisons whose truth is known: how often is what `ftkit compare` says wrong?

    python scripts/simulate_comparisons.py                      # all tables, in minutes on one core
    python scripts/simulate_comparisons.py alarms power --experiments 400

Every row of a simulated test split has an ease, the probability with which any of the strategies
has it right; so strategies are right together more often than by chance, as real ones are. The
tables stand in docs/comparing.md.
"""

from __future__ import annotations

import argparse
import inspect
import re
import time
from collections.abc import Callable, Sequence
from itertools import combinations

import numpy as np
from scipy.stats import binom

from ftkit.compare.claims import Cost, claims
from ftkit.compare.intervals import interval
from ftkit.compare.paired_tests import PairedTests, run_paired_tests
from ftkit.compare.row_statistics import RunStatistics, StrategyStatistics
from ftkit.compare.statistics import LEVEL
from ftkit.compare.verdict import verdict
from ftkit.tasks.metrics.intervals import wilson

FLIPS = 1000
"""Exchanges of each test: a tenth of what a comparison takes, or simulations would take hours."""


def main() -> None:
    """Print the tables that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tables", nargs="*", choices=[*TABLES, []], help="all when not given")
    parser.add_argument("--experiments", type=int, default=2000)
    given = parser.parse_args()
    for name in given.tables or TABLES:
        start = time.monotonic()
        print(f"\n{inspect.getdoc(TABLES[name])}\n")
        TABLES[name](given.experiments)
        print(f"\n({given.experiments} experiments each, {time.monotonic() - start:.0f} s)")


def eases(random: np.random.Generator, accuracy: float, n: int) -> np.ndarray:
    """Return (n,) how easy each row is: beta-distributed, most of them sure, some of them open."""
    return random.beta(5 * accuracy, 5 * (1 - accuracy), n)


def of_accuracy(
    right: np.ndarray, seeds: Sequence[int], group: np.ndarray | None = None
) -> StrategyStatistics:
    """Return the evidence of right answers (S, n) in these seeds."""
    index = np.arange(right.shape[1])
    parts = np.stack([right, np.ones_like(right)], -1).astype(float)
    answers = (RunStatistics(index, each, group) for each in parts)
    return StrategyStatistics(
        dict(zip(seeds, answers, strict=True)), lambda s: s[..., 0] / s[..., 1]
    )


def costs_of(found: dict[str, StrategyStatistics]) -> list[Cost]:
    """Return what made-up strategies cost: each more than the one before it."""
    return [
        Cost(label, 100 * place, 1000, 10.0 * place, len(each.seeds))
        for place, (label, each) in enumerate(found.items())
    ]


def best_of(tests: PairedTests) -> str:
    """Return the strategy of the best figure."""
    return max(tests.values, key=lambda label: tests.values[label])


def holm(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return (P,) mid-p values of McNemar's test, adjusted by Holm (1979), of (P, n) bool each."""
    lost, won = (first & ~second).sum(1), (second & ~first).sum(1)
    told, least = lost + won, np.minimum(lost, won)
    p = np.minimum(1, 2 * binom.cdf(least, told, 0.5) - binom.pmf(least, told, 0.5))
    order = np.argsort(p)
    adjusted = np.empty(len(p))
    adjusted[order] = np.maximum.accumulate(np.minimum(1, p[order] * (len(p) - np.arange(len(p)))))
    return adjusted


def alarms(experiments: int) -> None:
    """False alarms: equal strategies, and any claim in the sentence that one is better or worse."""
    print("| strategies | n | accuracy | the sentence | any pair | any pair, Holm |")
    print("|---|---|---|---|---|---|")
    for K in (2, 6, 10):
        for n in (90, 360, 1000):
            for accuracy in (0.9, 0.95):
                seen = np.zeros(3)
                random = np.random.default_rng([K, n, int(100 * accuracy)])
                for seed in range(experiments):
                    right = random.random((K, n)) < eases(random, accuracy, n)
                    seen += _alarms_of(right, seed)
                shares = " | ".join(f"{100 * share:.1f} %" for share in seen / experiments)
                print(f"| {K} | {n:,} | {accuracy} | {shares} |", flush=True)


def _alarms_of(right: np.ndarray, seed: int) -> np.ndarray:
    """Return whether the sentence, any pair, and any pair by Holm claims a difference."""
    found = {f"s{k}": of_accuracy(row[None], [0]) for k, row in enumerate(right)}
    tests = run_paired_tests(found, "accuracy", seed=seed, count=FLIPS)
    said = claims(tests, costs_of(found), best_of(tests), "s1", False)
    pairs = np.array([*combinations(range(len(right)), 2)])
    by_holm = holm(right[pairs[:, 0]], right[pairs[:, 1]])
    any_pair = any(pair.p < LEVEL for pair in tests.pairs.values())
    return np.array(
        [bool(said.beaten or said.ahead or said.below), any_pair, (by_holm < LEVEL).any()]
    )


def power(experiments: int) -> None:
    """Power: of six strategies one or more are better; the share of real differences found.

    And how often a pair of equals was told apart in the same comparisons.
    """
    print("| accuracies | n | found | found, Holm | false | false, Holm |")
    print("|---|---|---|---|---|---|")
    for truth in (
        (0.90, 0.90, 0.90, 0.90, 0.90, 0.94),
        (0.90, 0.90, 0.90, 0.94, 0.94, 0.94),
        (0.10, 0.85, 0.93, 0.93, 0.96, 0.96),
    ):
        for n in (90, 360, 1000):
            random = np.random.default_rng(n)
            level, pairs = np.array(truth), np.array([*combinations(range(6), 2)])
            real = level[pairs[:, 0]] != level[pairs[:, 1]]
            seen = np.zeros(4)
            for seed in range(experiments // 2):
                ease = random.beta(4.5, 0.5, n)
                right = np.stack([_at(random, ease, accuracy) for accuracy in truth])
                found = {f"s{k}": of_accuracy(row[None], [0]) for k, row in enumerate(right)}
                tests = run_paired_tests(found, "accuracy", seed=seed, count=FLIPS)
                told = np.array([tests.pairs[f"s{a}", f"s{b}"].p for a, b in pairs]) < LEVEL
                by_holm = holm(right[pairs[:, 0]], right[pairs[:, 1]]) < LEVEL
                seen += (
                    told[real].mean(), by_holm[real].mean(), told[~real].any(), by_holm[~real].any()
                )  # fmt: skip
            shares = " | ".join(f"{100 * share:.1f} %" for share in 2 * seen / experiments)
            print(
                f"| {', '.join(f'.{100 * a:.0f}' for a in truth)} | {n:,} | {shares} |", flush=True
            )


def _at(random: np.random.Generator, ease: np.ndarray, accuracy: float) -> np.ndarray:
    """Return (n,) right answers of that accuracy, which moves rows of mean ease 0.9 up or down."""
    right = random.random(len(ease)) < ease
    if accuracy < 0.9:
        return right & (random.random(len(ease)) < accuracy / 0.9)
    return right | (random.random(len(ease)) < (accuracy - 0.9) / 0.1)


def seeds(experiments: int) -> None:
    """Coverage of the 95 % interval of a mean over three seeds, and of one seed by Wilson."""
    print("| n | accuracy | rows hard for all seeds alike | beta ease | independent | one seed |")
    print("|---|---|---|---|---|---|")
    for n in (40, 90, 360, 2000):
        for accuracy in (0.5, 0.9, 0.97, 0.99):
            random, covered = np.random.default_rng([n, int(100 * accuracy)]), np.zeros(4)
            for _ in range(experiments):
                alike = np.repeat(random.random((1, n)) < accuracy, 3, 0)
                beta = random.random((3, n)) < eases(random, accuracy, n)
                apart = random.random((3, n)) < accuracy
                for place, right in enumerate((alike, beta, apart, alike[:1])):
                    found = of_accuracy(right, range(len(right)))
                    low, high, _ = interval(found, "accuracy", float(right.mean()))
                    covered[place] += low <= accuracy <= high
            shares = " | ".join(f"{100 * share:.1f} %" for share in covered / experiments)
            print(f"| {n:,} | {accuracy} | {shares} |", flush=True)


def bounds(experiments: int) -> None:
    """Coverage of all intervals of differences together, and of "is at most ... better" alone."""
    print("| strategies | n | accuracy | all intervals hold | all that the sentence says hold |")
    print("|---|---|---|---|---|")
    for K in (2, 6):
        for n in (40, 90, 360, 1000):
            for accuracy in (0.9, 0.97):
                random, seen = np.random.default_rng([K, n]), np.zeros(2)
                truth = np.minimum(accuracy + 0.01 * (np.arange(K) % 3), 0.99)
                for seed in range(experiments):
                    ease = random.beta(4.5, 0.5, n)
                    right = np.stack([_at(random, ease, one) for one in truth])
                    found = {f"s{k}": of_accuracy(row[None], [0]) for k, row in enumerate(right)}
                    tests = run_paired_tests(found, "accuracy", seed=seed, count=FLIPS)
                    level = dict(zip(found, truth, strict=True))
                    holds = {
                        pair: one.low - 1e-9 <= level[pair[1]] - level[pair[0]] <= one.high + 1e-9
                        for pair, one in tests.pairs.items()
                    }
                    best = best_of(tests)
                    seen += all(holds.values()), all(holds[p] for p in holds if best in p)
                shares = " | ".join(f"{100 * share:.1f} %" for share in seen / experiments)
                print(f"| {K} | {n:,} | {accuracy} | {shares} |", flush=True)


def winner(experiments: int) -> None:
    """The best of equal trials: coverage of its own interval, and by how much it looks too good."""
    print("| trials | n | accuracy | by its test figure | too good by | by 150 validation rows |")
    print("|---|---|---|---|---|---|")
    for K, n, accuracy in ((6, 360, 0.95), (20, 150, 0.9), (20, 360, 0.95), (20, 1000, 0.9)):
        random, seen = np.random.default_rng([K, n]), np.zeros(3)
        for _ in range(experiments):
            right = (random.random((K, n)) < eases(random, accuracy, n)).mean(1)
            validation = (random.random((K, 150)) < eases(random, accuracy, 150)).mean(1)
            best, chosen = right.max(), right[validation.argmax()]
            for place, value in ((0, best), (2, chosen)):
                low, high = wilson(float(value), n)
                seen[place] += low <= accuracy <= high
            seen[1] += best - accuracy
        by_test, points, by_validation = 100 * seen / experiments
        print(
            f"| {K} | {n:,} | {accuracy} | {by_test:.1f} % | {points:.1f} points "
            f"| {by_validation:.1f} % |",
            flush=True,
        )


def unequal(experiments: int) -> None:
    """Unequal seeds: three strategies of one to three seeds each, and seeds of different luck."""
    better, worse, wrong = unequal_claims(experiments)
    print(f"{experiments:,} verdicts claim {better:,} times that one is better than another and")
    print(f"{worse:,} times that one is worse; {wrong} of these claims go against the sign of the")
    print("difference on the seeds that all have.")


def unequal_claims(experiments: int) -> tuple[int, int, int]:
    """Return how often the words say better, and worse, and how many of both are wrong."""
    random, counts = np.random.default_rng(0), [0, 0, 0]
    for seed in range(experiments):
        ease, found = random.beta(4.5, 0.5, 200), {}
        for label in ("mlp", "lora", "full"):
            right = np.stack([_at(random, ease, luck) for luck in random.uniform(0.75, 0.99, 3)])
            have = sorted({0, *random.choice(3, random.integers(1, 4)).tolist()})
            found[label] = of_accuracy(right[have], have)
        tests = run_paired_tests(found, "accuracy", seed=seed, count=FLIPS)
        text = verdict(tests, costs_of(found), best_of(tests), "mlp", "accuracy")
        for place, (better, worse) in claimed(text, [*found]):
            counts[place] += 1
            first, second = (found[label].seeds for label in (better, worse))
            both = [s for s in first if all(s in each.seeds for each in found.values())]
            gaps = [first[s].parts[:, 0].mean() - second[s].parts[:, 0].mean() for s in both]
            counts[2] += not np.mean(gaps) > 0
    return counts[0], counts[1], counts[2]


def claimed(text: str, labels: Sequence[str]) -> list[tuple[int, tuple[str, str]]]:
    """Return the pairs (better, worse) that the words of a verdict name, 1 where they say worse."""
    found: list[tuple[int, tuple[str, str]]] = []
    for sentence in re.split(r"\. (?=[a-z])", text):
        words = sentence.rpartition("all have: ")[2]
        if beaten := re.search(
            r"^(\w+) .*?is better than (all others|[\w, ]+?)(?=, but| at)", words
        ):
            named = [
                label
                for label in labels
                if label != beaten[1]
                and (beaten[2] == "all others" or re.search(rf"\b{label}\b", beaten[2]))
            ]
            found += [(0, (beaten[1], label)) for label in named]
        elif below := re.search(r"^([\w, ]+?) (?:is|are) worse than (\w+)", words):
            named = [label for label in labels if re.search(rf"\b{label}\b", below[1])]
            found += [(1, (below[2], label)) for label in named]
    return found


TABLES: dict[str, Callable[[int], None]] = {
    "alarms": alarms,
    "power": power,
    "bounds": bounds,
    "seeds": seeds,
    "winner": winner,
    "unequal": unequal,
}

if __name__ == "__main__":
    main()
