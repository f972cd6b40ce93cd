"""The command line: `ftkit list | show | train | check | compare | sweep | push | ...`.

Exit status: 0 done, 2 the request was wrong (one line, no traceback), 1 the run failed, 143 a
training or comparison stopped by a signal with a checkpoint written, 130 another command stopped
by Ctrl-C.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from cyclopts import App, CoercionError, CycloptsError, Parameter
from rich.table import Table

from ftkit import registry
from ftkit.cli import cache
from ftkit.cli.compare import compare
from ftkit.cli.options import Changes, Switch, require_no_empty_word, seconds_of
from ftkit.cli.perceptron import mlp, play
from ftkit.cli.predict import predict
from ftkit.cli.push import push
from ftkit.cli.request import AUTO, Flags, at_home, default_folder, resolve, train_command
from ftkit.cli.sweep import sweep
from ftkit.errors import DataError, FtkitError, MachineError
from ftkit.errors.addresses import without_secrets
from ftkit.errors.names import visible
from ftkit.finetuning.fresh_reader import fresh_reader
from ftkit.machine import heartbeat, processes
from ftkit.machine.interruption import STATUS, Interrupted, command_to_go_on, watched
from ftkit.machine.memory_denied import advice_on_memory, is_denied
from ftkit.machine.streams import Console, guarded, json_text
from ftkit.machine.terminal import GO_ON, rank, speak
from ftkit.machine.threads import fit_threads
from ftkit.recipe.explain import shown

app = App(
    name="ftkit",
    help="Fine-tune pretrained Transformer and CNN backbones on your own labelled data.",
    help_on_error=False,
    suppress_keyboard_interrupt=False,  # a status of our own
)
app.command(mlp)
app.command(play)
app.command(push)
app.command(compare)
app.command(predict)
app.command(sweep)
app.command(cache.app)


def main(words: Sequence[str] | None = None) -> int:
    """Run the command line on these words and return the exit status."""
    given = sys.argv[1:] if words is None else words
    fit_threads()
    try:
        return guarded(lambda: _run(given), lambda why: _fail(_stderr(), why, 2))
    finally:
        processes.let_go()


def _run(given: Sequence[str]) -> int:
    console = _stderr()
    try:
        require_no_empty_word(given)
        app(
            given,
            exit_on_error=False,
            print_error=False,
            result_action="return_value",
            console=Console(),
        )
    except CycloptsError as error:
        return _fail(console, str(FtkitError(_in_one_line(error))), 2, own=False)
    except FtkitError as error:
        return _fail(console, str(error), error.exit_status, own=not error.everywhere)
    except Interrupted as stop:
        if rank() == 0:
            console.print(f"{stop}; go on with: {command_to_go_on(given)}", markup=False)
        return STATUS
    except KeyboardInterrupt:
        return _fail(console, f"stopped; go on with: {command_to_go_on(given)}", 130)
    except Exception as error:
        if is_denied(error):
            return _fail(console, str(FtkitError(advice_on_memory(error))), 1)
        if not processes.is_lost(error):
            processes.is_first_to_say(repr(error))  # so that the others leave it to the traceback
            raise
        if processes.has_said_why():
            return 1
        said = " ".join(str(error).split())[:200]
        return _fail(console, f"another process of this run is gone ({said}); {GO_ON}", 1)
    return 0


def _stderr() -> Console:
    return Console(stderr=True, highlight=False, soft_wrap=True, emoji=False)


def _in_one_line(error: CycloptsError) -> str:
    """Return what is wrong with a word: `ftkit.cli.options` reads numbers, cyclopts reads names."""
    token = error.token if isinstance(error, CoercionError) else None
    if token is None or token.keyword is None:
        return str(error)
    return f"{token.keyword} {shown(token.value)}: expected true or false"


def _fail(console: Console, message: str, status: int, own: bool = True) -> int:
    message = without_secrets(message)
    if processes.is_first_to_say(message):
        where = f" (process {rank()})" if rank() and own else ""
        console.print(f"error{where}:", message, markup=False)
    return status


@app.command(name="list")
def list_recipes() -> None:
    """Show every installed recipe."""
    shown = Table(box=None, pad_edge=False)
    for column in ("recipe", "strategies", "about"):
        shown.add_column(column)
    for name, recipe in registry.recipes().items():
        kinds = [recipe.strategy.kind, *(other.kind for other in recipe.alternatives)]
        shown.add_row(name, ", ".join(kinds), recipe.description)
    Console(markup=False, emoji=False).print(shown)


@app.command
def show(recipe: str) -> None:
    """Print a recipe as JSON, every default written out.

    Parameters
    ----------
    recipe
        Name of an installed recipe, path of a .py or .json file, or a Hub model of ftkit's.
    """
    print(json_text(registry.find(recipe).to_json()))


@app.command
def train(
    recipe: str | None = None,
    *,
    strategy: str | None = None,
    budget: str | None = None,
    out: Path | None = None,
    data: str | None = None,
    backbone: str | None = None,
    set_: Changes = (),
    resume: Switch = False,
    resume_anyway: Switch = False,
    smoke: Switch = False,
    show: Switch = False,
    list_: Annotated[bool, Parameter(name="--list", negative="")] = False,
    push_to_hub: str | None = None,
    private: Switch = False,
    revision: str | None = None,
    flags: Annotated[Flags | None, Parameter(name="*")] = None,  # type: ignore[valid-type]
) -> None:
    """Fine-tune as a recipe says, and leave model, figures and pictures in a folder.

    Parameters
    ----------
    recipe
        Name of an installed recipe, path of a .py or .json file, or a Hub model of ftkit's.
    strategy
        Which parameters move: full, head, lpft, lora, bitfit, or auto: what is best in the time
        there is.
    budget
        Time for the whole command, as 90s, 30min or 2h: epochs (and image size) are made to fit.
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
    resume_anyway
        Go on with it though settings are others than it began with.
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
    speak(quieten=False)
    limit = None if budget is None else seconds_of(budget)
    resolved = resolve(recipe, strategy, data, backbone, set_, smoke, flags)
    if show:
        print(json_text(resolved.to_json()))
        return None
    folder = at_home(out) or default_folder(resolved, smoke, strategy)
    automatic = strategy == AUTO, getattr(flags, "learning_rate", None) == AUTO
    with fresh_reader(resolved.backbone) as fresh:  # it imports while this process does
        speak()
        from ftkit.backbones import family_of
        from ftkit.compare import sheet
        from ftkit.finetuning.finetune import finetune
        from ftkit.machine.runtime import stop
        from ftkit.planning.decide import LeftToMeasure, decide
        from ftkit.publishing.push import claim_repository, publish
        from ftkit.runs.pinning import pin

        if push_to_hub is not None and rank() == 0:
            claim_repository(push_to_hub, private, revision, pin(resolved))
        if resolved.train.push_checkpoints is not None and rank() == 0:
            claim_repository(resolved.train.push_checkpoints, private)
        try:
            with heartbeat.watching_machines(), watched():
                again = resume or resume_anyway
                if wanted := LeftToMeasure(*automatic, limit):
                    resolved, again = decide(resolved, wanted, folder, again), True
                result = finetune(resolved, folder, again, resume_anyway, fresh)
        finally:
            stop()
    if rank() == 0:
        Console(markup=False, emoji=False).print(sheet(result))
        opener = family_of(resolved.backbone).opened_by
        print(f"model    {folder / 'model'}  (loads with {opener})")
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
    set_: Changes = (),
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
    speak(quieten=False)
    resolved = resolve(recipe, strategy, data, backbone, set_, False, flags)
    command = train_command(recipe, strategy, data, backbone, set_, flags)
    speak()
    from ftkit.machine.runtime import stop
    from ftkit.planning.check import check as check_recipe

    try:
        report = check_recipe(resolved, command)
    finally:
        stop()
    if rank() == 0:
        lines = map(visible, report.lines())
        print(json_text(report.to_json()) if json_ else "\n".join(lines))
    if report.errors:
        more = f" (and {len(report.errors) - 1} more)" if len(report.errors) > 1 else ""
        raise DataError(f"training would refuse this data: {report.errors[0]}{more}")


@app.command
def doctor(*, json_: Annotated[bool, Parameter(name="--json", negative="")] = False) -> None:
    """Look at versions, devices, disk and Hub, and say what to do where something is wrong.

    Exit status 1 where something is broken.

    Parameters
    ----------
    json_
        Print everything as JSON.
    """
    from ftkit.cli.doctor import examine, to_json

    findings = examine()
    print(json_text(to_json(findings)) if json_ else "\n".join(map(str, findings)))
    wrong = [finding for finding in findings if finding.state == "wrong"]
    if wrong:
        more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
        raise MachineError(f"{wrong[0].name}: {wrong[0].found}{more}")


if __name__ == "__main__":
    sys.exit(main())
