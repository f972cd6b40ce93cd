"""The words of a command as such, whatever they ask for; nothing here needs the recipes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated

from cyclopts import Parameter

from ftkit.errors import RecipeError

Switch = Annotated[bool, Parameter(negative="")]
Changes = Annotated[tuple[str, ...], Parameter(name="--set", negative="")]
EMPTY = re.compile(r"(--[a-z][a-z-]*)=?")


def require_no_empty_word(words: Sequence[str]) -> None:
    """Refuse a flag whose value is an empty text, as that of a shell's variable that is not set.

    Raises:
        RecipeError: there is one.
    """
    for before, word in zip(["", *words], [*words, "."], strict=False):
        if found := EMPTY.fullmatch(before if word == "" else word if word.endswith("=") else ""):
            raise RecipeError(f"{found[1]}: expected a value, got an empty text")
