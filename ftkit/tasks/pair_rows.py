"""Pairs of texts to model inputs: tokens of the source, and those of its translation as labels."""

from __future__ import annotations

import copy
from typing import Any

import datasets
import numpy as np
import torch

from ftkit.data.splits import objects
from ftkit.tasks.inputs import NO_LABEL
from ftkit.tasks.seq2seq import Shift
from ftkit.tasks.text_rows import TokenizedRows


class PairRows(TokenizedRows):
    """Tokens of a split: of the source what the tokenizer gives, (S,) int64; `labels` (T,)."""

    def __init__(self, rows: datasets.Dataset, tokenizer: Any, prefix: str = "") -> None:
        sources = [prefix + text for text in rows["source"][:]]
        targets, limit = rows["label"][:], tokenizer.model_max_length
        whole = tokenizer(sources, text_target=targets, verbose=False)
        pairs = zip(whole["input_ids"], whole["labels"], strict=True)
        self.cut = sum(max(map(len, pair)) > limit for pair in pairs)
        """How many pairs have a text that is longer than the limit."""
        found = tokenizer(sources, text_target=targets, truncation=True) if self.cut else whole
        self.tokenizer, self.tokens = tokenizer, dict(found)
        self.labels = objects(targets)
        """(N,) the translations as they stand in the data."""
        self.lengths = np.array([len(ids) for ids in self.tokens["input_ids"]])
        self.shift: Shift | None = None
        """From labels to what the decoder reads; of the model, which is not known here."""

    def shifted(self, shift: Shift) -> PairRows:
        """Return the same rows with the decoder's inputs in every batch."""
        same = copy.copy(self)
        same.shift = shift
        return same

    def collate(self, examples: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        """Return a batch of the source's tokens, `decoder_input_ids` and `labels` (B, T)."""
        labels = torch.nn.utils.rnn.pad_sequence(
            [example["labels"] for example in examples], batch_first=True, padding_value=NO_LABEL
        )
        fed = {"decoder_input_ids": self.shift(labels)} if self.shift else {}
        return {**super().collate(examples), **fed, "labels": labels}
