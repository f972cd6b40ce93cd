"""The data model: what a run is made of, as frozen values that are checked when they are made.

A `Recipe` says which data, which backbone, which parameters move and how they are trained. It
holds no behaviour and imports without torch; `ftkit.run.finetune` does the work. Every value
refuses a bad setting at once with a `RecipeError`: the field, what was given, what is allowed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Union

from pydantic import (
    Discriminator,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    Tag,
    model_validator,
)

from ftkit.errors import RecipeError, nearest
from ftkit.settings import Settings, replace

Fraction = Annotated[float, Field(ge=0, lt=1)]
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.-]*$")]
MetricName = Literal["accuracy", "balanced_accuracy", "macro_f1", "r2", "rmse", "mae"]
CLASSIFICATION = ("accuracy", "balanced_accuracy", "macro_f1")
REGRESSION = ("r2", "rmse", "mae")
LOWER_IS_BETTER = {"loss", "rmse", "mae"}


class Data(Settings):
    """Where labelled rows come from."""

    section = "data"

    path: str = Field(min_length=1)
    """Hub data set id, a folder of class folders, a parquet/CSV/JSONL file, a pattern such as
    rows/*.csv or a folder of them, a URL (https://, s3://, hf://), or `embedded:digits`."""
    config: str | None = None
    """Configuration (subset) of a Hub data set."""
    revision: str | None = None
    """Commit, tag or branch of a Hub data set."""
    encoding: str | None = None
    """How the characters of a CSV file are written, as in latin-1; UTF-8, or UTF-16 where the file
    says so, when not given."""
    separator: Annotated[str, Field(min_length=1, max_length=1)] | None = None
    """What stands between the fields of a CSV file; found out from , ; tab | when not given."""
    train: str = "train"
    """Name of the training split."""
    validation: str = "validation"
    """Name of the validation split; cut from train when the data has none."""
    test: str = "test"
    """Name of the test split; cut from train when the data has none."""
    validation_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """Share of the training rows that becomes the validation split when there is none."""
    test_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.2
    """Share of the training rows that becomes the test split when there is none."""
    train_rows: PositiveInt | None = None
    """Use only so many training rows, drawn by class and seed."""
    validation_rows: PositiveInt | None = None
    """Use only so many validation rows."""
    test_rows: PositiveInt | None = None
    """Use only so many test rows."""
    on_bad_row: Literal["error", "skip"] = "error"
    """What a row that cannot be read does: stop before training, or be left out and listed."""


class Backbone(Settings):
    """A pretrained model to start from."""

    section = "backbone"

    kind: Literal["pretrained"] = "pretrained"
    id: str = Field(min_length=1)
    """Hub model id, a local model folder, or `embedded:efficientnet-lite0`."""
    revision: str | None = None
    """Commit, tag or branch of a Hub model."""
    image_size: Annotated[int, Field(ge=16, le=2048)] | None = None
    """Side of the square image in pixels; the backbone's own when not given."""
    trust_remote_code: bool = False
    """Run Python code that comes with the backbone. Only for authors you trust."""
    allow_pickle: bool = False
    """Accept pickled weights (.bin); safetensors only otherwise."""


class FineTune(Settings):
    """A second training of a perceptron, from the weights that the first one left."""

    section = "backbone.fine_tune"

    epochs: PositiveInt = 5
    """Passes over the training rows."""
    learning_rate: PositiveFloat = 1e-4
    """A tenth of the first one is usual."""
    frozen: Annotated[int, Field(ge=0)] = 0
    """So many layers, counted from the input, keep their parameters."""


class Mlp(Settings):
    """A multilayer perceptron from new weights, its backpropagation written out by hand.

    Images become their pixels, texts hashed counts of character n-grams, tables their columns.
    """

    section = "backbone"

    kind: Literal["mlp"] = "mlp"
    hidden: tuple[PositiveInt, ...] = (64, 64)
    """Width of each hidden layer."""
    activation: Literal["sigmoid", "tanh", "relu", "gelu", "identity"] = "relu"
    """Of the hidden layers."""
    update: Literal["sgd", "momentum", "nesterov", "adam", "adamw"] = "adam"
    """How the parameters follow the gradient."""
    momentum: Fraction = 0.9
    """Of the updates `momentum` and `nesterov`."""
    dropout: Fraction = 0.0
    """Probability that a hidden unit is silent for one example."""
    image_size: Annotated[int, Field(ge=1, le=512)] | None = None
    """Side in pixels to which images are resized; that of the first training image if not given."""
    grey: bool = False
    """One grey number for each pixel instead of three colours."""
    ngrams: tuple[PositiveInt, PositiveInt] = (1, 4)
    """Shortest and longest character n-gram of a text, within words."""
    buckets: Annotated[int, Field(ge=2, le=2**20)] = 4096
    """Length of a text's vector, into which its n-grams are hashed."""
    start: str | None = None
    """Folder of a saved perceptron to go on from; its last layer is replaced for other classes."""
    fine_tune: FineTune | None = None
    """Train a second time, with a smaller learning rate."""

    @property
    def id(self) -> str:
        """What logs and cards call it."""
        return "-".join(["mlp", *map(str, self.hidden)])

    @model_validator(mode="after")
    def _ngrams_are_ordered(self) -> Mlp:
        if self.ngrams[0] > self.ngrams[1]:
            raise ValueError("ngrams gives the shorter length first, as in (1, 4)")
        return self


class Augment(Settings):
    """Random changes to training images. Evaluation sees none of them."""

    section = "task.augment"

    crop: tuple[Annotated[float, Field(gt=0, le=1)], Annotated[float, Field(gt=0, le=1)]] | None = (
        0.5,
        1.0,
    )
    """Smallest and largest share of the image's area that a random crop keeps."""
    flip: bool = True
    """Mirror left and right half of the time. Wrong for digits, text and road signs."""
    randaugment: Annotated[int, Field(ge=0, le=30)] = 0
    """Magnitude of RandAugment with two operations (Cubuk et al. 2020); 0 is off, 9 is usual."""
    mixup: NonNegativeFloat = 0.0
    """Alpha of mixup (Zhang et al. 2018); 0 is off, 0.2 is usual."""
    cutmix: NonNegativeFloat = 0.0
    """Alpha of CutMix (Yun et al. 2019); 0 is off, 1.0 is usual."""

    @model_validator(mode="after")
    def _crop_is_ordered(self) -> Augment:
        if self.crop is not None and self.crop[0] > self.crop[1]:
            raise ValueError("crop gives the smaller share first, as in (0.5, 1.0)")
        return self


class ImageClassification(Settings):
    """One image in, one of C classes out."""

    section = "task"
    noun: ClassVar[str] = "images"
    figures: ClassVar[tuple[str, ...]] = CLASSIFICATION

    kind: Literal["image-classification"] = "image-classification"
    image: str | None = None
    """Column with the image; found by itself when only one column can be meant."""
    label: str | None = None
    """Column with the class; found by itself when only one column can be meant."""
    augment: Augment = Augment()
    """Random changes to training images."""


class TextClassification(Settings):
    """One text in, one of C classes out."""

    section = "task"
    noun: ClassVar[str] = "texts"
    figures: ClassVar[tuple[str, ...]] = CLASSIFICATION

    kind: Literal["text-classification"] = "text-classification"
    text: str | None = None
    """Column with the text; found by itself when only one column can be meant."""
    max_length: Annotated[int, Field(ge=8)] | None = None
    """Tokens after which a text is cut off; the most that the backbone takes, up to 512, when not
    given. Not for Mlp, which takes all of it."""
    label: str | None = None
    """Column with the class; found by itself when only one column can be meant."""


class TabularClassification(Settings):
    """A row of numbers in, one of C classes out."""

    section = "task"
    noun: ClassVar[str] = "rows"
    figures: ClassVar[tuple[str, ...]] = CLASSIFICATION

    kind: Literal["tabular-classification"] = "tabular-classification"
    columns: tuple[str, ...] | None = None
    """Columns with the numbers; every column of numbers but the label when not given."""
    label: str | None = None
    """Column with the class; found by itself when only one column can be meant."""


class TabularRegression(Settings):
    """A row of numbers in, one number out."""

    section = "task"
    noun: ClassVar[str] = "rows"
    figures: ClassVar[tuple[str, ...]] = REGRESSION

    kind: Literal["tabular-regression"] = "tabular-regression"
    columns: tuple[str, ...] | None = None
    """Columns with the numbers; every column of numbers but the label when not given."""
    label: str | None = None
    """Column with the number to be told; found by itself when only one column can be meant."""


Task = Union[ImageClassification, TextClassification, TabularClassification, TabularRegression]


class Full(Settings):
    """Every parameter moves."""

    section = "strategy"

    kind: Literal["full"] = "full"
    learning_rate: PositiveFloat = 5e-5
    """Peak learning rate of AdamW."""


class HeadOnly(Settings):
    """Only the new classification head moves; the backbone is frozen and stays in eval mode."""

    section = "strategy"

    kind: Literal["head"] = "head"
    learning_rate: PositiveFloat = 1e-3
    """Peak learning rate of AdamW."""
    cache: bool = True
    """Run the frozen backbone once and train the head on its outputs: many times faster, without
    random changes to images unless `views` are asked for."""
    views: NonNegativeInt = 0
    """Randomly changed versions of each training image in the cache, one for each epoch in turn;
    0: the images as they are."""
    solver: Literal["adamw", "lbfgs"] = "adamw"
    """`lbfgs` computes the one minimum of mean loss + weight_decay / 2 |W|^2 for a head of one
    Linear layer; learning rate, epochs and batch size then play no part."""
    search: bool = False
    """Choose learning rate and weight decay on the validation rows, from a grid around the recipe's
    own: seconds, on cached features."""
    weight_decay: NonNegativeFloat | None = None
    """Weight decay of the head; `train.weight_decay` when not given."""

    @model_validator(mode="after")
    def _trying_needs_the_cache(self) -> HeadOnly:
        for name in ("views", "search"):
            if getattr(self, name) and not self.cache:
                raise ValueError(f"{name} needs cached features; leave cache on")
        if self.solver == "lbfgs" and not self.cache:
            raise ValueError("solver lbfgs needs cached features; leave cache on")
        return self


class Lpft(Settings):
    """A linear probe first, then every parameter moves from there (LP-FT, Kumar et al. 2022)."""

    section = "strategy"

    kind: Literal["lpft"] = "lpft"
    learning_rate: PositiveFloat = 5e-5
    """Peak learning rate of AdamW once every parameter moves."""
    probe: HeadOnly = HeadOnly(solver="lbfgs", search=True)
    """How the head is trained first, on cached features."""


class Lora(Settings):
    """Low-rank updates beside frozen weights, and the new head (Hu et al. 2021)."""

    section = "strategy"

    kind: Literal["lora"] = "lora"
    learning_rate: PositiveFloat = 5e-4
    """Peak learning rate of AdamW."""
    rank: PositiveInt = 8
    """Rank of each update."""
    alpha: PositiveFloat = 16.0
    """Scale: each update is multiplied by alpha / rank."""
    dropout: Fraction = 0.0
    """Dropout before each update."""
    targets: tuple[str, ...] | None = None
    """Endings of the names of adapted layers; found from the structure when not given."""
    merge: bool = True
    """Put the plain merged model in model/ and the adapter in model/adapter/; false keeps the
    adapter alone."""


Strategy = Union[Full, HeadOnly, Lpft, Lora]
STRATEGIES: dict[str, type[Full] | type[HeadOnly] | type[Lpft] | type[Lora]] = {
    "full": Full,
    "head": HeadOnly,
    "lpft": Lpft,
    "lora": Lora,
}


class Train(Settings):
    """How the moving parameters are trained: AdamW, warm-up, then the schedule down to zero."""

    section = "train"

    epochs: PositiveInt = 3
    """Passes over the training rows."""
    max_steps: PositiveInt | None = None
    """Stop after so many optimiser steps, whatever `epochs` says."""
    batch_size: PositiveInt = 32
    """Examples per optimiser step, over all devices and accumulation steps together."""
    micro_batch_size: PositiveInt | None = None
    """Most examples one device takes at once; smaller than its share means accumulation."""
    evaluation_batch_size: PositiveInt = 64
    """Examples per device and step in evaluation."""
    weight_decay: NonNegativeFloat = 0.01
    """Weight decay of AdamW; never applied to biases and norm layers."""
    warmup: Fraction = 0.1
    """Share of the steps in which the learning rate rises from zero."""
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    """How the learning rate goes on after the warm-up."""
    max_grad_norm: NonNegativeFloat = 1.0
    """Gradients are scaled down to this global norm; 0 is off."""
    label_smoothing: Fraction = 0.0
    """Share of the target probability spread over all classes (Szegedy et al. 2016)."""
    class_weights: Literal["none", "balanced"] | tuple[PositiveFloat, ...] = "none"
    """Weight of each class in the loss; `balanced` is inverse to the class's share of rows."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """Arithmetic in training; `auto` is bf16 where the GPU has it, else fp32."""
    channels_last: bool | None = None
    """Memory format of images; on for convolutional backbones when not given."""
    gradient_checkpointing: bool = False
    """Recompute activations in the backward pass: less memory, more time."""
    best_by: Literal["loss"] | MetricName | None = None
    """Validation figure that picks the checkpoint to keep; accuracy, or r2 for regression, when not
    given."""
    early_stopping: PositiveInt | None = None
    """Stop when `best_by` has not improved for so many evaluations."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    """Seed of the splits, the new head, the order of rows and the augmentation."""
    workers: Annotated[int, Field(ge=0, le=128)] | None = None
    """Processes that read images for each device; chosen from the CPU count when not given."""


class Expect(Settings):
    """What a strategy of this recipe reached, and where that figure comes from."""

    section = "expect"

    strategy: Literal["full", "head", "lpft", "lora"]
    metric: MetricName = "accuracy"
    low: Annotated[float, Field(ge=0, le=1)]
    """Lowest value seen."""
    high: Annotated[float, Field(ge=0, le=1)]
    """Highest value seen."""
    source: str = Field(min_length=1)
    """Command, hardware, seeds and commit of the measurement, or the publication."""

    @model_validator(mode="after")
    def _range_is_ordered(self) -> Expect:
        if self.low > self.high:
            raise ValueError(f"low {self.low} lies above high {self.high}")
        return self


NOT_FOR_MLP = (
    "micro_batch_size",
    "class_weights",
    "label_smoothing",
    "precision",
    "channels_last",
    "gradient_checkpointing",
    "max_grad_norm",
)


def _backbone_kind(value: Any) -> str:
    """Return which kind of backbone is meant; pretrained where it does not say."""
    given = value.get("kind") if isinstance(value, dict) else getattr(value, "kind", None)
    return given or "pretrained"


class Recipe(Settings):
    """Everything that decides a run."""

    section = "recipe"

    name: Name
    """`<model>-<data>`, as on the command line."""
    description: str = ""
    """One line for `ftkit list`."""
    data: Data
    """Where labelled rows come from."""
    backbone: Annotated[
        Union[Annotated[Backbone, Tag("pretrained")], Annotated[Mlp, Tag("mlp")]],
        Discriminator(_backbone_kind),
    ]
    """The pretrained model to start from, or a perceptron from new weights."""
    task: Annotated[Task, Field(discriminator="kind")] = ImageClassification()
    """What goes in and what comes out."""
    strategy: Annotated[Strategy, Field(discriminator="kind")] = Full()
    """Which parameters move."""
    alternatives: tuple[Annotated[Strategy, Field(discriminator="kind")], ...] = ()
    """Other strategies with the settings that suit this recipe, for `--strategy`."""
    train: Train = Train()
    """How they are trained."""
    expect: tuple[Expect, ...] = ()
    """What was measured before."""

    @model_validator(mode="after")
    def _parts_fit(self) -> Recipe:
        if self.best_by not in ("loss", *self.task.figures):
            raise ValueError(
                f"train.best_by = '{self.best_by}': a {self.task.kind} has loss, "
                f"{', '.join(self.task.figures)}"
            )
        if isinstance(self.backbone, Backbone):
            if not isinstance(self.task, (ImageClassification, TextClassification)):
                raise ValueError(f"task {self.task.kind} is for backbone Mlp")
            if isinstance(self.task, TextClassification) and self.backbone.image_size is not None:
                raise ValueError("backbone.image_size is not for texts")
            return self
        if self.strategy.kind not in ("full", "head"):
            raise ValueError(
                f"strategy {self.strategy.kind} needs a pretrained backbone; Mlp takes full or head"
            )
        usual = Train()
        for name in NOT_FOR_MLP:
            if getattr(self.train, name) != getattr(usual, name):
                raise ValueError(f"train.{name} is not for Mlp")
        return self

    @property
    def best_by(self) -> str:
        """The validation figure that picks the checkpoint to keep."""
        return self.train.best_by or self.task.figures[0]

    def with_strategy(self, kind: str) -> Recipe:
        """Return this recipe with the strategy of that kind: the recipe's own, or its defaults.

        Raises:
            RecipeError: there is no such strategy.
        """
        if kind not in STRATEGIES:
            raise RecipeError(
                f"strategy: there is no '{kind}'; choose one of {', '.join(STRATEGIES)}"
                f"{nearest(kind, STRATEGIES)}"
            )
        own: dict[str, Strategy] = {s.kind: s for s in (*self.alternatives, self.strategy)}
        chosen = own.pop(kind, None) or STRATEGIES[kind]()
        return self.model_copy(update={"strategy": chosen, "alternatives": tuple(own.values())})

    def override(self, changes: Mapping[str, Any]) -> Recipe:
        """Return this recipe with fields replaced by dotted path, as in {"train.epochs": 3}.

        Raises:
            RecipeError: a path names no field, or a value is not allowed there.
        """
        values = self.model_dump()
        for path, value in changes.items():
            replace(self, values, path, value)
        return Recipe(**values)

    def to_json(self) -> str:
        """Return the recipe as JSON, every default written out."""
        return self.model_dump_json(indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Recipe:
        """Return the recipe that `to_json` wrote.

        Raises:
            RecipeError: the text is not JSON, or not a recipe.
        """
        try:
            values = json.loads(text)
        except json.JSONDecodeError as error:
            raise RecipeError(f"recipe: not JSON, line {error.lineno}: {error.msg}") from None
        if not isinstance(values, dict):
            raise RecipeError(f"recipe: expected a JSON object, got {type(values).__name__}")
        return cls(**values)
