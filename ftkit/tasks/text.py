"""Texts to model inputs: tokens by the backbone's own tokenizer, padded batch by batch."""

from __future__ import annotations

import logging
from functools import singledispatch
from typing import Any

import datasets
import numpy as np
import torch
from torch.utils.data import Dataset

from ftkit.data import Splits
from ftkit.data.splits import labels_of
from ftkit.recipe import TextClassification, TextRegression, TextTagging
from ftkit.tasks import Inputs, label_at, prepare, stacked

log = logging.getLogger(__name__)
USUAL_MOST = 512
"""Tokens; tokenizers that know no limit say 10^30."""


@prepare.register(TextClassification)
@prepare.register(TextTagging)
@prepare.register(TextRegression)
def prepare_texts(task: Any, splits: Splits, processor: Any, seed: int) -> Inputs:
    """Return the inputs of a model that reads whole texts, see `ftkit.tasks.prepare`.

    Sets the tokenizer's own limit, so that what is saved cuts texts where training did.
    """
    processor.model_max_length = min(task.max_length or USUAL_MOST, processor.model_max_length)
    train, validation, test = (
        Texts(rows, processor, label_array(task, rows, len(splits.label_names)))
        for rows in (splits.train, splits.validation, splits.test)
    )
    for name, rows in (("train", train), ("validation", validation), ("test", test)):
        if rows.cut:
            log.info(
                "%s: %.1f %% of the texts are longer than %d tokens and are cut off there",
                name,
                100 * rows.cut / len(rows),
                processor.model_max_length,
            )
    return Inputs(train=train, train_plain=train, validation=validation, test=test)


@singledispatch
def label_array(task: Any, rows: datasets.Dataset, classes: int) -> np.ndarray:
    """Return (N,) the classes or numbers of the rows."""
    return labels_of(rows)


@label_array.register
def _(task: TextTagging, rows: datasets.Dataset, classes: int) -> np.ndarray:
    """Return (N, C) float32, 1 where a row has the class."""
    labels = np.zeros((len(rows), classes), np.float32)
    for row, numbers in enumerate(rows["label"][:]):
        labels[row, numbers] = 1
    return labels


class Texts(Dataset):
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
