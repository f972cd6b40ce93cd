"""Texts to learn to write: tokens, which of them are to be predicted, and rows of limited length.

A longer text becomes several rows; each begins with the last token of the one before, so that every
token but a text's first is predicted exactly once. A longer conversation is cut off.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any

import datasets
import numpy as np
import torch
from torch.utils.data import Dataset

from ftkit.errors import DataError
from ftkit.recipe import LanguageModelling
from ftkit.tasks.chat import Messages, encode
from ftkit.tasks.inputs import NO_LABEL
from ftkit.tasks.text_rows import USUAL_MOST

log = logging.getLogger(__name__)
CHUNK = 1000
"""Texts that are read at once."""


@dataclass(frozen=True)
class Piece:
    """A text, or a part of one, that is read in one go."""

    row: int
    """Of the split."""
    ids: torch.Tensor
    """(T,) int64."""
    labels: torch.Tensor
    """(T,) int64, the tokens that are to be predicted; never the first, which nothing stands
    before."""


def has_targets(piece: Piece) -> bool:
    return bool((piece.labels != NO_LABEL).any())


def pieces_of(
    task: LanguageModelling, rows: datasets.Dataset, tokenizer: Any, role: str
) -> list[Piece]:
    most = task.max_length or USUAL_MOST
    if task.text is not None:
        return list(cut_texts(rows["text"][:], tokenizer, most))
    found = list(cut_conversations(rows["messages"][:], rows["index"][:], tokenizer, most, role))
    cut = sum(was_cut for _, was_cut in found)
    if cut:
        log.info(
            f"{role}: {100 * cut / len(found):.1f} % of the conversations are longer than {most} "
            "tokens and are cut off there"
        )
    return [piece for piece, _ in found]


def cut_texts(texts: list[str], tokenizer: Any, most: int) -> Iterator[Piece]:
    """Yield the parts of each text, of at most `most` tokens; the last ends in end-of-text."""
    end = [] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id]
    chunks = (texts[start : start + CHUNK] for start in range(0, len(texts), CHUNK))
    encoded = chain.from_iterable(tokenizer(chunk, verbose=False)["input_ids"] for chunk in chunks)
    for row, tokens in enumerate(encoded):
        ids = tokens if tokens[-1:] == end else tokens + end
        for start in range(0, max(1, len(ids) - 1), most - 1):
            part = torch.tensor(ids[start : start + most])
            yield Piece(row, part, _but_the_first(part))


def cut_conversations(
    conversations: list[Messages], index: Iterable[int], tokenizer: Any, most: int, role: str
) -> Iterator[tuple[Piece, bool]]:
    """Yield the first `most` tokens of each conversation, and whether that is not all of it."""
    for row, (messages, number) in enumerate(zip(conversations, index, strict=True)):
        try:
            ids, counted = encode(tokenizer, messages)
        except DataError as error:
            raise DataError(f"{role} row {number}: {error}") from error
        tokens = torch.tensor(ids[:most])
        labels = torch.where(torch.tensor(counted[:most]), tokens, NO_LABEL)
        yield Piece(row, tokens, _but_the_first(labels)), len(ids) > most


def _but_the_first(labels: torch.Tensor) -> torch.Tensor:
    labels = labels.clone()
    labels[0] = NO_LABEL
    return labels


class Tokens(Dataset):
    """Rows of a model: each a group of pieces, one after the other; without groups, one piece.

    An example has `input_ids`, `positions` and `labels`, (T,) int64, and `index`, the row of the
    split that its first piece comes from.
    """

    def __init__(
        self,
        pieces: list[Piece],
        rows: datasets.Dataset,
        tokenizer: Any,
        groups: list[list[int]] | None = None,
        packed: bool = False,
    ) -> None:
        self.pieces, self.rows, self.tokenizer, self.packed = pieces, rows, tokenizer, packed
        self.groups = groups or [[place] for place in range(len(pieces))]
        self.labels = np.zeros(len(rows), np.int64)
        """(N,) zeros, one for each row of the split, of which an example may be a part."""

    @property
    def owners(self) -> np.ndarray:
        """For each example the row of the split that its first piece comes from."""
        return np.array([self.pieces[group[0]].row for group in self.groups])

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of each example."""
        return np.array([sum(len(self.pieces[p].ids) for p in group) for group in self.groups])

    def __len__(self) -> int:
        return len(self.groups)

    def __getitem__(self, key: int) -> dict[str, Any]:
        group = [self.pieces[place] for place in self.groups[key % len(self)]]
        return {
            "input_ids": torch.cat([piece.ids for piece in group]),
            "positions": torch.cat([torch.arange(len(piece.ids)) for piece in group]),
            "labels": torch.cat([piece.labels for piece in group]),
            "index": group[0].row,
        }

    def first(self, count: int) -> Tokens:
        """Return the first examples as rows of their own."""
        return Tokens(self.pieces, self.rows, self.tokenizer, self.groups[:count], self.packed)

    def collate(self, examples: list[dict[str, Any]]) -> dict[str, Any]:
        """Return a batch (B, longest T), padded at the end; padding of packed rows is a text."""
        longest = max(len(example["input_ids"]) for example in examples)

        def filled(name: str, value: int) -> torch.Tensor:
            rows = [example[name] for example in examples]
            room = [(0, longest - len(row)) for row in rows]
            pairs = zip(rows, room, strict=True)
            return torch.stack([torch.nn.functional.pad(r, p, value=value) for r, p in pairs])

        batch = {
            "input_ids": filled("input_ids", self.tokenizer.pad_token_id or 0),
            "labels": filled("labels", NO_LABEL),
            "index": torch.tensor([example["index"] for example in examples]),
        }
        positions = filled("positions", -1)
        if not self.packed:
            return {**batch, "attention_mask": (positions >= 0).long()}
        # no mask and no cache: the sign for transformers to look at the positions
        return {**batch, "position_ids": positions.clamp(min=0), "use_cache": False}
