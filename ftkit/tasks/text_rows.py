"""Texts to model inputs: tokens by the backbone's own tokenizer, padded batch by batch."""

from __future__ import annotations

import copy
import logging
from typing import TYPE_CHECKING, Any, ClassVar

import datasets
import numpy as np
import torch
from torch.utils.data import Dataset

from ftkit.tasks.inputs import Inputs, label_at, stacked

if TYPE_CHECKING:
    from typing_extensions import Self

USUAL_MOST = 512
"""Tokens; tokenizers that know no limit say 10^30."""
log = logging.getLogger(__name__)


class TokenizedRows(Dataset):
    """Tokens of a split by name, (T,) int64; a child adds labels."""

    tokenizer: Any
    tokens: dict[str, list[list[int]]]
    labels: np.ndarray
    lengths: np.ndarray
    """(N,) tokens of each text as it is used."""
    by_row: ClassVar[tuple[str, ...]] = ("labels", "lengths")
    """Attributes with a value for each row."""

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, key: int) -> dict[str, Any]:
        position = key % len(self)
        tokens = {name: torch.tensor(lists[position]) for name, lists in self.tokens.items()}
        return {**tokens, "index": position}

    def first(self, count: int) -> Self:
        """Return the first rows as rows of their own."""
        some = copy.copy(self)
        some.tokens = {name: lists[:count] for name, lists in self.tokens.items()}
        for name in self.by_row:
            setattr(some, name, getattr(self, name)[:count])
        return some

    def collate(self, examples: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        """Return a batch: tokens (B, longest T) padded at the tokenizer's side, and index (B,)."""
        names = [name for name in self.tokens if name != "labels"]
        columns = {name: [example[name].tolist() for example in examples] for name in names}
        padded = self.tokenizer.pad(columns, return_tensors="pt")
        return {**padded, "index": stacked([example["index"] for example in examples])}


class TextRows(TokenizedRows):
    """Tokens of whole texts, each with one label.

    A pair of texts becomes one row of tokens; where it is too long, the longer of both is cut.
    """

    def __init__(self, rows: datasets.Dataset, tokenizer: Any, labels: np.ndarray) -> None:
        limit = tokenizer.model_max_length
        texts = [rows[name][:] for name in ("text", "pair") if name in rows.column_names]
        self.paired = len(texts) > 1
        whole = tokenizer(*texts, verbose=False)
        lengths = np.array([len(ids) for ids in whole["input_ids"]])
        self.cut = int((lengths > limit).sum())
        """How many texts are longer than the limit."""
        self.lengths = lengths.clip(max=limit)
        self.tokens = dict(tokenizer(*texts, truncation=True) if self.cut else whole)
        self.tokenizer, self.labels = tokenizer, labels

    def __getitem__(self, key: int) -> dict[str, Any]:
        return {**super().__getitem__(key), "labels": label_at(self.labels, key % len(self))}

    def collate(self, examples: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        """Return a batch with labels (B,) or (B, C)."""
        labels = stacked([example["labels"] for example in examples])
        return {**super().collate(examples), "labels": labels}


def limit_tokens(tokenizer: Any, most: int | None) -> int:
    """Set the tokenizer's own limit and return it: what is saved cuts texts where training did.

    Args:
        most: that was asked for, 512 when not given; a smaller limit of the tokenizer stands.
    """
    tokenizer.model_max_length = min(most or USUAL_MOST, tokenizer.model_max_length)
    return tokenizer.model_max_length


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
