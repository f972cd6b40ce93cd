"""The run folder: who may write there, and the files that other programs read.

recipe.json          the resolved recipe; runs again with --recipe OUT/recipe.json
checks.json          what was odd with the rows before training, and which rows they are
run.json             what was measured; written last, so where it lies the run is complete
predictions.parquet  a row per test example
log.jsonl            a line per logging step
plots/               learning curve, where there is one, and confusion matrix
checkpoints/         what --resume needs; removed when the run is complete
model/               loads with transformers and peft alone
"""

from __future__ import annotations

import errno
import json
import logging
import os
import platform
import shlex
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from safetensors import SafetensorError
from torch import nn

from ftkit.backbones.structure import count_parameters
from ftkit.data.split_fingerprint import fingerprint, what_changed
from ftkit.data.splits import Splits
from ftkit.errors import RunError
from ftkit.machine.whole_files import write_whole
from ftkit.recipe import Backbone, HeadOnly, Recipe
from ftkit.recipe.settings import by_path
from ftkit.recipe.strangers import words_to_repeat
from ftkit.runs.finished import LOCK, read_recipe, run_in
from ftkit.runs.plots import plot_learning_curve
from ftkit.runs.result import FILE
from ftkit.strategies.base import Strategy
from ftkit.tasks import task_of
from ftkit.tasks.base import Task

log = logging.getLogger(__name__)
CHECKS = "checks.json"
DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM)
FREE = {
    "name", "description", "expect", "alternatives", "data.outside",
    "train.workers", "train.push_checkpoints",
    "train.checkpoint_every", "train.checkpoints_kept", "train.evaluation_batch_size",
    "train.micro_batch_size", "train.gradient_checkpointing",
}  # fmt: skip
"""Settings that may change when a run goes on, since its results do not depend on them."""


def is_complete(folder: Path, recipe: Recipe, resume: bool, anyway: bool = False) -> bool:
    """Return whether `folder` already holds this run, finished.

    Args:
        anyway: go on with an unfinished run whose settings were others.

    Raises:
        RunError: the folder holds something else, or a run and `resume` was not asked for.
    """
    there = run_in(folder, resume)
    if there is None:
        return False
    finished = (folder / FILE).exists()
    changed = difference(there, recipe)
    if changed and finished:
        raise RunError(
            f"output folder {folder} holds a finished run with other settings ({changed}); give "
            f"another --out"
        )
    if changed and not anyway:
        words = shlex.join(["--recipe", str(folder / "recipe.json"), *words_to_repeat(there)])
        raise RunError(
            f"output folder {folder} holds a run with other settings ({changed}); resume with "
            f"{words}, give another --out, or go on with the new "
            f"settings by --resume-anyway"
        )
    if changed:
        log.warning("going on with other settings: %s", changed)
    return finished


def as_run_began(recipe: Recipe, folder: Path, resume: bool) -> Recipe:
    """Return the recipe with the rows and the way of reading that the run in `folder` began with.

    Those of this version follow from the recipe. Earlier ones drew rows by `train.seed`; going on
    with others, a run would be tested on what it was trained on. They read the first token, and on
    a user's own texts trained the pooler with the head where the recipe does so on its data.
    """
    there = folder / "recipe.json"
    if not resume or not there.is_file():
        return recipe
    before, written = read_recipe(folder), json.loads(there.read_text(encoding="utf-8"))
    changes: dict[str, Any] = {}
    if "split_seed" not in written["data"]:
        changes["data.split_seed"] = before.data.split_seed
        changes["data.copies"] = before.data.copies
    if isinstance(recipe.backbone, Backbone) and "pooling" not in written["backbone"]:
        changes["backbone.pooling"] = getattr(before.backbone, "pooling", "auto")
        was, now = before.strategy, recipe.strategy
        if isinstance(was, HeadOnly) and isinstance(now, HeadOnly):
            default = not now.pooler and now.weight_decay is None
            if was.pooler and default:
                changes["strategy.pooler"] = True
                changes["strategy.weight_decay"] = was.weight_decay
    return recipe.override(changes)


def open_folder(folder: Path, recipe: Recipe, resume: bool = False) -> Lock:
    """Make the run folder, take it for this process and write the recipe into it.

    Raises:
        RunError: it cannot be written, or another process has it.
    """
    try:
        (folder / "plots").mkdir(parents=True, exist_ok=True)
        lock = Lock(folder)
    except OSError as error:
        raise RunError(f"output folder {folder} cannot be written: {error.strerror}") from error
    came_first = (folder / FILE).exists() or (not resume and (folder / "recipe.json").exists())
    if came_first:
        lock.release()
        raise RunError(f"output folder {folder} was taken meanwhile by another run; give another")
    try:
        write_whole(folder / "recipe.json", recipe.to_json())
    except OSError as error:
        lock.release()
        raise RunError(f"output folder {folder} cannot be written: {error.strerror}") from error
    return lock


