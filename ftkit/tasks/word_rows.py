"""Words to model inputs: tokens by the backbone's own tokenizer, a label for each word."""

from __future__ import annotations

from typing import Any

import datasets
import numpy as np
import torch

from ftkit.data.splits import labels_of
from ftkit.tasks.inputs import NO_LABEL
from ftkit.tasks.text_rows import TokenizedRows

UNSEEN = -1
"""The place of a word that no token stands for: it was cut off, or is nothing to the tokenizer."""


class WordRows(TokenizedRows):
    """Tokens of a split with `labels` (T,).

    The first token of each word has the word's label, all others one that does not count.
    """

    by_row = (*TokenizedRows.by_row, "places")

    def __init__(self, rows: datasets.Dataset, tokenizer: Any) -> None:
        found = tokenizer(rows["tokens"][:], is_split_into_words=True, truncation=True)
        self.tokens = dict(found)
        self.lengths = np.array([len(ids) for ids in found["input_ids"]])
        self.tokenizer, self.labels = tokenizer, labels_of(rows)
        self.places = [
            first_tokens(found.word_ids(row), len(labels)) for row, labels in enumerate(self.labels)
        ]
        """(W,) of each row: where the first token of each word stands, or UNSEEN."""

    def __getitem__(self, key: int) -> dict[str, Any]:
        example, position = super().__getitem__(key), key % len(self)
        labels, places = torch.full_like(example["input_ids"], NO_LABEL), self.places[position]
        seen = places != UNSEEN
        labels[places[seen]] = torch.from_numpy(np.array(self.labels[position], int)[seen])
        return {**example, "labels": labels}

    def collate(self, examples: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        """Return a batch with labels (B, longest T)."""
        batch = super().collate(examples)
        labels = torch.full_like(batch["input_ids"], NO_LABEL)
        for row, example in enumerate(examples):
            labels[row, : len(example["labels"])] = example["labels"]
        return {**batch, "labels": labels}


def first_tokens(words: list[int | None], count: int) -> np.ndarray:
    """Return (W,) where the first token of each word stands.

    Args:
        words: of which word each token is, None for the tokenizer's own.
        count: W.
    """
    places = np.full(count, UNSEEN)
    for place, word in reversed(list(enumerate(words))):
        if word is not None:
            places[word] = place
    return places
