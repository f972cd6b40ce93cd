"""What a command line asks for: a recipe, and everything that the words after it change.

Flags come from the data model: every setting of `Train` is one, and any other field can be set by
its path with --set.
"""

from __future__ import annotations

import os
import re
import shlex
import types
import typing
import unicodedata
from collections.abc import Collection, Mapping, Sequence
from glob import has_magic
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    ValidationError,
    create_model,
    model_validator,
)

from ftkit import registry
from ftkit.cli.options import refusal
from ftkit.errors import DataError, RecipeError, nearest
from ftkit.errors.addresses import is_address, shown, without_secrets
from ftkit.hub.names import PREFIX, is_hub_id
from ftkit.machine.near_paths import nearest_path
from ftkit.recipe import AUTO, STRATEGIES, Data, Full, Mlp, Recipe, Train
from ftkit.recipe.defaults import for_own_data
from ftkit.recipe.settings import read_json
from ftkit.recipe.strangers import require_asked


class _Words(BaseModel):
    """Flags as they were typed. A wrong one is refused as a setting is, by its name as a flag."""

    model_config = ConfigDict(allow_inf_nan=False)

    @model_validator(mode="wrap")
    @classmethod
    def _refused_in_one_line(cls, given: Any, make: ModelWrapValidatorHandler[_Words]) -> _Words:
        try:
            return make(given)
        except ValidationError as error:
            name = str(error.errors(include_url=False)[0]["loc"][0])
            raise refusal(error, f"--{name.replace('_', '-')}") from None


def _flags() -> type[BaseModel]:
    """Return a model with a flag for the learning rate and each plain setting of `Train`."""
    fields: dict[str, Any] = {}
    rate = Full.model_fields["learning_rate"].description
    about = f"{rate} `auto` finds it by a range test of some seconds."
    fields["learning_rate"] = (float | Literal["auto"] | None, Field(None, description=about))
    for name, field in Train.model_fields.items():
        kind = _plain(field.annotation)
        if kind is not None and name != "learning_rate_batch":
            fields[name] = (kind | None, Field(default=None, description=field.description))
    return create_model("Flags", __base__=_Words, **fields)


def _plain(annotation: Any) -> Any:
    """Return the type that a flag of this annotation takes, or None where it needs more than one.

    Limits are left to the recipe, whose message names field and value.
    """
    if typing.get_origin(annotation) is Annotated:
        return _plain(typing.get_args(annotation)[0])
    if typing.get_origin(annotation) in {typing.Union, types.UnionType}:
        kinds = [part for part in typing.get_args(annotation) if part is not type(None)]
        if kinds[1:] == [Literal["auto"]]:
            return _plain(kinds[0]) | kinds[1]
        return _plain(kinds[0]) if len(kinds) == 1 else None
    return annotation


Flags = _flags()
MOST_LETTERS = 32
"""The name of data or of a backbone takes at most so many letters in the name of a recipe."""
USUAL_NAMES = {"data", "model", "train"}
"""Names of files and folders that do not say what is in them."""


def resolve(
    name: str | None,
    strategy: str | None,
    data: str | None,
    backbone: str | None,
    changes: Sequence[str],
    smoke: bool,
    flags: BaseModel | None,
) -> Recipe:
    """Return the recipe with everything that the command line changes.

    Args:
        name: of the recipe; None for one that suits the data.

    Raises:
        RecipeError: there is no such recipe, field or value.
        DataError: no recipe is named, and the data do not say what they are.

    A strategy or learning rate that is `auto` stays the recipe's own. With other data or another
    backbone it has another name, and so another default folder: resnet-cifar-photos. Other data
    gets the defaults where the recipe chose for its own, see `ftkit.recipe.defaults`.
    """
    if name is None and data is None:
        names = ", ".join(registry.names())
        raise RecipeError(
            f"which recipe? Name one of {names}; or give rows by --data, and one that suits them "
            f"is taken"
        )
    if backbone == AUTO:
        raise RecipeError(
            "--backbone auto is for ftkit train; name one here, or compare several by ftkit "
            "compare --backbones A,B,C"
        )
    if strategy is not None and strategy not in (kinds := (*STRATEGIES, AUTO)):
        raise RecipeError(
            f"--strategy {strategy}: choose one of {', '.join(kinds)}{nearest(strategy, kinds)}"
        )
    asked = parse_changes(changes)
    given: dict[str, Any] = flags.model_dump() if flags else {}
    flagged = [f"train.{name}" for name, value in given.items() if value is not None]
    said = [*flagged, *asked, *(["data.path"] if data is not None else [])]
    if name is None:
        known = _of_rows(str(data), {**dict.fromkeys(flagged), **asked}, strategy)
    else:
        known = registry.find(name, said)
        if not registry.is_own(name):
            require_asked(known, said, name)
    recipe = known if strategy in (None, AUTO) else known.with_strategy(strategy)
    wanted: dict[str, Any] = {}
    if data is not None:
        found = _of_other_data(recipe, data, [*flagged, *asked])
        if name is None:  # the columns of the recipe are those of the rows
            found = {path: value for path, value in found.items() if not path.startswith("task.")}
        wanted |= found
    if backbone is not None:
        if isinstance(recipe.backbone, Mlp):
            raise RecipeError(
                f"--backbone {backbone}: recipe {recipe.name} trains a perceptron; take one with a "
                f"pretrained backbone, or go on from a saved perceptron by --set backbone.start=RUN"
            )
        wanted["backbone.id"], wanted["backbone.revision"] = backbone, None
        if backbone != recipe.backbone.id:  # whose author alone the recipe trusts
            wanted |= {"backbone.trust_remote_code": False, "backbone.allow_pickle": False}
    for field, value in given.items():
        if value is not None and (field, value) != ("learning_rate", AUTO):
            section = "strategy" if field in type(recipe.strategy).model_fields else "train"
            wanted[f"{section}.{field}"] = value
    recipe = recipe.override(wanted)
    if smoke:
        recipe = recipe.override(
            {f"data.{split}_rows": 64 for split in ("train", "validation", "test")}
            | {"train.max_steps": 2}
        )
    number = given.get("learning_rate") not in (None, AUTO)
    rate_given = given.get("learning_rate") is not None or any(
        path.endswith(".learning_rate") for path in asked
    )
    recipe = with_a_rate(
        recipe.override(asked), [*asked, *(["strategy.learning_rate"] if number else [])]
    )
    train = recipe.train
    if train.batch_size == AUTO != known.train.batch_size and not rate_given:
        own = {"train.learning_rate_batch": train.learning_rate_batch or known.train.batch_size}
        recipe = recipe.override(own)
    return _named(recipe, known)


