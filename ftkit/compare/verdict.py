"""What a comparison says in words: what the tests support, and no more.

"Cannot be told apart" is no reason to take the cheaper one: a difference that few test rows do not
show may be large (Altman and Bland 1995). So the words say how large it may be, and recommend a
cheaper strategy only where all that may be better than it is so by less than a margin: a test of
non-inferiority (Lakens 2017). All p-values and ends of intervals are of one family of tests, see
`ftkit.compare.statistics`; so whichever of them are spoken of, all of it holds in 95 of 100
comparisons.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ftkit.compare.claims import Claims, Cost, ahead_by, claims
from ftkit.compare.paired_tests import PairedTests
from ftkit.compare.statistics import Paired
from ftkit.errors.names import listed
from ftkit.machine.numbers import fixed, plain
from ftkit.recipe import LOWER_IS_BETTER

MARGIN = 0.01
"""A cheaper strategy is recommended when every other one can be better than it by so much at most.
"""
MOST_NAMED = 4
"""Bounds are told for each strategy when there are at most so many."""


def margin_of(figure: str, margin: float, value: float) -> tuple[float, str]:
    """Return a margin in the figure's own terms, and in words.

    Rates, R squared and correlations take it as it is; BLEU, which goes to 100, a hundred times; of
    perplexity, which has no upper end, it is a share: 0.01 of it is about 0.01 nats a token.

    Args:
        value: the figure of the best.
    """
    if figure == "bleu":
        return 100 * margin, f"{100 * margin:g}"
    if figure == "perplexity":
        return margin * value, f"{100 * margin:g} % of it"
    return margin, f"{margin:g}"


@dataclass(frozen=True)
class Judged:
    """What the sentences of a verdict speak of."""

    tests: PairedTests
    costs: dict[str, Cost]
    best: str
    figure: str
    claims: Claims
    margin: float

    @property
    def lower(self) -> bool:
        """Whether the lower figure is the better one."""
        return self.figure in LOWER_IS_BETTER

    @property
    def value(self) -> float:
        """The figure of the best, on the rows that all share."""
        return self.tests.values[self.best]

    @property
    def where(self) -> str:
        """The number of test rows, and of groups."""
        groups = f" in {self.tests.units:,} groups" if self.tests.units != self.tests.n else ""
        return f"n = {self.tests.n:,}{groups}"

    def at_most(self, other: str) -> float:
        """Return by how much another one may be worse than the best."""
        lead = ahead_by(self.tests, self.best, other, self.lower)
        assert lead is not None
        return lead.high

    def has_same(self, other: str) -> bool:
        """Return whether another one has the figure of the best, to all the digits that count."""
        return bool(np.isclose(self.tests.values[other], self.value, rtol=1e-12, atol=1e-12))

    def shortfall(self, label: str) -> float:
        """Return by how much any other one may be better than this one."""
        others = (other for other in self.tests.values if other != label)
        leads = (ahead_by(self.tests, other, label, self.lower) for other in others)
        return max(max(lead.high, 0.0) for lead in leads if lead)


def verdict(
    tests: PairedTests,
    costs: Sequence[Cost],
    best: str,
    baseline: str | None,
    figure: str,
    margin: float = MARGIN,
    chosen: bool = False,
) -> str:
    """Return what the tests support, in a few sentences.

    Args:
        costs: of all strategies, in the order in which they are listed.
        best: has the best figure on the rows that all share; where it shares none, in the table.
        margin: see `margin_of`.
        chosen: whether `best` has the best validation figure instead.
    """
    found = claims(tests, costs, best, baseline, figure in LOWER_IS_BETTER)
    if len(costs) == 1:
        return f"One strategy was run, {best}; there is nothing to compare it with."
    if not tests.pairs:
        known = "the best validation figure" if chosen else f"the best {figure} in the table"
        named = listed(found.untested)
        return f"{best} has {known}, but no paired test could be made against {named}."
    if best not in tests.values:
        others = [cost for cost in costs if cost.label != best]
        sign = -1 if figure in LOWER_IS_BETTER else 1
        first = max(tests.values, key=lambda label: sign * tests.values[label])
        return (
            f"{best} has the best {figure} in the table, but no paired test could be made of it. "
            f"Without it: {verdict(tests, others, first, baseline, figure, margin)}"
        )
    judged = Judged(tests, {cost.label: cost for cost in costs}, best, figure, found, margin)
    if chosen:
        said = [_of_settings(judged)]
    elif found.alike:
        said = [_of_several(judged), *_cheaper(judged)]
    else:
        said = [_of_one(judged)]
    if found.below and not chosen:
        are = "is" if len(found.below) == 1 else "are"
        said.append(f"{listed(found.below)} {are} worse than {baseline}.")
    if found.unclear and not chosen:
        said.append(f"{listed(found.unclear)} could not be shown to beat {baseline}.")
    if found.untested:
        said.append(f"No paired test could be made against {listed(found.untested)}.")
    return _on_seeds(judged) + " ".join(said)


def _on_seeds(judged: Judged) -> str:
    """Return the seeds of the figures, when some strategy has other seeds too."""
    seeds, more = judged.tests.seeds, max(cost.seeds for cost in judged.costs.values())
    if more <= len(seeds):
        return ""
    named = listed([str(seed) for seed in seeds])
    whose = "all that could be tested" if judged.claims.untested else "all"
    return f"On seed{'s' * (len(seeds) > 1)} {named}, which {whose} have: "


def _of_one(judged: Judged) -> str:
    """Return the sentence where the best is better than all others."""
    beaten, lower = judged.claims.beaten, judged.lower
    second = min(beaten, key=lambda label: abs(judged.tests.values[label] - judged.value))
    lead = ahead_by(judged.tests, judged.best, second, lower)
    assert lead is not None
    size, p = f"{lead.difference:.3f}", shown_p(lead)
    others = "all others" if not judged.claims.untested else "all others that could be tested"
    than = f"{others} at {judged.where}, than {second} by {size}"
    if len(beaten) == 1:
        than = f"{second} at {judged.where}, by {size}"
    said = f"{judged.best} is better than {than} (p {p[0]} {p[1:]})"
    if _overlap(judged.costs[judged.best], judged.costs[second]):
        said += ", though their ranges over seeds overlap"
    return f"{said}."


def _of_several(judged: Judged) -> str:
    """Return the sentence where some cannot be told apart from the best, and by how much."""
    beaten, alike = judged.claims.beaten, judged.claims.alike
    if any(judged.has_same(label) for label in alike):
        return _of_equals(judged)
    said = f"{judged.best} has the best {judged.figure} at {judged.where}, {fixed(judged.value)}, "
    if beaten:
        said += f"and is better than {listed(beaten)}, "
    said += f"but cannot be told apart from {listed(alike)}"
    if (bounds := _bounds(judged)) is None:
        return f"{said}; so few rows do not say how much better it may be."
    return f"{said}: it is at most {bounds} (95 %)."


def _of_equals(judged: Judged) -> str:
    """Return the sentences where others have the very figure of the best."""
    beaten, alike = judged.claims.beaten, judged.claims.alike
    equal = [label for label in alike if judged.has_same(label)]
    said = (
        f"{listed([judged.best, *equal])} have the same {judged.figure} at {judged.where}, "
        f"{fixed(judged.value)}"
    )
    parts = [f"is better than {listed(beaten)}"] if beaten else []
    if others := [label for label in alike if label not in equal]:
        parts.append(f"cannot be told apart from {listed(others)}")
    said += f"; {judged.best} {', but '.join(parts)}" if parts else ""
    if (bounds := _bounds(judged)) is None:
        return f"{said}; so few rows do not say which is better on others."
    return f"{said}. On other rows {judged.best} may be up to {bounds} (95 %)."


def _bounds(judged: Judged) -> str | None:
    """Return by how much the best may be better than those like it; None where rows are too few."""
    alike = judged.claims.alike
    most = max(map(judged.at_most, alike))
    if not np.isfinite(most):
        return None
    if len(alike) > MOST_NAMED:
        return f"{fixed(most)} better than any of them"
    return listed([f"{fixed(judged.at_most(label))} better than {label}" for label in alike])


def _cheaper(judged: Judged) -> list[str]:
    """Return a sentence on the cheapest strategy within the margin, or on why none is named."""
    best = judged.costs[judged.best]
    order = sorted(
        (judged.costs[label] for label in (*judged.claims.alike, judged.best)),
        key=lambda cost: (cost.trained, cost.seconds),
    )
    cheaper = [c for c in order if (c.trained, c.seconds) < (best.trained, best.seconds)]
    if not cheaper:
        return [_cheapest(best, [cost for cost in order if cost is not best])]
    size, words = margin_of(judged.figure, judged.margin, judged.value)
    for cost in cheaper:
        if (gap := judged.shortfall(cost.label)) < size:
            return [
                f"{cost.label} is good enough: it {_saves(cost, best)}, and no other is "
                f"more than {gap:.3f} better (95 %), which is below the margin of {words}."
            ]
    no = f"shown to be within the margin of {words}"
    if len(cheaper) == 1:
        return [f"{cheaper[0].label} {_saves(cheaper[0], best)}, but is not {no}."]
    alike = [cost.trained == best.trained for cost in cheaper]
    less = "train less" if not any(alike) else "train less, or as much in less time"
    less = "take less time" if all(alike) else less
    if len(cheaper) <= MOST_NAMED:
        return [f"{listed([cost.label for cost in cheaper])} {less}, but are not {no}."]
    return [f"None of those that {less} is {no}."]


def _cheapest(best: Cost, others: Sequence[Cost]) -> str:
    """Return in what the best is also the cheapest, where no other is cheaper."""
    if not best.trained:
        return "It also trains no network."
    if all(best.trained < cost.trained for cost in others):
        return "It also trains the least of these."
    return "None of these trains less, or as much in less time."


def _of_settings(judged: Judged) -> str:
    """Return the sentence on a setting that was chosen on validation rows."""
    lead = judged.claims
    said = (
        f"{judged.best} has the best validation figure, and {judged.figure} "
        f"{fixed(judged.value)} at {judged.where} test rows"
    )
    if not lead.beaten and not lead.ahead:
        return f"{said}, where no other setting is shown to be better or worse than it."
    parts = []
    if lead.beaten:
        parts.append(f"better than {_some(lead.beaten)}")
    if lead.ahead:
        parts.append(f"worse than {_some(lead.ahead)}")
    return f"{said}, where it is {listed(parts)}."


def _some(labels: Sequence[str]) -> str:
    return listed(labels) if len(labels) <= MOST_NAMED else f"{len(labels)} other settings"


def _overlap(one: Cost, other: Cost) -> bool:
    """Return whether the seeds of two strategies lie in ranges that overlap."""
    if one.spread is None or other.spread is None:
        return False
    return max(one.spread[0], other.spread[0]) <= min(one.spread[1], other.spread[1])


def _saves(cost: Cost, best: Cost) -> str:
    """Return what a cheaper strategy takes: time, where it trains as much as the best."""
    if cost.trained and cost.trained == best.trained:
        return f"takes {plain(cost.seconds)} s, where {best.label} takes {plain(best.seconds)} s"
    return f"trains {_trained(cost, best)}"


def _trained(cost: Cost, best: Cost) -> str:
    """Return how much a strategy trains: as a share where the best has about the same model."""
    if not cost.trained:
        return "nothing"
    if cost.trained == cost.total == best.total:
        said = "all parameters"
    elif 0.8 * best.total < cost.total < 1.2 * best.total:  # adapters add a little
        said = f"{100 * cost.trained / cost.total:.2g} % of the parameters"
    else:
        said = f"{cost.trained:,} parameters"
    return f"{said} in {plain(cost.seconds)} s"


def shown_p(test: Paired) -> str:
    """Return a p-value after its sign: =0.03, <0.001."""
    return "<0.001" if test.p < 0.001 else f"={test.p:.2g}"
