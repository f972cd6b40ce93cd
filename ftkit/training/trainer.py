"""Trainer for a model of which a part may be frozen, made exact.

`FrozenTrainer` differs from transformers' Trainer where that one miscounts or drifts: frozen layers
stay in eval mode, the loss is a mean over the examples of the whole optimiser step, validation
counts each row once whatever the number of processes, and a loss that is no number stops the run.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader
from transformers.trainer_utils import TrainOutput

from ftkit.backbones.structure import begins_trained
from ftkit.machine.interruption import Interrupted, held, requested
from ftkit.machine.runtime import Machine, random_state_of
from ftkit.recipe import Recipe
from ftkit.runs.journal import Journal
from ftkit.tasks import task_of
from ftkit.tasks.evaluation import collate_of, lengths_of
from ftkit.tasks.inputs import Inputs
from ftkit.tasks.losses import is_label, mix
from ftkit.training.batches import NO_LABEL
from ftkit.training.callbacks import Cadence
from ftkit.training.compiled import compiled, forget_compiled, own_folder
from ftkit.training.modes import Unfreezing, keeping_statistics_of_one
from ftkit.training.optimiser import Pace, decaying_names, parameter_groups
from ftkit.training.reading import ReadingTrainer
from ftkit.training.selection import choose_epoch
from ftkit.training.sharded import is_shared
from ftkit.training.target_scaling import scale_of
from ftkit.training.watch import Watch


class FrozenTrainer(ReadingTrainer):
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
        self.keeps_last = not choose_epoch(recipe, len(inputs.validation))
        self.begins_trained = begins_trained(recipe.task, arguments["model"])
        self.scale = scale_of(task, labels, arguments["model"])
        self.rows_in_step: list[int] = []
        self.strategy = strategy
        groups = strategy.unfreezing(arguments["model"])
        self.unfreezing = Unfreezing(
            groups, arguments["model"], recipe.train.epochs, machine.world_size == 1
        )
        self.cadence = Cadence(self)
        self.kept_frozen: list[nn.Module] | None = None
        self.moving: list[nn.Parameter] = []
        self.compiled: Any = None
        self.watch = Watch(late=machine.device.type == "cuda")

    def train(self, *given: Any, **named: Any) -> TrainOutput:
        """Train; see `ExactTrainer.train`."""
        try:
            with own_folder() if self.settings.compile else nullcontext():
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

    def take_checkpoint(self, evaluated: bool, random_state: dict[str, Any]) -> None:
        """Begin to write a checkpoint, of numbers alone; see `ExactTrainer.take_checkpoint`."""
        self.watch.look()
        super().take_checkpoint(evaluated, random_state)

    def _maybe_log_save_evaluate(self, *given: Any, **named: Any) -> None:
        if self.control.should_log:  # else log.jsonl would have a loss that is no number
            self.watch.look()
        super()._maybe_log_save_evaluate(*given, **named)

    def _finalize_training(self, *given: Any) -> TrainOutput:
        self.watch.look()  # where nothing is logged, written or measured at the end
        return super()._finalize_training(*given)

    def _get_num_items_in_batch(self, batch_samples: list, device: torch.device) -> Any:
        counted = [torch.where(is_label(batch["labels"]), 0, NO_LABEL) for batch in batch_samples]
        return super()._get_num_items_in_batch([{"labels": each} for each in counted], device)

    def training_step(
        self, model: nn.Module, inputs: dict, num_items_in_batch: Any = None
    ) -> torch.Tensor:
        """Go forward and backward over one micro-batch, and stop where the loss is no number.

        The step before this one may still be computed: its numbers are not waited for here.
        """
        self.watch.look(before=self.state.global_step - 1)
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
        """Stop where the loss of a step is no number; see `ftkit.training.watch` for when.

        Raises:
            TrainingError: it is so.
        """
        where, mend = self._where(), self._mend()
        self.watch.note(
            loss,
            lambda value: (
                f"the loss became {value} {where}. Use a smaller --learning-rate, or {mend}"
            ),
            self.state.global_step,
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
        where, mend = self._where(), self._mend()
        if not self.args.fp16:  # its scaler takes out what is no number
            self.watch.note(
                torch.as_tensor(norm),
                lambda value: (
                    f"the gradient became {value} {where}; the loss was a number. Use a smaller "
                    f"--learning-rate, or {mend}"
                ),
                self.state.global_step,
            )
        return norm

    def _where(self) -> str:
        """Return which step this is, with the numbers of its first rows."""
        rows = f"{self.rows_in_step[:8]}{'...' if len(self.rows_in_step) > 8 else ''}"
        return (
            f"at step {self.state.global_step + 1} with learning rate "
            f"{self._get_learning_rate():.2g}, training rows {rows}"
        )

    def _mend(self) -> str:
        return "--precision fp32" if self.args.fp16 or self.args.bf16 else "look at the rows"

    def score(self) -> dict[str, float]:
        """Return {"loss": ..., "accuracy": ..., ...} of the current weights on validation rows."""
        self.watch.look()
        rows = self.inputs.validation
        cheap = self.best_by == "loss" or self.best_by == self.task.settings.chosen_by
        model = self.whole().to(self.machine.device)
        outputs = self.task.predict(model, rows, self.settings, self.machine, final=not cheap)
        if self.model_itself is not None:
            self.model_itself.cpu()
        if self.scale is not None:
            outputs = self.scale.outputs(outputs)
        return self.task.score(rows.labels, outputs)
