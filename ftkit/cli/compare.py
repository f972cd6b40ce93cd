"""`ftkit compare`: is fine-tuning worth it here, which kind, and how sure are we?"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path

from ftkit.cli.backbones import compare_backbones, named, settled, to_choose_from, words_for
from ftkit.cli.folders import at_home
from ftkit.cli.options import Count, OtherBackbone, OtherData, Share, Track, seconds_of
from ftkit.cli.request import command_line, resolve
from ftkit.cli.words import Changes, Switch
from ftkit.errors import RecipeError, RunError
from ftkit.errors.names import visible
from ftkit.machine import heartbeat
from ftkit.machine.interruption import watched
from ftkit.machine.streams import Console
from ftkit.machine.terminal import rank, speak
from ftkit.runs.tracking.asked import tracking_of


def compare(
    *targets: str,
    strategies: str | None = None,
    backbones: str | None = None,
    seeds: Count = 1,
    budget: str | None = None,
    data: OtherData = None,
    backbone: OtherBackbone = None,
    set_: Changes = (),
    smoke: Switch = False,
    margin: Share = 0.01,
    out: Path | None = None,
    track: Track = (),
) -> None:
    """Run strategies side by side, the cheapest first, and say which differences are real.

    What is finished is not run again: the same command goes on with an interrupted comparison.

    Parameters
    ----------
    targets
        Recipes: names, paths of .py or .json files, or Hub models of ftkit's; when not given, one
        that suits the rows of --data. Or folders of finished runs, which are shown in one table.
    strategies
        What to run, with commas: majority, tfidf, boosting, zeroshot, knn, mlp, head, contrastive,
        lora, lpft, bitfit, full. Those that suit the recipe when not given.
    backbones
        Compare these instead, as in A,B,C, each with several numbers of layers or sides of images,
        by a probe of training rows; auto for those at hand.
    seeds
        Runs of each, with seeds one after the other. The first goes up the whole ladder before the
        second begins.
    budget
        Start no run that would not fit into this time: 90s, 30min, 2h.
    set_
        Any field by its path, as in --set train.epochs=2. Can be repeated.
    smoke
        64 rows and 2 steps each: does it run at all?
    margin
        A cheaper strategy is recommended only where no other is better by this much: of accuracy,
        F1, R squared and correlation 0.01 is one point, of BLEU too, of perplexity 1 %.
    out
        Folder for the runs and the report; when not given runs/compare-RECIPE, or the first of
        runs/compare-RECIPE-2, -3 ... that holds no runs with other settings.
    """
    if not targets and data is None:
        raise RecipeError("compare what? Give recipes, folders of finished runs, or --data ROWS")
    out = at_home(out)
    folders = [Path(target) for target in targets if os.path.isdir(target)]
    if folders and len(folders) < len(targets):
        other = next(target for target in targets if not os.path.isdir(target))
        raise RecipeError(f"give recipes, or folders of finished runs, not both; {other} is none")
    others = strategies is not None or seeds != 1 or len(targets) > 1 or folders
    if backbones is not None and others:
        raise RecipeError(
            "--backbones compares backbones for one recipe, by probes; leave out --strategies, "
            "--seeds, finished runs and further recipes, or compare strategies with --backbone NAME"
        )
    tracking = tracking_of(track)
    if track and (folders or backbones is not None):
        raise RecipeError("--track follows trainings, and nothing is trained here; leave it out")
    if folders:
        return _print_runs(folders, out, margin)
    limit = None if budget is None else seconds_of(budget)
    speak(quieten=False)
    if backbones is not None:
        target = targets[0] if targets else None
        return _compare_backbones(target, data, backbone, backbones, set_, smoke, out, limit)
    recipes = [
        resolve(name, None, data, backbone, set_, smoke, None) for name in targets or (None,)
    ]
    kinds = None if strategies is None else [kind.strip() for kind in strategies.split(",")]
    from ftkit.compare.ladder import build_ladder

    rungs = build_ladder(recipes, kinds)
    speak()
    from ftkit.compare.report import write
    from ftkit.compare.run_ladder import compare as run_all
    from ftkit.compare.run_ladder import free_folder
    from ftkit.compare.tables import overview
    from ftkit.machine.runtime import stop

    name = "-".join(dict.fromkeys(recipe.name for recipe in recipes))
    usual = Path("runs") / f"compare-{name}{'-smoke' if smoke else ''}"
    try:
        with heartbeat.watching_machines(), watched():
            folder = out or free_folder(rungs, usual)
            found, failed = run_all(rungs, range(seeds), folder, limit, margin, tracking)
    finally:
        stop()
    if rank() == 0:
        console = Console(markup=False, emoji=False)
        console.print(*overview(found, console.width))
        for note in found.notes:
            print(visible(note))
        print(visible(found.verdict))
        html, markdown = write(found, folder)
        print(f"report   {html}, {markdown}")
    if failed:
        raise RunError(f"{failed} of the runs failed; the same command tries them again")
    return None


def _compare_backbones(
    target: str | None,
    data: str | None,
    backbone: str | None,
    backbones: str,
    set_: Sequence[str],
    smoke: bool,
    out: Path | None,
    limit: float | None,
) -> None:
    """Print what probes say of backbones, and the command that trains the chosen one."""
    names, fixed = named(backbone, backbones), settled(set_)
    recipe = resolve(target, None, data, None, set_, smoke, None)
    names = to_choose_from(names, recipe)
    speak()
    from ftkit.machine.runtime import stop

    try:
        with heartbeat.watching_machines(), watched():
            chosen = compare_backbones(
                recipe, names, fixed, out, math.inf if limit is None else limit
            )
    finally:
        stop()
    if rank() == 0:
        name, changes = words_for(chosen.backbone, recipe.backbone)
        again = command_line("train", target, None, data, name, [*set_, *changes], None)
        print(f"next     {again}")


def _print_runs(folders: list[Path], out: Path | None, margin: float) -> None:
    """Print a table of finished runs, and what tells them apart where they can be compared."""
    from ftkit.compare.finished_runs import read_runs
    from ftkit.compare.report import write
    from ftkit.compare.summary import latency_notes, summarize
    from ftkit.compare.tables import table

    speak()
    runs = read_runs(folders)
    Console(markup=False, emoji=False).print(table([run.result for run in runs]))
    tested = {(run.result.dataset, run.result.split, run.figure) for run in runs}
    if out is not None or (len(runs) > 1 and len(tested) == 1):
        found = summarize(runs, margin=margin)
        for note in found.notes:
            if note not in latency_notes(found.rows):  # the table has no latency
                print(visible(note))
        print(visible(found.verdict))
        if out is not None:
            html, markdown = write(found, out)
            print(f"report   {html}, {markdown}")
