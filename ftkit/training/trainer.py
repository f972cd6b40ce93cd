"""Trainer for a model of which a part may be frozen, made exact.

`FrozenTrainer` differs from transformers' Trainer where that one miscounts or drifts: frozen layers
stay in eval mode, the loss is a mean over the examples of the whole optimiser step, validation
counts each row once whatever the number of processes, and a loss that is no number stops the run.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import psutil
import torch
from torch import nn
from torch.utils.data import DataLoader
from transformers.trainer_utils import TrainOutput

from ftkit.backbones.structure import begins_trained
from ftkit.errors import TrainingError
from ftkit.machine.interruption import Interrupted, held, leave_to_parent, requested
from ftkit.machine.runtime import Machine, random_state_of
from ftkit.recipe import Recipe
from ftkit.runs.journal import Journal
from ftkit.tasks import task_of
from ftkit.tasks.evaluation import collate_of, lengths_of
from ftkit.tasks.inputs import Inputs
from ftkit.tasks.losses import is_label, mix
from ftkit.training.batches import NO_LABEL, Batches, Keyed
from ftkit.training.callbacks import Cadence
from ftkit.training.compiled import compiled, forget_compiled
from ftkit.training.modes import Unfreezing, keeping_statistics_of_one
from ftkit.training.optimiser import Pace, decaying_names, parameter_groups
from ftkit.training.resuming import ExactTrainer
from ftkit.training.sharded import is_shared
from ftkit.training.target_scaling import scale_of


class FrozenTrainer(ExactTrainer):
    """See the head of this file."""

    def __init__(
        self,
        *,
        strategy: Pace,
        recipe: Recipe,
        machine: Machine,
        inputs: Inputs,
        journal: Journal,
        channels_last: bool = False,
        model_itself: nn.Module | None = None,
        **arguments: Any,
    ) -> None:
        settings = recipe.train
        labels, classes = inputs.train.labels, arguments["model"].config.num_labels
        task = task_of(recipe.task)
        loss = task.loss(settings, labels, classes)
        self.settings, self.machine, self.inputs, self.loss_of = settings, machine, inputs, loss
        self.journal, self.channels_last = journal, channels_last
        self.model_itself = model_itself
        super().__init__(
            train_dataset=inputs.train,
            eval_dataset=inputs.validation,
            data_collator=collate_of(inputs.train),
            compute_loss_func=loss,  # also makes Trainer count the examples of a whole step
            **arguments,
        )
        self.task, self.best_by = task, recipe.best_by
        self.begins_trained = begins_trained(recipe.task, arguments["model"])
        self.scale = scale_of(task, labels, arguments["model"])
        self.rows_in_step: list[int] = []
        self.readers: DataLoader | None = None
        self.strategy = strategy
        groups = strategy.unfreezing(arguments["model"])
        self.unfreezing = Unfreezing(
            groups, arguments["model"], recipe.train.epochs, machine.world_size == 1
        )
        self.cadence = Cadence(self)
        self.kept_frozen: list[nn.Module] | None = None
        self.moving: list[nn.Parameter] = []
        self.compiled: Any = None

    def train(self, *given: Any, **named: Any) -> TrainOutput:
        """Train; see `ExactTrainer.train`."""
        try:
            return super().train(*given, **named)
        finally:
            vars(self.model_wrapped).pop("zero_grad", None)
            if self.compiled is not None:
                forget_compiled()

    def _prepare_for_training(self, *given: Any) -> tuple[nn.Module, DataLoader]:
        """Have Trainer, in its steps, go through what moves and not through all modules.

        MiniLM with LoRA has some 500 of them; docs/performance.md has what that cost.
        """
        model, batches = super()._prepare_for_training(*given)
        assert self.optimizer is not None
        vars(model)["zero_grad"] = self.optimizer.zero_grad
        self.moving = [p for p in model.parameters() if p.requires_grad]
        if self.settings.compile:
            self.compiled = compiled(model, lengths_of(self.inputs.train) is not None)
        return model, batches

    def _clip_grad_norm(self, model: nn.Module) -> Any:
        if is_shared():  # there accelerate asks for all parameters
            return super()._clip_grad_norm(model)
        return self.accelerator.clip_grad_norm_(self.moving, self.args.max_grad_norm)

    def floating_point_ops(self, inputs: dict) -> int:
        """Return none: nobody reads them."""
        return 0

    def get_train_dataloader(self) -> DataLoader:
        """Return this rank's share of the batches that any number of processes would see."""
        world_size = self.machine.world_size
        self.readers = DataLoader(
            Keyed(self.inputs.train, self._memory_for_rows()),
            batch_sampler=Batches(
                len(self.inputs.train),
                self.args.per_device_train_batch_size * world_size,
                self.args.seed,
                lambda: int(self.state.epoch or 0),
                self.machine.rank,
                world_size,
                lengths_of(self.inputs.train),
                self.settings.rows_per_step,
            ),
            collate_fn=collate_of(self.inputs.train),
            num_workers=self.args.dataloader_num_workers,
            pin_memory=self.args.dataloader_pin_memory,
            persistent_workers=self.args.dataloader_persistent_workers,
            worker_init_fn=leave_to_parent,
            # an iterator draws a seed for its readers when it is made, and once more in each epoch:
            # from the process's own state a resumed run would draw another dropout
            generator=torch.Generator().manual_seed(self.args.seed),
        )
        return self.readers

    def end_readers(self) -> None:
        """End the processes that read rows; else they live, with all they inherited, until gc."""
        if self.readers is not None and (rows := self.readers._iterator) is not None:
            rows._shutdown_workers()  # type: ignore[attr-defined]
            self.readers._iterator = None

    def _memory_for_rows(self) -> int:
        """Return how many bytes of examples may be kept: a quarter of what is free, in one process.

        Several readers would each keep all of them.
        """
        alone = self.args.dataloader_num_workers == 0
        return psutil.virtual_memory().available // 4 // self.machine.world_size if alone else 0

    def get_decay_parameter_names(self, model: nn.Module) -> list[str]:
        """Return the names of the parameters that decay; `ftkit.training.optimiser` says which."""
        return decaying_names(self.strategy, model)

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        """Return the optimiser, with the learning rates of the strategy."""
        if self.optimizer is None:
            model = self.model if model is None else model
            kind, options = self.get_optimizer_cls_and_kwargs(self.args, model)
            decaying = set(self.get_decay_parameter_names(model))
            groups = parameter_groups(
                self.strategy, model, self.args.learning_rate, self.args.weight_decay, decaying
            )
            self.optimizer = kind(groups, **options)
        return self.optimizer

    def _get_num_items_in_batch(self, batch_samples: list, device: torch.device) -> Any:
        counted = [torch.where(is_label(batch["labels"]), 0, NO_LABEL) for batch in batch_samples]
        return super()._get_num_items_in_batch([{"labels": each} for each in counted], device)

    def training_step(
        self, model: nn.Module, inputs: dict, num_items_in_batch: Any = None
    ) -> torch.Tensor:
        """Go forward and backward over one micro-batch, and stop where the loss is no number."""
        self.rows_in_step = inputs.pop("index").tolist()
        with self.unfreezing.step(int(self.state.epoch or 0)):
            self._set_modes(model)
            with keeping_statistics_of_one(model, len(self.rows_in_step)):
                loss = self.compute_loss(
                    model, self._prepare_inputs(inputs), num_items_in_batch=num_items_in_batch
                )
                self.accelerator.backward(loss)
        loss = loss.detach()
        self.require_number(loss)
        return loss

    def _set_modes(self, model: nn.Module) -> None:
        """Put what moves in train mode and the rest in eval mode, where that is not so already."""
        frozen = self.unfreezing.frozen
        assert self.model is not None
        if self.model.training and self.kept_frozen is frozen:  # not so after a validation
            return
        model.train()
        for module in frozen:
            module.training = False
        self.kept_frozen = frozen

    def require_number(self, loss: torch.Tensor) -> None:
        """Stop where the loss of a step is no number.

        Raises:
            TrainingError: it is so.
        """
        if not torch.isfinite(loss):
            raise TrainingError(
                f"the loss became {loss.item()} at step {self.state.global_step + 1} with learning "
                f"rate {self._get_learning_rate():.2g}, training rows {self._rows()}. Use a "
                f"smaller --learning-rate, or {self._mend()}"
            )

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict,
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """Return the loss of one micro-batch, its images mixed in pairs where asked for."""
        labels = inputs.pop("labels")
        if self.scale is not None:
            labels = self.scale.targets(labels)
        targets = [(1.0, labels)]
        if self.inputs.mixing is not None:
            key = (self.args.seed, self.state.global_step, *self.rows_in_step)
            draw = np.random.default_rng(key)
            partner = torch.from_numpy(draw.permutation(len(labels))).to(labels.device)
            images, share = mix(inputs["pixel_values"], partner, self.inputs.mixing, draw)
            inputs["pixel_values"] = images
            targets = [(share, labels), (1 - share, labels[partner])]
        outputs = (model if self.compiled is None else self.compiled)(**inputs)
        loss = sum(
            weight * self.loss_of(outputs, target, num_items_in_batch) for weight, target in targets
        )
        loss = loss * self.accelerator.num_processes  # DDP takes the mean over ranks, we the sum
        return (loss, outputs) if return_outputs else loss

    def evaluate(
        self, eval_dataset: Any = None, ignore_keys: Any = None, metric_key_prefix: str = "eval"
    ) -> dict[str, float]:
        """Return loss and figures of the validation rows, each counted once.

        Raises:
            Interrupted: a signal came; a checkpoint was written from which validation begins again.
        """
        before = random_state_of(self.machine)
        alone = self.machine.world_size == 1  # several processes go through the rows together
        stop = self.cadence.stopping or (alone and requested())
        try:
            if not stop:
                with held(not alone):
                    metrics = self.score()
        except Interrupted:
            stop = True
        if stop:
            self.take_checkpoint(evaluated=False, random_state=before)
            self.cadence.stopping = True
            self.callback_handler.on_save(self.args, self.state, self.control)  # which ends the run
        named = {f"{metric_key_prefix}_{name}": value for name, value in metrics.items()}
        self.log(dict(named))
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, named)
        return named

    def _get_grad_norm(self, model: nn.Module, grad_norm: Any = None) -> Any:
        norm = super()._get_grad_norm(model, grad_norm)
        if not self.args.fp16 and not math.isfinite(float(norm)):  # fp16: its scaler takes them out
            raise TrainingError(
                f"the gradient became {float(norm)} at step {self.state.global_step + 1} with "
                f"learning rate {self._get_learning_rate():.2g}, training rows {self._rows()}; the "
                f"loss was a number. Use a smaller --learning-rate, or {self._mend()}"
            )
        return norm

    def _rows(self) -> str:
        """Return the numbers of the first rows of this step."""
        return f"{self.rows_in_step[:8]}{'...' if len(self.rows_in_step) > 8 else ''}"

    def _mend(self) -> str:
        return "--precision fp32" if self.args.fp16 or self.args.bf16 else "look at the rows"

    def score(self) -> dict[str, float]:
        """Return {"loss": ..., "accuracy": ..., ...} of the current weights on validation rows."""
        rows = self.inputs.validation
        cheap = self.best_by == "loss" or self.best_by == self.task.settings.chosen_by
        model = self.whole().to(self.machine.device)
        outputs = self.task.predict(model, rows, self.settings, self.machine, final=not cheap)
        if self.model_itself is not None:
            self.model_itself.cpu()
        if self.scale is not None:
            outputs = self.scale.outputs(outputs)
        return self.task.score(rows.labels, outputs)
