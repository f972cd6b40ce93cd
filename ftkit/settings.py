"""Settings: frozen groups of values, checked when they are made and refused in one line."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from ftkit.errors import RecipeError, nearest

LONE = re.compile("[\\ud800-\\udfff]")
"""How Python writes bytes of a file name that are no UTF-8; no file can be written with them."""
Fraction = Annotated[float, Field(ge=0, lt=1)]


class Settings(BaseModel):
    """A frozen group of settings. `section` is the name that error messages and `--set` give it."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        validate_default=True,
        use_attribute_docstrings=True,
        coerce_numbers_to_str=True,
        allow_inf_nan=False,
    )
    section: ClassVar[str] = ""

    def __init__(self, /, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise RecipeError(_explain(error, type(self))) from None

    @model_validator(mode="after")
    def _texts_can_be_written(self) -> Settings:
        for name, value in self:
            texts = value if isinstance(value, tuple) else (value,)
            if any(LONE.search(text) for text in texts if isinstance(text, str)):
                raise ValueError(f"{name} holds bytes that are no characters of UTF-8")
        return self


def read_json(text: str) -> Any:
    """Return what a text of JSON holds.

    Raises:
        ValueError: it is not JSON, or holds a number or a nesting that nobody means.
    """
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON, line {error.lineno}: {error.msg}") from None
    except ValueError:  # which Python raises before it computes for minutes
        raise ValueError("a number has more digits than can be read") from None
    except RecursionError:
        raise ValueError("values are nested too deeply") from None


def replace(root: Settings, values: dict[str, Any], path: str, value: Any) -> None:
    """Set `path` in the dumped `values` of `root`, following the types of the settings.

    Raises:
        RecipeError: the path names no field, or one of what was replaced as a whole.
    """
    node: Any = root
    *parents, leaf = path.split(".")
    for part in parents:
        if part not in type(node).model_fields or not isinstance(getattr(node, part), Settings):
            raise RecipeError(f"'{path}' is not a field{nearest(path, _paths(root))}")
        node, values = getattr(node, part), values[part]
        if not isinstance(values, dict):
            raise RecipeError(f"'{path}' cannot be set: '{part}' was just set to {values!r}")
    if leaf not in type(node).model_fields:
        raise RecipeError(f"'{path}' is not a field{nearest(path, _paths(root))}")
    values[leaf] = value.model_dump() if isinstance(value, Settings) else value


def _paths(node: Settings, prefix: str = "") -> Iterator[str]:
    """Yield the dotted path of every field."""
    for name in type(node).model_fields:
        yield prefix + name
        value = getattr(node, name)
        if isinstance(value, Settings):
            yield from _paths(value, f"{prefix}{name}.")


def _explain(error: ValidationError, model: type[Settings]) -> str:
    """Return pydantic's first complaint as one line: field, what was given, what is allowed."""
    errors = error.errors(include_url=False)
    # a misspelt field is the cause of a missing one; of a union's branches the deepest is meant
    unknown = [found for found in errors if found["type"] == "extra_forbidden"]
    same_field = [found for found in errors if found["loc"][:1] == errors[0]["loc"][:1]]
    first = unknown[0] if unknown else max(same_field, key=lambda found: len(found["loc"]))
    # pydantic also puts the branch of a union into the path, as in "literal['none','balanced']"
    parts = [part for part in map(str, first["loc"]) if part.replace("_", "").isalnum()]
    place = ".".join([model.section, *parts])
    if first["type"] == "extra_forbidden":
        name = str(first["loc"][-1])
        return f"{place} is not a field{nearest(name, model.model_fields)}"
    if first["type"] == "missing":
        return f"{place} is missing"
    given, expected = first["input"], first["msg"]
    for prefix in ("Value error, ", "Input should be ", "String should "):
        expected = expected.removeprefix(prefix)
    if isinstance(given, dict):  # a rule about the value as a whole
        return f"{place}: {expected}"
    return f"{place} = {given!r}: expected {expected}"
