"""Settings: frozen groups of values, checked when they are made and refused in one line."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar, Literal, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from ftkit.errors import RecipeError, nearest
from ftkit.recipe.explain import explain

LONE = re.compile("[\\ud800-\\udfff]")
"""How Python writes bytes of a file name that are no UTF-8; no file can be written with them."""
Fraction = Annotated[float, Field(ge=0, lt=1)]
MOST = 10**9
"""Of anything that is counted; what is beyond is a slip, and no library takes it."""
Count = Annotated[int, Field(gt=0, le=MOST)]
CountFromZero = Annotated[int, Field(ge=0, le=MOST)]


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
            raise RecipeError(explain(error, self.section, type(self).model_fields)) from None

    @model_validator(mode="before")
    @classmethod
    def _truth_is_no_number(cls, given: Any) -> Any:
        """Refuse true and false where a number is meant; Python takes them for 1 and 0."""
        for name, value in given.items() if isinstance(given, dict) else ():
            values = value if isinstance(value, (list, tuple)) else (value,)
            if name in cls.model_fields and any(isinstance(one, bool) for one in values):
                kinds = _kinds(cls.model_fields[name].annotation)
                if bool not in kinds and {int, float} & kinds:
                    raise ValueError(f"{name} = {value!r}: expected a number")
        return given

    @model_validator(mode="after")
    def _texts_can_be_written(self) -> Settings:
        for name, value in self:
            texts = value if isinstance(value, tuple) else (value,)
            if any(LONE.search(text) for text in texts if isinstance(text, str)):
                raise ValueError(f"{name} holds bytes that are no characters of UTF-8")
        return self


def _kinds(annotation: Any) -> set[Any]:
    """Return the types that an annotation is made of."""
    parts = () if get_origin(annotation) is Literal else get_args(annotation)
    return {annotation}.union(*map(_kinds, parts)) if parts else {annotation}


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


def by_path(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return the values of nested settings under the names that `--set` takes: train.epochs."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        inner = isinstance(value, dict)
        found |= by_path(value, f"{prefix}{name}.") if inner else {prefix + name: value}
    return found
