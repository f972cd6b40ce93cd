"""The model card: text from what a run measured, and nothing else."""

from __future__ import annotations

import re
from collections.abc import Mapping

from ftkit.errors.names import as_code, in_markdown, visible
from ftkit.hub.names import PREFIX, is_pinned
from ftkit.machine.numbers import fixed, plain, size
from ftkit.publishing.card_metadata import metadata, tested_split
from ftkit.recipe import Mlp, Recipe
from ftkit.recipe.settings import by_path
from ftkit.runs.pinning import Licences, revision_of, shareable
from ftkit.runs.result import RunResult
from ftkit.tasks import task_of
from ftkit.tasks.wording import HERE

PLOTS = "../plots/"
"""The folder in which a card in model/ finds the pictures. In a repository they lie beside it."""


def model_card(
    recipe: Recipe,
    result: RunResult,
    label_names: tuple[str, ...],
    rows: Mapping[str, int],
    licences: Licences,
    curve: bool,
) -> str:
    """Return README.md for model/, with results as `model-index` metadata that the Hub renders.

    Args:
        rows: how many each split has.
        licences: of the backbone and the data, where they name one.
        curve: whether the run has a picture of its learning curve.
    """
    recipe = shareable(recipe)
    figures = {
        name: figure.value
        for name, figure in result.metrics.items()
        if not name.endswith("_before")  # of the backbone, not of this model
    }
    noun, words = recipe.task.noun, task_of(recipe.task).wording(recipe, label_names)
    picture = words.picture
    return f"""---
{metadata(recipe, figures, result.split, licences).to_yaml()}
---

# {recipe.name}, {recipe.strategy.kind}

{_trained_on(recipe)}: {words.trained} ({result.parameters_trained:,} of \
{result.parameters_total:,} parameters). {words.answers}

## Use

```python
{words.snippet}
```
{_own_code(recipe)}
## Intended use and limits

For {noun} like those of {_data(recipe)}. Any input gets {words.any_input}. The figures below \
hold for the split {as_code(tested_split(recipe, result.split))}; on {noun} of another origin they \
have to be measured again. Nothing was tested for fairness between groups of people, or for use \
where a wrong answer does harm.
{_licence_text(licences)}
## Results on {result.n:,} test {noun}

| metric | value | 95 % interval | interval by |
|---|---|---|---|
{_results(result)}
{_signatures(result)}{_unseen_words(result)}
The intervals are over test {noun} of this one training (seed {result.seed}); another seed gives \
another model. The saved folder was loaded in a fresh process before this card was final, and gave \
the same {words.same}.

![{picture}]({PLOTS}{picture.lower().replace(" ", "_")}.png)

## Training

| data | |
|---|---|
| from | {_data(recipe)} |
| revision | {in_markdown(recipe.data.revision or "none")} |
| rows | {", ".join(f"{name} {count:,}" for name, count in rows.items())} |
| backbone | {_backbone(recipe)} |
| revision of the backbone | {in_markdown(revision_of(recipe) or "none")} |
{_pooling(recipe)}
{f"![Learning curve]({PLOTS}learning_curve.png)" if curve else ""}

{_cost(result)}

| setting | value |
|---|---|
{_settings(recipe)}

The whole recipe is in recipe.json; `ftkit train {HERE}` runs it again where the model is a Hub \
repository.

## Citation

```bibtex
@misc{{{recipe.name}-{recipe.strategy.kind},
  title = {{{recipe.name}, {recipe.strategy.kind}}},
  note = {{{_cited(recipe.backbone.id)} trained on {_cited(recipe.data.path)} with ftkit}},
  year = {{{result.finished[:4]}}}
}}
```
"""


def comparison_section(result: RunResult, baseline: RunResult) -> str:
    """Return the section of a card that compares a model with a baseline on the same rows."""
    name = next(iter(result.metrics))
    rows = "\n".join(
        f"| {run.recipe}, {run.strategy['kind']} | {fixed(run.metrics[name].value, 4)} | "
        f"{fixed(run.metrics[name].low, 4)} to {fixed(run.metrics[name].high, 4)} | "
        f"{run.parameters_trained:,} | {run.seconds.features + run.seconds.train:.1f} |"
        for run in (result, baseline)
    )
    return f"""## Beside a baseline

On the same {result.n:,} test rows.

| model | {name.replace("_", " ")} | 95 % interval | parameters trained | seconds of training |
|---|---|---|---|---|
{rows}

"""


