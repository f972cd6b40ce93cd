"""How little a few test rows say, told before anybody trains: `note_on_few_rows`."""

from __future__ import annotations

from ftkit.data.splits import Splits
from ftkit.tasks.base import Task
from ftkit.tasks.metrics.intervals import wilson

WIDEST = 0.2
"""An interval that is wider deserves a note."""
SUPPOSED = 0.8
"""The accuracy for which the interval is told, since none is measured yet."""


def note_on_few_rows(splits: Splits, task: Task) -> tuple[str, ...]:
    """Return a note where the 95 % interval of accuracy will be wide, as few rows are for testing.

    Rows of one group count as one.
    """
    groups = splits.groups
    units = len(splits.test) if groups is None else len(set(groups.tolist()))
    low, high = wilson(SUPPOSED, units)
    if task.settings.tells != "class" or high - low <= WIDEST:
        return ()
    what = "test rows" if groups is None else "groups of test rows"
    return (
        f"there are only {units:,} {what}: a model that is right in {100 * SUPPOSED:.0f} % of them "
        f"may be right in {100 * low:.0f} to {100 * high:.0f} % of all others (95 %); more of them "
        f"would narrow that",
    )
