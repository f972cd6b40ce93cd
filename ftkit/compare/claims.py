"""What the tests of a comparison claim: which strategy is better or worse than which other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ftkit.compare.paired_tests import PairedTests
from ftkit.compare.statistics import LEVEL, Paired


@dataclass(frozen=True)
class Cost:
    """What a strategy costs."""

    label: str
    trained: int
    total: int
    """Numbers of parameters."""
    seconds: float
    """Seconds of training."""
    seeds: int = 1
    """The number of seeds that it was run with."""
    spread: tuple[float, float] | None = None
    """The lowest and the highest figure over seeds; None for a single seed."""


@dataclass(frozen=True)
class Claims:
    """What the tests say of the best strategy and of the baseline."""

    beaten: tuple[str, ...]
    """Strategies that are shown to be worse than the best."""
    ahead: tuple[str, ...]
    """Strategies that are shown to be better than the best. That happens when the best was chosen
    on validation rows."""
    alike: tuple[str, ...]
    """Strategies that are shown to be neither."""
    untested: tuple[str, ...]
    below: tuple[str, ...] = ()
    """Trained strategies that are shown to be worse than the baseline."""
    unclear: tuple[str, ...] = ()
    """Trained strategies that are not shown to be better than the baseline."""


def claims(
    tests: PairedTests, costs: Sequence[Cost], best: str, baseline: str | None, lower: bool
) -> Claims:
    """Return what is claimed: each claim needs a p below the level, and its sign."""
    kinds: dict[str, list[str]] = {"beaten": [], "ahead": [], "alike": [], "untested": []}
    for cost in costs:
        if cost.label != best:
            lead = ahead_by(tests, best, cost.label, lower)
            kinds[_kind(lead)].append(cost.label)
    below: list[str] = []
    unclear: list[str] = []
    for cost in costs:
        named = baseline not in (None, best) and cost.label not in (best, baseline)
        lead = ahead_by(tests, cost.label, baseline, lower) if named and baseline else None
        if lead and cost.trained and _kind(lead) != "beaten":
            (below if _kind(lead) == "ahead" else unclear).append(cost.label)
    told = {kind: tuple(labels) for kind, labels in kinds.items()}
    return Claims(**told, below=tuple(below), unclear=tuple(unclear))


def ahead_by(tests: PairedTests, first: str, second: str, lower: bool) -> Paired | None:
    """Return by how much the first is better than the second; None when that was not tested.

    Args:
        lower: whether the lower figure is the better one.
    """
    return tests.between(first, second) if lower else tests.between(second, first)


def _kind(lead: Paired | None) -> str:
    if lead is None:
        return "untested"
    if lead.p >= LEVEL or lead.difference == 0:
        return "alike"
    return "beaten" if lead.difference > 0 else "ahead"
