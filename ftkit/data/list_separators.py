"""Several classes in one text, as in good;long: what stands between them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

BETWEEN = (";", "|", ",", " / ", "/", "+", "&", " ")


def separator_in(labels: Iterable[str | None]) -> str | None:
    """Return what stands between classes where some labels hold several; None where none do.

    That is so where most parts of such labels stand alone, or in others of them, too.
    """
    there = {label for label in labels if label}
    for between in BETWEEN:
        several = {label for label in there if between in label}
        alone = there - several
        parts = Counter(part.strip() for label in several for part in label.split(between))
        again = sum(n for part, n in parts.items() if n > 1 or part in alone)
        if several and all(parts) and again > 0.8 * parts.total() and alone & {*parts}:
            return between.strip() or between
    return None


def parts_of(label: str, between: str) -> list[str]:
    """Return the classes in one text, each once, in their order."""
    return list(dict.fromkeys(part for part in map(str.strip, label.split(between)) if part))
