"""The model card: text from what a run measured, and nothing else."""

from __future__ import annotations

from huggingface_hub import EvalResult, ModelCardData

from ftkit.recipe import Recipe
from ftkit.result import RunResult

STRATEGY_WORDS = {
    "full": "every parameter was trained",
    "head": "only the new classification head was trained",
    "lpft": "the new classification head was trained first, then every parameter (LP-FT)",
    "lora": "low-rank updates (LoRA) and the new classification head were trained",
}


def card(recipe: Recipe, result: RunResult, label_names: tuple[str, ...]) -> str:
    """Return README.md for model/, with results as `model-index` metadata that the Hub renders."""
    hub_ids = [name for name in (recipe.backbone.id,) if _is_hub_id(name)]
    metadata = ModelCardData(
        library_name="transformers",
        pipeline_tag=recipe.task.kind,
        tags=["ftkit", recipe.strategy.kind],
        base_model=hub_ids[0] if hub_ids else None,
        base_model_relation="finetune" if hub_ids else None,
        datasets=[recipe.data.path] if _is_hub_id(recipe.data.path) else None,
        model_name=f"{recipe.name}-{recipe.strategy.kind}",
        eval_results=[
            EvalResult(
                task_type=recipe.task.kind,
                dataset_type=recipe.data.path,
                dataset_name=recipe.data.path,
                dataset_config=recipe.data.config,
                dataset_split=result.split,
                dataset_revision=recipe.data.revision,
                metric_type=name,
                metric_value=round(figure.value, 6),
            )
            for name, figure in result.metrics.items()
        ],
    )
    rows = "\n".join(
        f"| {name.replace('_', ' ')} | {figure.value:.4f} | {figure.low:.4f} to {figure.high:.4f} "
        f"| {figure.method} |"
        for name, figure in result.metrics.items()
    )
    settings = "\n".join(
        f"| {name} | {value} |"
        for name, value in (recipe.strategy.model_dump() | recipe.train.model_dump()).items()
    )
    return f"""---
{metadata.to_yaml()}
---

# {recipe.name}, {recipe.strategy.kind}

`{recipe.backbone.id}` fine-tuned on `{recipe.data.path}` with ftkit: \
{STRATEGY_WORDS[recipe.strategy.kind]} ({result.parameters_trained:,} of \
{result.parameters_total:,}). It tells {len(label_names)} classes of images apart: \
{", ".join(label_names[:20])}{", ..." if len(label_names) > 20 else ""}.

## Use

```python
{_snippet(recipe)}
```

## Results on {result.n:,} test images

| metric | value | 95 % interval | interval by |
|---|---|---|---|
{rows}

The intervals are over test images of this one training (seed {result.seed}); another seed gives \
another model. The saved folder was loaded in a fresh process before this card was final, and gave \
the same logits.

## Limits

The figures hold for images like those of `{recipe.data.path}`, split `{result.split}`. Any image \
gets one of the classes above, also one that shows none of them.

## Training

{result.seconds.train:.0f} s on {result.device}, {result.world_size} process\
{"es" if result.world_size > 1 else ""}, {result.precision}; {
        ", ".join(f"{name} {version}" for name, version in result.versions.items())
    }.

| setting | value |
|---|---|
{settings}
"""


def _snippet(recipe: Recipe) -> str:
    """Return the lines that load and use the folder."""
    if recipe.strategy.kind == "lora" and not recipe.strategy.merge:
        return f"""from peft import PeftModel
from transformers import AutoConfig, AutoImageProcessor, AutoModelForImageClassification

config = AutoConfig.from_pretrained("PATH_OR_REPO")
base = AutoModelForImageClassification.from_pretrained(
    "{recipe.backbone.id}", config=config, ignore_mismatched_sizes=True
)
model = PeftModel.from_pretrained(base, "PATH_OR_REPO")
processor = AutoImageProcessor.from_pretrained("PATH_OR_REPO")"""
    return f"""from transformers import pipeline

classify = pipeline("{recipe.task.kind}", model="PATH_OR_REPO")
print(classify("image.png"))"""


def _is_hub_id(name: str) -> bool:
    return name.count("/") == 1 and not name.startswith((".", "/", "~")) and ":" not in name
