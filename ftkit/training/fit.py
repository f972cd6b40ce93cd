"""Training: `fit` trains what moves, with one Trainer for every pretrained model.

It maps a recipe's `Train` to `TrainingArguments` in one place, goes on from a checkpoint, makes
do with less memory, and sees to it that the best checkpoint is the one that is kept.
"""

from __future__ import annotations

import copy
import gc
import logging
import math
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import PrinterCallback, TrainingArguments

from ftkit.backbones.perceptron import Perceptron
from ftkit.backbones.structure import begins_trained, place
from ftkit.errors import TrainingError
from ftkit.machine.interruption import check, held
from ftkit.machine.runtime import Machine, on_main, share_batch
from ftkit.recipe import LOWER_IS_BETTER, Recipe, Train
from ftkit.runs.checkpoint import newest_checkpoint
from ftkit.runs.journal import Bar, Journal
from ftkit.tasks import task_of
from ftkit.tasks.evaluation import evaluation_batch, workers
from ftkit.tasks.inputs import Inputs
from ftkit.training.callbacks import Patience
from ftkit.training.compiled import of_compiling, without_compiling
from ftkit.training.fitted import Fitted, Session
from ftkit.training.micro_batch import limit_rows_at_once
from ftkit.training.optimiser import Pace
from ftkit.training.perceptron_fit import fit_by_hand
from ftkit.training.precision import Arithmetic, fastest_training
from ftkit.training.progress import Progress
from ftkit.training.sharded import is_shared, name_layers
from ftkit.training.target_scaling import scale_of
from ftkit.training.trainer import FrozenTrainer

log = logging.getLogger(__name__)


