"""Texts to learn to write: tokens, which of them are to be told, and rows of limited length.

A longer text becomes several rows; each begins with the last token of the one before, so that every
token but a text's first is told exactly once. A longer conversation is cut off.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any

import datasets
import numpy as np
import torch
from torch.utils.data import Dataset

from ftkit.data import Splits
from ftkit.data.splits import ROLES
from ftkit.errors import DataError
from ftkit.recipe import LanguageModelling
from ftkit.tasks import Inputs, prepare, settled
from ftkit.tasks.chat import Messages, encode, end_of_turn, give_template
from ftkit.tasks.packing import pack, why_not_packed
from ftkit.tasks.text import USUAL_MOST

log = logging.getLogger(__name__)
UNTOLD = -100
"""Label of a token that is not to be told; torch's cross-entropy passes over it."""
CHUNK = 1000
"""Texts that are read at once."""


@settled.register
def _(task: LanguageModelling, splits: Splits, model: Any, tokenizer: Any) -> LanguageModelling:
    """Fill in columns, length and packing; give the tokenizer a chat template if it needs one.

    Raises:
        ModelError: conversations are to be learned, and nothing says where an answer ends.
    """
    task = splits.task or task
    positions = getattr(model.config, "max_position_embeddings", None) or sys.maxsize
    most = min(task.max_length or USUAL_MOST, positions, tokenizer.model_max_length)
    if task.max_length is not None and most < task.max_length:
        log.info("task.max_length: the backbone takes %d tokens, not %d", most, task.max_length)
    reason = why_not_packed(model) if task.pack else None
    if reason:
        log.info("texts are not packed, rows are filled up with padding: %s", reason)
    if task.text is None:
        if give_template(tokenizer):
            log.info("the backbone has no chat template; a plain one is used and saved with it")
        _stop_at(model, end_of_turn(tokenizer))
    if model.generation_config.pad_token_id is None:
        model.generation_config.pad_token_id = tokenizer.pad_token_id
    return task.model_copy(update={"max_length": most, "pack": task.pack and reason is None})


def _stop_at(model: Any, token: int | None) -> None:
    """Let the model stop writing at this token too."""
    config = model.generation_config
    stops = config.eos_token_id if isinstance(config.eos_token_id, list) else [config.eos_token_id]
    if token is not None and token not in stops:
        stops = [stop for stop in stops if stop is not None] + [token]
        config.eos_token_id = stops if len(stops) > 1 else token


@dataclass(frozen=True)
class Piece:
    """A text, or a part of one, that is read in one go."""

    row: int
    """Of the split."""
    ids: torch.Tensor
    """(T,) int64."""
    labels: torch.Tensor
    """(T,) int64, the tokens that are to be told; never the first, which nothing stands before."""


@prepare.register
def prepare_language(task: LanguageModelling, splits: Splits, processor: Any, seed: int) -> Inputs:
    """Return the inputs of a language model, see `ftkit.tasks.prepare`.

    Args:
        task: as `settled` gives it.

    Raises:
        DataError: a conversation cannot be read, or nothing is to be learned from the rows.
    """
    found = {role: _pieces(task, getattr(splits, role), processor, role) for role in ROLES}
    for role, pieces in found.items():
        if not any(_is_told(piece) for piece in pieces):
            raise DataError(
                f"no {role} row has a token to be told within {task.max_length} tokens; use a "
                f"larger --set task.max_length"
            )
    told = [piece for piece in found["train"] if _is_told(piece)]
    lost = len({piece.row for piece in found["train"]}) - len({piece.row for piece in told})
    if lost:
        log.info(
            "train: %d rows have nothing to be told in their first %d tokens and are left out",
            lost,
            task.max_length,
        )
    groups = [[place] for place in range(len(told))]
    if task.pack:
        groups = pack([len(piece.ids) for piece in told], task.max_length or USUAL_MOST)
        log.info(
            "train: %s texts packed into %s rows of %d tokens, %.1f %% full",
            f"{len(told):,}",
            f"{len(groups):,}",
            task.max_length,
            100 * sum(len(p.ids) for p in told) / (len(groups) * (task.max_length or USUAL_MOST)),
        )
    train = Tokens(told, splits.train, processor, groups, packed=task.pack)
    validation, test = (
        Tokens(found[role], getattr(splits, role), processor) for role in ("validation", "test")
    )
    return Inputs(train=train, train_plain=train, validation=validation, test=test)


def _is_told(piece: Piece) -> bool:
    return bool((piece.labels != UNTOLD).any())


def _pieces(
    task: LanguageModelling, rows: datasets.Dataset, tokenizer: Any, role: str
) -> list[Piece]:
    most = task.max_length or USUAL_MOST
    if task.text is not None:
        return list(cut_texts(rows["text"][:], tokenizer, most))
    found = list(cut_conversations(rows["messages"][:], rows["index"][:], tokenizer, most, role))
    cut = sum(was_cut for _, was_cut in found)
    if cut:
        log.info(
            "%s: %.1f %% of the conversations are longer than %d tokens and are cut off there",
            role,
            100 * cut / len(found),
            most,
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
        labels = torch.where(torch.tensor(counted[:most]), tokens, UNTOLD)
        yield Piece(row, tokens, _but_the_first(labels)), len(ids) > most


def _but_the_first(labels: torch.Tensor) -> torch.Tensor:
    labels = labels.clone()
    labels[0] = UNTOLD
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
            "labels": filled("labels", UNTOLD),
            "index": torch.tensor([example["index"] for example in examples]),
        }
        positions = filled("positions", -1)
        if not self.packed:
            return {**batch, "attention_mask": (positions >= 0).long()}
        # no mask and no cache: the sign for transformers to look at the positions
        return {**batch, "position_ids": positions.clamp(min=0), "use_cache": False}
