"""finetune(recipe, out): the main path, every step a verb that stands in a file of its own."""

from __future__ import annotations

import logging
import os
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ftkit.backbones import family_of
from ftkit.backbones.pooling import pooling_parts
from ftkit.backbones.structure import count_parameters, place
from ftkit.data.splits import Splits
from ftkit.errors import FtkitError
from ftkit.finetuning.clock import Clock, now
from ftkit.finetuning.folder import (
    Lock,
    as_run_began,
    disk_errors_in_one_line,
    is_complete,
    open_folder,
    remove_checkpoints,
    require_room,
    require_same_rows,
    write_checks,
    write_plots,
    write_predictions,
)
from ftkit.finetuning.fresh_reader import fresh_reader
from ftkit.finetuning.verify import verify
from ftkit.hub.checksums import model_checksums
from ftkit.machine import memory, runtime
from ftkit.machine.fresh_process import FreshProcess
from ftkit.machine.memory_denied import denied_in_one_line
from ftkit.machine.permissions import give_usual_rights
from ftkit.publishing.card import model_card
from ftkit.recipe import AUTO, Mlp, Recipe
from ftkit.runs.finished import read_finished
from ftkit.runs.pinning import licences, pin
from ftkit.runs.result import RunResult, Seconds
from ftkit.runs.tracking.asked import NONE, Tracking
from ftkit.runs.tracking.follow import Follower, following
from ftkit.strategies import strategy_of
from ftkit.strategies.batch_size import settle_batch_size, with_batch_size_of_run
from ftkit.strategies.few_labels import tip_on_few_labels
from ftkit.tasks import task_of
from ftkit.tasks.base import Task
from ftkit.tasks.inputs import Inputs
from ftkit.tasks.loading import load_splits, read_rows
from ftkit.training.compiled import require_compiler
from ftkit.training.fitted import Session
from ftkit.training.sharded import is_shared

log = logging.getLogger(__name__)


def finetune(
    recipe: Recipe,
    out: str | Path,
    resume: bool = False,
    anyway: bool = False,
    fresh: FreshProcess | None = None,
    clock: Clock | None = None,
    track: Tracking = NONE,
) -> RunResult:
    """Fine-tune as the recipe says, and leave model, figures and pictures in the folder `out`.

    Under `accelerate launch`, every process calls this, rank 0 writes, and all return the result.

    Args:
        out: a new or empty folder; nothing is written there before data and backbone are checked.
        resume: go on with an unfinished run in `out`; return the result of a finished one.
        anyway: with `resume`, go on though settings are not those that the run began with.
        fresh: the process that will verify the saved model, where one waits already.
        clock: is told the seconds of each stage.
        track: what follows the run, such as TensorBoard; what it raises never ends the run.

    Raises:
        RunError: `out` cannot take this run.
        RecipeError, DataError, ModelError, HubError: the request cannot be met.
        TrainingError, VerificationError: training failed, or its saved model is not what was
            measured.
    """
    with denied_in_one_line(), nullcontext(fresh) if fresh else fresh_reader(recipe.backbone) as to:
        return _finetune(recipe, Path(out), resume, anyway, to, clock or Clock(), track)


def _finetune(
    recipe: Recipe,
    folder: Path,
    resume: bool,
    anyway: bool,
    fresh: FreshProcess | None,
    clock: Clock,
    track: Tracking,
) -> RunResult:
    clock.begin_run()
    machine = runtime.start(recipe.train.seed)
    recipe = runtime.on_main(lambda: as_run_began(pin(recipe), folder, resume))
    recipe = runtime.on_main(lambda: with_batch_size_of_run(recipe, folder, resume))
    if runtime.on_main(lambda: is_complete(folder, recipe, resume, anyway)):
        runtime.on_main(lambda: _require_rows_of_finished(folder, recipe, anyway))
        log.info("%s holds this run, complete", folder)
        return runtime.on_main(lambda: read_finished(folder))

    ready = make_ready(recipe, machine)
    if tip := tip_on_few_labels(recipe, ready.inputs.train.labels):
        log.info(tip)
    if resume:
        runtime.on_main(lambda: require_same_rows(folder, ready.splits, anyway))
    settled = settle_batch_size(ready.resolved(recipe), ready.model, ready.inputs, machine)
    recipe = settled.model_copy(update={"task": recipe.task})
    lock: list[Lock] = []  # on rank 0
    runtime.on_main(lambda: require_room(folder, recipe, ready.model))
    runtime.on_main(lambda: lock.append(open_folder(folder, recipe, resume)))
    try:
        with (
            disk_errors_in_one_line(folder),
            following(track, folder, ready.resolved(recipe), machine) as follower,
        ):
            return carry_out(ready, recipe, machine, folder, resume, clock, follower, fresh)
    finally:
        for each in lock:
            each.release()


