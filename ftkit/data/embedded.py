"""Data sets that come inside Python packages, so that a run needs no network."""

from __future__ import annotations

import io
import math

import numpy as np
from datasets import ClassLabel, Dataset, Features, Image
from PIL import Image as PillowImage
from sklearn.datasets import load_digits

from ftkit.data.splits import spread
from ftkit.embedded import PREFIX
from ftkit.errors import DataError, nearest

DATA = ("digits",)


def embedded_data(name: str) -> dict[str, Dataset]:
    """Return {"train": ..., "test": ...} for the embedded data set of that name.

    `digits`: scikit-learn's 1,797 handwritten digits, 8x8 grey pixels (UCI, Alpaydin and Kaynak
    1998). A fifth of each class, always the same rows, is the test split.

    Raises:
        DataError: there is no such set.
    """
    if name not in DATA:
        raise DataError(
            f"data '{PREFIX}{name}': there is none; embedded are {', '.join(DATA)}"
            f"{nearest(name, DATA)}"
        )
    pixels, labels = load_digits(return_X_y=True)
    order = spread(labels, seed=0)
    cut = math.ceil(len(labels) * 0.2)
    features = Features(
        {"image": Image(), "label": ClassLabel(names=[str(digit) for digit in range(10)])}
    )

    def rows(indices: np.ndarray) -> Dataset:
        images = []
        for values in pixels[indices]:
            grey = (values.reshape(8, 8) * (255 / 16)).round().astype(np.uint8)
            png = io.BytesIO()
            PillowImage.fromarray(grey).save(png, format="PNG")
            images.append({"bytes": png.getvalue(), "path": None})
        return Dataset.from_dict(
            {"image": images, "label": labels[indices].tolist()}, features=features
        )

    return {"train": rows(np.sort(order[cut:])), "test": rows(np.sort(order[:cut]))}
