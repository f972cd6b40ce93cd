"""What the Hub reads of a model: the head of its card, and results listed under their data set."""

from __future__ import annotations

from collections.abc import Mapping

import yaml
from huggingface_hub import EvalResult, EvalResultEntry, ModelCardData, eval_result_entries_to_yaml

from ftkit.hub.names import PREFIX, is_pinned
from ftkit.machine.numbers import fixed
from ftkit.recipe import Mlp, Recipe
from ftkit.runs.pinning import Licences, revision_of
from ftkit.runs.result import RunResult


def metadata(
    recipe: Recipe, figures: Mapping[str, float], split: str, licences: Licences
) -> ModelCardData:
    """Return the head of the card.

    Args:
        figures: value of each metric on the test rows.
        split: name of the split that they are of, or were cut off.
    """
    adapter = recipe.strategy.adapter_alone
    data = recipe.data.path.removeprefix(PREFIX).removeprefix("./")
    base = recipe.backbone.id if is_pinned(revision_of(recipe)) else None
    library = "peft" if adapter else "transformers"
    return ModelCardData(
        library_name="ftkit" if isinstance(recipe.backbone, Mlp) else library,
        license=licences.backbone,
        pipeline_tag=recipe.task.pipeline or recipe.task.kind,
        tags=["ftkit", recipe.strategy.kind],
        base_model=base,
        base_model_relation=("adapter" if adapter else "finetune") if base else None,
        datasets=[recipe.data.path] if is_pinned(recipe.data.revision) else None,
        model_name=f"{recipe.name}-{recipe.strategy.kind}",
        eval_results=[
            EvalResult(
                task_type=recipe.task.pipeline or recipe.task.kind,
                dataset_type=data,
                dataset_name=data,
                dataset_config=recipe.data.config,
                dataset_split=tested_split(recipe, split),
                dataset_revision=recipe.data.revision,
                metric_type=name,
                metric_value=round(value, 6),
            )
            for name, value in figures.items()
        ],
    )


def tested_split(recipe: Recipe, split: str) -> str:
    """Return the name of the split that was tested on, or how its rows were cut from another."""
    if split != recipe.data.train:
        return split
    return f"test, cut from {split} (data.split_seed {recipe.data.split_seed})"


def eval_results(recipe: Recipe, result: RunResult) -> dict[str, str]:
    """Return {path: YAML} of the files by which the Hub lists results under their data set.

    Empty where the data set is not on the Hub.
    """
    if not is_pinned(recipe.data.revision):
        return {}
    name, figure = next(iter(result.metrics.items()))
    entry = EvalResultEntry(
        dataset_id=recipe.data.path,
        task_id=recipe.data.config or "default",
        value=round(figure.value, 6),
        dataset_revision=recipe.data.revision,
        date=result.finished,
        notes=f"{name} on split {tested_split(recipe, result.split)}, {result.n} rows, 95 % "
        f"interval {fixed(figure.low, 4)} to {fixed(figure.high, 4)}",
    )
    file = f".eval_results/{recipe.data.path.replace('/', '--')}.yaml"
    return {file: yaml.safe_dump(eval_result_entries_to_yaml([entry]), sort_keys=False)}
