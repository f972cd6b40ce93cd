"""What tasks share that read whole texts, or pairs of texts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from datasets import Dataset, Features, Value
from transformers import (
    MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING,
    AutoModelForSequenceClassification,
    AutoTokenizer,
)

from ftkit.data.columns import is_number, is_text, pick_texts
from ftkit.data.splits import Splits
from ftkit.errors import DataError, ModelError
from ftkit.hub.errors import loading_errors
from ftkit.tasks.base import Task
from ftkit.tasks.inputs import Inputs
from ftkit.tasks.model_inputs import Auto
from ftkit.tasks.text_rows import TextRows, limit_tokens, log_cuts

if TYPE_CHECKING:
    from typing_extensions import Self

AUTO = Auto(
    AutoModelForSequenceClassification, AutoTokenizer, MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING
)
PAIR = {"text": "a text", "text_pair": "another"}
"""What a pipeline takes for a pair of texts."""


class Texts(Task):
    """One text, or a pair of texts, in."""

    auto = AUTO

    def resolve_columns(self, features: Features) -> Self:
        """Return the task with the column of texts, that of a pair, and those of labels."""
        task = self.changed(**self.label_fields(features))
        labels = task.label_columns()
        return task.changed(**pick_texts(self.settings.text, self.settings.pair, labels, features))

    def input_columns(self) -> tuple[str, ...]:
        """Return the column of texts, and that of the second ones where there are pairs."""
        settings = self.settings
        return (settings.text,) if settings.pair is None else (settings.text, settings.pair)

    def inputs(self, rows: Dataset, folder: Path | None) -> Dataset:
        """Return the rows with their texts in the columns `text` and `pair`."""
        names = ("text", "pair")
        called = dict(zip(self.input_columns(), names, strict=False))
        rows = rows.select_columns(list(called))
        for column in called:
            if is_number(rows.features[column]):
                rows = rows.cast_column(column, Value("string"))
            if not is_text(rows.features[column]):
                raise DataError(f"column '{column}' holds {rows.features[column]}, not texts")
        return rows.rename_columns(called)

    def rows_of_texts(self, texts: list[str]) -> Dataset:
        """Return a table with these texts where the task looks for them."""
        if self.settings.pair is not None:
            raise DataError("the model reads pairs of texts; give a table with a column for each")
        return Dataset.from_dict({self.settings.text or "text": texts})

    def prepare(self, splits: Splits, processor: Any, seed: int) -> Inputs:
        """Return tokens of the texts."""
        limit, classes = limit_tokens(processor, self.settings.max_length), len(splits.label_names)
        found = Inputs.of(
            splits, lambda rows: TextRows(rows, processor, self.label_array(rows, classes))
        )
        said = "%.1f %% of the texts are longer than %d tokens and are cut off there"
        log_cuts(found, limit, said)
        return found

    def check_forward(self, model: Any, processor: Any, backbone: Any) -> None:
        """Run two texts, or pairs, through tokenizer and model."""
        texts = [["a text", "another"]] * (1 if self.settings.pair is None else 2)
        with loading_errors("backbone", backbone.id, ModelError), torch.inference_mode():
            model.eval()(**processor(*texts, return_tensors="pt", padding=True))

    @property
    def example(self) -> str:  # type: ignore[override]
        """A text, or a pair of texts, as Python writes it, for the model card."""
        return json.dumps("a text" if self.settings.pair is None else PAIR)
