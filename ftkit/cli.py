"""The command line: `ftkit list | show | train | check | compare | push | cache | mlp | play`.

Flags of `train` come from the data model: every setting of `Train` is one, and any other field can
be set by its path with --set. Exit status: 0 done, 2 the request was wrong (one line, no
traceback), 1 the run failed, 130 stopped by Ctrl-C.
"""

from __future__ import annotations

import json
import shlex
import sys
import types
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, CycloptsError, Parameter
from pydantic import BaseModel, Field, create_model
from rich.console import Console
from rich.table import Table

from ftkit import cli_cache, registry
from ftkit.cli_hub import push
from ftkit.cli_mlp import mlp, play
from ftkit.errors import DataError, FtkitError, RecipeError
from ftkit.recipe import Data, Full, Mlp, Recipe, Train
from ftkit.terminal import rank, speak

app = App(
    name="ftkit",
    help="Fine-tune pretrained Transformer and CNN backbones on your own labelled data.",
    help_on_error=False,
)
app.command(mlp)
app.command(play)
app.command(push)
app.command(cli_cache.app)
Switch = Parameter(negative="")


def main(words: Sequence[str] | None = None) -> int:
    """Run the command line on these words and return the exit status."""
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    try:
        app(
            sys.argv[1:] if words is None else words,
            exit_on_error=False,
            print_error=False,
            result_action="return_value",
        )
    except CycloptsError as error:
        return _fail(console, " ".join(str(error).split()), 2)
    except FtkitError as error:
        return _fail(console, str(error), error.exit_status)
    except KeyboardInterrupt:
        return _fail(console, "stopped; go on with the same command and --resume", 130)
    return 0


def _fail(console: Console, message: str, status: int) -> int:
    if rank() == 0:
        console.print("error:", message, markup=False)
    return status


def _flags() -> type[BaseModel]:
    """Return a model with a flag for the learning rate and each plain setting of `Train`."""
    fields: dict[str, Any] = {}
    settings = {"learning_rate": Full.model_fields["learning_rate"], **Train.model_fields}
    for name, field in settings.items():
        kind = _plain(field.annotation)
        if kind is not None:
            fields[name] = (kind | None, Field(default=None, description=field.description))
    return create_model("Flags", **fields)


def _plain(annotation: Any) -> Any:
    """Return the type that a flag of this annotation takes, or None where it needs more than one.

    Limits are left to the recipe, whose message names field and value.
    """
    if typing.get_origin(annotation) is Annotated:
        return _plain(typing.get_args(annotation)[0])
    if typing.get_origin(annotation) in {typing.Union, types.UnionType}:
        kinds = [part for part in typing.get_args(annotation) if part is not type(None)]
        return _plain(kinds[0]) if len(kinds) == 1 else None
    return annotation


Flags = _flags()


@app.command(name="list")
def list_recipes() -> None:
    """Show every installed recipe."""
    shown = Table(box=None, pad_edge=False)
    for column in ("recipe", "strategies", "about"):
        shown.add_column(column)
    for name in registry.names():
        recipe = registry.find(name)
        kinds = [recipe.strategy.kind, *(other.kind for other in recipe.alternatives)]
        shown.add_row(name, ", ".join(kinds), recipe.description)
    Console().print(shown)


@app.command
def show(recipe: str) -> None:
    """Print a recipe as JSON, every default written out.

    Parameters
    ----------
    recipe
        Name of an installed recipe, path of a .py or .json file, or a Hub model of ftkit's.
    """
    print(registry.find(recipe).to_json(), end="")


@app.command
def train(
    recipe: str | None = None,
    *,
    strategy: str | None = None,
    out: Path | None = None,
    data: str | None = None,
    backbone: str | None = None,
    set_: Annotated[tuple[str, ...], Parameter(name="--set", negative="")] = (),
    resume: Annotated[bool, Switch] = False,
    smoke: Annotated[bool, Switch] = False,
    show: Annotated[bool, Switch] = False,
    list_: Annotated[bool, Parameter(name="--list", negative="")] = False,
    push_to_hub: str | None = None,
    private: Annotated[bool, Switch] = False,
    revision: str | None = None,
    flags: Annotated[Flags | None, Parameter(name="*")] = None,  # type: ignore[valid-type]
) -> None:
    """Fine-tune as a recipe says, and leave model, figures and pictures in a folder.

    Parameters
    ----------
    recipe
        Name of an installed recipe, path of a .py or .json file, or a Hub model of ftkit's.
    strategy
        Which parameters move: full, head, lpft or lora.
    out
        New folder for the run; runs/RECIPE-STRATEGY-seedSEED when not given.
    data
        Your own data instead of the recipe's: a folder of class folders, a file, a Hub id.
    backbone
        Another backbone: a Hub id or a local model folder.
    set_
        Any field by its path, as in --set strategy.rank=16. Can be repeated.
    resume
        Go on with an unfinished run in the output folder.
    smoke
        64 rows and 2 steps: does it run at all?
    show
        Print the resolved recipe as JSON and stop.
    list_
        Show every installed recipe and stop.
    push_to_hub
        Publish the finished model as this Hub repository, OWNER/NAME. Rights are checked first.
    private
        Make that repository one that only its owner may see.
    revision
        Branch of that repository to publish to.
    """
    if list_:
        return list_recipes()
    resolved = resolve(recipe, strategy, data, backbone, set_, smoke, flags)
    if show:
        print(resolved.to_json(), end="")
        return None
    folder = out or default_folder(resolved, smoke)
    speak()
    from ftkit.compare import sheet
    from ftkit.pull import pin
    from ftkit.push import claim, publish
    from ftkit.run import finetune
    from ftkit.runtime import stop

    if push_to_hub is not None and rank() == 0:
        claim(push_to_hub, private, revision, pin(resolved))
    if resolved.train.push_checkpoints is not None and rank() == 0:
        claim(resolved.train.push_checkpoints, private)
    try:
        result = finetune(resolved, folder, resume)
    finally:
        stop()
    if rank() == 0:
        Console().print(sheet(result))
        print(f"model    {folder / 'model'}  ({loads_with(resolved)})")
        print(f"figures  {folder / 'run.json'}, {folder / 'plots'}")
        if push_to_hub is not None:
            print(f"hub      {publish(folder, push_to_hub, private=private, revision=revision)}")
    return None


