"""The data model: what a run is made of, as frozen values that are checked when they are made.

A `Recipe` says which data, which backbone, which parameters move and how they are trained. It
holds no behaviour and imports without torch; `ftkit.finetuning.finetune.finetune` does the work.
Every value refuses a bad setting at once with a `RecipeError`: the field, what was given, what is
allowed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Union, get_args

from pydantic import AfterValidator, Discriminator, Field, Tag, model_validator

from ftkit.errors import RecipeError, nearest
from ftkit.errors.addresses import shown
from ftkit.recipe.backbone import Backbone, FineTune, Mlp, as_pooled_before
from ftkit.recipe.data import Data, as_drawn_before
from ftkit.recipe.figures import LOWER_IS_BETTER, MetricName
from ftkit.recipe.settings import Settings, read_json, replace
from ftkit.recipe.strategy import (
    STRATEGIES,
    Bitfit,
    Contrastive,
    Full,
    HeadOnly,
    Lora,
    Lpft,
    Strategy,
)
from ftkit.recipe.task import (
    CLASSIFICATION,
    REGRESSION,
    Augment,
    ImageClassification,
    ImageRegression,
    ImageTagging,
    TabularClassification,
    TabularRegression,
    TaskSettings,
)
from ftkit.recipe.text import (
    LanguageModelling,
    TextClassification,
    TextRegression,
    TextTagging,
    TokenClassification,
    Translation,
)
from ftkit.recipe.train import AUTO, Expect, Train

__all__ = [
    "AUTO",
    "CLASSIFICATION",
    "LOWER_IS_BETTER",
    "REGRESSION",
    "STRATEGIES",
    "TASKS",
    "Augment",
    "Backbone",
    "Bitfit",
    "Contrastive",
    "Data",
    "Expect",
    "FineTune",
    "Full",
    "HeadOnly",
    "ImageClassification",
    "ImageRegression",
    "ImageTagging",
    "LanguageModelling",
    "Lora",
    "Lpft",
    "MetricName",
    "Mlp",
    "Recipe",
    "Strategy",
    "TabularClassification",
    "TabularRegression",
    "Task",
    "TextClassification",
    "TextRegression",
    "TextTagging",
    "TokenClassification",
    "Train",
    "Translation",
]

Task = Union[
    ImageClassification,
    ImageTagging,
    ImageRegression,
    TextClassification,
    TextTagging,
    TextRegression,
    TokenClassification,
    LanguageModelling,
    Translation,
    TabularClassification,
    TabularRegression,
]
TASKS: dict[str, type[TaskSettings]] = {task().kind: task for task in get_args(Task)}
"""The settings of each kind of task."""


def _is_name(text: str) -> str:
    if not re.fullmatch(r"[a-z0-9][a-z0-9.-]*", text):
        raise ValueError("small letters, digits, dots and hyphens, as in vit-cifar")
    return text


Name = Annotated[str, AfterValidator(_is_name)]

NOT_FOR_MLP = (
    "micro_batch_size",
    "class_weights",
    "label_smoothing",
    "precision",
    "channels_last",
    "gradient_checkpointing",
    "compile",
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
        if self.task.writes and self.strategy.needs_new_head:
            raise ValueError(
                f"strategy {self.strategy.kind} trains a new head, and {self.task.kind} has none; "
                f"use full or lora"
            )
        if self.strategy.for_classes_alone and self.task.tells != "class":
            raise ValueError(
                f"strategy {self.strategy.kind} compares the classes of rows, and {self.task.kind} "
                f"does not give each row one; use full or lora"
            )
        if isinstance(self.backbone, Backbone):
            if not self.task.for_backbones:
                raise ValueError(f"task {self.task.kind} is for backbone Mlp")
            if self.task.noun != "images" and self.backbone.image_size is not None:
                raise ValueError("backbone.image_size is not for texts")
            if self.task.noun != "texts" and self.backbone.pooling == "mean":
                raise ValueError("backbone.pooling = 'mean' is for texts")
            self._choices_suit_the_labels()
            return self
        if not self.task.for_perceptrons:
            raise ValueError(f"task {self.task.kind} needs a pretrained backbone, not Mlp")
        if getattr(self.task, "pair", None) is not None:
            raise ValueError("task.pair is not for Mlp, which reads one text")
        if not self.strategy.for_perceptrons:
            raise ValueError(
                f"strategy {self.strategy.kind} needs a pretrained backbone; Mlp takes full or head"
            )
        usual = Train()
        for name in NOT_FOR_MLP:
            if getattr(self.train, name) != getattr(usual, name):
                raise ValueError(f"train.{name} is not for Mlp")
        if self.train.schedule == "wsd":
            raise ValueError("train.schedule wsd is not for Mlp; use cosine, linear or constant")
        if isinstance(self.strategy, Full) and self.strategy != Full(
            learning_rate=self.strategy.learning_rate
        ):
            raise ValueError("strategy.layer_decay, unfreeze and keep_statistics are not for Mlp")
        return self

    def _choices_suit_the_labels(self) -> None:
        """Refuse what has a meaning only where a row has one class out of several."""
        usual, head = Train(), getattr(self.strategy, "probe", self.strategy)
        field = "strategy.solver" if head is self.strategy else "strategy.probe.solver"
        if self.task.tells in ("tags", "number"):
            for name in ("class_weights", "label_smoothing"):
                if getattr(self.train, name) != getattr(usual, name):
                    raise ValueError(f"train.{name} is not for {self.task.kind}")
        if getattr(head, "solver", None) == "lbfgs" and self.task.tells == "words":
            raise ValueError(f"{field} lbfgs is not for {self.task.kind}; use auto")

    @property
    def best_by(self) -> str:
        """The validation figure that picks the checkpoint to keep."""
        return self.train.best_by or self.task.chosen_by or self.task.figures[0]

    def with_strategy(self, kind: str) -> Recipe:
        """Return this recipe with the strategy of that kind: the recipe's own, or a usual one.

        Raises:
            RecipeError: there is no such strategy.
        """
        if kind not in STRATEGIES:
            raise RecipeError(
                f"strategy: there is no '{kind}'; choose one of {', '.join(STRATEGIES)}"
                f"{nearest(kind, STRATEGIES)}"
            )
        own: dict[str, Strategy] = {s.kind: s for s in (*self.alternatives, self.strategy)}
        chosen = own.pop(kind, None) or STRATEGIES[kind].usual_for(self.task.noun)
        return Recipe(**{**dict(self), "strategy": chosen, "alternatives": tuple(own.values())})

    def override(self, changes: Mapping[str, Any]) -> Recipe:
        """Return this recipe with fields replaced by dotted path, as in {"train.epochs": 3}.

        Raises:
            RecipeError: a path names no field, or a value is not allowed there.
        """
        values = self.model_dump()
        for path, value in changes.items():
            replace(self, values, path, value)
        return Recipe(**values)

    def as_written(self) -> Recipe:
        """Return the recipe as JSON holds it: without what an address carries beside its path."""
        return self.override({"data.path": shown(self.data.path)})

    def to_json(self) -> str:
        """Return the recipe as JSON, every default written out."""
        return self.model_dump_json(indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Recipe:
        """Return the recipe that `to_json` wrote, of an earlier version too.

        Raises:
            RecipeError: the text is not JSON, or not a recipe.
        """
        try:
            values = read_json(text)
        except ValueError as error:
            raise RecipeError(f"recipe: {error}") from None
        if not isinstance(values, dict):
            raise RecipeError(f"recipe: expected a JSON object, got {type(values).__name__}")
        return cls(**as_pooled_before(as_drawn_before(values)))
