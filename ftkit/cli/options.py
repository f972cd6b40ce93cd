"""Numbers and times among the words of a command: read and refused as settings are."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from cyclopts import Parameter, Token
from pydantic import Field, TypeAdapter, ValidationError

from ftkit.errors import RecipeError
from ftkit.recipe import settings
from ftkit.recipe.explain import expected, shown

UNITS = {"": 1, "s": 1, "min": 60, "m": 60, "h": 3600}


def _as_setting(kind: Any) -> Parameter:
    """Return how cyclopts reads a word as a value of this type, one line where it is none."""
    adapter = TypeAdapter(kind, config={"allow_inf_nan": False})

    def read(_: Any, tokens: Sequence[Token]) -> Any:
        try:
            return adapter.validate_python(tokens[0].value)
        except ValidationError as error:
            raise refusal(error, tokens[0].keyword or "") from None

    return Parameter(converter=read)


OtherData = Annotated[
    str | None,
    Parameter(
        help="Your own data instead of the recipe's: a folder of class folders, a file, a Hub id."
    ),
]
OtherBackbone = Annotated[
    str | None, Parameter(help="Another backbone: a Hub id or a local model folder.")
]
Track = Annotated[
    tuple[str, ...],
    Parameter(
        name="--track",
        negative="",
        help="Follow the run in tensorboard, mlflow, wandb or trackio; several with commas.",
    ),
]
FileKind = Annotated[Literal["onnx", "openvino"], _as_setting(Literal["onnx", "openvino"])]
Count = Annotated[int, _as_setting(settings.Count)]
Share = Annotated[float, _as_setting(settings.Fraction)]
Port = Annotated[int, _as_setting(Annotated[int, Field(ge=0, le=65_535)])]
Seconds = Annotated[float, _as_setting(Annotated[float, Field(gt=0, le=86_400)])]
Part = Annotated[float, _as_setting(Annotated[float, Field(ge=0, le=1)])]


def refusal(error: ValidationError, flag: str) -> RecipeError:
    """Return what to say of the word that was given for a flag."""
    errors = error.errors(include_url=False)
    same = [found for found in errors if found["loc"][:1] == errors[0]["loc"][:1]]
    return RecipeError(f"{flag} {shown(same[0]['input'])}: expected {expected(same)}")


def seconds_of(text: str) -> float:
    """Return the seconds of a time such as 90, 90s, 30min or 2h.

    Raises:
        RecipeError: it is none.
    """
    found = re.fullmatch(r"([0-9]*\.?[0-9]+)\s*([a-z]*)", text.strip())
    seconds = float(found[1]) * UNITS.get(found[2], 0) if found else 0.0
    if not 0 < seconds < math.inf:
        raise RecipeError(
            f"--budget {shown(text)}: expected a time above 0, such as 90s, 30min or 2h"
        )
    return seconds