def _own_code(recipe: Recipe) -> str:
    """Return advice on a model that comes with Python code, or an empty string."""
    if not getattr(recipe.backbone, "trust_remote_code", False):
        return ""
    return (
        "\nThe model comes with Python code of its own, which runs only with "
        "`trust_remote_code=True` in each call above; look at it before you do that.\n"
    )


def _pooling(recipe: Recipe) -> str:
    """Return the row that says what was added to the backbone, none where nothing was."""
    if getattr(recipe.backbone, "pooling", None) != "mean":
        return ""
    return "| pooling | mean of all tokens, by one layer of attention that was added |\n"


def _backbone(recipe: Recipe) -> str:
    return _linked(recipe.backbone.id, revision_of(recipe), "")


def _data(recipe: Recipe) -> str:
    return _linked(recipe.data.path, recipe.data.revision, "datasets/")


def _linked(name: str, revision: str | None, folder: str) -> str:
    """Return the name, as a link when it is on the Hub."""
    if not is_pinned(revision):
        return as_code(name.removeprefix(PREFIX))
    return f"[`{name}`](https://huggingface.co/{folder}{name})"


def _licence_text(licences: Licences) -> str:
    """Return what the licences ask for, or an empty string."""
    named = {"backbone": licences.backbone, "data": licences.data}
    known = ", ".join(f"{what} {name}" for what, name in named.items() if name)
    if not known:
        return ""
    warning = ""
    if licences.non_commercial:
        warning = (
            f"\n> [!WARNING]\n> The {' and the '.join(licences.non_commercial)} may not be used "
            f"commercially; whether this model may is for a lawyer to say.\n"
        )
    return f"\nLicences: {known}.\n{warning}"


def _results(result: RunResult) -> str:
    return "\n".join(
        f"| {name.replace('_', ' ')} | {fixed(figure.value, 4)} "
        f"| {fixed(figure.low, 4)} to {fixed(figure.high, 4)} | {figure.method} |"
        for name, figure in result.metrics.items()
    )


def _signatures(result: RunResult) -> str:
    """Return how those figures were computed that can be computed in several ways."""
    signed = [(name, figure.signature) for name, figure in result.metrics.items()]
    return "".join(f"\n{name}: `{signature}`\n" for name, signature in signed if signature)


def _unseen_words(result: RunResult) -> str:
    """Return how many words of the test texts the model did not see, or an empty string."""
    if not result.unseen_words:
        return ""
    return (
        f"\n{result.unseen_words:,} words of the test texts stand beyond the tokens that the model "
        "reads; they count as told to be in no name.\n"
    )


def _cost(result: RunResult) -> str:
    """Return time, machine and versions."""
    seconds = result.seconds
    hours = (seconds.features + seconds.train) * result.world_size / 3600
    several = "es" if result.world_size > 1 else ""
    versions = ", ".join(f"{name} {version}" for name, version in result.versions.items())
    return (
        f"{seconds.features + seconds.train:.0f} s of training, {seconds.total:.0f} s in all, on "
        f"{result.device}, {result.world_size} process{several}, {result.precision}: "
        f"{plain(hours)} device-hours, from which energy can be estimated. Peak memory "
        f"{size(max(result.peak_memory_bytes.values()))}; weights "
        f"{size(result.model_bytes)}.\n\n{versions}."
    )


def _settings(recipe: Recipe) -> str:
    settings = by_path(recipe.model_dump(include={"strategy", "train"}))
    return "\n".join(f"| {name} | {in_markdown(value)} |" for name, value in settings.items())


def _cited(name: str) -> str:
    """Return a name as BibTeX takes it."""
    return re.sub(r"[{}\\`]", "-", visible(name))


def _trained_on(recipe: Recipe) -> str:
    """Return what was trained, and on what."""
    if isinstance(recipe.backbone, Mlp):
        return (
            f"A multilayer perceptron (hidden layers {recipe.backbone.hidden}, "
            f"{recipe.backbone.activation}) trained on {_data(recipe)} with ftkit, its "
            f"backpropagation written out by hand"
        )
    return f"{_backbone(recipe)} fine-tuned on {_data(recipe)} with ftkit"
