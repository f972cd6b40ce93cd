"""Pairs of texts to model inputs: tokens of the source, and those of its translation as labels."""

from __future__ import annotations

import copy
from typing import Any

import datasets
import numpy as np
import torch
from torch.utils.data import Dataset

from ftkit.tasks.inputs import NO_LABEL
from ftkit.tasks.seq2seq import Shift


class Pairs(Dataset):
    """Tokens of a split: of the source what the tokenizer gives, (S,) int64; `labels` (T,)."""

    def __init__(self, rows: datasets.Dataset, tokenizer: Any, prefix: str = "") -> None:
        sources = [prefix + text for text in rows["source"][:]]
        targets, limit = rows["label"][:], tokenizer.model_max_length
        whole = tokenizer(sources, text_target=targets, verbose=False)
        longest = np.array(
            [max(map(len, pair)) for pair in zip(whole["input_ids"], whole["labels"], strict=True)]
        )
        self.cut = int((longest > limit).sum())
        """How many pairs have a text that is longer than the limit."""
        found = tokenizer(sources, text_target=targets, truncation=True) if self.cut else whole
        self.tokens: dict[str, list[list[int]]] = dict(found)
        self.tokenizer = tokenizer
        self.labels = np.empty(len(targets), object)
        """(N,) the translations as they stand in the data."""
        self.labels[:] = targets
        self.lengths = np.array([len(ids) for ids in self.tokens["input_ids"]])
        """(N,) tokens of the source."""
        self.shift: Shift | None = None
        """From labels to what the decoder reads; of the model, which is not known here."""

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, key: int) -> dict[str, Any]:
        position = key % len(self)
        tokens = {name: torch.tensor(lists[position]) for name, lists in self.tokens.items()}
        return {**tokens, "index": position}

    def first(self, count: int) -> Pairs:
        """Return the first rows as rows of their own."""
        some = copy.copy(self)
        some.tokens = {name: lists[:count] for name, lists in self.tokens.items()}
        some.labels, some.lengths = self.labels[:count], self.lengths[:count]
        return some

    def shifted(self, shift: Shift) -> Pairs:
        """Return the same rows with the decoder's inputs in every batch."""
        same = copy.copy(self)
        same.shift = shift
        return same

    def collate(self, examples: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        """Return a batch: the tokenizer's inputs (B, S), `decoder_input_ids` and `labels` (B, T).

        And `index` (B,).
        """
        inputs = [name for name in self.tokens if name != "labels"]
        padded = self.tokenizer.pad(
            {name: [example[name].tolist() for example in examples] for name in inputs},
            return_tensors="pt",
        )
        labels = torch.nn.utils.rnn.pad_sequence(
            [example["labels"] for example in examples], batch_first=True, padding_value=NO_LABEL
        )
        index = torch.tensor([example["index"] for example in examples])
        fed = {"decoder_input_ids": self.shift(labels)} if self.shift else {}
        return {**padded, **fed, "labels": labels, "index": index}
