"""The proof of an exported file: it answers every test row as the run did, without torch.

A fresh process answers (`ftkit.exported.prove`), from the files and texts on, by the engine that
users will have. For a file of float32 no prediction may differ, and no probability by more than
TOLERANCE; else the export fails and names the rows.
"""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ftkit.errors import VerificationError
from ftkit.errors.names import first_few
from ftkit.exported.about import About
from ftkit.exported.model import Answers, columns_of
from ftkit.machine.fresh_process import command
from ftkit.machine.numbers import plain
from ftkit.shipping.rows import Measured

TOLERANCE = 1e-4
"""Largest difference of a probability, or of a number, see `Compared.difference`."""
OF_NUMBER, SMALLEST = 0.01, 1e-30
"""float32 holds a number to some ten millionths of it, however near the others are."""


@dataclass(frozen=True)
class Compared:
    """How the answers of a file differ from those of the run."""

    rows: int
    other: np.ndarray
    """(N,) bool: rows of which the prediction differs; of numbers, those that differ too much."""
    difference: np.ndarray
    """(N,) the largest difference of a row's probabilities; that of its number is a share of how
    far the run's numbers are apart (their standard deviation, and a hundredth of the number)."""
    allowed: float
    """The largest difference that a proof lets pass."""

    @property
    def largest(self) -> float:
        """The largest difference."""
        return float(self.difference.max(initial=0))

    @property
    def wrong(self) -> np.ndarray:
        """(N,) bool: rows that a proof does not let pass."""
        return self.other | ~(self.difference <= self.allowed)


def answers_of(export: Path, rows: list[Any], about: About, scratch: Path) -> Answers:
    """Return what a fresh process without torch says of rows, by the file of an export.

    Raises:
        VerificationError: it says nothing.
    """
    given, output = scratch / "rows.json", scratch / "answers.npz"
    given.write_text(json.dumps(rows), encoding="utf-8")
    words = command("ftkit.exported.prove", str(export.resolve()), str(given), str(output))
    done = subprocess.run(words, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if done.returncode != 0:
        said = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise VerificationError(f"{export} does not answer in a fresh process: {said[:300]}")
    with np.load(output) as found:
        logits, scores = found["logits"], found["scores"]
    if about.reads != "words":
        return Answers(logits, scores)
    ends = np.cumsum([len(row) for row in rows])[:-1]
    return Answers(np.split(logits, ends), np.split(scores, ends))


def compared(
    measured: Measured, answers: Answers, about: About, allowed: float = TOLERANCE
) -> Compared:
    """Return how answers differ from those of the run.

    Args:
        allowed: the largest difference.
    """
    told, stored = columns_of(about, answers), measured.columns
    N = len(measured.rows)
    if about.tells == "number":
        wanted = np.array(stored["prediction"], np.float64)
        apart = np.abs(wanted - np.asarray(told["prediction"], np.float64))
        difference = apart / np.maximum(wanted.std() + OF_NUMBER * np.abs(wanted), SMALLEST)
        return Compared(N, ~(difference <= allowed), difference, allowed)
    other = np.array(
        [
            list(was) != list(now) if about.tells in ("tags", "words") else str(was) != str(now)
            for was, now in zip(stored["prediction"], told["prediction"], strict=True)
        ]
    )
    name = "confidence" if about.tells == "words" else "probability"
    pairs = zip(stored[name], told[name], strict=True)
    difference = np.array([_apart(was, now) for was, now in pairs])
    return Compared(N, other, difference, allowed)


def _apart(was: Any, now: Any) -> float:
    """Return the largest difference of a row; where one side has no number, neither may."""
    first, second = (np.array(list(side), np.float64) for side in (was, now))
    if first.shape != second.shape or (np.isnan(first) != np.isnan(second)).any():
        return np.inf
    return float(np.nanmax(np.abs(first - second), initial=0))


def refusal(found: Compared, measured: Measured, about: About, why: str) -> VerificationError:
    """Return what to say of a file that does not answer as the run did.

    Args:
        why: what is known of the reason, to end the message.
    """
    wrong = np.flatnonzero(found.wrong)
    numbers = [str(number) for number in measured.index[wrong]]
    unit = "" if about.tells != "number" else " of their spread"
    return VerificationError(
        f"the exported file does not answer as the run did: of {found.rows:,} test rows "
        f"{int(found.other.sum()):,} get another prediction, and numbers differ by up to "
        f"{plain(found.largest)}{unit} (allowed: {found.allowed:g}); rows {first_few(numbers)}{why}"
    )
