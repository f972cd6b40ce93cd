"""A text in, its translation out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from datasets import Dataset, Features
from torch import nn
from transformers import (
    MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING,
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
)

from ftkit.data.columns import is_text, pick, text_fields
from ftkit.data.splits import Splits, objects
from ftkit.errors import DataError, ModelError, RecipeError, nearest
from ftkit.hub.errors import loading_errors
from ftkit.machine.runtime import Machine
from ftkit.recipe import Recipe, Train
from ftkit.recipe import Translation as Settings
from ftkit.runs.plots import plot_histogram
from ftkit.runs.result import Measured
from ftkit.tasks.base import Task
from ftkit.tasks.evaluation import for_each_row
from ftkit.tasks.inputs import Inputs
from ftkit.tasks.losses import token_loss
from ftkit.tasks.metrics import Groups
from ftkit.tasks.metrics.translation import (
    Translated,
    chrf_counts,
    chrf_of,
    measure_translations,
    score_translations,
)
from ftkit.tasks.model_inputs import Auto
from ftkit.tasks.pair_rows import PairRows
from ftkit.tasks.seq2seq import shift_of, write_translator
from ftkit.tasks.table_reading import Labels
from ftkit.tasks.text_rows import limit_tokens, log_cuts
from ftkit.tasks.translating import loss_and_tokens, translate
from ftkit.tasks.wording import HERE, Wording

if TYPE_CHECKING:
    from typing_extensions import Self

AUTO = Auto(
    AutoModelForSeq2SeqLM, AutoTokenizer, MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING, new_head=False
)
NESTED = "translation"
"""The column {code: text} of translation data sets on the Hub."""
OTHER = {"source": "target", "target": "source"}


class Translation(Task):
    """A text in another language for each text."""

    auto = AUTO

    def resolve_columns(self, features: Features) -> Self:
        """Return the task with the columns of texts and translations.

        A language's code stands for that field of the column `translation`. Guessed are columns
        called source and target, and of two languages the one that is left. Which of two languages
        is the source, nobody can know.
        """
        found = {role: _column_of(role, self.settings, features) for role in OTHER}
        if found["source"] == found["target"]:
            raise DataError(
                f"source and target are both '{found['source']}'; give the column of each with "
                f"--set task.source=COLUMN --set task.target=COLUMN"
            )
        return self.changed(**found)

    def input_columns(self) -> tuple[str, ...]:
        """Return the column of texts."""
        return (self.settings.source,)

    def label_columns(self) -> tuple[str, ...]:
        """Return the column of translations."""
        return (self.settings.target,)

    def inputs(self, rows: Dataset, folder: Path | None) -> Dataset:
        """Return the rows with their texts in the column `source`."""
        source = self.settings.source
        return _texts(rows, source).rename_columns({source: "source"})

    def read_labels(self, splits: Mapping[str, Dataset], strict: bool = True) -> Labels:
        """Return no names, and for each split its translations; a hidden one is None."""
        found, column = {}, self.settings.target
        for split, rows in splits.items():
            texts = _texts(rows, column)[column][:]
            hidden = split != "train" and not any(texts)
            found[split] = objects([None if hidden else text or "" for text in texts])
        return (), found

    def known_labels(self, names: tuple[str, ...]) -> dict[str, Dataset]:
        """Return nothing: translations need not agree on any class."""
        return {}

    def blank_labels(self, table: Dataset) -> np.ndarray:
        """Return (N,) dashes."""
        return objects(["-"] * len(table))

    def unlabelled(self, column: str) -> Self:
        """Return the task as it reads a table without translations."""
        return self.changed(target=column)

    def rows_of_texts(self, texts: list[str]) -> Dataset:
        """Return a table with these texts."""
        return Dataset.from_dict({"source": texts})

    def prepare(self, splits: Splits, processor: Any, seed: int) -> Inputs:
        """Return tokens of the texts and of their translations."""
        limit = limit_tokens(processor, self.settings.max_length)
        found = Inputs.of(splits, lambda rows: PairRows(rows, processor, self.settings.prefix))
        said = "%.1f %% of the pairs have a text of more than %d tokens, which is cut off"
        log_cuts(found, limit, said)
        return found

    def inputs_for(self, inputs: Inputs, model: Any) -> Inputs:
        """Return the inputs with what this model's decoder reads."""
        shift = shift_of(model)
        parts = ("train", "train_plain", "validation", "test")
        return replace(inputs, **{name: getattr(inputs, name).shifted(shift) for name in parts})

    def write_into(self, model: Any, processor: Any, backbone: str) -> None:
        """Write languages, length and search into model and tokenizer."""
        write_translator(self.settings, backbone, model, processor)

    def check_forward(self, model: Any, processor: Any, backbone: Any) -> None:
        """Run one pair of texts through tokenizer and model."""
        with loading_errors("backbone", backbone.id, ModelError), torch.inference_mode():
            given = processor(["a text"], text_target=["another"], return_tensors="pt")
            fed = shift_of(model)(given.pop("labels"))
            model.eval()(**given, decoder_input_ids=fed)

    def loss(self, settings: Train, labels: np.ndarray, classes: int) -> Callable[..., Any]:
        """Return the mean cross-entropy of the translations' tokens."""
        if settings.class_weights != "none":
            raise RecipeError("train.class_weights: a translation has no classes; leave them out")
        return partial(token_loss, label_smoothing=settings.label_smoothing)

    def predict(
        self, model: nn.Module, rows: Any, settings: Train, machine: Machine, final: bool = True
    ) -> Translated:
        """Return the loss of each pair, and where `final` its translation by beam search."""
        model.eval()
        found = for_each_row(
            partial(loss_and_tokens, model), rows, settings, machine, with_labels=True
        )
        texts = translate(model, rows, settings, machine) if final else None
        return Translated(found[:, 0].astype(np.float64), found[:, 1].astype(int), texts)

    def score(self, labels: np.ndarray, outputs: Translated) -> dict[str, float]:
        """Return the loss and the figures of the translations (N,) of the data."""
        return score_translations(self.settings, labels, outputs)

    def measure(
        self, labels: np.ndarray, outputs: Translated, seed: int = 0, groups: Groups = None
    ) -> dict[str, Measured]:
        """Return the figures with their intervals, by the bootstrap."""
        return measure_translations(self.settings, labels, outputs, seed, groups)

    def columns(self, splits: Splits, outputs: Translated) -> dict[str, Any]:
        """Return text, translation, what the model says, and nats a token of the translation."""
        return {
            "source": splits.test["source"][:],
            "label": splits.test["label"][:],
            "prediction": list(outputs.texts or ()),
            "loss": outputs.losses / outputs.tokens,
        }

    def draw(self, splits: Splits, outputs: Translated, folder: Path, title: str) -> None:
        """Draw how good single translations are: a corpus' figure hides the bad ones."""
        found = chrf_of(chrf_counts(list(outputs.texts or ()), splits.test["label"][:]))
        plot_histogram(found, (0, 100), "chrF of a sentence", folder / "predictions.png", title)

    def user_inputs(self, rows: Dataset) -> dict[str, Any]:
        """Return texts and translations."""
        return {"source": rows["source"][:], "target": rows["label"][:]}

    def expected_on_reload(self, outputs: Translated, rows: np.ndarray) -> dict[str, np.ndarray]:
        """Return the nats of the data's translations, and the model's own."""
        texts = outputs.texts or ()
        translations = np.array([texts[row] for row in rows])
        return {"losses": outputs.losses[rows], "translations": translations}

    def wording(self, recipe: Recipe, label_names: tuple[str, ...]) -> Wording:
        """Return what the card says."""
        settings = self.settings
        source = settings.source_language or settings.source or "source"
        target = settings.target_language or settings.target or "target"
        return Wording(
            trained=recipe.strategy.what_was_trained(new_head=False),
            answers=f"It translates texts, `{source}` into `{target}`, by beam search "
            f"({settings.beams} beam{'s' * (settings.beams > 1)}).",
            any_input="a translation, which may read well and be wrong",
            picture="Predictions",
            same="translations",
            snippet=_snippet(settings, recipe),
        )


