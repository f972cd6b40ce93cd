"""Training with transformers' Trainer, made exact: which rows, which mode, which loss, which best.

`fit` maps a recipe's `Train` to `TrainingArguments` in one place and runs `FrozenTrainer`, which
differs from Trainer where that one miscounts or drifts: frozen layers stay in eval mode, the loss
is a mean over the examples of the whole optimiser step, validation counts each row once whatever
the number of processes, and a loss that is no number stops the run.
"""

from __future__ import annotations

import gc
import logging
import math
import sys
from dataclasses import dataclass
from functools import singledispatch
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
from torch import nn
from torch.utils.data import DataLoader
from transformers import EarlyStoppingCallback, Trainer, TrainingArguments
from transformers.trainer_callback import PrinterCallback

from ftkit.adapt import training_modes
from ftkit.backup import Backup
from ftkit.batches import NO_LABEL, Batches, Keyed, is_label
from ftkit.checkpoint import load_moving, newest_checkpoint, save_moving
from ftkit.errors import TrainingError
from ftkit.evaluation import collate_of, evaluation_batch, lengths_of, predict, workers
from ftkit.journal import Journal, Progress
from ftkit.losses import loss_of, mix
from ftkit.metrics import score
from ftkit.models import place
from ftkit.precision import fastest_training
from ftkit.recipe import LOWER_IS_BETTER, Recipe, Strategy, Train
from ftkit.runtime import Machine, share_batch
from ftkit.tasks import Inputs

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Fitted:
    """What training took, over all processes and all sittings of a resumed run."""

    steps: int
    train_seconds: float
    validation_seconds: float
    examples: int
    strategy: Strategy
    """With the settings that were used, where some were chosen by trying."""
    precision: str
    """The arithmetic of training: fp32, bf16 or fp16."""
    features_seconds: float = 0.0


