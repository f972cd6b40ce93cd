"""The rows of requests: how much work each is, and the model's answers to many at once."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from ftkit.data.open_images import BadImage, open_rgb, size_of_image
from ftkit.exported.inputs import MOST_IMAGES, MOST_ROWS, MOST_TEXTS, as_image
from ftkit.exported.model import Answers, Exported
from ftkit.serving.entities import words_of
from ftkit.serving.limits import Limits, Refused

MOST_PIXELS = 16_000_000
"""Of all images of a batch together, unless one alone has more: what is decoded lies in memory."""

LONG_TOKEN = 16
"""Bytes of a token at most, on the average of a text: in English there are four or five."""


@dataclass(frozen=True)
class Rows:
    """An exported model as a service asks it."""

    exported: Exported
    limits: Limits
    decoders: ThreadPoolExecutor
    """Decode images; as many at once as the pool has threads."""

    @property
    def most(self) -> int:
        """Rows that are answered in one batch."""
        reads = self.exported.about.reads
        return {"images": MOST_IMAGES, "text": MOST_TEXTS, "words": MOST_TEXTS}.get(
            reads, MOST_ROWS
        )

    def is_long(self, rows: Sequence[Any]) -> bool:
        """Return whether measuring these rows takes long enough to have a thread of its own."""
        reads = self.exported.about.reads
        if reads == "table":
            return False
        if reads == "images":
            return True
        return any(_bytes_of(row) > self.limits.max_tokens for row in rows)

    def pixels(self, rows: Sequence[Any]) -> int:
        """Return how many pixels these rows have, 0 where they are no images.

        Raises:
            Refused: one is too large, or cannot be read.
        """
        if self.exported.about.reads == "images":
            return sum(self._pixels(row) for row in rows)
        if self.exported.about.reads != "table":
            for row in rows:
                self._require_few_tokens(row)
        return 0

    def _pixels(self, row: bytes) -> int:
        try:
            width, height = size_of_image(as_image(row))
        except BadImage as error:
            raise _bad(error) from None
        if (pixels := width * height) > self.limits.max_pixels:
            raise Refused(
                413,
                f"the image has {pixels:,} pixels ({width:,} by {height:,}), and "
                f"{self.limits.max_pixels:,} are read at most (--max-pixels); send it smaller",
            )
        return pixels

    def _require_few_tokens(self, row: Any) -> None:
        """Refuse a text that is too long to be read; what the model cuts off is read before."""
        most = self.limits.max_tokens
        if _bytes_of(row) <= most:  # a token has one byte at least
            return
        if (size := _bytes_of(row)) > LONG_TOKEN * most:  # counting itself would take seconds
            line = f"the text has {size:,} bytes, and {most:,} tokens are read (--max-tokens)"
            raise Refused(413, line)
        if self.exported.about.reads == "ngrams":
            count, what = len(row), "characters"
        else:
            given = words_of(row) if self.exported.about.reads == "words" else row
            words = self.exported.about.reads == "words"
            encoded = self._whole.encode(
                *(given if isinstance(given, tuple) else (given,)), is_pretokenized=words
            )
            count, what = len(encoded.ids), "tokens"
        if count > most:
            line = f"the text has {count:,} {what}, and {most:,} are read at most (--max-tokens)"
            raise Refused(413, line)

    @cached_property
    def _whole(self) -> Any:
        """The tokenizer that cuts nothing off: one of its own, which other threads may use."""
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_file(str(self.exported.read.file))
        tokenizer.no_truncation()
        tokenizer.no_padding()
        return tokenizer

    def answer(self, rows: Sequence[Any]) -> list[tuple[np.ndarray, np.ndarray] | Refused]:
        """Return logits and scores of each row, or why it has none. One thread may call this."""
        if self.exported.about.reads == "words":
            rows = [words_of(row) for row in rows]
        if self.exported.about.reads != "images":
            return _one_by_one(self.exported.answer(rows))
        found: list[Any] = list(self.decoders.map(_decoded, rows))
        right = [place for place, one in enumerate(found) if isinstance(one, np.ndarray)]
        right.sort(key=lambda place: found[place].shape)  # those of one size are one batch
        if right:
            answers = _one_by_one(self.exported.answer([found[place] for place in right]))
            for place, answer in zip(right, answers, strict=True):
                found[place] = answer
        return found


def joined(rows: Sequence[tuple[np.ndarray, np.ndarray]], words: bool) -> Answers:
    """Return what was answered to some rows as `Exported.answer` does."""
    logits, scores = ([row[k] for row in rows] for k in (0, 1))
    return Answers(logits, scores) if words else Answers(np.stack(logits), np.stack(scores))


def _one_by_one(answers: Answers) -> list[Any]:
    return list(zip(answers.logits, answers.scores, strict=True))


def _decoded(row: bytes) -> np.ndarray | Refused:
    try:
        return np.asarray(open_rgb(as_image(row)))
    except BadImage as error:
        return _bad(error)


def _bad(error: BadImage) -> Refused:
    return Refused(400, f"the image cannot be read: {error}")


def _bytes_of(row: Any) -> int:
    texts = row if isinstance(row, tuple) else (row,)
    return sum(len(text.encode()) for text in texts)