def _require_rows_of_finished(folder: Path, recipe: Recipe, anyway: bool) -> None:
    """Refuse a finished run on other rows than its files hold now, where they can be compared."""
    if not os.path.exists(os.path.expanduser(recipe.data.path)):  # embedded, pinned, or moved
        return
    if recipe.data.on_bad_row == "skip":  # which rows that is, decoding all of them would tell
        log.info("whether rows have changed was not looked at, as data.on_bad_row is skip")
        return
    try:
        splits = load_splits(recipe.data, task_of(recipe.task))
    except FtkitError as error:
        log.warning("whether rows have changed cannot be told: %s", error)
        return
    require_same_rows(folder, splits, anyway)


def carry_out(
    ready: Ready,
    recipe: Recipe,
    machine: runtime.Machine,
    folder: Path,
    resume: bool,
    clock: Clock,
    follower: Follower,
    fresh: FreshProcess | None = None,
) -> RunResult:
    """Train, measure, save and verify; the folder is this process's."""
    runtime.on_main(lambda: write_checks(folder, ready.splits))
    clock.lap("data")

    place(ready.model, recipe.train.channels_last, machine.device)
    task, test = ready.task, ready.inputs.test
    with runtime.exact_float32():
        earlier = task.measure_before(ready.model, test, recipe.train, machine)
    clock.lap("evaluation")
    strategy = strategy_of(recipe.strategy)
    session = Session(machine, folder, resume)
    fitted = strategy.train(ready.model, ready.inputs, ready.resolved(recipe), session)
    clock.lap("steps")
    spent = fitted.features_seconds + fitted.train_seconds + fitted.validation_seconds
    clock.before_stop = max(0.0, spent - clock.seconds["steps"])
    clock.move("steps", "features", fitted.features_seconds)
    clock.move("steps", "validation", fitted.validation_seconds)
    clock.move("steps", "checkpoints", fitted.checkpoint_seconds)

    with runtime.exact_float32():
        task = task.tuned(ready.model, ready.inputs, recipe.train, machine)
        outputs = task.predict(ready.model, test, recipe.train, machine)
    clock.lap("evaluation")

    def finish() -> RunResult:
        """Save, verify and write everything, run.json last: where it lies, the run is complete."""
        labels, names = test.labels, ready.splits.label_names
        total, moved = count_parameters(ready.model)
        used = recipe.model_copy(update={"strategy": fitted.strategy, "task": task.settings})
        if pooling_parts(ready.model):
            used = used.override({"backbone.pooling": "mean"})
        model_folder = folder / "model"
        family_of(recipe.backbone).save(
            ready.model, ready.processor, recipe, model_folder, strategy.for_saving
        )
        give_usual_rights(model_folder)
        clock.lap("saving")
        trusted = getattr(recipe.backbone, "trust_remote_code", False)
        spent = sum(clock.seconds.values())
        verified = verify(model_folder, task, ready.splits, outputs, trusted, fresh, spent)
        clock.lap("verification")
        result = RunResult(
            recipe=recipe.name,
            strategy=fitted.strategy.model_dump(mode="json"),
            task=task.settings.model_dump(mode="json"),
            dataset=recipe.data.path,
            split=ready.splits.test_split,
            n=len(labels),
            unseen_words=getattr(outputs, "unseen", 0),
            metrics={
                **task.measure(labels, outputs, recipe.train.seed, ready.splits.groups),
                **earlier,
            },
            validation=fitted.validation,
            parameters_total=total,
            parameters_trained=moved,
            seconds=Seconds(
                data=clock.seconds["data"],
                features=fitted.features_seconds,
                train=fitted.train_seconds,
                evaluate=fitted.validation_seconds + clock.seconds["evaluation"],
                total=clock.total(),
            ),
            examples_per_second=fitted.examples / max(fitted.train_seconds, 1e-9),
            peak_memory_bytes=runtime.peak_memory(machine),
            model_bytes=sum(file.stat().st_size for file in model_folder.glob("*.safetensors")),
            latency_seconds=verified.latency_seconds,
            latency=verified.latency,
            model_sha256=model_checksums(model_folder),
            seed=recipe.train.seed,
            world_size=machine.world_size,
            device=machine.device_name,
            precision=fitted.precision,
            versions=runtime.versions(),
            commit=runtime.commit(),
            started=clock.started,
            finished=now(),
            status="complete",
        )
        write_predictions(folder / "predictions.parquet", task, ready.splits, outputs)
        curve = write_plots(folder, used, ready.splits, outputs)
        clock.lap("pictures")
        text = model_card(used, result, names, ready.splits.counts(), licences(recipe), curve)
        (model_folder / "README.md").write_text(text, encoding="utf-8")
        follower.finish(result)
        result.write(folder)
        remove_checkpoints(folder, strategy)
        clock.lap("card")
        return result

    return runtime.on_main(finish)