@singledispatch
def fit(
    model: nn.Module,
    inputs: Inputs,
    recipe: Recipe,
    machine: Machine,
    folder: Path,
    resume: bool = False,
) -> Fitted:
    """Train the moving parameters of `model` in place and leave the best checkpoint in them.

    By Trainer, unless the model's type has an implementation of its own (`ftkit.mlp_fit`). Where a
    forward pass does not fit into the device's memory, half as many rows go into each, and the step
    goes on over more of them: `batch_size` stays.

    Args:
        folder: of the run; checkpoints/ and log.jsonl are written there.
        resume: go on from the newest checkpoint in `folder`, if there is one.

    Raises:
        RecipeError: the batch or the precision does not fit this machine.
        TrainingError: the loss stopped being a number, a checkpoint does not give its score, or the
            memory does not suffice.
    """
    while (fitted := _train(model, inputs, recipe, machine, folder, resume)) is None:
        rows, _ = share_batch(recipe.train.batch_size, recipe.train.micro_batch_size, 1)
        recipe = recipe.override({"train.micro_batch_size": rows // 2})
        log.warning("out of memory with %d rows at once; going on with %d", rows, rows // 2)
        resume = True
    return fitted


def _train(
    model: nn.Module, inputs: Inputs, recipe: Recipe, machine: Machine, folder: Path, resume: bool
) -> Fitted | None:
    """Train once through; return None where memory ran out and it can be tried with fewer rows."""
    settings = recipe.train
    way = fastest_training(model, inputs, settings, machine)
    place(model, way.channels_last, machine.device)
    arguments = training_arguments(recipe, machine, folder, len(inputs.train), way.precision)
    checkpoint = newest_checkpoint(folder / "checkpoints") if resume else None
    journal = Journal(folder / "log.jsonl", machine.is_main, checkpoint)
    trainer = FrozenTrainer(
        model=model,
        args=arguments,
        recipe=recipe,
        machine=machine,
        inputs=inputs,
        callbacks=[journal, *_early_stopping(settings)],
    )
    trainer.remove_callback(PrinterCallback)
    if machine.is_main and sys.stderr.isatty():
        trainer.add_callback(Progress())
    if machine.is_main and settings.push_checkpoints:
        trainer.add_callback(Backup(settings.push_checkpoints, folder / "checkpoints"))
    if checkpoint:
        log.info("going on from %s", checkpoint)
    statistics = {name: values.clone() for name, values in model.named_buffers()}
    gc.freeze()  # Trainer looks for garbage first, a third of a second over all that was imported
    try:
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    except torch.OutOfMemoryError as error:
        _require_another_try(trainer, error)
        model.zero_grad()
        for name, values in model.named_buffers():
            values.copy_(statistics[name])
        return None
    finally:
        gc.unfreeze()
    _check_best(trainer)
    trainer.accelerator.unwrap_model(trainer.model_wrapped, keep_fp32_wrapper=False)  # no autocast
    steps = trainer.state.global_step
    epochs = steps / math.ceil(len(inputs.train) / settings.batch_size)
    return Fitted(
        steps=steps,
        train_seconds=journal.train_seconds,
        validation_seconds=journal.validation_seconds,
        examples=round(min(epochs, settings.epochs) * len(inputs.train)),
        strategy=recipe.strategy,
        precision=way.precision,
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
        settings.batch_size, settings.micro_batch_size, machine.world_size
    )
    steps = settings.max_steps or settings.epochs * math.ceil(rows / settings.batch_size)
    schedule, warmup = schedule_of(settings, steps)
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
        save_total_limit=2,
        load_best_model_at_end=True,
        metric_for_best_model=recipe.best_by,
        greater_is_better=recipe.best_by not in LOWER_IS_BETTER,
        logging_steps=max(1, steps // 100),
        logging_nan_inf_filter=False,
        report_to="none",
        disable_tqdm=True,
        ddp_find_unused_parameters=False,
    )


def schedule_of(settings: Train, steps: int) -> tuple[str, int]:
    """Return (transformers' name of the schedule, steps of warm-up)."""
    name = {"constant": "constant_with_warmup"}.get(settings.schedule, settings.schedule)
    return name, math.ceil(steps * settings.warmup)


class FrozenTrainer(Trainer):
    """Trainer for a model of which a part may be frozen. See the head of this file."""

    def __init__(
        self,
        *,
        recipe: Recipe,
        machine: Machine,
        inputs: Inputs,
        **arguments: Any,
    ) -> None:
        settings = recipe.train
        labels, classes = inputs.train.labels, arguments["model"].config.num_labels
        loss = loss_of(recipe.task, settings, labels, classes)
        super().__init__(
            train_dataset=inputs.train,
            eval_dataset=inputs.validation,
            data_collator=collate_of(inputs.train),
            compute_loss_func=loss,  # also makes Trainer count the examples of a whole step
            **arguments,
        )
        self.settings, self.machine, self.inputs, self.loss_of = settings, machine, inputs, loss
        self.task, self.best_by = recipe.task, recipe.best_by
        self.rows_in_step: list[int] = []
        modes = training_modes(arguments["model"])
        self.frozen = [module for module, moves in modes if not moves]

    def get_train_dataloader(self) -> DataLoader:
        """Return this rank's share of the batches that any number of processes would see."""
        world_size = self.machine.world_size
        return DataLoader(
            Keyed(self.inputs.train, self._memory_for_rows()),
            batch_sampler=Batches(
                len(self.inputs.train),
                self.args.per_device_train_batch_size * world_size,
                self.args.seed,
                lambda: int(self.state.epoch or 0),
                self.machine.rank,
                world_size,
                lengths_of(self.inputs.train),
            ),
            collate_fn=collate_of(self.inputs.train),
            num_workers=self.args.dataloader_num_workers,
            pin_memory=self.args.dataloader_pin_memory,
            persistent_workers=self.args.dataloader_persistent_workers,
        )

    def _memory_for_rows(self) -> int:
        """Return how many bytes of examples may be kept: a quarter of what is free, in one process.

        Several readers would each keep all of them.
        """
        alone = self.args.dataloader_num_workers == 0
        return psutil.virtual_memory().available // 4 // self.machine.world_size if alone else 0

    def get_decay_parameter_names(self, model: nn.Module) -> list[str]:
        """Return the names of matrices and kernels: biases and norm scales have one dimension."""
        return [name for name, parameter in model.named_parameters() if parameter.ndim > 1]

    def _get_num_items_in_batch(self, batch_samples: list, device: torch.device) -> Any:
        counted = [torch.where(is_label(batch["labels"]), 0, NO_LABEL) for batch in batch_samples]
        return super()._get_num_items_in_batch([{"labels": each} for each in counted], device)

    def training_step(self, model: nn.Module, inputs: dict, *rest: Any) -> torch.Tensor:
        """Take one step, and stop where the loss is no number."""
        self.rows_in_step = inputs.pop("index").tolist()
        loss = super().training_step(model, inputs, *rest)
        if not torch.isfinite(loss):
            mend = "--precision fp32" if self.args.fp16 or self.args.bf16 else "look at the rows"
            raise TrainingError(
                f"the loss became {loss.item()} at step {self.state.global_step + 1} with learning "
                f"rate {self._get_learning_rate():.2g}, training rows {self.rows_in_step[:8]}"
                f"{'...' if len(self.rows_in_step) > 8 else ''}. Use a smaller --learning-rate, or "
                f"{mend}"
            )
        return loss

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict,
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """Return the loss of one micro-batch, its images mixed in pairs where asked for."""
        for module in self.frozen:  # Trainer has put all in train mode
            module.training = False
        labels = inputs.pop("labels")
        targets = [(1.0, labels)]
        if self.inputs.mixing is not None:
            key = (self.args.seed, self.state.global_step, *self.rows_in_step)
            draw = np.random.default_rng(key)
            partner = torch.from_numpy(draw.permutation(len(labels))).to(labels.device)
            images, share = mix(inputs["pixel_values"], partner, self.inputs.mixing, draw)
            inputs["pixel_values"] = images
            targets = [(share, labels), (1 - share, labels[partner])]
        outputs = model(**inputs)
        loss = sum(
            weight * self.loss_of(outputs, target, num_items_in_batch) for weight, target in targets
        )
        loss = loss * self.accelerator.num_processes  # DDP takes the mean over ranks, we the sum
        return (loss, outputs) if return_outputs else loss

    def evaluate(
        self, eval_dataset: Any = None, ignore_keys: Any = None, metric_key_prefix: str = "eval"
    ) -> dict[str, float]:
        """Return loss and figures of the validation rows, each counted once."""
        metrics = self.score()
        named = {f"{metric_key_prefix}_{name}": value for name, value in metrics.items()}
        self.log(dict(named))
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, named)
        return named

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        assert output_dir is not None
        if self.args.should_save:
            save_moving(self.accelerator.unwrap_model(self.model), Path(output_dir))

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        load_moving(self.accelerator.unwrap_model(self.model), Path(resume_from_checkpoint))

    def _load_best_model(self) -> None:
        load_moving(
            self.accelerator.unwrap_model(self.model), Path(self.state.best_model_checkpoint or "")
        )

    def score(self) -> dict[str, float]:
        """Return {"loss": ..., "accuracy": ..., ...} of the current weights on validation rows."""
        rows = self.inputs.validation
        assert self.model is not None
        cheap = self.best_by == "loss" or self.best_by == self.task.chosen_by
        outputs = predict(self.task, self.model, rows, self.settings, self.machine, final=not cheap)
        return score(self.task, rows.labels, outputs)


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


def _early_stopping(settings: Train) -> list[EarlyStoppingCallback]:
    return [EarlyStoppingCallback(settings.early_stopping)] if settings.early_stopping else []
