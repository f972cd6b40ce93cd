"""The words of a text in, a class for each out: names, parts of speech."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from accelerate.utils import gather_object
from datasets import ClassLabel, Dataset, Features, List, Value
from sklearn.metrics import confusion_matrix
from torch import nn
from transformers import (
    MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING,
    AutoModelForTokenClassification,
    AutoTokenizer,
)

from ftkit.data.columns import pick
from ftkit.data.label_lists import holds_words, list_candidates, name_lists
from ftkit.data.splits import ROLES, Splits, labels_of, objects
from ftkit.data.usual_columns import LABEL_NAMES, usually_named
from ftkit.errors import DataError, ModelError
from ftkit.hub.errors import loading_errors
from ftkit.machine.runtime import Machine
from ftkit.recipe import Recipe, Train
from ftkit.runs.plots import plot_confusion
from ftkit.runs.result import Measured
from ftkit.tasks.base import Task
from ftkit.tasks.evaluation import in_batches, shared_batches
from ftkit.tasks.inputs import Inputs
from ftkit.tasks.losses import class_weights, token_loss
from ftkit.tasks.metrics import Groups
from ftkit.tasks.metrics.classes import softmax
from ftkit.tasks.metrics.words import Tagged, measure_words, score_words
from ftkit.tasks.model_inputs import Auto
from ftkit.tasks.table_reading import Labels
from ftkit.tasks.text_rows import limit_tokens
from ftkit.tasks.word_rows import UNSEEN, WordRows
from ftkit.tasks.wording import Wording, adapter_snippet, listed, pipeline_snippet

if TYPE_CHECKING:
    from typing_extensions import Self

log = logging.getLogger(__name__)
TOKEN_NAMES = ("tokens", "words")
TAG_NAMES = ("ner_tags", "tags", "pos_tags", "chunk_tags", *LABEL_NAMES)
AUTO = Auto(
    AutoModelForTokenClassification,
    AutoTokenizer,
    MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING,
    # only so do tokenizers of bytes, as RoBERTa's, take single words
    processor_options={"add_prefix_space": True},
)


class TokenClassification(Task):
    """One class out of C for each word."""

    auto = AUTO

    def resolve_columns(self, features: Features) -> Self:
        """Return the task with the column of lists of words, and that of their classes."""
        words = usually_named(TOKEN_NAMES, features)
        words = words or [name for name, kind in features.items() if holds_words(kind)]
        tokens = pick("tokens", self.settings.tokens, words, features)
        others = Features({name: kind for name, kind in features.items() if name != tokens})
        label = pick("label", self.settings.label, list_candidates(others, TAG_NAMES), others)
        return self.changed(tokens=tokens, label=label)

    def input_columns(self) -> tuple[str, ...]:
        """Return the column of lists of words."""
        return (str(self.settings.tokens),)

    def inputs(self, rows: Dataset, folder: Path | None) -> Dataset:
        """Return the rows with their words in the column `tokens`."""
        tokens = str(self.settings.tokens)
        if not holds_words(rows.features[tokens]):
            raise DataError(f"column '{tokens}' holds {rows.features[tokens]}, not lists of words")
        return rows.select_columns([tokens]).rename_columns({tokens: "tokens"})

    def read_labels(self, splits: Mapping[str, Dataset], strict: bool = True) -> Labels:
        """Return the names of the tags, and for each row the number of each word's tag."""
        tokens, label = str(self.settings.tokens), str(self.settings.label)
        for split, rows in splits.items():
            sizes = zip(rows[tokens][:], rows[label][:], strict=True)
            for row, (words, tags) in enumerate(sizes):
                if not isinstance(words, (list, type(None))):
                    raise DataError(
                        f"column '{tokens}', split '{split}', row {row}: expected a list of "
                        f"words, got {words!r}"
                    )
                if isinstance(tags, list) and len(words or ()) != len(tags):
                    raise DataError(
                        f"split '{split}', row {row}: {len(words or ())} words in '{tokens}' and "
                        f"{len(tags)} tags in '{label}'; give one tag for each word"
                    )
        return name_lists(splits, label, strict)

    def known_labels(self, names: tuple[str, ...]) -> dict[str, Dataset]:
        """Return a row that has a word of each class."""
        tokens, label = str(self.settings.tokens), str(self.settings.label)
        classes = List(ClassLabel(names=list(names)))
        features = Features({tokens: List(Value("string")), label: classes})
        row = {tokens: [list(names)], label: [[*range(len(names))]]}
        return {"train": Dataset.from_dict(row, features=features)}

    def blank_labels(self, table: Dataset) -> np.ndarray:
        """Return (N,) lists of zeros, one for each word."""
        words = table[str(self.settings.tokens)][:]
        return objects([[0] * len(row or ()) for row in words])

    def rows_of_texts(self, texts: list[str]) -> Dataset:
        """Return a table with the words of these texts, which stand between spaces."""
        words = [text.split() for text in texts]
        return Dataset.from_dict({self.settings.tokens or "tokens": words})

    def prepare(self, splits: Splits, processor: Any, seed: int) -> Inputs:
        """Return tokens, of which the first of each word has its label."""
        limit = limit_tokens(processor, self.settings.max_length)
        processor.padding_side = "right"
        found = Inputs.of(splits, lambda rows: WordRows(rows, processor))
        for role in ROLES:
            places = np.concatenate(getattr(found, role).places)
            if unseen := int((places == UNSEEN).sum()):
                log.info(
                    f"{role}: {unseen} words stand beyond {limit} tokens or have none; training "
                    "leaves them out, and figures count them as predicted to be in no name"
                )
        return found

    def check_forward(self, model: Any, processor: Any, backbone: Any) -> None:
        """Run two lists of words through tokenizer and model."""
        if not processor.is_fast:
            raise ModelError(
                f"backbone '{backbone.id}': its tokenizer ({type(processor).__name__}) does not "
                f"say which word a token is of; give a backbone with a fast one"
            )
        words = [["a", "text"], ["another"]]
        with loading_errors("backbone", backbone.id, ModelError), torch.inference_mode():
            model.eval()(
                **processor(words, is_split_into_words=True, return_tensors="pt", padding=True)
            )

    def loss(self, settings: Train, labels: np.ndarray, classes: int) -> Callable[..., Any]:
        """Return the mean over the words of the whole optimiser step, of all texts together."""
        of_words = np.concatenate([np.array(row, int) for row in labels])
        weights = class_weights(settings, of_words, classes)
        return partial(token_loss, label_smoothing=settings.label_smoothing, weights=weights)

    def predict(
        self, model: nn.Module, rows: Any, settings: Train, machine: Machine, final: bool = True
    ) -> Tagged:
        """Return the logits of each word: those of its first token."""
        model.eval()
        batches = shared_batches(rows, settings, machine)
        found: list[tuple[int, np.ndarray]] = []
        outputs = in_batches(
            lambda given: model(**given)["logits"], rows, batches, settings, machine
        )
        for batch, logits in zip(batches, outputs, strict=True):
            values = logits.float().cpu().numpy()
            for row, tokens in zip(batch, values, strict=True):
                places = rows.places[row]
                words = np.where((places == UNSEEN)[:, None], np.nan, tokens[places])
                found.append((row, words.astype(np.float32)))
        every = sorted(gather_object(found), key=lambda one: one[0])
        names = tuple(model.config.id2label.values())  # type: ignore[union-attr, operator]
        return Tagged(names, [words for _, words in every])

    def score(self, labels: np.ndarray, outputs: Tagged) -> dict[str, float]:
        """Return the loss and the figures of lists (N,) of class numbers."""
        return score_words(labels, outputs)

    def measure(
        self, labels: np.ndarray, outputs: Tagged, seed: int = 0, groups: Groups = None
    ) -> dict[str, Measured]:
        """Return the figures with their intervals."""
        return measure_words(labels, outputs, groups)

    def columns(self, splits: Splits, outputs: Tagged) -> dict[str, Any]:
        """Return lists with an entry for each word, None where the model did not see it.

        `confidence` is the probability of the class in `prediction`.
        """
        names, labels = splits.label_names, labels_of(splits.test)
        return {
            "tokens": splits.test["tokens"][:],
            "label": [[names[number] for number in row] for row in labels],
            "prediction": [
                [names[word.argmax()] if np.isfinite(word).all() else None for word in row]
                for row in outputs.logits
            ],
            "confidence": [
                [float(p.max()) if np.isfinite(p).all() else None for p in softmax(row)]
                for row in outputs.logits
            ],
        }

    def draw(self, splits: Splits, outputs: Tagged, folder: Path, title: str) -> None:
        """Draw the confusion matrix of words: confusion_matrix.png."""
        truth, logits = outputs.seen(labels_of(splits.test))
        found = np.concatenate(logits).argmax(1)
        names = splits.label_names
        counts = confusion_matrix(np.concatenate(truth), found, labels=range(len(names)))
        plot_confusion(counts, names, folder / "confusion_matrix.png", title)

    def expected_on_reload(self, outputs: Tagged, rows: np.ndarray) -> dict[str, np.ndarray]:
        """Return logits, tags and scores of the words that the model sees, row after row."""
        logits = np.concatenate([outputs.logits[row] for row in rows])
        logits = logits[np.isfinite(logits).all(1)]
        tags = np.array(outputs.names)[logits.argmax(1)]
        return {"logits": logits, "tags": tags, "scores": softmax(logits).max(1)}

    def wording(self, recipe: Recipe, label_names: tuple[str, ...]) -> Wording:
        """Return what the card says."""
        use = """for answer in tell("a text"):
    print(answer["word"], answer["entity_group"], answer["score"])"""
        told = pipeline_snippet(self.settings, use, ', aggregation_strategy="first"')
        names = ("AutoTokenizer", "AutoModelForTokenClassification")
        adapter = adapter_snippet(recipe.backbone.id, *names)
        return Wording(
            trained=recipe.strategy.what_was_trained(new_head=True),
            answers=f"It predicts a class for each word of a text, one of {len(label_names)}: "
            f"{listed(label_names)}.",
            any_input="a class for each word, also where none is right",
            picture="Confusion matrix",
            same="logits",
            snippet=adapter if recipe.strategy.adapter_alone else told,
        )