def fit(
    model: nn.Module, strategy: Pace, inputs: Inputs, recipe: Recipe, session: Session
) -> Fitted:
    """Train the moving parameters of `model` in place and leave the best checkpoint in them.

    By Trainer; a perceptron by its own loop (`ftkit.training.perceptron_fit`). Where a forward
    pass does not fit into the device's memory, half as many rows go into each, and the step goes on
    over more of them: `batch_size` stays.

    Args:
        strategy: by which the model was adapted, with the settings of the recipe.

    Raises:
        RecipeError: the batch or the precision does not fit this machine.
        ModelError: the strategy goes by the order of layers, and the model has none.
        TrainingError: the loss stopped being a number, a checkpoint does not give its score, or the
            memory does not suffice.
    """
    if isinstance(model, Perceptron):
        return fit_by_hand(model, inputs, recipe, session)
    scale = scale_of(task_of(recipe.task), inputs.train.labels, model)
    if scale is not None and begins_trained(recipe.task, model):
        scale.unfold(model)
    recipe = limit_rows_at_once(model, inputs, recipe, session.machine)
    if is_shared():
        recipe = without_compiling(recipe, "the model is shared among GPUs")
    elif strategy.unfreezing(model):
        recipe = without_compiling(recipe, "strategy.unfreeze changes what moves in every epoch")
    while (fitted := _train(model, strategy, inputs, recipe, session)) is None:
        rows, _ = share_batch(recipe.train.rows_per_step, recipe.train.micro_batch_size, 1)
        recipe = recipe.override({"train.micro_batch_size": rows // 2})
        log.warning("out of memory with %d rows at once; going on with %d", rows, rows // 2)
        session = replace(session, resume=True)
    if scale is not None:
        scale.fold(model)
    return fitted


def _train(
    model: nn.Module, strategy: Pace, inputs: Inputs, recipe: Recipe, session: Session
) -> Fitted | None:
    """Train once through; return None where memory ran out and it can be tried with fewer rows."""
    settings, machine, folder = recipe.train, session.machine, session.folder
    checkpoints = folder / "checkpoints"
    checkpoint = on_main(lambda: newest_checkpoint(checkpoints)) if session.resume else None
    past = Progress.read(checkpoint) if checkpoint else None
    way = (
        Arithmetic(past.precision, past.channels_last)
        if past
        else fastest_training(model, inputs, settings, machine)
    )
    place(model, way.channels_last, machine.device)
    arguments = training_arguments(recipe, machine, folder, len(inputs.train), way.precision)
    journal = Journal(folder / "log.jsonl", machine.is_main, past.position if past else None)
    shared, trained = is_shared(), model
    if shared:
        trained = copy.deepcopy(model)
        place(trained, False, machine.device)  # FSDP2 takes no other format
        name_layers(trained)
    patience = settings.early_stopping
    stopping = [Patience(patience, recipe.best_by)] if patience else []
    trainer = FrozenTrainer(
        model=trained,
        model_itself=model.cpu() if shared else None,
        args=arguments,
        strategy=strategy,
        recipe=recipe,
        machine=machine,
        inputs=inputs,
        journal=journal,
        channels_last=way.channels_last,
        callbacks=[journal, *stopping],
    )
    if trainer.keeps_last:
        log.info(
            f"{len(inputs.validation)} validation images are too few to choose an epoch by, so the "
            f"last one is kept (--set train.best_by={recipe.best_by} keeps the best)"
        )
    trainer.remove_callback(PrinterCallback)
    if machine.is_main and sys.stderr.isatty():
        trainer.add_callback(Bar())
    trainer.add_callback(trainer.cadence)
    if checkpoint:
        log.info("going on from %s", checkpoint)
    statistics = {name: values.clone() for name, values in model.named_buffers()}
    gc.freeze()  # Trainer looks for garbage first, a third of a second over all that was imported
    try:
        with held():
            trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    except torch.OutOfMemoryError as error:
        _require_another_try(trainer, error)
        model.zero_grad()
        for name, values in model.named_buffers():
            values.copy_(statistics[name])
        return None
    except (RuntimeError, TrainingError, EOFError, ConnectionError) as error:
        step = trainer.state.global_step
        readers = trainer.args.dataloader_num_workers
        told = _of_readers(error, step, readers) or of_compiling(error, step)
        if told is None:
            raise
        raise told from error
    finally:
        gc.unfreeze()
        trainer.end_readers()
    _check_best(trainer)
    place(trainer.whole(), way.channels_last, machine.device)
    trainer.accelerator.unwrap_model(trainer.model_wrapped, keep_fp32_wrapper=False)  # no autocast
    steps = trainer.state.global_step
    epochs = steps / math.ceil(len(inputs.train) / settings.rows_per_step)
    return Fitted(
        steps=steps,
        train_seconds=journal.train_seconds,
        validation_seconds=journal.validation_seconds,
        examples=round(min(epochs, settings.epochs) * len(inputs.train)),
        strategy=recipe.strategy,
        precision=way.precision,
        checkpoint_seconds=trainer.background.seconds,
        validation=trainer.kept_figures(),
    )


def training_arguments(
    recipe: Recipe, machine: Machine, folder: Path, rows: int, precision: str
) -> TrainingArguments:
    """Return transformers' arguments for a recipe; the only place that knows their names.

    Args:
        rows: of the training split.
        precision: fp32, bf16 or fp16.
    """
    settings = recipe.train
    micro, accumulation = share_batch(
        settings.rows_per_step, settings.micro_batch_size, machine.world_size
    )
    steps = settings.max_steps or settings.epochs * math.ceil(rows / settings.rows_per_step)
    schedule, warmup, options = schedule_of(settings, steps)
    return TrainingArguments(
        output_dir=str(folder / "checkpoints"),
        num_train_epochs=settings.epochs,
        max_steps=settings.max_steps or -1,
        per_device_train_batch_size=micro,
        per_device_eval_batch_size=evaluation_batch(settings, machine),
        gradient_accumulation_steps=accumulation,
        activation_checkpointing=settings.gradient_checkpointing,
        learning_rate=recipe.strategy.learning_rate,
        weight_decay=settings.weight_decay,
        warmup_steps=warmup,
        lr_scheduler_type=schedule,
        lr_scheduler_kwargs=options,
        max_grad_norm=settings.max_grad_norm,
        bf16=precision == "bf16",
        fp16=precision == "fp16",
        tf32=True if machine.device.type == "cuda" else None,
        use_cpu=machine.device.type == "cpu",
        seed=settings.seed,
        dataloader_num_workers=workers(settings, machine),
        dataloader_pin_memory=machine.device.type == "cuda",
        dataloader_persistent_workers=workers(settings, machine) > 0,
        remove_unused_columns=False,
        eval_strategy="epoch",
        save_strategy="epoch",
        load_best_model_at_end=True,
        metric_for_best_model=recipe.best_by,
        greater_is_better=recipe.best_by not in LOWER_IS_BETTER,
        logging_steps=max(1, steps // 100),
        logging_nan_inf_filter=False,
        report_to="none",
        disable_tqdm=True,
        ddp_find_unused_parameters=False,
    )


def schedule_of(settings: Train, steps: int) -> tuple[str, int, dict[str, Any]]:
    """Return (transformers' name of the schedule, steps of warm-up, what else it is told).

    WSD comes down by 1 - sqrt over a fifth of the steps, which in Hägele et al. 2024 (arXiv
    2405.18392, section 4) did as well as a cosine.
    """
    named = {"constant": "constant_with_warmup", "wsd": "warmup_stable_decay"}
    warmup, options = math.ceil(steps * settings.warmup), {}
    if settings.schedule == "wsd":
        decay = min(math.ceil(steps / 5), steps - warmup)
        options = {"num_decay_steps": decay, "decay_type": "1-sqrt"}
    return named.get(settings.schedule, settings.schedule), warmup, options


def _check_best(trainer: FrozenTrainer) -> None:
    """Require of the reloaded best checkpoint the score it had: adapters were lost here before."""
    state = trainer.state
    if state.best_metric is None or state.best_global_step == state.global_step:
        return
    again = trainer.score()[trainer.best_by]
    if abs(again - state.best_metric) > 1e-3 * max(1.0, abs(state.best_metric)):
        raise TrainingError(
            f"the best checkpoint (step {state.best_global_step}) had {trainer.best_by} "
            f"{state.best_metric:.4f}, after reloading it has {again:.4f}"
        )
    if state.best_global_step == 0:
        log.warning(
            "no epoch did better on the validation rows than the model at the start, which is "
            f"kept: {trainer.best_by} {state.best_metric:.4f}. A smaller --learning-rate may help"
        )
        return
    log.info("best checkpoint: step %s of %s", state.best_global_step, state.global_step)


def _require_another_try(trainer: FrozenTrainer, error: torch.OutOfMemoryError) -> None:
    """Refuse where fewer rows at once cannot help, or training cannot go back to where it was.

    Raises:
        TrainingError: it is so.
    """
    rows, step = trainer.args.per_device_train_batch_size, trainer.state.global_step
    known = step == 0 or newest_checkpoint(Path(str(trainer.args.output_dir)))
    if rows > 1 and known and trainer.machine.world_size == 1:
        return
    raise TrainingError(
        f"out of memory at step {step + 1} with {rows} rows at once on each device; use --set "
        f"train.micro_batch_size={max(1, rows // 2)}, --set train.gradient_checkpointing=true, or "
        f"smaller inputs"
    ) from error


def _of_readers(error: Exception, step: int, readers: int) -> TrainingError | None:
    """Return what went wrong in a process that reads rows, in one line; None for other errors."""
    text = str(error).strip()
    if isinstance(error, TrainingError):  # raised there, it comes with its traceback
        _, traceback, said = text.rpartition("ftkit.errors.TrainingError: ")
        return TrainingError(said) if traceback else None
    # one that ends while it hands over a batch closes its socket before it is known to be gone
    closed = readers > 0 and isinstance(error, (EOFError, ConnectionError))
    if "DataLoader worker" not in text and not closed:
        return None
    check()  # a signal to every process of a job ends the readers first
    why = f"it closed its end ({type(error).__name__})." if closed else text.splitlines()[0]
    return TrainingError(
        f"a process that reads rows ended at step {step + 1}: {why} Often memory is short: use "
        f"fewer --workers, then go on by --resume"
    )
