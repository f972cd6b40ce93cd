"""Packing: several texts in one row, each blind to the others.

The positions start anew with each text. From that transformers itself tells where one ends and
keeps attention within it; which models do so is found by trying.
"""

from __future__ import annotations

import inspect
from bisect import bisect_left, insort
from collections.abc import Sequence
from typing import Any

import torch

TOLERANCE = 1e-4
"""Largest difference of logits, as a share of the largest. The same numbers summed in another order
differ by some 1e-6; texts that see each other by much more."""


def pack(lengths: Sequence[int], most: int) -> list[list[int]]:
    """Return which texts share a row of at most `most` tokens: best fit, the longest first.

    Args:
        lengths: tokens of each text, none more than `most`.
    """
    rows: list[list[int]] = []
    room: list[tuple[int, int]] = []  # (tokens left, row), in order
    for text in sorted(range(len(lengths)), key=lambda place: -lengths[place]):
        place = bisect_left(room, (lengths[text],))
        if place == len(room):
            rows.append([])
            left, row = most, len(rows) - 1
        else:
            left, row = room.pop(place)
        rows[row].append(text)
        insort(room, (left - lengths[text], row))
    return rows


def why_not_packed(model: Any) -> str | None:
    """Return why texts cannot share a row of this model, or None where they can.

    Two texts are read in one row and each alone; both must give the same logits.
    """
    if "position_ids" not in inspect.signature(model.forward).parameters:
        return f"{type(model).__name__} takes no positions"
    random = torch.Generator().manual_seed(0)
    texts = [
        torch.randint(model.config.get_text_config().vocab_size, (1, length), generator=random)
        for length in (7, 5)
    ]
    positions = torch.cat([torch.arange(text.shape[1])[None] for text in texts], 1)
    with torch.inference_mode():
        alone = torch.cat([model.eval()(input_ids=t, use_cache=False).logits for t in texts], 1)
        together = model(
            input_ids=torch.cat(texts, 1), position_ids=positions, use_cache=False
        ).logits
    difference = float((together - alone).abs().max() / alone.abs().max())
    if difference <= TOLERANCE:
        return None
    return f"two texts in one row of {type(model).__name__} see each other ({difference:.1g})"