def _of_rows(path: str, asked: Mapping[str, Any], strategy: str | None) -> Recipe:
    """Return a recipe for rows that nobody named one for."""
    _require_no_slip(path)
    from ftkit.planning.recipe_of_rows import recipe_of_rows  # reads them, which takes a second

    return recipe_of_rows(path, asked, strategy)


def _of_other_data(recipe: Recipe, path: str, asked: Collection[str]) -> dict[str, Any]:
    """Return {path: value} of what other data changes in a recipe."""
    data = Data(path=path, on_bad_row=recipe.data.on_bad_row)  # refused before anything is said
    _require_no_slip(path)
    found = for_own_data(recipe, asked) if path != recipe.data.path else {}
    found["data"] = data
    for column in {"image", "text", "source", "target", "columns", "label"} & set(
        type(recipe.task).model_fields
    ):
        found[f"task.{column}"] = None  # other data has other columns
    return found


def _require_no_slip(path: str) -> None:
    """Refuse a name of data that is not there beside one that is like it, before the Hub is asked.

    Raises:
        DataError: so it is.
    """
    if path.startswith(PREFIX) or is_address(path) or has_magic(path):
        return
    home = os.path.expanduser(path)  # accents may be composed or not
    if any(os.path.lexists(unicodedata.normalize(form, home)) for form in ("NFC", "NFD")):
        return
    if near := nearest_path(path):
        hub = " A data set of the Hub has the name OWNER/NAME." if is_hub_id(path) else ""
        raise DataError(f"--data {path}: there is no such file or folder{near}{hub}")


def with_a_rate(recipe: Recipe, asked: Collection[str]) -> Recipe:
    """Return the recipe, its head trained by AdamW where its learning rate was asked for.

    The solver that is the default for a Linear head has none.

    Args:
        asked: paths of the fields that the command sets or tries.
    """
    wished = "strategy.learning_rate" in asked and "strategy.solver" not in asked
    if wished and getattr(recipe.strategy, "solver", None) == "auto":
        return recipe.override({"strategy.solver": "adamw"})
    return recipe


def _named(recipe: Recipe, known: Recipe) -> Recipe:
    """Return the recipe with a name of its own, if it is about other things than the known one."""
    pairs = [(recipe.data.path, known.data.path)]
    if not isinstance(recipe.backbone, Mlp):
        pairs.append((recipe.backbone.id, known.backbone.id))
    others = [short_name(path) for path, before in pairs if path != before]
    if not others or recipe.name != known.name:
        return recipe
    name = "-".join([known.name, *others])
    return recipe.override({"name": name, "description": "", "expect": ()})


def short_name(path: str) -> str:
    """Return what a name of data or of a backbone is about: photos of data/photos/train.csv.

    Of a path, a URL or a Hub id the last part that says something; small letters, digits and
    hyphens.
    """
    plain = shown(path).partition("://")[2] or path
    parts = [part.partition(".")[0].lower() for part in re.split(r"[/:\\]", plain)]
    slugs = ["-".join(re.findall("[a-z0-9]+", part))[:MOST_LETTERS].strip("-") for part in parts]
    told = [slug for slug in slugs if slug] or ["own"]
    return next((slug for slug in reversed(told) if slug not in USUAL_NAMES), told[-1])


def command_line(
    verb: str,
    name: str | None,
    strategy: str | None,
    data: str | None,
    backbone: str | None,
    changes: Sequence[str],
    flags: BaseModel | None,
) -> str:
    """Return the command line of another verb, such as train, with these arguments."""
    given = {"strategy": strategy, "data": data, "backbone": backbone}
    given |= flags.model_dump() if flags else {}
    words = ["ftkit", verb, *([name] if name is not None else [])]
    for flag, value in given.items():
        if isinstance(value, bool):
            words.append(f"--{'' if value else 'no-'}{flag.replace('_', '-')}")
        elif value is not None:
            words += [f"--{flag.replace('_', '-')}", str(value)]
    for change in changes:
        words += ["--set", change]
    return shlex.join(map(without_secrets, words))


def parse_changes(changes: Sequence[str]) -> dict[str, Any]:
    """Return {path: value} of words such as 'strategy.rank=16'.

    Raises:
        RecipeError: one of them is none.
    """
    return dict(map(_parse, changes))


def _parse(change: str) -> tuple[str, Any]:
    """Return (path, value) of 'path=value'; the value is JSON where it can be, else text."""
    path, equals, text = change.partition("=")
    if not equals or not path:
        raise RecipeError(f"--set {change}: expected FIELD=VALUE, as in --set strategy.rank=16")
    try:
        return path, read_json(text)
    except ValueError:
        return path, text
