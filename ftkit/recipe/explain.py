"""What is wrong with a setting, in words: pydantic's complaint as one line."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

from pydantic import ValidationError

from ftkit.errors import nearest

LONGEST = 100
"""Characters of a value that is shown."""
WHOLE, NUMBER, TRUTH = "a whole number", "a number", "true or false"
LIST, FIELDS = "a list, as in [1, 2]", "its fields, as in {{}}"
BRANCHES = {"int", "float", "str", "bool"}
"""What pydantic puts into a path where a value may be of several types."""
NAME = re.compile(r"'[^']*'|[^\s,']+")
"""One of the names in pydantic's list of what is allowed: a comma may be one."""
EXPECTED = {
    "int_type": WHOLE,
    "int_parsing": WHOLE,
    "int_from_float": WHOLE,
    "int_parsing_size": "a number that can be read",
    "float_type": NUMBER,
    "float_parsing": NUMBER,
    "bool_type": TRUTH,
    "bool_parsing": TRUTH,
    "string_type": "a text",
    "tuple_type": LIST,
    "string_too_short": "some text",
    "missing": "more values",
    "union_tag_not_found": "a field {discriminator}",
    "model_type": FIELDS,
    "model_attributes_type": FIELDS,
    "less_than_equal": "at most {le:,}",
    "string_too_long": "at most {max_length} character",
    "too_long": "at most {max_length} values",
}
"""What is allowed, by pydantic's type of error; where it is not here, pydantic's own words."""


def explain(error: ValidationError, section: str, fields: Iterable[str]) -> str:
    """Return the complaint as one line: field, what was given, what is allowed.

    Args:
        section: name of the group of settings that was to be made.
        fields: names that it knows.
    """
    errors: list[Any] = error.errors(include_url=False)
    # a misspelt field is the cause of a missing one; of a union's branches the deepest is meant
    unknown = [found for found in errors if found["type"] == "extra_forbidden"]
    same_field = [found for found in errors if found["loc"][:1] == errors[0]["loc"][:1]]
    first = unknown[0] if unknown else max(same_field, key=lambda found: len(_path(found)))
    path = _path(first)
    place = ".".join([section, *path])
    if first["type"] == "extra_forbidden":
        return f"{place} is not a field{nearest(str(first['loc'][-1]), fields)}"
    if first["type"] == "missing" and isinstance(first["loc"][-1], str):
        return f"{place} is missing"
    branches = [found for found in same_field if _path(found) == _path(first)]
    given = first["input"]
    if isinstance(given, dict) and first["type"] == "value_error":  # a rule about all of it
        return f"{place}: {expected(branches)}"
    if first["type"] == "union_tag_invalid":
        place, given = f"{place.removeprefix('recipe.')}.kind", first["ctx"]["tag"]
    if first["type"] == "missing":
        place = place.rpartition(".")[0]  # without the number of what is missing
    return f"{place} = {shown(given)}: expected {expected(branches)}"


def expected(errors: Sequence[Any]) -> str:
    """Return what is allowed in place of a value, of which these are pydantic's errors."""
    words = " or ".join(dict.fromkeys(map(_expected, errors)))
    known = [name for found in errors for name in _names(found)]
    given = errors[0].get("ctx", {}).get("tag", errors[0]["input"])
    return words + (nearest(given, known) if isinstance(given, str) else "")


def shown(value: Any) -> str:
    """Return a value as Python writes it, cut off where it is long."""
    text = repr(value)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."


def _expected(found: Any) -> str:
    if names := _names(found):
        last = ", " if found["type"] == "union_tag_invalid" else " or "
        return ", ".join(map(repr, names[:-1])) + last * (len(names) > 1) + repr(names[-1])
    if found["type"] in EXPECTED:
        return EXPECTED[found["type"]].format(**found.get("ctx", {}))
    text = found["msg"]
    for prefix in ("Value error, ", "Input should be ", "String should "):
        text = text.removeprefix(prefix)
    return text


def _names(found: Any) -> list[str]:
    """Return the names of which one is allowed."""
    listed = found.get("ctx", {}).get("expected_tags" if "tag" in found["type"] else "expected", "")
    if found["type"] not in {"literal_error", "union_tag_invalid"}:
        return []
    return [part.strip("'") for part in NAME.findall(listed) if part != "or"]


def _path(found: Any) -> list[str]:
    """Return where the error is, without the branches of unions: int, literal['auto']."""
    parts = [str(part) for part in found["loc"]]
    return [part for part in parts if part.replace("_", "").isalnum() and part not in BRANCHES]
