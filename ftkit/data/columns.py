"""Columns of a table: which of them are meant, what they hold, and which rows cannot be used."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from datasets import ClassLabel, Dataset, Features, Value
from datasets import Translation as Languages

from ftkit.data.conversations import find_bad_conversations
from ftkit.data.images import find_bad_images
from ftkit.data.sources import TEXT
from ftkit.data.usual_columns import LABEL_NAMES, TEXT_NAMES, usually_named
from ftkit.errors import DataError, nearest

MAY_BE_NUMBERS = ("text", "sentence", "tweet", "document")
"""Usual names of texts, such as codes, whose values may look like numbers."""
AS_TEXT = ("image", "text", "pair", "source", "target", "prompt", "answer", "tokens", "messages")
"""Fields of a task that name a column of texts or of file names."""
EMPTY = {
    "pair": "the pair is empty",
    "label": "the translation is empty",
    "text": "the text is empty",
    "source": "the text is empty",
}
"""The reason why a row whose text is empty cannot be used, by column. The last reason that holds is
given."""


def pick_texts(
    text: str | None, pair: str | None, labels: tuple[str, ...], features: Features
) -> dict[str, str | None]:
    """Return the column of the text, and the column of its pair when one was asked for.

    Args:
        text: column that was asked for.
        pair: column with the second text that was asked for.
        labels: columns that are not meant.
    """
    pair = pair and pick("pair", pair, [], features)
    taken = (*labels, pair)
    texts = [name for name in features if name not in taken and is_text(features[name])]
    if not usually_named(TEXT_NAMES, texts):
        codes = [name for name in features if name not in taken and is_number(features[name])]
        texts += usually_named(MAY_BE_NUMBERS, codes)
    if len(texts) != 1:
        texts = usually_named(TEXT_NAMES, texts) or texts
    second = "" if pair else ", and of pairs --set task.pair=COLUMN for the second ones"
    text = pick("text", text, texts, features, second)
    if text in taken:
        raise DataError(f"column '{text}' cannot be text and {'pair' if text == pair else 'label'}")
    return {"text": text, "pair": pair}


def pick(
    role: str, asked: str | None, candidates: list[str], features: Features, also: str = ""
) -> str:
    """Return the column that was asked for, or the one candidate.

    Args:
        also: ends the message where there are several candidates.

    Raises:
        DataError: it is not there, or there is not one candidate.
    """
    there = listed_columns(features)
    if asked is not None:
        if asked not in features:
            raise DataError(
                f"the data has no column '{asked}'; columns are {there}"
                f"{nearest(asked, features) or '.'} Use --set task.{role}=COLUMN"
            )
        return asked
    if len(candidates) != 1:
        which = "none looks like"
        also = also if candidates else ""
        if candidates:
            which = f"{' and '.join(map(_quoted, candidates))} could all be"
        raise DataError(
            f"which column is the {role}? Columns are {there}; {which} it. "
            f"Use --set task.{role}=COLUMN{also}"
        )
    return candidates[0]


def listed_columns(columns: Iterable[str]) -> str:
    """Return names of columns for a message, in quotes where spaces would not be seen."""
    return ", ".join(map(_quoted, columns))


def _quoted(name: str) -> str:
    return name if name and name == " ".join(name.split()) else repr(name)


def label_candidates(features: Features) -> list[str]:
    """Return the columns that may be the label: of classes, or with a usual name."""
    classes = [name for name, feature in features.items() if isinstance(feature, ClassLabel)]
    if len(classes) != 1:
        classes = usually_named(LABEL_NAMES, features) or classes
    return classes


def holds_files(feature: Any) -> bool:
    """Return whether a column holds the bytes of files, alone or in a struct as `datasets` has."""
    kind = feature.get("bytes") if isinstance(feature, dict) else feature
    return isinstance(kind, Value) and kind.dtype in ("binary", "large_binary")


def is_text(feature: Any) -> bool:
    """Return whether a column holds texts."""
    return isinstance(feature, Value) and feature.dtype in TEXT


def text_fields(feature: Any) -> tuple[str, ...]:
    """Return the names of the texts in a column that holds several, as datasets.Translation."""
    if isinstance(feature, Languages):
        return tuple(feature.languages)
    return tuple(n for n, f in feature.items() if is_text(f)) if isinstance(feature, dict) else ()


def has_column(features: Features, name: str) -> bool:
    """Return whether there is such a column; `translation.de` is a field of `translation`."""
    outer, _, inner = name.partition(".")
    return name in features or inner in text_fields(features.get(outer))


def is_number(feature: Any) -> bool:
    """Return whether a column holds numbers, or True and False."""
    return isinstance(feature, Value) and feature.dtype.startswith(("int", "uint", "float", "bool"))


def canonical(inputs: Dataset, labels: np.ndarray) -> Dataset:
    """Return rows of inputs alone with the columns label and index, the row's number.

    Args:
        labels: (N,) as a task reads them.
    """
    known: Any = list(labels) if labels.dtype.kind == "O" else labels
    inputs = inputs.add_column("label", known).add_column("index", np.arange(len(labels)))
    return inputs.cast_column("index", Value("int64"))


def single_column(rows: Dataset, column: str, name: str) -> Dataset:
    """Return the rows with that column alone, under another name."""
    rows = rows.select_columns([column])
    return rows if column == name else rows.rename_column(column, name)


def find_bad_rows(rows: Dataset) -> dict[int, str]:
    """Return the position of every row that cannot be learned from, with the reason."""
    names = rows.column_names
    if "image" in names:
        return find_bad_images(rows, "image")
    if "messages" in names:
        return find_bad_conversations(rows)
    if "features" in names:
        return _find_bad_numbers(rows)
    if "tokens" in names:
        return {
            position: "it has no words" if not words else "one of its words is empty"
            for position, words in enumerate(rows["tokens"][:])
            if not words or not all((word or "").strip() for word in words)
        }
    found: dict[int, str] = {}
    for column, reason in EMPTY.items():
        if column in names and (column != "label" or "source" in names):
            texts = rows[column][:]
            found |= {n: reason for n, text in enumerate(texts) if not (text or "").strip()}
    return found


def _find_bad_numbers(rows: Dataset) -> dict[int, str]:
    numbers = np.asarray(rows["features"][:], np.float64)
    bad = np.abs(numbers) > np.finfo(np.float32).max  # in which perceptrons calculate
    return {
        int(row): "one of its numbers is "
        + ("infinite" if np.isinf(numbers[row]).any() else "too large for float32")
        for row in np.flatnonzero(bad.any(1))
    }
