"""What ftkit raises when a request cannot be met: one line that says what was given and what to do.

The command line prints the message of an `FtkitError` without a traceback and exits with its
`exit_status`.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from ftkit.errors.addresses import without_secrets
from ftkit.errors.names import visible

LONGEST = 1_000
"""Characters of a message; the middle of a longer one is left out."""


class FtkitError(Exception):
    """Base of every error that ftkit raises on purpose. Its message is one line, whatever it tells.

    Names, values and what libraries say may hold line breaks and be of any length.
    """

    exit_status = 2
    everywhere = False
    """Whether every process of the run has it, so that it is nobody's own."""

    def __init__(self, message: str) -> None:
        line = visible(without_secrets(message))
        if len(line) > LONGEST:
            line = f"{line[: LONGEST // 2]} ... {line[-LONGEST // 3 :]}"
        super().__init__(line)


class RecipeError(FtkitError):
    """A recipe, or a change to one, has a field or a value that is not allowed."""


class DataError(FtkitError):
    """The data cannot be read, or cannot be what the task needs."""


class ModelError(FtkitError):
    """The backbone cannot be loaded, or cannot be adapted as asked."""


class HubError(FtkitError):
    """The Hugging Face Hub refused, or cannot be reached."""


class RunError(FtkitError):
    """The output folder cannot take this run."""


class MachineError(FtkitError):
    """Something that ftkit needs is missing or broken on this machine."""

    exit_status = 1


class TrainingError(FtkitError):
    """Training started and could not go on."""

    exit_status = 1


class VerificationError(FtkitError):
    """The saved model does not give what was measured in training."""

    exit_status = 1


def nearest(name: str, known: Iterable[str]) -> str:
    """Return "; did you mean 'x'?" for the known name closest to `name`, or an empty string."""
    near = closest(name, known)
    return f"; did you mean '{near}'?" if near is not None else ""


def closest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that is most like `name`, or None where none is like it."""
    there = list(known)
    alike = [other for other in there if other.strip().lower() == name.strip().lower() != ""]
    matches = alike or difflib.get_close_matches(name, there, n=1)
    return matches[0] if matches else None
