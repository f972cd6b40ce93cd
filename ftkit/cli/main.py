"""The command line: `ftkit list | show | train | check | compare | sweep | push | ...`.

Exit status: 0 done, 2 the request was wrong (one line, no traceback), 1 the run failed, 143 a
training or comparison stopped by a signal with a checkpoint written, 130 another command stopped
by Ctrl-C.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated

from cyclopts import App, CoercionError, CycloptsError, MissingArgumentError, Parameter

from ftkit.cli.words import require_no_empty_word
from ftkit.errors import FtkitError, MachineError
from ftkit.errors.addresses import without_secrets
from ftkit.machine import processes
from ftkit.machine.interruption import STATUS, Interrupted, command_to_go_on
from ftkit.machine.memory_denied import advice_on_memory, is_denied
from ftkit.machine.streams import Console, guarded, json_text
from ftkit.machine.terminal import GO_ON, rank
from ftkit.machine.threads import fit_threads

app = App(
    name="ftkit",
    help="Fine-tune pretrained Transformer and CNN backbones on your own labelled data.",
    help_on_error=False,
    suppress_keyboard_interrupt=False,  # a status of our own
)
for where in (  # imported when they are asked for: an exported model answers in a second
    "recipes:list_recipes",
    "recipes:show",
    "train:train",
    "check:check",
    "perceptron:mlp",
    "perceptron:play",
    "push:push",
    "export:export",
    "serve:serve",
    "compare:compare",
    "predict:predict",
    "sweep:sweep",
    "cache:app",
):
    module, _, called = where.partition(":")
    name = {"list_recipes": "list", "app": module}.get(called, called)
    app.command(f"ftkit.cli.{where}", name=name)


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
    except KeyboardInterrupt as stop:
        if rank() == 0:
            again = command_to_go_on(given)
            console.print(f"{str(stop) or 'stopped'}; go on with: {again}", markup=False)
        return STATUS if isinstance(stop, Interrupted) else 130
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
    missing = error.argument if isinstance(error, MissingArgumentError) else None
    if missing is not None and missing.index is not None and not missing.tokens:
        command = " ".join(["ftkit", *(error.command_chain or ())])
        name = missing.name.lstrip("-").upper()
        return f"{command}: {name} is missing; give it, as '{command} --help' says"
    token = error.token if isinstance(error, CoercionError) else None
    if token is None or token.keyword is None:
        return str(error)
    from ftkit.recipe.explain import shown

    return f"{token.keyword} {shown(token.value)}: expected true or false"


def _fail(console: Console, message: str, status: int, own: bool = True) -> int:
    message = without_secrets(message)
    if processes.is_first_to_say(message):
        where = f" (process {rank()})" if rank() and own else ""
        console.print(f"error{where}:", message, markup=False)
    return status


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
