"""Translation through the stages of a run: its loss, its test translations, what becomes of them.

Each function answers for the task `Translation` where another file asks: `losses`, `evaluation`,
`outcomes`.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate.utils import gather_object
from datasets import Dataset
from torch import nn
from torch.nn import functional as F

from ftkit.card_words import HERE, STRATEGY_WORDS, Wording, wording
from ftkit.data import Splits
from ftkit.errors import RecipeError
from ftkit.evaluation import (
    by_length,
    collate_of,
    evaluation_batch,
    for_each_row,
    in_batches,
    predict,
)
from ftkit.losses import loss_of, token_loss
from ftkit.metrics.translation import Translated, chrf_counts, chrf_of
from ftkit.outcomes import columns, draw, expected, raw
from ftkit.plots import plot_histogram
from ftkit.recipe import Recipe, Train, Translation
from ftkit.runtime import Machine
from ftkit.seq2seq import NO_LABEL
from ftkit.tasks.translation import Pairs

USUAL_BEAMS = 4
"""With more of them fewer rows are translated at a time."""


@loss_of.register
def _(task: Translation, settings: Train, labels: np.ndarray, classes: int) -> Any:
    if settings.class_weights != "none":
        raise RecipeError("train.class_weights: a translation has no classes; leave them out")
    return partial(token_loss, label_smoothing=settings.label_smoothing)


@predict.register
def _(
    task: Translation,
    model: nn.Module,
    rows: Pairs,
    settings: Train,
    machine: Machine,
    final: bool = True,
) -> Translated:
    """Return the loss of each pair, and where `final` its translation by beam search."""
    model.eval()
    found = for_each_row(partial(_loss_and_tokens, model), Told(rows), settings, machine)
    texts = translate(model, rows, settings, machine) if final else None
    return Translated(found[:, 0].astype(np.float64), found[:, 1].astype(int), texts)


class Told:
    """Pairs whose labels are a model's input, `told`."""

    def __init__(self, rows: Pairs) -> None:
        self.rows, self.labels, self.lengths = rows, rows.labels, rows.lengths

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, key: int) -> dict[str, Any]:
        return self.rows[key]

    def collate(self, examples: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        """Return the batch of the pairs, its labels under another name."""
        batch = collate_of(self.rows)(examples)
        return {**batch, "told": batch["labels"]}


def _loss_and_tokens(model: Any, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
    """Return (B, 2): nats of all tokens of the translation, and how many they are."""
    labels = inputs["told"]
    given = {name: values for name, values in inputs.items() if name != "told"}
    logits = model(**given).logits
    nats = F.cross_entropy(
        logits.float().transpose(1, 2), labels, ignore_index=NO_LABEL, reduction="none"
    )
    return torch.stack([nats.sum(1), (labels != NO_LABEL).sum(1).float()], 1)


def translate(model: Any, rows: Pairs, settings: Train, machine: Machine) -> tuple[str, ...]:
    """Return the translation of every row, in order, on every rank; the longest rows go first.

    By `generate` with the model's own generation config. Every rank must call this.
    """
    order = by_length(rows, np.arange(len(rows)))
    mine = order[machine.rank :: machine.world_size].tolist()
    search_settings = model.generation_config
    beams, most = search_settings.num_beams or 1, search_settings.max_new_tokens + 1
    # each beam takes the room of a row; what the usual four take is always there
    size = max(1, evaluation_batch(settings, machine) * USUAL_BEAMS // max(USUAL_BEAMS, beams))
    batches = [mine[start : start + size] for start in range(0, len(mine), size)]
    padding = model.config.pad_token_id

    def search(inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        given = {name: values for name, values in inputs.items() if name != "decoder_input_ids"}
        found = model.generate(**given)
        return F.pad(found, (0, most - found.shape[1]), value=padding)  # halves of a batch differ

    found = []
    for batch, tokens in zip(
        batches, in_batches(search, rows, batches, settings, machine), strict=True
    ):
        texts = rows.tokenizer.batch_decode(tokens, skip_special_tokens=True)
        found += list(zip(batch, texts, strict=True))
    return tuple(text for _, text in sorted(gather_object(found)))


@columns.register
def _(task: Translation, splits: Splits, outputs: Translated) -> dict[str, Any]:
    return {
        "source": splits.test["source"][:],
        "label": splits.test["label"][:],
        "prediction": list(outputs.texts or ()),
        "loss": outputs.losses / outputs.tokens,
    }


@draw.register
def _(task: Translation, splits: Splits, outputs: Translated, folder: Path, title: str) -> None:
    """Draw how good single translations are: a corpus' figure hides the bad ones."""
    found = chrf_of(chrf_counts(list(outputs.texts or ()), splits.test["label"][:]))
    plot_histogram(found, (0, 100), "chrF of a sentence", folder / "predictions.png", title)


@raw.register
def _(task: Translation, rows: Dataset) -> dict[str, Any]:
    return {"source": rows["source"][:], "target": rows["label"][:]}


@expected.register
def _(task: Translation, outputs: Translated, rows: np.ndarray) -> dict[str, np.ndarray]:
    texts = outputs.texts or ()
    return {"losses": outputs.losses[rows], "translations": np.array([texts[row] for row in rows])}


@wording.register
def _(task: Translation, recipe: Recipe, label_names: tuple[str, ...]) -> Wording:
    source = task.source_language or task.source or "source"
    target = task.target_language or task.target or "target"
    return Wording(
        trained={"lora": "low-rank updates (LoRA) were trained"}.get(
            recipe.strategy.kind, STRATEGY_WORDS[recipe.strategy.kind]
        ),
        answers=f"It translates texts, `{source}` into `{target}`, by beam search "
        f"({task.beams} beam{'s' * (task.beams > 1)}).",
        any_input="a translation, which may read well and be wrong",
        picture="Predictions",
        same="translations",
        snippet=_snippet(task, recipe),
    )


def _snippet(task: Translation, recipe: Recipe) -> str:
    adapter = recipe.strategy.kind == "lora" and not recipe.strategy.merge
    use = f"""texts = ["{task.prefix}a text"]
inputs = tokenizer(texts, truncation=True, padding=True, return_tensors="pt")
"""
    if not adapter:
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
