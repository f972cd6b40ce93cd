"""compare(ladder, seeds, out): runs what a comparison lacks, the cheapest first, and sums it up.

The first seed goes up the whole ladder before the second begins. So the first answers come in
seconds, and whatever time is given, it is spent on all rungs alike. Each run says at once what its
rung bought.
"""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from ftkit.compare.baseline_answers import Unfit
from ftkit.compare.baselines import holds, read_baseline, run_baseline
from ftkit.compare.finished_runs import Run
from ftkit.compare.ladder import BASELINES, Ladder, Rung
from ftkit.compare.summary import Comparison, summarize
from ftkit.compare.tables import rung_line
from ftkit.compare.verdict import MARGIN
from ftkit.errors import FtkitError, RunError
from ftkit.finetuning.estimate import estimate
from ftkit.finetuning.finetune import finetune, make_ready
from ftkit.finetuning.folder import difference
from ftkit.machine import interruption, runtime
from ftkit.machine.interruption import Interrupted
from ftkit.machine.memory_denied import denied_in_one_line
from ftkit.machine.terminal import quiet
from ftkit.recipe import Recipe
from ftkit.runs.finished import RECIPE, read_finished, read_recipe
from ftkit.runs.pinning import pin
from ftkit.runs.result import FILE
from ftkit.runs.tracking.asked import NONE, Tracking
from ftkit.runs.tracking.follow import following_group
from ftkit.strategies import strategy_of

log = logging.getLogger(__name__)
ONE_SEED = (
    "One seed that all have: the tests know how much the test rows vary, not how much training "
    "does; with several of them (--seeds 3) the column of seeds shows that too."
)
SEVERAL_SEEDS = (
    "The tests are of means over these {} seeds, on test rows like these; how much training varies "
    "is what the column of seeds shows."
)


def compare(
    ladder: Ladder,
    seeds: Sequence[int],
    out: Path,
    budget: float | None = None,
    margin: float = MARGIN,
    track: Tracking = NONE,
) -> tuple[Comparison, int]:
    """Return what a comparison found, and how many of its runs failed. Finished runs are kept.

    Under `accelerate launch` every process calls this; rank 0 speaks and writes.

    Args:
        seeds: added to that of the recipe.
        out: gets the runs.
        budget: seconds; see `climb`.
        margin: see `ftkit.compare.verdict`.
        track: what follows the runs, baselines left out; each is a child of the comparison there.

    Raises:
        RunError: `out` holds runs with other settings, or no run was finished.
    """
    first = ladder.rungs[0].seed
    machine = runtime.start(first)
    taken = runtime.on_main(lambda: folder_with_other_settings(ladder, out))
    if taken:
        raise RunError(f"{taken}; give another --out")
    for sentence in ladder.left_out:
        log.info("%s", sentence)

    def say(done: LadderRuns) -> None:
        line = runtime.on_main(lambda: rung_line(done.runs))
        log.info("%s", line)

    with following_group(track, out, {}, machine) as (of_runs, _):
        done = climb(ladder, [first + seed for seed in seeds], out, budget, say, of_runs)
    if not done.runs:
        raise RunError(f"no run was finished: {'; '.join(done.not_run)}")
    order = [rung.label for rung in ladder.rungs]
    runs = sorted(done.runs, key=lambda run: order.index(run.label))
    notes = [*ladder.left_out, *done.not_run]
    found = runtime.on_main(lambda: summarize(runs, notes, margin))
    return replace(found, notes=(*found.notes, *note_on_seeds(len(found.seeds)))), done.failed


def note_on_seeds(count: int) -> list[str]:
    """Return what tests on so many seeds know of training; empty when there is no test."""
    return [ONE_SEED if count == 1 else SEVERAL_SEEDS.format(count)] if count else []


def free_folder(ladder: Ladder, usual: Path) -> Path:
    """Return `usual`, or the first of usual-2, usual-3 ... without runs of other settings.

    Every rank must call this.
    """
    runtime.start(ladder.rungs[0].seed)
    numbered = (usual.with_name(f"{usual.name}-{number}") for number in itertools.count(2))
    tried = itertools.chain([usual], numbered)
    return runtime.on_main(
        lambda: next(folder for folder in tried if not folder_with_other_settings(ladder, folder))
    )


@dataclass
class LadderRuns:
    """The runs of a ladder, and those that were not made."""

    runs: list[Run] = field(default_factory=list)
    not_run: list[str] = field(default_factory=list)
    """A sentence for each run that was not started, or failed."""
    failed: int = 0

    def leave_out(self, sentence: str) -> None:
        """Say and remember that a run was not made."""
        self.not_run.append(sentence)
        log.warning("%s", sentence)