def _column_of(role: str, task: Settings, features: Features) -> str:
    """Return the column that plays the role; `translation.de` for the language de."""
    languages = {code: f"{NESTED}.{code}" for code in text_fields(features.get(NESTED))}
    asked, other = getattr(task, role), getattr(task, OTHER[role])
    if asked in languages:
        return languages[asked]
    if asked in languages.values():
        return cast(str, asked)
    if asked is None and other in languages and len(languages) == 2:
        return next(column for code, column in languages.items() if code != other)
    if languages and asked not in features:
        raise DataError(
            (f"the data has no language '{asked}'" if asked else f"which language is the {role}?")
            + f"{nearest(asked or '', languages)} Column '{NESTED}' has {', '.join(languages)}. "
            f"Use --set task.source=CODE --set task.target=CODE"
        )
    column = pick(role, asked, [role] if role in features else [], features)
    if not is_text(features[column]):
        raise DataError(f"column '{column}' holds {features[column]}, not texts")
    return column


def _texts(rows: Dataset, column: str) -> Dataset:
    """Return the rows with that column alone, which may be a field of another."""
    if column not in rows.column_names:
        rows = rows.select_columns([column.partition(".")[0]]).flatten()
    return rows.select_columns([column])


def _snippet(task: Settings, recipe: Recipe) -> str:
    use = f"""texts = ["{task.prefix}a text"]
inputs = tokenizer(texts, truncation=True, padding=True, return_tensors="pt")
"""
    if not recipe.strategy.adapter_alone:
        return f"""from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained("{HERE}")
model = AutoModelForSeq2SeqLM.from_pretrained("{HERE}")
{use}found = model.generate(**inputs)
print(tokenizer.batch_decode(found, skip_special_tokens=True))"""
    return f"""from peft import PeftModel
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer, GenerationConfig

tokenizer = AutoTokenizer.from_pretrained("{HERE}")
base = AutoModelForSeq2SeqLM.from_pretrained("{recipe.backbone.id}")
model = PeftModel.from_pretrained(base, "{HERE}")
search = GenerationConfig.from_pretrained("{HERE}")
{use}found = model.generate(**inputs, generation_config=search)
print(tokenizer.batch_decode(found, skip_special_tokens=True))"""
