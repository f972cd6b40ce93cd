"""Language models: the loss of what they learn to predict, sums over tokens, and what they
write."""

from __future__ import annotations

from typing import Any

import torch
from accelerate.utils import gather_object
from torch.nn import functional as F

from ftkit.machine.runtime import Machine
from ftkit.recipe import LanguageModelling
from ftkit.tasks.chat import Messages, prompt_of
from ftkit.tasks.evaluation import spread_rows, verified_rows
from ftkit.tasks.inputs import NO_LABEL
from ftkit.tasks.losses import token_loss
from ftkit.tasks.token_rows import Tokens

MOST_LOGITS = 2**26
"""Numbers that a forward pass in evaluation may give at once, 0.3 GB in float32: a vocabulary is
large, and a batch of long rows would not fit into memory."""


def next_token_loss(
    outputs: Any,
    labels: torch.Tensor,
    num_items_in_batch: torch.Tensor | int | None = None,
    label_smoothing: float = 0.0,
) -> torch.Tensor:
    """Return the cross-entropy of a micro-batch as its share of the optimiser step's mean.

    Args:
        outputs: with `logits` (B, T, V), each of the token that follows. labels: (B, T), -100 for
            tokens that are not to be predicted, the first of a text among them. num_items_in_batch:
            tokens to be predicted in the whole step, over all devices and micro-batches.
    """
    ahead = {"logits": outputs["logits"][:, :-1]}
    return token_loss(ahead, labels[:, 1:], num_items_in_batch, label_smoothing=label_smoothing)


def sums_of(model: Any, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
    """Return (B, 3): of each row nats, tokens to be predicted, and those told right."""
    width = model.config.get_text_config().vocab_size * inputs["labels"].shape[1]
    parts = zip(*(v.split(max(1, MOST_LOGITS // width)) for v in inputs.values()), strict=True)
    return torch.cat([_sums(model, dict(zip(inputs, part, strict=True))) for part in parts])


def _sums(model: Any, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
    given = {name: values for name, values in inputs.items() if name != "labels"}
    told, logits = inputs["labels"][:, 1:], model(**given)["logits"][:, :-1].float()
    counts = told != NO_LABEL
    nats = F.cross_entropy(logits.mT, told, ignore_index=NO_LABEL, reduction="none")
    right = (logits.argmax(-1) == told) & counts
    return torch.stack([nats.sum(1), counts.sum(1).float(), right.sum(1).float()], 1)


def write_answers(
    task: LanguageModelling, model: Any, rows: Tokens, machine: Machine
) -> dict[int, str]:
    """Return what the model writes after the prompts of some rows, the likeliest token each time.

    Of at most `task.answers` rows, among those that are verified, one by one, as `pipeline` does.
    """
    talks = rows.rows["messages"]
    chosen = verified_rows(len(talks))
    chosen = chosen[spread_rows(len(chosen), task.answers)]
    found = {}
    for row in chosen[machine.rank :: machine.world_size]:
        answer = write_answer(task, model, rows.tokenizer, prompt_of(talks[int(row)]))
        if answer is not None:
            found[int(row)] = answer
    return {row: text for part in gather_object([found]) for row, text in part.items()}


def write_answer(
    task: LanguageModelling, model: Any, tokenizer: Any, prompt: Messages
) -> str | None:
    """Return the answer to a prompt, or None where prompt and answer have no room in the model."""
    found = tokenizer.apply_chat_template(
        prompt, add_generation_prompt=True, return_dict=True, return_tensors="pt"
    )
    return _write_after(task, model, tokenizer, found["input_ids"])


def go_on(task: LanguageModelling, model: Any, tokenizer: Any, text: str) -> str | None:
    """Return what the model writes to a text: the answer, or what follows if it knows no chat.

    None where both have no room in the model.
    """
    if tokenizer.chat_template is not None:
        return write_answer(task, model, tokenizer, [{"role": "user", "content": text}])
    return _write_after(task, model, tokenizer, tokenizer(text, return_tensors="pt")["input_ids"])


def _write_after(
    task: LanguageModelling, model: Any, tokenizer: Any, ids: torch.Tensor
) -> str | None:
    """Return what follows tokens (1, T), the likeliest each time."""
    ids = ids.to(model.device)
    if ids.shape[1] + task.max_new_tokens > (task.max_length or 0):
        return None
    with torch.inference_mode():
        written = model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            do_sample=False,
            max_new_tokens=task.max_new_tokens,
        )
    return tokenizer.decode(written[0, ids.shape[1] :], skip_special_tokens=True)
