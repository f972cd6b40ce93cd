"""What is told of the words of a text: one by one, or grouped as transformers' pipeline does."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np

from ftkit.exported.about import About
from ftkit.serving.options import Options

WORD = re.compile(r"\S+")
"""What stands between white space is a word, as for `ftkit predict`."""


@dataclass(frozen=True)
class Word:
    """A word, its class, and where it stands in its text."""

    entity: str
    score: float
    index: int
    """The first word is 1."""
    start: int
    end: int


def words_of(text: str) -> list[str]:
    """Return the words of a text."""
    return text.split()


def entities_of(
    about: About, text: str, scores: np.ndarray, options: Options
) -> list[dict[str, Any]]:
    """Return what is told of the words of one text.

    Words that the model did not read, because the text is longer than its tokens, are left out.

    Args:
        scores: (W, C), NaN for a word that was not read.
    """
    words = [
        Word(about.classes[row.argmax()], float(row.max()), index, *place.span())
        for index, (place, row) in enumerate(zip(WORD.finditer(text), scores, strict=True), 1)
        if np.isfinite(row).all()
    ]
    ignored = options.ignore_labels
    if options.aggregation_strategy == "none":
        return [
            {
                "entity": word.entity,
                "score": word.score,
                "index": word.index,
                "word": text[word.start : word.end],
                "start": word.start,
                "end": word.end,
            }
            for word in words
            if word.entity not in ignored
        ]
    groups = [_told(group, text) for group in _groups(words)]
    return [group for group in groups if group["entity_group"] not in ignored]


def _groups(words: list[Word]) -> list[list[Word]]:
    """Return words that follow each other and are one name: of one tag, and none begins with B-."""
    found: list[list[Word]] = []
    for word in words:
        begins, tag = _tag(word.entity)
        if found and not begins and _tag(found[-1][-1].entity)[1] == tag:
            found[-1].append(word)
        else:
            found.append([word])
    return found


def _tag(entity: str) -> tuple[bool, str]:
    """Return whether a class begins a name, and the class without its B- or I-."""
    return entity.startswith("B-"), entity[2:] if entity.startswith(("B-", "I-")) else entity


def _told(group: list[Word], text: str) -> dict[str, Any]:
    start, end = group[0].start, group[-1].end
    return {
        "entity_group": group[0].entity.split("-", 1)[-1],  # as the pipeline writes it
        "score": float(np.mean([word.score for word in group])),
        "word": text[start:end],
        "start": start,
        "end": end,
    }
