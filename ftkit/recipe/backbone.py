"""What a run starts from: a pretrained model, or a perceptron with new weights."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, PositiveFloat, model_validator

from ftkit.recipe.settings import Count, CountFromZero, Fraction, Settings

AXES = ("layers", "image_size", "pooling")
"""Settings of a backbone that say how it is used, and not which one it is."""


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
    layers: Count | None = None
    """So many layers of a Transformer, counted from its input, are kept; all when not given."""
    pooling: Literal["auto", "first", "mean"] = "auto"
    """Which tokens a new head for texts reads: the first, as is usual, or the mean of all; `auto`
    is the mean for a sentence encoder that was trained with it."""
    trust_remote_code: bool = False
    """Run Python code that comes with the backbone. Only for authors you trust."""
    allow_pickle: bool = False
    """Accept pickled weights (.bin); safetensors only otherwise."""


def as_pooled_before(values: dict[str, Any]) -> dict[str, Any]:
    """Return a recipe's JSON that an earlier version wrote, with the first token to be read.

    What it wrote is known by having every other setting; of anything else the values are as given.
    """
    backbone = values.get("backbone")
    if not isinstance(backbone, dict) or "allow_pickle" not in backbone or "pooling" in backbone:
        return values
    return {**values, "backbone": {**backbone, "pooling": "first"}}


class FineTune(Settings):
    """A second training of a perceptron, from the weights that the first one left."""

    section = "backbone.fine_tune"

    epochs: Count = 5
    """Passes over the training rows."""
    learning_rate: PositiveFloat = 1e-4
    """A tenth of the first one is usual."""
    frozen: CountFromZero = 0
    """So many layers, counted from the input, keep their parameters."""


class Mlp(Settings):
    """A multilayer perceptron from new weights, its backpropagation written out by hand.

    Images become their pixels, texts hashed counts of character n-grams, tables their columns.
    """

    section = "backbone"

    kind: Literal["mlp"] = "mlp"
    hidden: tuple[Count, ...] = (64, 64)
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
    ngrams: tuple[Count, Count] = (1, 4)
    """Shortest and longest character n-gram of a text, within words."""
    buckets: Annotated[int, Field(ge=2, le=2**20)] = 4096
    """Length of a text's vector, into which its n-grams are hashed."""
    start: str | None = None
    """Folder of a run, or of its model, to go on from; its way of reading inputs stays, its last
    layer is replaced for other classes."""
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
