"""What a part of a report is made of: a heading, a table, pictures, and test rows to be read.

Both templates beside this file show any section, so that a task says what there is to see and not
how it looks.
"""

from __future__ import annotations

from dataclasses import dataclass

LONGEST = 300
"""The most characters of a text that is shown."""


@dataclass(frozen=True)
class Table:
    """Cells under headings; the first of each line is its own heading."""

    headings: tuple[str, ...]
    lines: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Picture:
    """One strategy's picture."""

    label: str
    """The label of the strategy."""
    svg: str
    caption: str = ""


@dataclass(frozen=True)
class Example:
    """A test row, and what the model made of it."""

    index: int
    said: str
    image: str | None = None
    """The image as a data URI."""
    texts: tuple[tuple[str, str], ...] = ()
    """Texts by name: the input, the right output, the output of the model."""

    @property
    def as_text(self) -> str:
        """All texts in one line."""
        return "; ".join(f"{name}: {text}" if name else text for name, text in self.texts)


@dataclass(frozen=True)
class Section:
    """A part of a report."""

    name: str
    """One word, for links and files."""
    title: str
    about: str = ""
    table: Table | None = None
    pictures: tuple[Picture, ...] = ()
    """A picture of each strategy, one below the other. The one of the best is unfolded."""
    small: bool = False
    """Whether the pictures stand side by side instead."""
    examples: tuple[Example, ...] = ()

    @property
    def reads(self) -> bool:
        """Whether the examples are texts, which need room."""
        return not any(example.image for example in self.examples)


def shortened(text: str) -> str:
    """Return a text as it is shown, its end left out where it is long."""
    return text if len(text) <= LONGEST else text[:LONGEST].rstrip() + " …"
