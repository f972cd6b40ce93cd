"""Data sets that come inside Python packages or are made by code: a run needs no network."""

from __future__ import annotations

import io
import math
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import numpy as np
from datasets import ClassLabel, Dataset, Features, Image, Value
from PIL import Image as PillowImage

from ftkit.data.duplicates import normalised, numbered
from ftkit.data.sampling import cut_off
from ftkit.errors import DataError, nearest
from ftkit.hub.names import PREFIX

LANGUAGES = ("cs", "de", "en", "es", "fi", "fr", "it", "nl", "pl", "pt", "sv", "tr")


def embedded_data(name: str, together: bool = True) -> dict[str, Dataset]:
    """Return {"train": ..., "test": ...} for the embedded data set of that name.

    Args:
        together: keep copies on one side of the cut between the two, as `Data.copies` has it.

    Raises:
        DataError: there is no such set, or the package that carries it is not installed.
    """
    if name not in DATA:
        raise DataError(
            f"data '{PREFIX}{name}': there is no such embedded data set; known are "
            f"{', '.join(DATA)}{nearest(name, DATA)}"
        )
    return DATA[name]() if together or name != "langid" else langid(together=False)


def digits() -> dict[str, Dataset]:
    """scikit-learn's 1,797 handwritten digits, 8x8 grey pixels (UCI, Alpaydin and Kaynak 1998)."""
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    images = []
    for values in pixels:
        grey = (values.reshape(8, 8) * (255 / 16)).round().astype(np.uint8)
        png = io.BytesIO()
        PillowImage.fromarray(grey).save(png, format="PNG")
        images.append({"bytes": png.getvalue(), "path": None})
    features = Features(
        {"image": Image(), "label": ClassLabel(names=[str(digit) for digit in range(10)])}
    )
    return _with_test_split(
        Dataset.from_dict({"image": images, "label": labels.tolist()}, features=features)
    )


def langid(together: bool = True) -> dict[str, Dataset]:
    """Names of countries, languages, currencies and scripts in 12 languages (Unicode CLDR).

    A name that several of the languages share is left out: 10,207 names in CLDR 47.

    Args:
        together: keep names that differ in case and punctuation alone in one split.
    """
    owners: dict[str, set[str]] = defaultdict(set)
    for language in LANGUAGES:
        locale = _locale(language)
        for group in (locale.territories, locale.languages, locale.currencies, locale.scripts):
            for code, name in group.items():
                if name and not str(code).isdigit():
                    owners[name].add(language)
    own = sorted((name, *languages) for name, languages in owners.items() if len(languages) == 1)
    features = Features({"text": Value("string"), "label": ClassLabel(names=list(LANGUAGES))})
    rows = {"text": [name for name, _ in own], "label": [language for _, language in own]}
    groups = numbered(normalised(name) or name for name, _ in own) if together else None
    return _with_test_split(Dataset.from_dict(rows, features=features), groups)


def cldr_en_de() -> dict[str, Dataset]:
    """English and German names of countries, languages, currencies, scripts and time zones (CLDR).

    Each English name once, with the German one of its first meaning: 1,746 pairs in CLDR 47.
    """
    german = _names("de")
    pairs: dict[str, str] = {}
    for key, name in _names("en").items():
        if name and german.get(key):
            pairs.setdefault(name, german[key])
    source, target = zip(*sorted(pairs.items()), strict=True)
    return _with_test_split(Dataset.from_dict({"source": list(source), "target": list(target)}))


def _names(language: str) -> dict[Any, str]:
    """Return what has a name in a language, by its kind and code."""
    locale = _locale(language)
    kinds = ("territories", "languages", "currencies", "scripts", "variants")
    names = {(kind, code): name for kind in kinds for code, name in getattr(locale, kind).items()}
    zones = {
        (zone, use): name
        for zone, of in locale.meta_zones.items()
        for use, name in of.get("long", {}).items()
    }
    return names | zones


def _locale(language: str) -> Any:
    """Return Babel's Locale.

    Raises:
        DataError: Babel is not installed.
    """
    try:
        from babel import Locale
    except ImportError:
        raise DataError(
            "the package babel, which has these names, is missing; pip install 'ftkit[embedded]'"
        ) from None
    return Locale.parse(language)


def diabetes() -> dict[str, Dataset]:
    """scikit-learn's 442 patients: ten measures, and a number for the disease a year later."""
    from sklearn.datasets import load_diabetes

    found = load_diabetes(scaled=False)
    columns = {name: found.data[:, i].tolist() for i, name in enumerate(found.feature_names)}
    return _with_test_split(Dataset.from_dict({**columns, "target": found.target.tolist()}))


def tictactoe() -> dict[str, Dataset]:
    """Every position of tic-tac-toe with its value to the side to move: lost, drawn or won.

    70 % of the 5,478 positions are for training. Rotations and reflections of one position stay
    together, so that no test row is a training row in disguise; the column `board` names them by
    the least of the eight, so that validation rows are cut off and intervals drawn in the same way.
    """
    from ftkit.data import tic_tac_toe

    known, unseen = tic_tac_toe.split(0.7, seed=0)
    columns = [
        f"{who}{cell}" for who in ("own", "other", "empty") for cell in range(1, 10)
    ]  # the order of tic_tac_toe.encode

    def rows(positions: list[tic_tac_toe.Position]) -> Dataset:
        cells = tic_tac_toe.encode(positions)
        values = {name: cells[:, i].tolist() for i, name in enumerate(columns)}
        features = Features(
            {
                **{name: Value("float32") for name in columns},
                "board": Value("string"),
                "value": ClassLabel(names=list(tic_tac_toe.VALUES)),
            }
        )
        boards = ["".join("o.x"[cell + 1] for cell in tic_tac_toe.canonical(p)) for p in positions]
        labels = tic_tac_toe.labels(positions).tolist()
        return Dataset.from_dict({**values, "board": boards, "value": labels}, features=features)

    return {"train": rows(known), "test": rows(unseen)}


def _with_test_split(rows: Dataset, groups: np.ndarray | None = None) -> dict[str, Dataset]:
    """Cut off a fifth as the test split, always the same rows, by class when rows have classes.

    Args:
        groups: (N,) equal for rows that stay together; None where each is by itself.
    """
    column = rows.column_names[-1]
    classes = isinstance(rows.features[column], ClassLabel)
    labels = np.asarray(rows[column]) if classes else np.zeros(len(rows))
    test = cut_off(labels, groups, math.ceil(len(rows) * 0.2), seed=0)
    train = np.setdiff1d(np.arange(len(rows)), test)
    return {"train": rows.select(train), "test": rows.select(test)}


DATA: dict[str, Callable[[], dict[str, Dataset]]] = {
    "digits": digits,
    "langid": langid,
    "cldr-en-de": cldr_en_de,
    "diabetes": diabetes,
    "tictactoe": tictactoe,
}
GROUPS = {"tictactoe": "board"}
"""The column whose equal values keep rows together, for each set that has one."""
