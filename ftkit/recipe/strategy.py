"""Which parameters move, and how fast: the settings of each strategy.

What a strategy does with them stands in `ftkit/strategies/`, in the file named after its `kind`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Union, get_args

from pydantic import Field, NonNegativeFloat, PositiveFloat, model_validator

from ftkit.recipe.settings import Count, CountFromZero, Fraction, Settings

if TYPE_CHECKING:
    from typing_extensions import Self

Decay = Annotated[float, Field(gt=0, lt=1)]


class StrategySettings(Settings):
    """What all settings of a strategy have, and what is said of its models without loading them."""

    section = "strategy"
    needs_new_head: ClassVar[bool] = False
    """A new head is trained alone, at first or all the time; models that write texts have none."""
    for_perceptrons: ClassVar[bool] = False
    for_classes_alone: ClassVar[bool] = False
    """It compares the classes of rows, so each row needs exactly one."""
    was_trained: ClassVar[str]
    """What was trained, for a model card; {head} stands for the new head, where there is one."""

    @property
    def adapter_alone(self) -> bool:
        """Whether model/ holds an adapter alone, which its backbone must be loaded for."""
        return False

    @classmethod
    def what_was_trained(cls, new_head: bool) -> str:
        """Return what a model card says was trained.

        Args:
            new_head: the model has one; models that write texts have none.
        """
        return cls.was_trained.format(head=" and the new classification head" if new_head else "")

    @classmethod
    def usual_for(cls, noun: str) -> Self:
        """Return the settings for such rows, where a recipe has none of its own.

        Args:
            noun: what a row is, as `TaskSettings.noun` has it.
        """
        return cls()


class Full(StrategySettings):
    """Every parameter moves."""

    for_perceptrons = True
    was_trained = "every parameter was trained"

    kind: Literal["full"] = "full"
    learning_rate: PositiveFloat = 5e-5
    """Peak learning rate of AdamW."""
    layer_decay: Decay | None = None
    """Each group of layers has the learning rate of the one above it times this, the head the whole
    one: what lies deeper was learned better. Usual are 0.65 to 0.95."""
    unfreeze: Literal["all", "gradually"] = "all"
    """`gradually`: the head alone in the first epoch, one group of layers more in each one after it
    (Howard and Ruder 2018)."""
    keep_statistics: bool = True
    """BatchNorm goes on with the statistics of pretraining, in training as in use, instead of those
    of each batch; its scale and shift move. False suits many rows in large batches."""


class HeadOnly(StrategySettings):
    """Only the new classification head moves; the backbone is frozen and stays in eval mode."""

    needs_new_head = True
    for_perceptrons = True
    was_trained = "only the new classification head was trained"

    kind: Literal["head"] = "head"
    learning_rate: PositiveFloat = 1e-3
    """Peak learning rate of AdamW."""
    cache: bool = True
    """Run the frozen backbone once and train the head on its outputs: many times faster, without
    random changes to images unless `views` are asked for."""
    views: Annotated[int, Field(ge=0, le=10_000)] = 0
    """Randomly changed versions of each training image in the cache, one for each epoch in turn;
    0: the images as they are."""
    solver: Literal["auto", "adamw", "lbfgs"] = "auto"
    """`lbfgs` computes the one minimum of mean loss + penalty / 2 |W|^2 on standardised features,
    for a head of one Linear layer; learning rate, epochs and batch size play no part. `auto` is
    lbfgs where the head is such a one and its inputs are cached, else adamw."""
    search: bool = False
    """With adamw: choose learning rate and weight decay on the validation rows, from a grid around
    the recipe's own. With lbfgs: choose the penalty though `weight_decay` is given."""
    refit: bool = True
    """With lbfgs: once the penalty is chosen, fit the head to training and validation rows
    together; the validation figures are those of cross-validation."""
    weight_decay: NonNegativeFloat | None = None
    """With adamw the weight decay of the head, `train.weight_decay` when not given. With lbfgs the
    penalty, chosen by cross-validation when not given."""
    least_steps: CountFromZero = 500
    """With adamw and cached features: so many epochs more that there are at least so many steps."""
    pooler: bool = False
    """Train the backbone's pooler with the head: the layer that BERT-like models put on their first
    token was often pretrained for another task, or not at all."""
    epochs: Count | None = None
    """Epochs of the head, cheap on cached features; `train.epochs` when not given."""

    @model_validator(mode="after")
    def _trying_needs_the_cache(self) -> HeadOnly:
        for name in ("views", "search"):
            if getattr(self, name) and not self.cache:
                raise ValueError(f"{name} needs cached features; leave cache on")
        if self.solver == "lbfgs" and not self.cache:
            raise ValueError("solver lbfgs needs cached features; leave cache on")
        return self


