"""The rungs of a comparison: what is run on the same rows, the cheapest first.

majority   the most frequent class of the training rows, or their mean
tfidf      a linear model of the words and characters of texts
boosting   boosted trees of the columns of a table
zeroshot   the names of classes, in the frozen backbone's features of texts
knn        the nearest training rows in the frozen backbone's features
mlp        a perceptron written out by hand, from new weights
head, contrastive, lora, lpft, full   the recipe's backbone, as far as each strategy moves it
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from ftkit import registry
from ftkit.errors import RecipeError, nearest
from ftkit.errors.names import listed
from ftkit.recipe import STRATEGIES, Augment, Full, HeadOnly, Mlp, Recipe, Train

BASELINES = ("majority", "tfidf", "boosting", "zeroshot", "knn")
"""Rungs that leave no model: what training must beat."""
NOUNS = {"tfidf": "texts", "boosting": "rows", "zeroshot": "texts"}
"""What baselines read that are not for all rows."""
SHARED = ("majority", "tfidf", "boosting", "mlp")
"""Rungs that do not use the backbone. All recipes share one of them."""
CHEAPEST_FIRST = ("head", "contrastive", "lora", "lpft", "full")
"""Strategies in the order of their usual cost. Strategies that are not named here come last."""
LADDER = (
    *(*BASELINES, "mlp", *CHEAPEST_FIRST),
    *(kind for kind in STRATEGIES if kind not in CHEAPEST_FIRST),
)
"""All rungs, the cheapest first."""
USUAL_MLP = {
    "images": (Mlp(hidden=(256, 128), image_size=32, update="adamw", dropout=0.2), 1e-3, 20),
    "texts": (Mlp(hidden=(128,), update="adamw", dropout=0.2), 2e-3, 12),
}
"""The perceptron, its learning rate and its epochs for data that no installed recipe knows."""


@dataclass(frozen=True)
class Rung:
    """One run of a comparison."""

    kind: str
    """One of `LADDER`."""
    recipe: Recipe
    """The recipe that is run, with its strategy and seed. A baseline takes rows and features from
    it."""
    label: str
    """Its name in tables."""

    @property
    def seed(self) -> int:
        """The seed of the run."""
        return self.recipe.train.seed

    @property
    def folder(self) -> str:
        """Name of its run folder."""
        kind = self.recipe.strategy.kind if self.kind == "mlp" else self.kind
        return f"{self.recipe.name}-{kind}-seed{self.seed}"

    def with_seed(self, seed: int) -> Rung:
        """Return the same rung for another seed."""
        return replace(self, recipe=self.recipe.override({"train.seed": seed}))


@dataclass(frozen=True)
class Ladder:
    """The rungs that are compared, and those that cannot be."""

    rungs: tuple[Rung, ...]
    left_out: tuple[str, ...]
    """A sentence for each recipe that lacks some rungs."""


def build_ladder(recipes: Sequence[Recipe], kinds: Sequence[str] | None = None) -> Ladder:
    """Return the rungs of these recipes, for the first seed.

    Args:
        recipes: with equal data.
        kinds: of `LADDER`; the baselines, the perceptron, the head, and each recipe's own
            strategies when not given.

    Raises:
        RecipeError: there is no such rung, nothing is left of them, or the data are not equal.
    """
    for kind in kinds or ():
        if kind not in LADDER:
            raise RecipeError(
                f"--strategies: there is no '{kind}'; choose from {', '.join(LADDER)}"
                f"{nearest(kind, LADDER)}"
            )
    _check_rows(recipes)
    found: list[Rung] = []
    unfit: list[dict[str, str]] = [{} for _ in recipes]  # reasons by rung
    for kind in LADDER:
        for recipe, reasons in zip(recipes, unfit, strict=True):
            if kind not in (kinds or _usual(recipe)):
                continue
            if kind in SHARED and any(rung.kind == kind for rung in found):
                continue
            alone = len(recipes) == 1 or kind in SHARED
            try:
                label = kind if alone else f"{recipe.name} {kind}"
                found.append(Rung(kind, _recipe_of(kind, recipe), label))
            except RecipeError as error:
                reasons[kind] = str(error).removeprefix("recipe: ")
    pairs = zip(recipes, unfit, strict=True)
    left_out = tuple(_left_out(recipe, reasons) for recipe, reasons in pairs if reasons)
    if not found:
        raise RecipeError(f"nothing to compare: {'; '.join(left_out)}")
    return Ladder(tuple(found), left_out)


def _left_out(recipe: Recipe, reasons: Mapping[str, str]) -> str:
    """Return which rungs do not fit a recipe, why, and which do."""
    kinds_of = {why: [k for k in reasons if reasons[k] == why] for why in reasons.values()}
    said = (f"{listed(kinds)} ({why})" for why, kinds in kinds_of.items())
    fitting = listed([kind for kind in LADDER if _fits(kind, recipe)])
    return f"{recipe.name} does without {', '.join(said)}; what fits it: {fitting}"


def _fits(kind: str, recipe: Recipe) -> bool:
    with suppress(RecipeError):
        return bool(_recipe_of(kind, recipe))
    return False


def _check_rows(recipes: Sequence[Recipe]) -> None:
    """Refuse recipes that are tested on different rows."""
    first, names = recipes[0], [recipe.name for recipe in recipes]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice:
        raise RecipeError(
            f"two recipes are named {twice}; give one, or another name to one of them"
        )
    for other in recipes[1:]:
        if other.data != first.data:
            raise RecipeError(
                f"{first.name} and {other.name} are tested on different rows "
                f"({first.data.path}, {other.data.path}); give both the same by --data"
            )
        if first.task.figures[0] != other.task.figures[0]:
            raise RecipeError(
                f"{first.name} and {other.name} are measured differently: {first.task.figures[0]} "
                f"and {other.task.figures[0]}"
            )


def _usual(recipe: Recipe) -> Iterator[str]:
    """Yield the rungs that are compared when the user asks for none."""
    noun = recipe.task.noun
    for kind in BASELINES:
        if NOUNS.get(kind, noun) == noun and (kind != "zeroshot" or _fits(kind, recipe)):
            yield kind
    yield "mlp"
    if not isinstance(recipe.backbone, Mlp):
        yield from {"head", recipe.strategy.kind, *(s.kind for s in recipe.alternatives)}


def _recipe_of(kind: str, recipe: Recipe) -> Recipe:
    """Return the recipe that this rung runs.

    Raises:
        RecipeError: the recipe's task or backbone does not have it.
    """
    if kind in BASELINES:
        return _baseline(kind, recipe)
    if kind == "mlp":
        return recipe if isinstance(recipe.backbone, Mlp) else perceptron(recipe)
    if isinstance(recipe.backbone, Mlp):
        raise RecipeError("its backbone is a perceptron, which is a rung of its own")
    return recipe.with_strategy(kind)


def _baseline(kind: str, recipe: Recipe) -> Recipe:
    """Return the rows and the backbone of a recipe, without what training needs."""
    task = recipe.task
    if task.writes or task.tells == "words":
        raise RecipeError(f"{task.kind} has no single class or number to tell")
    if NOUNS.get(kind, task.noun) != task.noun:
        reads = "columns of a table" if NOUNS[kind] == "rows" else NOUNS[kind]
        raise RecipeError(f"{kind} reads {reads}, and {task.kind} has none")
    if kind == "zeroshot" and isinstance(recipe.backbone, Mlp):
        raise RecipeError(
            "a perceptron knows nothing of the names of classes, which zeroshot goes by; leave it "
            "out, or name a recipe with a pretrained backbone"
        )
    if kind == "zeroshot" and (task.tells != "class" or getattr(task, "pair", None)):
        raise RecipeError(
            "zeroshot tells which class a single text is of, and these rows are no such texts; "
            "leave it out"
        )
    return Recipe(
        name=recipe.name,
        data=recipe.data,
        backbone=recipe.backbone,
        task=task,
        strategy=HeadOnly(),
        train=Train(seed=recipe.train.seed),
    )


def perceptron(recipe: Recipe) -> Recipe:
    """Return a recipe that trains a perceptron on the rows of another one.

    With the settings of the installed recipe for the same data, where there is one.

    Raises:
        RecipeError: the task is not for a perceptron.
    """
    task = recipe.task
    if task.noun == "images":
        task = task.model_copy(update={"augment": Augment(crop=None, flip=False)})
    for known in registry.recipes().values():
        same = (known.data.path, known.task.kind) == (recipe.data.path, task.kind)
        if same and isinstance(known.backbone, Mlp):
            changed = known.train.model_copy(update={"seed": recipe.train.seed})
            return Recipe(**{**dict(known), "data": recipe.data, "task": task, "train": changed})
    backbone, learning_rate, epochs = USUAL_MLP[task.noun]
    return Recipe(
        name=f"mlp-{recipe.name}",
        description=f"perceptron by hand on the rows of {recipe.name}",
        data=recipe.data,
        backbone=backbone,
        task=task,
        strategy=Full(learning_rate=learning_rate),
        train=Train(epochs=epochs, batch_size=64, weight_decay=0.05, seed=recipe.train.seed),
    )