def climb(
    ladder: Ladder,
    seeds: Sequence[int],
    out: Path,
    budget: float | None = None,
    say: Callable[[LadderRuns], None] = lambda done: None,
    track: Tracking = NONE,
) -> LadderRuns:
    """Return all runs of the ladder. Only those that are not there yet are run.

    A run that fails is named, and the others go on; under `accelerate launch`, where every process
    calls this, it ends all of them.

    Args:
        seeds: of the runs of each rung.
        out: gets a run folder for each; a finished one in runs/ is taken as it is.
        budget: seconds; no run is started that would not fit, but the first.
        say: called after every run.
        track: what follows the trainings.
    """
    machine = runtime.start(seeds[0])
    begin, done = time.monotonic(), LadderRuns()
    unfit: set[str] = set()
    for rung in (rung.with_seed(seed) for seed in seeds for rung in ladder.rungs):
        if rung.label in unfit:
            continue
        try:
            recipe = runtime.on_main(partial(pin, rung.recipe))
            folder, finished = runtime.on_main(partial(find_run, rung, recipe, out))
            if finished:
                log.info("%s holds this run: it is not run again", folder)
            if budget is not None and done.runs and not finished:
                left = budget - runtime.on_main(lambda: time.monotonic() - begin)
                likely = expected_seconds(rung, recipe, done.runs, left)
                if likely > left:
                    done.leave_out(
                        f"{rung.label}, seed {rung.seed}, was not started: about {likely:.0f} s, "
                        f"and {max(left, 0):.0f} s of {budget:.0f} s are left"
                    )
                    continue
            with quiet(), denied_in_one_line():
                if rung.kind in BASELINES:
                    result = run_baseline(rung.kind, recipe, folder)
                else:
                    result = finetune(recipe, folder, resume=True, track=track)
        except Unfit as error:  # on every rank alike
            done.leave_out(f"{rung.label} was left out: {error}")
            unfit.add(rung.label)
            continue
        except FtkitError as error:
            if machine.world_size > 1:  # the others may not have it
                raise
            done.leave_out(f"{rung.label}, seed {rung.seed}, failed: {error}")
            done.failed += 1
            continue
        done.runs.append(Run(rung.label, folder, result, recipe.data))
        say(done)
    return done


def find_run(rung: Rung, recipe: Recipe, out: Path) -> tuple[Path, bool]:
    """Return the folder of this run, and whether it is finished there.

    It is finished in `out`, in the folder that a training without `out` would take, or in any
    other folder of runs/, whatever its name.

    Args:
        recipe: pinned, as the folder would hold it.
    """
    own, usual = out / rung.folder, Path("runs") / rung.folder
    others = sorted(file.parent for file in usual.parent.glob(f"*/{FILE}"))
    for folder in dict.fromkeys((own, usual, *others)):
        with suppress(FtkitError):
            if (folder / FILE).exists() and _holds(rung, folder, recipe) and read_finished(folder):
                return folder, True
    return own, False


def folder_with_other_settings(ladder: Ladder, out: Path) -> str:
    """Return which folder in `out` holds a run with other settings than the ladder's; "" if none.

    Without a word of recipes whose commit the Hub does not tell: their run will say it.
    """
    for rung in ladder.rungs:
        folder = out / rung.folder
        with suppress(FtkitError):
            there = _recipe_in(folder)
            changed = difference(there, pin(rung.recipe)) if there else ""
            if changed:
                return f"{folder} holds a run with other settings ({changed})"
    return ""


def _recipe_in(folder: Path) -> Recipe | None:
    if (folder / RECIPE).exists():
        return read_recipe(folder)
    baseline = read_baseline(folder)
    return baseline[1] if baseline else None


def _holds(rung: Rung, folder: Path, recipe: Recipe) -> bool:
    if rung.kind in BASELINES:
        return holds(rung.kind, recipe, folder)
    there = _recipe_in(folder)
    return there is not None and there.as_written() == recipe.as_written()


def expected_seconds(rung: Rung, recipe: Recipe, runs: Sequence[Run], left: float) -> float:
    """Return how long a run will take, as far as that is known. Every rank must call this.

    As long as the last run of its rung; what comes first of a rung that trains the backbone is
    tried in two real steps, where the time left allows that much, and has the rest of the dearest
    run before it, such as loading and saving; else as long as the dearest run.

    Args:
        left: seconds.
    """
    own = [run.result.seconds.total for run in runs if run.label == rung.label]
    if own:
        return own[-1]
    dearest = max(run.result.seconds.total for run in runs)
    short = rung.kind in (*BASELINES, "mlp") or strategy_of(recipe.strategy).head_alone
    if short or left < dearest:
        return dearest
    log.info("%s, seed %d: two steps, to see how long it takes", rung.label, rung.seed)
    rest = max(run.result.seconds.total - run.seconds for run in runs)
    machine = runtime.start(recipe.train.seed)
    try:
        with quiet():
            return rest + estimate(recipe, make_ready(recipe, machine), machine).seconds
    except Interrupted:
        interruption.check()  # without a word of the checkpoint, which goes with the trial
        raise
