"""`ftkit train`: fine-tune as a recipe says."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from ftkit.cli.backbones import left_open, named, settled, to_choose_from, words_for
from ftkit.cli.folders import at_home, default_folder
from ftkit.cli.options import OtherBackbone, OtherData, Track, seconds_of
from ftkit.cli.recipes import list_recipes
from ftkit.cli.request import AUTO, Flags, command_line, resolve
from ftkit.cli.words import Changes, Switch
from ftkit.finetuning.fresh_reader import fresh_reader
from ftkit.machine import heartbeat
from ftkit.machine.interruption import watched
from ftkit.machine.streams import Console, json_text
from ftkit.machine.terminal import rank, speak
from ftkit.runs.finished import run_in
from ftkit.runs.tracking.asked import tracking_of


def train(
    recipe: str | None = None,
    *,
    strategy: str | None = None,
    budget: str | None = None,
    out: Path | None = None,
    data: OtherData = None,
    backbone: OtherBackbone = None,
    backbones: str | None = None,
    set_: Changes = (),
    resume: Switch = False,
    resume_anyway: Switch = False,
    smoke: Switch = False,
    profile: Switch = False,
    track: Track = (),
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
        When not given, one that suits the rows of --data.
    strategy
        Which parameters move: full, head, lpft, lora, bitfit, contrastive, or auto: what is best in
        the time there is.
    budget
        Time for the whole command, as 90s, 30min or 2h: epochs (and image size) are made to fit.
    backbones
        Take the best of these by measurement, as in A,B,C; --backbone auto chooses among those at
        hand.
    out
        New folder for the run; runs/RECIPE-STRATEGY-seedSEED when not given.
    set_
        Any field by its path, as in --set strategy.rank=16. Can be repeated.
    resume
        Go on with an unfinished run in the output folder.
    resume_anyway
        Go on with it though settings are others than it began with.
    smoke
        64 rows and 2 steps: does it run at all?
    profile
        Print how many seconds each stage took.
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
    tracking = tracking_of(track)
    limit = None if budget is None else seconds_of(budget)
    names = named(backbone, backbones)
    asked = None if names else backbone
    resolved = resolve(recipe, strategy, data, asked, set_, smoke, flags)
    own, fixed = resolved.backbone, settled(set_) if names else frozenset()
    if names:
        names, resolved = to_choose_from(names, resolved), left_open(resolved)
    if show:
        print(json_text(resolved.to_json()))
        return None
    folder = at_home(out) or default_folder(resolved, smoke, strategy)
    if "RANK" not in os.environ:  # with several processes the first may have begun the folder
        run_in(folder, resume or resume_anyway)
    automatic = strategy == AUTO, getattr(flags, "learning_rate", None) == AUTO
    with fresh_reader(resolved.backbone) as fresh:  # it imports while this process does
        speak()
        from ftkit.backbones import family_of
        from ftkit.compare.tables import sheet
        from ftkit.finetuning.clock import Clock
        from ftkit.finetuning.finetune import finetune
        from ftkit.machine.runtime import stop
        from ftkit.planning.decide import LeftToMeasure, decide
        from ftkit.publishing.push import claim_repository, publish
        from ftkit.runs.pinning import pin

        clock = Clock.of_process()
        if push_to_hub is not None and rank() == 0:
            claim_repository(push_to_hub, private, revision, resolved if names else pin(resolved))
        if resolved.train.push_checkpoints is not None and rank() == 0:
            claim_repository(resolved.train.push_checkpoints, private)
        try:
            with heartbeat.watching_machines(), watched():
                again = resume or resume_anyway
                if wanted := LeftToMeasure(*automatic, limit, names, fixed):
                    resolved, again = decide(resolved, wanted, folder, again), True
                    clock.lap("choices")
                result = finetune(resolved, folder, again, resume_anyway, fresh, clock, tracking)
        finally:
            stop()
    if rank() == 0:
        Console(markup=False, emoji=False).print(sheet(result))
        opener = family_of(resolved.backbone).opened_by
        print(f"model    {folder / 'model'}  (loads with {opener})")
        print(f"figures  {folder / 'run.json'}, {folder / 'plots'}")
        if profile:
            print("\n".join(clock.lines()))
        if push_to_hub is not None:
            print(f"hub      {publish(folder, push_to_hub, private=private, revision=revision)}")
        same = [change for change in set_ if change.startswith(("data.", "task.", "backbone."))]
        if names:
            backbone, chosen = words_for(resolved.backbone, own)
            same += chosen
        compare = command_line("compare", recipe, None, data, backbone, same, None)
        answer, inputs = shlex.join(["ftkit", "predict", str(folder)]), resolved.task.noun.upper()
        print(f"next     {answer} {inputs}, {compare}")
    return None
