"""Fingerprints of rows: equal where the inputs are equal, and close where they nearly are.

Which kind a row gets is told by what it holds: an image, text, or numbers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
from datasets import Dataset
from PIL import Image
from scipy.spatial import cKDTree

from ftkit.data.columns import find_bad_rows
from ftkit.data.duplicates import contents, inputs_alone, normalised
from ftkit.data.images import find_bad_images
from ftkit.data.open_images import OpenedImage

SIDE = 16
NEAR_COPY_CORRELATION = 0.997
"""Correlation of two images' thumbnails above which they are near-copies.

Chosen on three sets, and not tried on others. Between their splits scikit-learn's digits reach
0.9930 and MNIST stays below 0.997; CIFAR-10 has three pairs above, each one picture to the eye. Of
the first 500 training images of each set, saved again as JPEG of quality 75, 99 % stay above 0.997;
a picture cropped by one pixel, or MNIST's enlarged, does not, and is missed. A 64-bit difference
hash does not part digits: 95 of the 360 for testing have another within 2 bits among those for
training, and JPEG moves half of them by 7 bits or more.
"""
PLANES = 12
"""Pairs are looked for in so many principal components before they are compared in full."""


@dataclass(frozen=True)
class RowFingerprints:
    """The fingerprints of the M readable rows of a split, out of N."""

    positions: np.ndarray
    """(M,) the positions of these rows in the split."""
    exact: np.ndarray
    """(M,) int64, equal for rows with equal inputs."""
    near: np.ndarray
    """For texts (M,) int64, equal for texts that differ in case, spaces and punctuation alone. For
    images (M, 256) float32, thumbnails of mean 0 and norm 1. For other inputs, or when near-copies
    were not asked for, (M, 0)."""
    empty: np.ndarray
    """(M,) whether an image has a single colour."""
    length: np.ndarray
    """(M,) the characters of a text, 0 for other inputs."""
    odd: dict[str, np.ndarray] = field(default_factory=dict)
    """What the user may not expect of images: {what: (M,) whether an image is so}."""


def fingerprint_rows(rows: Dataset, near: bool = True) -> tuple[RowFingerprints, dict[int, str]]:
    """Return the fingerprints of the readable rows, and the reason for every other row.

    Decodes each image once.

    Args:
        near: also make what finds near-copies.
    """
    inputs = inputs_alone(rows)
    if inputs.column_names == ["image"]:
        return _look_at_images(rows, near)
    bad = find_bad_rows(rows)
    there = {row: one for row, one in enumerate(contents(inputs)) if row not in bad}
    positions, none = np.array(list(there), int), np.zeros(len(there), bool)
    texts = [one for one in there.values() if isinstance(one, str)]  # all of them, or none
    plain = (
        _hashes(normalised(text) or text for text in texts)
        if near and texts
        else np.empty((len(there), 0))
    )
    length = np.array([len(one) if texts else 0 for one in there.values()], int)
    return RowFingerprints(positions, _hashes(there.values()), plain, none, length), bad


def near_pairs(some: RowFingerprints, others: RowFingerprints) -> Iterator[tuple[int, int]]:
    """Yield (row of `some`, row of `others`), numbers among the M, of nearly equal rows.

    One pair for each row of `others`.
    """
    if not some.near.size or not others.near.size:
        return
    left = np.flatnonzero(~np.isin(others.exact, some.exact))
    if some.near.ndim == 1:
        first, position = np.unique(some.near, return_index=True)
        place = np.searchsorted(first, others.near[left]).clip(max=len(first) - 1)
        same = first[place] == others.near[left]
        yield from zip(position[place[same]].tolist(), left[same].tolist(), strict=True)
        return
    # unit vectors of correlation c lie sqrt(2 - 2c) apart, and no farther in a projection
    _, axes = np.linalg.eigh(some.near.T @ some.near)
    planes = axes[:, -PLANES:]
    tree, reach = cKDTree(some.near @ planes), np.sqrt(2 - 2 * NEAR_COPY_CORRELATION)
    found = tree.query_ball_point(others.near[left] @ planes, reach)
    for row, candidates in zip(left.tolist(), found, strict=True):
        if candidates:
            likeness = some.near[candidates] @ others.near[row]
            if likeness.max() > NEAR_COPY_CORRELATION:
                yield candidates[int(likeness.argmax())], row


def _look_at_images(rows: Dataset, near: bool) -> tuple[RowFingerprints, dict[int, str]]:
    exact = np.zeros(len(rows), np.int64)
    empty = np.zeros(len(rows), bool)
    thumbnails = np.zeros((len(rows), SIDE * SIDE if near else 0), np.float32)

    oddities: dict[int, str] = {}

    def see(row: int, opened: OpenedImage) -> None:
        image = opened.image
        pixels = image.tobytes()
        if opened.oddity:
            oddities[row] = opened.oddity
        exact[row] = hash((image.size, pixels))
        empty[row] = pixels == pixels[:3] * (len(pixels) // 3)
        if near:
            thumbnails[row] = thumbnail(image)

    bad = find_bad_images(rows, "image", see)
    positions = np.array([row for row in range(len(rows)) if row not in bad], dtype=int)
    zero = np.zeros(len(positions), int)
    odd = {
        what: np.array([oddities.get(int(row)) == what for row in positions], bool)
        for what in sorted(set(oddities.values()))
    }
    values = (positions, exact[positions], thumbnails[positions], empty[positions], zero, odd)
    return RowFingerprints(*values), bad


def thumbnail(image: Image.Image) -> np.ndarray:
    """Return (256,) float32: the image as 16 x 16 greys of mean 0 and norm 1."""
    shrinks = min(image.size) >= SIDE
    way = Image.Resampling.BOX if shrinks else Image.Resampling.BILINEAR
    greys = np.asarray(image.convert("L").resize((SIDE, SIDE), way), np.float32).ravel()
    greys -= greys.mean()
    return greys / max(float(np.linalg.norm(greys)), 1e-6)


def _hashes(contents: Iterable[bytes | str]) -> np.ndarray:
    """Return (N,) Python's own 64-bit hashes, which are quick and differ between processes."""
    return np.fromiter(map(hash, contents), np.int64)
