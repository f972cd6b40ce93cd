"""Words to model inputs: tokens by the backbone's own tokenizer, a label for each word."""

from __future__ import annotations

from typing import Any

import datasets
import numpy as np
import torch
from torch.utils.data import Dataset

from ftkit.data.splits import labels_of
from ftkit.tasks.inputs import NO_LABEL, stacked

UNSEEN = -1
"""The place of a word that no token stands for: it was cut off, or is nothing to the tokenizer."""


class Words(Dataset):
    """Tokens of a split: (T,) int64 by name, `labels` (T,), and `index`.

    The first token of each word has the word's label, all others one that does not count.
    """

    def __init__(self, rows: datasets.Dataset, tokenizer: Any) -> None:
        found = tokenizer(rows["tokens"][:], is_split_into_words=True, truncation=True)
        self.tokens: dict[str, list[list[int]]] = dict(found)
        self.lengths = np.array([len(ids) for ids in found["input_ids"]])
        """(N,) tokens of each text as it is used."""
        self.tokenizer, self.labels = tokenizer, labels_of(rows)
        self.places = [
            first_tokens(found.word_ids(row), len(labels)) for row, labels in enumerate(self.labels)
        ]
        """(W,) of each row: where the first token of each word stands, or UNSEEN."""

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, key: int) -> dict[str, Any]:
        position = key % len(self)
        tokens = {name: torch.tensor(lists[position]) for name, lists in self.tokens.items()}
        labels, places = torch.full_like(tokens["input_ids"], NO_LABEL), self.places[position]
        seen = places != UNSEEN
        labels[places[seen]] = torch.from_numpy(np.array(self.labels[position], int)[seen])
        return {**tokens, "labels": labels, "index": position}

    def collate(self, examples: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        """Return a batch: tokens and labels (B, longest T), index (B,)."""
        padded = self.tokenizer.pad(
            {name: [example[name].tolist() for example in examples] for name in self.tokens},
            return_tensors="pt",
        )
        labels = torch.nn.utils.rnn.pad_sequence(
            [example["labels"] for example in examples], batch_first=True, padding_value=NO_LABEL
        )
        missing = padded["input_ids"].shape[1] - labels.shape[1]
        labels = torch.nn.functional.pad(labels, (0, missing), value=NO_LABEL)
        return {**padded, "labels": labels, "index": stacked([e["index"] for e in examples])}

    def first(self, count: int) -> Words:
        """Return the first rows as rows of their own."""
        few = object.__new__(Words)
        few.tokens = {name: lists[:count] for name, lists in self.tokens.items()}
        few.tokenizer, few.labels = self.tokenizer, self.labels[:count]
        few.places, few.lengths = self.places[:count], self.lengths[:count]
        return few


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
