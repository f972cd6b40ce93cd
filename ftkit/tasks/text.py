"""Texts to model inputs: tokens by the backbone's own tokenizer, padded batch by batch."""

from __future__ import annotations

import logging
from typing import Any

import datasets
import numpy as np
import torch
from torch.utils.data import Dataset

from ftkit.data import Splits
from ftkit.recipe import TextClassification
from ftkit.tasks import Inputs, prepare

log = logging.getLogger(__name__)
USUAL_MOST = 512
"""Tokens; tokenizers that know no limit say 10^30."""


@prepare.register
def prepare_texts(task: TextClassification, splits: Splits, processor: Any, seed: int) -> Inputs:
    """Return the inputs of a text classifier, see `ftkit.tasks.prepare`.

    Sets the tokenizer's own limit, so that what is saved cuts texts where training did.
    """
    processor.model_max_length = min(task.max_length or USUAL_MOST, processor.model_max_length)
    train, validation, test = (
        Texts(rows, processor) for rows in (splits.train, splits.validation, splits.test)
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


class Texts(Dataset):
    """Tokens of a split: what the tokenizer gives for each text, (T,) int64, `labels`, `index`."""

    def __init__(self, rows: datasets.Dataset, tokenizer: Any) -> None:
        texts, limit = rows["text"][:], tokenizer.model_max_length
        whole = tokenizer(texts, verbose=False)
        lengths = np.array([len(ids) for ids in whole["input_ids"]])
        self.cut = int((lengths > limit).sum())
        """How many texts are longer than the limit."""
        found = tokenizer(texts, truncation=True) if self.cut else whole
        self.lengths = lengths.clip(max=limit)
        """(N,) tokens of each text as it is used."""
        self.tokens: dict[str, list[list[int]]] = dict(found)
        self.tokenizer, self.labels = tokenizer, np.asarray(rows["label"])

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, key: int) -> dict[str, Any]:
        position = key % len(self)
        tokens = {name: torch.tensor(lists[position]) for name, lists in self.tokens.items()}
        return {**tokens, "labels": int(self.labels[position]), "index": position}

    def collate(self, examples: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        """Return a batch: tokens (B, longest T) padded at the tokenizer's side, labels, index."""
        padded = self.tokenizer.pad(
            {name: [example[name].tolist() for example in examples] for name in self.tokens},
            return_tensors="pt",
        )
        others = {
            name: torch.tensor([example[name] for example in examples])
            for name in ("labels", "index")
        }
        return {**padded, **others}