class Lock:
    """A run folder taken by this process. The system lets it go where the process ends.

    The file lies in checkpoints/, and goes with them when the run is complete. Processes that are
    forked, to read rows, must not keep it: they may outlive this one by seconds.
    """

    def __init__(self, folder: Path) -> None:
        """Take the folder.

        Raises:
            RunError: another process has it.
            OSError: it cannot be written.
        """
        file = folder / "checkpoints" / LOCK
        file.parent.mkdir(exist_ok=True)
        self.file = file.open("a+", encoding="utf-8")
        try:
            import fcntl
        except ImportError:  # Windows has none
            return
        try:
            fcntl.flock(self.file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.file.seek(0)
            holder = self.file.read().strip() or "another process"
            self.file.close()
            raise RunError(
                f"output folder {folder} is in use by {holder}; wait for it, or give another --out"
            ) from None
        except OSError as error:  # some network file systems have no locks
            log.warning("output folder %s cannot be locked: %s", folder, error.strerror)
            return
        os.register_at_fork(after_in_child=self.release)
        self.file.truncate(0)
        self.file.write(f"process {os.getpid()} on {platform.node()}\n")
        self.file.flush()

    def release(self) -> None:
        """Let the folder go."""
        self.file.close()


def require_room(folder: Path, recipe: Recipe, model: nn.Module) -> None:
    """Refuse a run whose checkpoints and model would not find room on the disk.

    A checkpoint takes 12 bytes for each parameter that moves, itself and AdamW's two moments in
    float32, and 4 for each statistic. Those that are kept, that with the best weights and the one
    being written lie there at a time.

    Raises:
        RunError: so it is.
    """
    total, moved = count_parameters(model)
    checkpoint = 12 * moved + 4 * sum(buffer.numel() for buffer in model.buffers())
    count = recipe.train.checkpoints_kept + 2
    needed = count * checkpoint + 4 * total
    there = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
    free = shutil.disk_usage(there).free
    if free < needed:
        raise RunError(
            f"output folder {folder}: {free / 1e6:,.0f} MB are free, and this run takes up to "
            f"{needed / 1e6:,.0f} MB ({count} checkpoints of {checkpoint / 1e6:,.1f} MB and a "
            f"model of {4 * total / 1e6:,.1f} MB); make room, or give another --out"
        )


def remove_checkpoints(folder: Path, strategy: Strategy) -> None:
    """Remove what a run of this strategy would go on from."""
    for each in (folder, *(folder / stage for stage in strategy.stages)):
        shutil.rmtree(each / "checkpoints", ignore_errors=True)


@contextmanager
def disk_errors_in_one_line(folder: Path) -> Iterator[None]:
    """Turn an error of the disk inside the block into one line that says what to do."""
    try:
        yield
    except (OSError, SafetensorError) as error:
        number = getattr(error, "errno", None)
        known = next((n for n in DISK if number == n or f"os error {n})" in str(error)), None)
        if known is None:
            raise
        place = getattr(error, "filename", None) or folder
        raise RunError(
            f"{place}: {os.strerror(known)}; mend that, then go on by --resume: what was finished "
            f"is there"
        ) from error


def write_checks(folder: Path, splits: Splits) -> None:
    """Write checks.json: what was odd with the rows, as far as it was seen, and which they are."""
    found = [finding.values() for finding in splits.findings]
    content = {"findings": found, "rows": fingerprint(splits)}
    text = json.dumps(content, indent=2, ensure_ascii=False)
    (folder / CHECKS).write_text(text + "\n", encoding="utf-8")


def require_same_rows(folder: Path, splits: Splits, anyway: bool) -> None:
    """Refuse to go on with a run whose rows or labels are others than when it began.

    Raises:
        RunError: they are, and `anyway` is not set.
    """
    try:
        before = json.loads((folder / CHECKS).read_text(encoding="utf-8"))["rows"]
        other = what_changed(before, fingerprint(splits))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):  # of an earlier version
        return
    if other and not anyway:
        raise RunError(
            f"output folder {folder} holds a run that began with other rows ({other}); put them "
            f"back, give another --out, or go on with the new ones by --resume-anyway"
        )
    if other:
        log.warning("going on with other rows: %s", other)


def write_predictions(file: Path, task: Task, splits: Splits, outputs: Any) -> None:
    """Write a row per test example: index, and what `ftkit.tasks.base.Task.columns` says of it.

    Where the test rows have groups, `group` is equal for those of one, int64. The names of the
    classes are in the schema's metadata under "label_names".
    """
    index = splits.test.with_format("numpy")["index"][:]
    group = {} if splits.groups is None else {"group": splits.groups}
    found = {"index": index, **group, **task.columns(splits, outputs)}
    metadata = {"label_names": json.dumps(list(splits.label_names))}
    pq.write_table(pa.table(found).replace_schema_metadata(metadata), file)


def write_plots(folder: Path, recipe: Recipe, splits: Splits, outputs: Any) -> bool:
    """Draw plots/learning_curve.png, and what `ftkit.tasks.base.Task.draw` draws.

    Returns whether there was a learning curve to draw.
    """
    title, plots = f"{recipe.name}, {recipe.strategy.kind}", folder / "plots"
    figure = recipe.task.chosen_by or recipe.task.figures[0]
    curve = plots / "learning_curve.png"
    task_of(recipe.task).draw(splits, outputs, plots, title)
    return plot_learning_curve(folder, curve, title, figure, recipe.task.loss)


def difference(was: Recipe, now: Recipe) -> str:
    """Return in which settings two recipes differ, as "train.epochs: 3 -> 5, ...".

    Those that a run may change when it goes on are left out.
    """
    old, new = (by_path(recipe.as_written().model_dump()) for recipe in (was, now))
    return ", ".join(
        f"{name}: {old.get(name)} -> {new.get(name)}"
        for name in dict.fromkeys([*old, *new])
        if old.get(name) != new.get(name) and not FREE & {name, name.partition(".")[0]}
    )
