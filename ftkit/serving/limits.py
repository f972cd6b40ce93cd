"""How much a request may bring, how many may wait, and how a request is refused."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from ftkit.errors import RecipeError
from ftkit.errors.names import visible

LONGEST_LINE = 500
"""Characters of the line that tells why a request was refused."""
KEPT = 0.8
"""Share of the rate that stays when a batch is answered; the rest is that batch's own."""
IN_TIME = 0.5
"""A request is let in if those before it take less than this share of the time it has."""
WAITING_BODIES = 16
"""The bodies of all requests that wait may have together so many times the bytes of the largest."""


@dataclass(frozen=True)
class Limits:
    """What one request may bring, and how many may wait."""

    max_body: int = 20_000_000
    """Bytes of a body. A photo of 12 megapixels has 3 to 8 million as JPEG."""
    max_pixels: int = 50_000_000
    """Of an image. The model's own steps take about 20 bytes for each."""
    max_tokens: int = 4_096
    """Of a text; of one that is read as n-grams, characters."""
    max_rows: int = 1_024
    """Rows of a table, or texts, of one request."""
    queue: int = 128
    """Requests that are being read, wait or are answered, all together."""
    timeout: float = 30.0
    """Seconds from the first byte of a request to its answer."""

    def __post_init__(self) -> None:
        for name in ("max_body", "max_pixels", "max_tokens", "max_rows", "queue", "timeout"):
            value = getattr(self, name)
            if not (value > 0 and math.isfinite(value)):
                flag = name.replace("_", "-")
                raise RecipeError(f"--{flag} {value}: expected a number greater than 0")


class Refused(Exception):
    """A request that is not answered; its one line says why, and what to do."""

    def __init__(self, status: int, line: str, headers: Mapping[str, str] | None = None) -> None:
        line = visible(" ".join(line.split()))
        super().__init__(line if len(line) <= LONGEST_LINE else line[: LONGEST_LINE - 3] + "...")
        self.status = status
        self.headers = dict(headers or {})


@dataclass
class Place:
    """The place of one request among those that wait."""

    admission: Admission
    bytes: int = 0

    def take(self, count: int) -> None:
        """Count so many bytes more of its body.

        Raises:
            Refused: the bodies of all requests would take too much memory.
        """
        if self.admission.bytes + count > WAITING_BODIES * self.admission.limits.max_body:
            raise self.admission.too_much()
        self.bytes += count
        self.admission.bytes += count


@dataclass
class Admission:
    """Counts the requests that have been let in and are not answered yet, and their bytes."""

    limits: Limits
    rate: float = math.inf
    """Requests answered in a second, as the batcher saw last."""
    waiting: int = 0
    bytes: int = 0

    def saw(self, jobs: int, seconds: float) -> None:
        """Learn from a batch how many requests are answered in a second."""
        now = jobs / max(seconds, 1e-6)
        self.rate = KEPT * self.rate + (1 - KEPT) * now if math.isfinite(self.rate) else now

    @contextmanager
    def place(self) -> Iterator[Place]:
        """Let one request in for the block.

        Raises:
            Refused: too many wait already.
        """
        late = self.waiting / self.rate > IN_TIME * self.limits.timeout
        if late or self.waiting >= self.limits.queue:
            raise self.too_much()
        mine = Place(self)
        self.waiting += 1
        try:
            yield mine
        finally:
            self.waiting -= 1
            self.bytes -= mine.bytes

    def too_much(self) -> Refused:
        """Return the refusal of a request that finds no place, with the seconds to wait."""
        seconds = min(60, max(1, math.ceil(self.waiting / self.rate)))
        line = f"{self.waiting} requests wait already; ask again in {seconds} s"
        return Refused(503, line, {"Retry-After": str(seconds)})
