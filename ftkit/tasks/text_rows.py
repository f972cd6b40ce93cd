"""Texts to model inputs: tokens by the backbone's own tokenizer, padded batch by batch."""

from __future__ import annotations

import logging
from typing import Any

import datasets
import numpy as np
import torch
from torch.utils.data import Dataset

from ftkit.tasks.inputs import Inputs, label_at, stacked

USUAL_MOST = 512
"""Tokens; tokenizers that know no limit say 10^30."""


log = logging.getLogger(__name__)


def log_cuts(inputs: Inputs, limit: int, what: str) -> None:
    """Log of each split what share of its rows is cut off, where some are.

    Args:
        limit: tokens.
        what: is said of the rows, with places for the share in per cent and for the limit.
    """
    for name in ("train", "validation", "test"):
        rows: Any = getattr(inputs, name)
        if rows.cut:
            log.info(f"%s: {what}", name, 100 * rows.cut / len(rows), limit)


class TextRows(Dataset):
    """Tokens of a split: what the tokenizer gives for each text, (T,) int64, `labels`, `index`.

    A pair of texts becomes one row of tokens; where it is too long, the longer of both is cut.
    """

    def __init__(self, rows: datasets.Dataset, tokenizer: Any, labels: np.ndarray) -> None:
        limit = tokenizer.model_max_length
        texts = [rows[name][:] for name in ("text", "pair") if name in rows.column_names]
        whole = tokenizer(*texts, verbose=False)
        lengths = np.array([len(ids) for ids in whole["input_ids"]])
        self.cut = int((lengths > limit).sum())
        """How many texts are longer than the limit."""
        found = tokenizer(*texts, truncation=True) if self.cut else whole
        self.lengths = lengths.clip(max=limit)
        """(N,) tokens of each text as it is used."""
        self.tokens: dict[str, list[list[int]]] = dict(found)
        self.tokenizer, self.labels = tokenizer, labels

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, key: int) -> dict[str, Any]:
        position = key % len(self)
        tokens = {name: torch.tensor(lists[position]) for name, lists in self.tokens.items()}
        return {**tokens, "labels": label_at(self.labels, position), "index": position}

    def collate(self, examples: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        """Return a batch: tokens (B, longest T) padded at the tokenizer's side, labels, index."""
        padded = self.tokenizer.pad(
            {name: [example[name].tolist() for example in examples] for name in self.tokens},
            return_tensors="pt",
        )
        others = {
            name: stacked([example[name] for example in examples]) for name in ("labels", "index")
        }
        return {**padded, **others}