@dataclass(frozen=True)
class Ready:
    """All that training needs, checked."""

    splits: Splits
    model: Any
    processor: Any
    inputs: Inputs
    task: Task
    """As the backbone can do it, with what it learned of the data."""

    def resolved(self, recipe: Recipe) -> Recipe:
        """Return the recipe with the task's fields as the data filled them in."""
        return recipe.model_copy(update={"task": self.task.settings})


def make_ready(recipe: Recipe, machine: runtime.Machine) -> Ready:
    """Load and check data and backbone, and choose which parameters move. Writes nothing.

    Raises:
        RecipeError, DataError, ModelError, HubError: the request cannot be met.
    """
    seed = recipe.train.seed
    runtime.choose_precision(recipe.train.precision, machine)
    if recipe.train.compile and not getattr(recipe.strategy, "cache", False):
        require_compiler(machine)
    if (rows := recipe.train.batch_size) != AUTO:
        runtime.share_batch(rows, recipe.train.micro_batch_size, machine.world_size)
    splits = read_rows(recipe.data, task_of(recipe.task))
    loaded = family_of(recipe.backbone).load(task_of(splits.task), splits, seed)
    adapted = strategy_of(recipe.strategy).adapt(loaded.model)
    total, trained = count_parameters(adapted)
    log.info(
        f"{recipe.backbone.id}: strategy {recipe.strategy.kind} trains {trained:,} of {total:,} "
        f"parameters ({100 * trained / total:.2f} %)"
    )
    _require_memory(recipe, total, trained, machine)
    return Ready(splits, adapted, loaded.processor, loaded.inputs, loaded.task)


def _require_memory(recipe: Recipe, total: int, trained: int, machine: runtime.Machine) -> None:
    """Refuse a model that cannot be held while it is trained, by AdamW unless it is a head's."""
    if is_shared() or isinstance(recipe.backbone, Mlp):  # in parts; and looked at when it is made
        return
    moving = 0 if strategy_of(recipe.strategy).head_alone else trained
    needed = memory.FLOAT * total + (memory.MOVING - memory.FLOAT) * moving
    memory.require(
        needed,
        f"{recipe.backbone.id}, strategy {recipe.strategy.kind}: {total:,} parameters with "
        f"gradients and moments of {moving:,}",
        "use --strategy lora or head, or a smaller backbone",
        machine.device,
    )
