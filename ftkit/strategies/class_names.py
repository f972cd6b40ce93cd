"""The name of a class as one more text of it: what it means is known before any row is.

"Sports" is a text about sports to a sentence encoder, and "negative" to nobody else than to people
one about a bad film. So the backbone is asked first, before it is trained: names are taken where
training rows lie nearer to the name of their own class than chance would have it.
"""

from __future__ import annotations

import logging
import re
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from scipy.stats import binomtest
from torch.nn import functional as F

from ftkit.machine.runtime import on_main
from ftkit.strategies.head_inputs import HeadInputs
from ftkit.tasks.inputs import NO_LABEL, Rows
from ftkit.tasks.text_rows import TextRows

log = logging.getLogger(__name__)
ASKED = 256
"""So many training rows are compared with the names, about equally many of each class."""
SHARE = 0.25
"""Names are taken that tell so much of what chance leaves: of two classes 62.5 % of the rows, of
many about a quarter of them."""
CHANCE = 0.01
"""And by chance so many told right are as rare as this."""


def texts_of_names(names: list[str]) -> list[str]:
    """Return class names as people write them: card_arrival becomes card arrival."""
    apart = (re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name) for name in names)
    return [" ".join(name.replace("_", " ").replace("-", " ").split()) for name in apart]


def rows_of_names(head_inputs: HeadInputs, train: Rows) -> TextRows | None:
    """Return a row for each class whose text is its name; None where that tells nothing.

    Args:
        head_inputs: of the model with its backbone as it was pretrained.
        train: rows of training, of which some are compared with the names.
    """
    if not isinstance(train, TextRows) or train.paired:
        return None
    config: Any = head_inputs.model.config
    names = [config.id2label[number] for number in range(config.num_labels)]
    texts = Dataset.from_dict({"text": texts_of_names(names)})
    named = TextRows(texts, train.tokenizer, np.arange(len(names)))
    told, asked = on_main(lambda: _told_by_names(head_inputs, named, train))
    chance = 1 / len(names)
    by_chance = binomtest(told, asked, chance, alternative="greater").pvalue
    enough = told / asked >= chance + SHARE * (1 - chance) and by_chance < CHANCE
    said = f"by the names of their classes {told} of {asked} training rows are told right"
    log.info(f"{said}: {'each is one text more of its class' if enough else 'they are not used'}")
    return named if enough else None


@torch.inference_mode()
def _told_by_names(head_inputs: HeadInputs, named: TextRows, train: TextRows) -> tuple[int, int]:
    """Return how many of how many rows lie nearest to the name of their class, by cosine."""
    labels = train.labels
    classes = np.unique(labels[labels != NO_LABEL])
    most = max(1, ASKED // len(classes))
    some = np.concatenate([np.flatnonzero(labels == label)[:most] for label in classes])
    names, numbers = head_inputs.of(named, np.arange(len(named)))
    rows, own = head_inputs.of(train, some)
    nearest = (F.normalize(rows, dim=1) @ F.normalize(names, dim=1).T).argmax(1)
    return int((numbers[nearest] == own).sum()), len(some)
