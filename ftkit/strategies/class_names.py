"""The name of a class as a text of it: what it means is known before any row is.

"Sports" is a text about sports to a sentence encoder. So the backbone is asked before it is
trained: names are taken where more training rows lie nearest to the name of their own class than
chance would have it.
"""

from __future__ import annotations

import logging
import re
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from torch.nn import functional as F

from ftkit.machine.runtime import on_main
from ftkit.strategies.head_inputs import HeadInputs
from ftkit.tasks.inputs import NO_LABEL, Rows
from ftkit.tasks.text_rows import TextRows

log = logging.getLogger(__name__)
FORMS = ("{}", "This text is about {}.")
"""A text of each class in each of these forms. A sentence lies nearer to texts than a word does."""
WORD = re.compile(r"[^\W\d_]{2}")
"""Two letters; a name without them is a number or a sign."""
ASKED = 256
"""So many training rows are compared with the names, about equally many of each class."""


def texts_of_names(names: list[str]) -> list[str]:
    """Return class names as people write them: card_arrival becomes card arrival."""
    apart = (re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name) for name in names)
    return [" ".join(name.replace("_", " ").replace("-", " ").split()) for name in apart]


def named_rows(config: Any, train: Rows) -> TextRows | str:
    """Return rows whose texts are the names of classes, or why these are no texts of theirs.

    Args:
        config: of the model, which knows the names.
        train: rows whose tokenizer is used.
    """
    names = texts_of_names([config.id2label[number] for number in range(config.num_labels)])
    if not isinstance(train, TextRows) or train.paired:
        return "a row is no single text"
    if bare := [name for name in names if not WORD.search(name)]:
        return f"'{bare[0]}' has no word in it"
    texts = [form.format(name) for form in FORMS for name in names]
    labels = np.tile(np.arange(len(names)), len(FORMS))
    return TextRows(Dataset.from_dict({"text": texts}), train.tokenizer, labels)


def rows_of_names(head_inputs: HeadInputs, train: Rows) -> TextRows | None:
    """Return rows whose texts are the names of classes; None where these tell nothing.

    Args:
        head_inputs: of the model with its backbone as it was pretrained.
        train: rows of training, of which some are compared with the names.
    """
    named = named_rows(head_inputs.model.config, train)
    if isinstance(named, str):
        if isinstance(train, TextRows) and not train.paired:
            log.info(f"names of classes are not used as texts: {named}")
        return None
    assert isinstance(train, TextRows)
    told, asked = on_main(lambda: _told_by_names(head_inputs, named, train))
    enough = told * len(np.unique(named.labels)) > asked
    said = f"by the names of their classes {told} of {asked} training rows are told right"
    log.info(f"{said}: {'they are texts of their classes too' if enough else 'they are not used'}")
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
