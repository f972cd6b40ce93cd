"""Names of classes that are written in two ways, hold several, or are numbers beside words."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

from ftkit.data.findings import Finding
from ftkit.data.label_lists import separator_in
from ftkit.data.splits import Splits
from ftkit.errors.names import first_few

PUNCTUATION = re.compile(r"""[\s_.,;:'"()\[\]{}]+|(?<=\w)-(?=\w)|[!?]+$""")
TAGGING = {"image-classification": "image-tagging", "text-classification": "text-tagging"}
"""The kind of task that tells any number of classes for a row, by the kind that tells one."""
NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?")


def odd_names(splits: Splits) -> Iterator[Finding]:
    """Yield what is odd with the names of the classes."""
    groups: dict[str, list[str]] = {}
    for name in splits.label_names:
        groups.setdefault(_likeness(name), []).append(name)
    for same in groups.values():
        if len(same) > 1:
            yield Finding(
                "warning",
                f"classes {' and '.join(map(repr, same))} differ only in case, spaces or "
                f"punctuation; are they one?",
            )
    between = separator_in(splits.label_names)
    kind = TAGGING.get(getattr(splits.task, "kind", ""))
    if between and kind is not None:
        task = f'task={{"kind": "{kind}", "separator": "{between}"}}'
        both = next(name for name in splits.label_names if between in name)
        yield Finding(
            "warning",
            f"class '{both}' looks like several; to tell each by itself give --set '{task}' with a "
            f"pretrained backbone",
        )
    numbers = [name for name in splits.label_names if NUMBER.fullmatch(name)]
    words = [name for name in splits.label_names if not NUMBER.fullmatch(name)]
    if numbers and words:
        yield Finding(
            "warning",
            f"classes are numbers as well as words: {first_few(numbers)}; {first_few(words)}",
        )


def _likeness(name: str) -> str:
    """Return what is left of a class name without case, spaces and punctuation.

    Signs stay, which tell c, c++ and c# apart, and -1 from 1.
    """
    name = unicodedata.normalize("NFKC", name).casefold()
    return " ".join(PUNCTUATION.sub(" ", name).split()) or name
