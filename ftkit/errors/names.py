"""Names and texts of other people where they are shown: on a terminal, in Markdown, in a table.

Names are kept as they are in files that programs read; here is how they are shown to people, so
that none of them moves a cursor, turns a line around, or ends a cell.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

HIDDEN = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb"
    r"\ud800-\udfff\U000e0000-\U000e007f]+"
)
"""Characters that are not seen but do something: controls, marks of direction, half characters."""
MARKS = re.compile(r"[\\`*|~$]|(?<!\w)_|_(?!\w)|\](?=[(\[:])|^(?:[#>]|[-+](?= )|-(?=--))")
"""What Markdown reads as its own within a line or at its beginning."""
TAGS = re.compile(r"^<(?=[A-Za-z/!?])|<(?=[A-Za-z/!?][^>]*>)|&(?=#?\w+;)")
"""What begins a tag or an entity of HTML."""
COMPUTED = ("=", "+", "-", "@", "\t", "\r")
"""What a cell begins with that a spreadsheet computes (OWASP, CSV injection)."""


def visible(text: str) -> str:
    """Return a text in one line, white space as it is and other hidden characters written out."""
    return HIDDEN.sub(lambda found: " " if found[0].isspace() else ascii(found[0])[1:-1], text)


def in_markdown(text: object) -> str:
    """Return a text that Markdown shows as it is, in a paragraph or in a cell."""
    marked = MARKS.sub(lambda found: f"\\{found[0]}", visible(str(text)))
    return TAGS.sub(lambda found: "&lt;" if found[0] == "<" else "&amp;", marked)


def as_code(text: str) -> str:
    """Return a text as a code span of Markdown, where it can be one."""
    shown = visible(text)
    if "|" in shown:  # ends a cell, and a code span knows no other way to write it
        return in_markdown(text)
    fence = "`" * (1 + max(map(len, re.findall("`+", shown)), default=0))
    room = " " if shown.startswith("`") or shown.endswith("`") else ""
    return f"{fence}{room}{shown}{room}{fence}"


def first_few(names: Sequence[str], most: int = 5) -> str:
    """Return the first names on one line, and dots where there are more."""
    return ", ".join(names[:most]) + (", ..." if len(names) > most else "")


def listed(names: Sequence[str]) -> str:
    """Return names as a sentence lists them: a, b and c."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def is_computed(cell: object) -> bool:
    """Return whether a spreadsheet would compute a cell instead of showing it."""
    return isinstance(cell, str) and cell.startswith(COMPUTED)
