"""How the moving parameters are trained, and what that gave before."""

from __future__ import annotations

import re
from typing import Annotated, Final, Literal

from pydantic import (
    AfterValidator,
    Field,
    FiniteFloat,
    NonNegativeFloat,
    PositiveFloat,
    model_validator,
)

from ftkit.errors import RecipeError
from ftkit.recipe.figures import LIMITS, MetricName
from ftkit.recipe.settings import Count, CountFromZero, Fraction, Settings
from ftkit.recipe.strategy import StrategyKind

AUTO: Final = "auto"
"""A setting that is left to measurement."""
CADENCE = r"epoch|[1-9][0-9]*|(?!0*\.?0+ ?[a-z])[0-9]*\.?[0-9]+ ?(s|min|h)"
MOST_DIGITS = 12
SECONDS = {"s": 1.0, "min": 60.0, "h": 3600.0}


def _is_cadence(text: str) -> str:
    if not re.fullmatch(CADENCE, text) or len(text) > MOST_DIGITS:
        raise ValueError("epoch, steps as in 500, or a time as in 90s, 10min or 2h")
    return text


class Train(Settings):
    """How the moving parameters are trained: AdamW, warm-up, then the schedule down to zero."""

    section = "train"

    epochs: Count = 3
    """Passes over the training rows."""
    max_steps: Count | None = None
    """Stop after so many optimiser steps, whatever `epochs` says."""
    least_steps: CountFromZero = 0
    """Take at least so many optimiser steps, by more epochs where the training rows are few; a head
    on cached features has `strategy.least_steps` instead."""
    batch_size: Count | Literal["auto"] = 32
    """Examples per optimiser step, over all devices and accumulation steps together; `auto`
    measures in some steps which is the smallest batch that trains about as fast as any."""
    learning_rate_batch: Count | None = None
    """Batch size that the learning rates of the recipe are for: those of the batch that
    `batch_size = auto` finds are scaled from it. The command line sets it to the recipe's own batch
    size, unless it gives a learning rate; when not given, learning rates stay."""
    micro_batch_size: Count | None = None
    """Most examples that one device takes at once; where that is less than its share of the batch,
    gradients are accumulated."""
    evaluation_batch_size: Count | None = None
    """Examples per device and step in evaluation; when not given 32 on a CPU, whose caches hold no
    more, and 128 on a GPU, or what fits."""
    weight_decay: NonNegativeFloat = 0.01
    """Weight decay of AdamW; never applied to biases, norm layers, embeddings of positions and
    class tokens."""
    warmup: Fraction = 0.1
    """Share of the steps in which the learning rate rises from zero."""
    schedule: Literal["cosine", "linear", "constant", "wsd"] = "cosine"
    """How the learning rate goes on after the warm-up; `wsd` (warm-up, stable, decay) comes down in
    the last fifth of the steps."""
    max_grad_norm: NonNegativeFloat = 1.0
    """Gradients are scaled down to this global norm; 0 is off."""
    label_smoothing: Fraction = 0.0
    """Share of the target probability spread over all classes (Szegedy et al. 2016)."""
    class_weights: Literal["none", "balanced"] | tuple[PositiveFloat, ...] = "none"
    """Weight of a row of each class in the loss; `balanced` is inverse to the class's share."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """Arithmetic in training; `auto` is bf16 where the GPU has it, else fp32."""
    channels_last: bool | None = None
    """Memory format of images; on for convolutional backbones when not given."""
    gradient_checkpointing: bool = False
    """Recompute activations in the backward pass: less memory, more time."""
    compile: bool = False
    """Compile the training steps by torch.compile, which takes a minute or more of the first ones:
    for long runs on a GPU. Validation and the saved model stay as they are."""
    best_by: Literal["loss"] | MetricName | None = None
    """Validation figure that picks the checkpoint to keep; the task's own when not given: accuracy
    of classes, r2 of numbers, perplexity of texts to be written. When two epochs have the same
    figure, the one with the lower validation loss is kept."""
    early_stopping: Count | None = None
    """Stop when `best_by` has not improved for so many evaluations; a lower loss at an equal figure
    is a gain."""
    checkpoint_every: Annotated[str, AfterValidator(_is_cadence)] = "epoch"
    """A checkpoint is written at the end of every epoch, and besides after so many optimiser steps,
    as 500, or so much time, as 90s, 10min or 2h."""
    checkpoints_kept: Count = 2
    """So many of the newest checkpoints are kept, and the one with the best weights beside them."""
    push_checkpoints: str | None = None
    """Hub repository, OWNER/NAME, whose branch `checkpoints` gets the checkpoint of every epoch."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    """Seed of the splits, the new head, the order of rows and the augmentation."""
    workers: Annotated[int, Field(ge=0, le=128)] | None = None
    """Processes that read images for each device; chosen from the CPU count when not given."""

    @property
    def rows_per_step(self) -> int:
        """`batch_size`, where it is a number.

        Raises:
            RecipeError: it is still to be measured.
        """
        if self.batch_size == AUTO:
            raise RecipeError(
                "train.batch_size = 'auto': a run measures it when it begins; give a number here"
            )
        return self.batch_size

    def checkpoint_cadence(self) -> tuple[int | None, float | None]:
        """Return after how many steps, or after how many seconds, a checkpoint is due."""
        number, unit = re.findall(r"^([\d.]*)\s*(\w*)$", self.checkpoint_every)[0]
        if not number:
            return None, None
        return (None, float(number) * SECONDS[unit]) if unit else (int(number), None)


class Expect(Settings):
    """What a strategy of this recipe reached, and where that figure comes from."""

    section = "expect"

    strategy: StrategyKind
    metric: MetricName = "accuracy"
    low: FiniteFloat
    """Lowest value seen."""
    high: FiniteFloat
    """Highest value seen."""
    mean: FiniteFloat | None = None
    """Mean over seeds."""
    source: str = Field(min_length=1)
    """Command, hardware, seeds and commit of the measurement, or the publication."""

    @model_validator(mode="after")
    def _range_is_possible(self) -> Expect:
        least, largest = LIMITS.get(self.metric, (0.0, 1.0))
        for name, value in (("low", self.low), ("high", self.high)):
            if not least <= value <= largest:
                raise ValueError(
                    f"expect.{name} = {value}: {self.metric} lies between {least:g} and {largest:g}"
                )
        if self.low > self.high:
            raise ValueError(f"low {self.low} lies above high {self.high}")
        if self.mean is not None and not self.low <= self.mean <= self.high:
            raise ValueError(f"mean {self.mean} lies outside of {self.low} to {self.high}")
        return self
