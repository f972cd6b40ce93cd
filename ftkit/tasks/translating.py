"""Translations of rows by a model, and the loss of those that the data has."""

from __future__ import annotations

from typing import Any

import torch
from accelerate.utils import gather_object
from torch.nn import functional as F

from ftkit.machine.runtime import Machine
from ftkit.recipe import Train
from ftkit.tasks.evaluation import evaluation_batch, in_batches, shared_batches
from ftkit.tasks.inputs import NO_LABEL
from ftkit.tasks.pair_rows import PairRows

USUAL_BEAMS = 4
"""With more of them fewer rows are translated at a time."""


def loss_and_tokens(model: Any, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
    """Return (B, 2): nats of all tokens of the translation, and how many they are."""
    labels = inputs["labels"]
    given = {name: values for name, values in inputs.items() if name != "labels"}
    logits = model(**given).logits
    nats = F.cross_entropy(
        logits.float().transpose(1, 2), labels, ignore_index=NO_LABEL, reduction="none"
    )
    return torch.stack([nats.sum(1), (labels != NO_LABEL).sum(1).float()], 1)


def translate(model: Any, rows: PairRows, settings: Train, machine: Machine) -> tuple[str, ...]:
    """Return the translation of every row, in order, on every rank; the longest rows go first.

    By `generate` with the model's own generation config. Every rank must call this.
    """
    search_settings = model.generation_config
    beams, most = search_settings.num_beams or 1, search_settings.max_new_tokens + 1
    # each beam takes the room of a row; what the usual four take is always there
    size = max(1, evaluation_batch(settings, machine) * USUAL_BEAMS // max(USUAL_BEAMS, beams))
    batches = shared_batches(rows, settings, machine, size)
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
