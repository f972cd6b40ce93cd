"""`ftkit check`: look at data and plan before training."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from ftkit.cli.options import OtherBackbone, OtherData
from ftkit.cli.request import Flags, command_line, resolve
from ftkit.cli.words import Changes
from ftkit.errors import DataError
from ftkit.errors.names import visible
from ftkit.machine.streams import json_text
from ftkit.machine.terminal import rank, say_what_waits, speak


def check(
    recipe: str | None = None,
    *,
    strategy: str | None = None,
    data: OtherData = None,
    backbone: OtherBackbone = None,
    set_: Changes = (),
    json_: Annotated[bool, Parameter(name="--json", negative="")] = False,
    flags: Annotated[Flags | None, Parameter(name="*")] = None,  # type: ignore[valid-type]
) -> None:
    """Look at data and backbone, say what is odd and what training would take. Writes nothing.

    Takes the same arguments as train. Exit status 2 where training would refuse the data.

    Parameters
    ----------
    recipe
        Name of an installed recipe, path of a .py or .json file, or a Hub model of ftkit's.
        When not given, one that suits the rows of --data.
    strategy
        Which parameters move: full, head, lpft, lora, bitfit, contrastive, or auto, which checks
        the recipe's own.
    set_
        Any field by its path, as in --set strategy.rank=16. Can be repeated.
    json_
        Print everything as JSON.
    """
    speak(quieten=False)
    resolved = resolve(recipe, strategy, data, backbone, set_, False, flags)
    command = command_line("train", recipe, strategy, data, backbone, set_, flags)
    speak()
    from ftkit.machine.runtime import stop
    from ftkit.planning.check import check as check_recipe

    try:
        report = check_recipe(resolved, command)
    finally:
        stop()
    if rank() == 0:
        if not report.errors:
            say_what_waits()
        lines = map(visible, report.lines())
        print(json_text(report.to_json()) if json_ else "\n".join(lines))
    if report.errors:
        more = f" (and {len(report.errors) - 1} more)" if len(report.errors) > 1 else ""
        raise DataError(f"training would refuse this data: {report.errors[0]}{more}")