class Lpft(StrategySettings):
    """A linear probe first, then every parameter moves from there (LP-FT, Kumar et al. 2022).

    The probe itself is kept if no epoch after it does better on the validation rows.
    """

    needs_new_head = True
    was_trained = "the new classification head was trained first, then every parameter (LP-FT)"

    kind: Literal["lpft"] = "lpft"
    learning_rate: PositiveFloat = 5e-5
    """Peak learning rate of AdamW once every parameter moves."""
    probe: HeadOnly = HeadOnly(refit=False)
    """How the head is trained first, on cached features; never on validation rows, which choose
    among the epochs that follow."""
    keep_statistics: bool = True
    """As of `full`: the features that the probe learned from came of these statistics."""


class Lora(StrategySettings):
    """Low-rank updates beside frozen weights, and the new head (Hu et al. 2021)."""

    was_trained = "low-rank updates (LoRA){head} were trained"

    kind: Literal["lora"] = "lora"
    learning_rate: PositiveFloat = 5e-4
    """Peak learning rate of AdamW."""
    rank: Count = 8
    """Rank of each update."""
    alpha: PositiveFloat = 16.0
    """Scale: each update is multiplied by alpha / rank."""
    rslora: bool = False
    """Scale by alpha / sqrt(rank) instead: high ranks then learn no slower (Kalajdzievski 2023)."""
    dora: bool = False
    """Train length and direction of each weight apart (DoRA, Liu et al. 2024): slower."""
    init: Literal["default", "pissa"] = "default"
    """`default`: the update begins at zero. `pissa`: it begins as the principal part of the weight,
    and the rest is frozen (PiSSA, Meng et al. 2024); the saved adapter is a plain one of twice the
    rank, for the backbone as it was."""
    lora_plus: PositiveFloat | None = None
    """Learning rate of B as a multiple of A's (LoRA+, Hayou et al. 2024, who use 16)."""
    dropout: Fraction = 0.0
    """Dropout before each update."""
    targets: tuple[str, ...] | None = None
    """Endings of the names of adapted layers; found from the structure when not given."""
    merge: bool = True
    """Put the plain merged model in model/ and the adapter in model/adapter/; false keeps the
    adapter alone."""

    @model_validator(mode="after")
    def _variants_go_together(self) -> Lora:
        if self.dora and self.init == "pissa":
            raise ValueError("dora and init pissa both rewrite the weights; choose one of them")
        return self

    @property
    def adapter_alone(self) -> bool:
        """See `StrategySettings`."""
        return not self.merge


class Bitfit(StrategySettings):
    """Biases and norms move, and the new head, after BitFit (Ben Zaken et al. 2022, 2106.10199).

    The paper moves biases alone; here the scales of norms move as well.
    """

    was_trained = "biases and norms (BitFit){head} were trained"

    kind: Literal["bitfit"] = "bitfit"
    learning_rate: PositiveFloat = 1e-3
    """Peak learning rate of AdamW. This default is not tuned here."""


class Contrastive(StrategySettings):
    """Rows of a class are drawn together, then the head is trained: for few labels.

    After SetFit (Tunstall et al. 2022), by the supervised contrastive loss (Khosla et al. 2020).
    """

    needs_new_head = True
    for_classes_alone = True
    was_trained = (
        "every parameter was trained to draw rows of one class together (supervised contrastive "
        "learning), then the new classification head"
    )

    kind: Literal["contrastive"] = "contrastive"
    learning_rate: PositiveFloat = 1e-4
    """Peak learning rate of AdamW while rows are drawn together."""
    steps: Count = 20
    """So many batches of `train.batch_size` rows, in each of which all pairs are compared;
    `train.epochs` plays no part, and `train.max_steps` stands where it is given."""
    temperature: PositiveFloat = 0.1
    """Cosines are divided by it: a lower one counts the nearest rows of other classes more."""
    class_names: bool = True
    """The names of classes are texts of them too, where rows are texts and the backbone
    tells more of them by these names than chance would."""
    probe: HeadOnly = HeadOnly(refit=False)
    """How the head is trained afterwards."""
    refit: bool = True
    """Where the head is solved by L-BFGS: train once more from the start, on training and
    validation rows together. The validation figures are those of the first round."""

    @classmethod
    def usual_for(cls, noun: str) -> Self:
        """Return the settings for such rows: images need more steps, at a higher learning rate."""
        return cls(steps=120, learning_rate=2e-4) if noun == "images" else cls()


Strategy = Union[Full, HeadOnly, Lpft, Lora, Bitfit, Contrastive]
STRATEGIES: dict[str, type[Full | HeadOnly | Lpft | Lora | Bitfit | Contrastive]] = {
    strategy().kind: strategy for strategy in get_args(Strategy)
}
StrategyKind = Literal["full", "head", "lpft", "lora", "bitfit", "contrastive"]