@app.command
def check(
    recipe: str,
    *,
    strategy: str | None = None,
    data: str | None = None,
    backbone: str | None = None,
    set_: Annotated[tuple[str, ...], Parameter(name="--set", negative="")] = (),
    json_: Annotated[bool, Parameter(name="--json", negative="")] = False,
    flags: Annotated[Flags | None, Parameter(name="*")] = None,  # type: ignore[valid-type]
) -> None:
    """Look at data and backbone, say what is odd and what training would take. Writes nothing.

    Takes the same arguments as train. Exit status 2 where training would refuse the data.

    Parameters
    ----------
    json_
        Print everything as JSON.
    """
    resolved = resolve(recipe, strategy, data, backbone, set_, False, flags)
    command = train_command(recipe, strategy, data, backbone, set_, flags)
    speak()
    from ftkit.check import check as check_recipe
    from ftkit.runtime import stop

    try:
        report = check_recipe(resolved, command)
    finally:
        stop()
    if rank() == 0:
        print(report.to_json() if json_ else "\n".join(report.lines()))
    if report.errors:
        more = f" (and {len(report.errors) - 1} more)" if len(report.errors) > 1 else ""
        raise DataError(f"training would refuse this data: {report.errors[0]}{more}")


@app.command
def compare(*runs: Path) -> None:
    """Show finished runs in one table.

    Parameters
    ----------
    runs
        Folders of finished runs.
    """
    from ftkit.compare import table
    from ftkit.result import RunResult

    Console().print(table([RunResult.read(run) for run in runs]))


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

    Raises:
        RecipeError: there is no such recipe, field or value.
    """
    if name is None:
        raise RecipeError(f"which recipe? Give --recipe NAME, one of {', '.join(registry.names())}")
    recipe = registry.find(name)
    if strategy is not None:
        recipe = recipe.with_strategy(strategy)
    wanted: dict[str, Any] = {}
    if data is not None:
        wanted["data"] = Data(path=data, on_bad_row=recipe.data.on_bad_row)
        for column in {"image", "text", "source", "target", "columns", "label"} & set(
            type(recipe.task).model_fields
        ):
            wanted[f"task.{column}"] = None  # other data has other columns
    if backbone is not None:
        if isinstance(recipe.backbone, Mlp):
            raise RecipeError(
                f"--backbone {backbone}: recipe {recipe.name} trains a perceptron; take one with a "
                f"pretrained backbone, or go on from a saved perceptron by --set backbone.start=RUN"
            )
        wanted["backbone.id"], wanted["backbone.revision"] = backbone, None
    for field, value in (flags.model_dump() if flags else {}).items():
        if value is not None:
            section = "strategy" if field == "learning_rate" else "train"
            wanted[f"{section}.{field}"] = value
    recipe = recipe.override(wanted)
    if smoke:
        recipe = recipe.override(
            {f"data.{split}_rows": 64 for split in ("train", "validation", "test")}
            | {"train.max_steps": 2}
        )
    return recipe.override(dict(_parse(change) for change in changes))


def train_command(
    name: str,
    strategy: str | None,
    data: str | None,
    backbone: str | None,
    changes: Sequence[str],
    flags: BaseModel | None,
) -> str:
    """Return the command line that trains what these arguments of `check` say."""
    given = {"strategy": strategy, "data": data, "backbone": backbone}
    given |= flags.model_dump() if flags else {}
    words = ["ftkit", "train", name]
    for flag, value in given.items():
        if isinstance(value, bool):
            words.append(f"--{'' if value else 'no-'}{flag.replace('_', '-')}")
        elif value is not None:
            words += [f"--{flag.replace('_', '-')}", str(value)]
    for change in changes:
        words += ["--set", change]
    return shlex.join(words)


def loads_with(recipe: Recipe) -> str:
    """Return what opens the model folder of a run."""
    by_hand = isinstance(recipe.backbone, Mlp)
    return "loads with ftkit.load_perceptron" if by_hand else "loads with transformers alone"


def default_folder(recipe: Recipe, smoke: bool) -> Path:
    """Return runs/RECIPE-STRATEGY-seedSEED, with -smoke where it is one."""
    name = f"{recipe.name}-{recipe.strategy.kind}-seed{recipe.train.seed}"
    return Path("runs") / (name + "-smoke" if smoke else name)


def _parse(change: str) -> tuple[str, Any]:
    """Return (path, value) of 'path=value'; the value is JSON where it can be, else text."""
    path, equals, text = change.partition("=")
    if not equals or not path:
        raise RecipeError(f"--set {change}: expected FIELD=VALUE, as in --set strategy.rank=16")
    try:
        return path, json.loads(text)
    except json.JSONDecodeError:
        return path, text


if __name__ == "__main__":
    sys.exit(main())
