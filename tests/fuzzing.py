"""What the fuzz tests share: how many cases, what may come out, and how bytes are damaged.

A bounded number of cases runs with the other tests. FTKIT_FUZZ=full runs the counts that
docs/processes.md reports.
"""

from __future__ import annotations

import os
import random

from hypothesis import HealthCheck, settings

from ftkit import FtkitError

FULL = os.environ.get("FTKIT_FUZZ") == "full"
LONGEST = 1_000
"""Characters of an error's line."""


def cases(full: int, few: int) -> settings:
    """Return the settings of a hypothesis test: always the same cases, new ones in full."""
    return settings(
        max_examples=full if FULL else few,
        derandomize=not FULL,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )


def require_one_line(error: FtkitError) -> None:
    """Require of an error that it is one line of bounded length that says something."""
    text = str(error)
    assert text.strip(), repr(error)
    assert "\n" not in text, text
    assert "\r" not in text, text
    assert len(text) <= LONGEST, text
    assert "Traceback" not in text, text


def damaged(content: bytes, draw: random.Random) -> bytes:
    """Return the bytes with a few of them changed, cut off, left out, repeated or made up."""
    broken = bytearray(content)
    for _ in range(draw.choice((1, 1, 2, 4, 16))):
        place = draw.randrange(len(broken) + 1)
        length = draw.choice((1, 1, 2, 4, 8, 64))
        kind = draw.choice(("flip", "set", "cut", "drop", "repeat", "insert", "swap", "zero"))
        piece = bytes(broken[place : place + length])
        if kind == "flip" and piece:
            broken[place] ^= 1 << draw.randrange(8)
        elif kind == "set":
            broken[place : place + length] = draw.randbytes(length)
        elif kind == "cut":
            del broken[place:]
        elif kind == "drop":
            del broken[place : place + length]
        elif kind == "repeat":
            broken[place:place] = piece * draw.choice((1, 3, 50))
        elif kind == "insert":
            broken[place:place] = draw.randbytes(length)
        elif kind == "swap":
            other = draw.randrange(len(broken) + 1)
            broken[other : other + length] = piece
        else:
            broken[place : place + length] = bytes(length) if draw.random() < 0.5 else b"\xff" * 4
    return bytes(broken)
