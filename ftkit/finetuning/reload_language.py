"""How `ftkit.finetuning.reload` runs a saved language model: nats a token, and what it writes.

Like that file it computes what anyone who downloads the folder gets.
"""

import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from ftkit.finetuning.in_time import in_time


def answer_language(
    saved: Any, columns: dict[str, Any], asked: dict[str, Any]
) -> tuple[dict[str, Any], Callable[[Any], Any], Sequence[Any]]:
    """Return nats a token of every text, and what the pipeline writes after some prompts.

    Args:
        saved: an `ftkit.finetuning.reload.Saved`.
    """
    task = asked["task"]
    tokenizer = saved.read(AutoTokenizer)
    model = saved.load(AutoModelForCausalLM)
    if "text" in columns:

        def read(text: str) -> float:
            return text_loss(model, tokenizer, task, text)

        return losses_of(read, columns["text"], asked["seconds"]), read, columns["text"]
    talks = columns["messages"]

    def read_talk(talk: list[dict[str, str]]) -> float:
        return talk_loss(model, tokenizer, task["max_length"], talk)

    answers = losses_of(read_talk, talks, asked["seconds"])
    write = saved.pipeline("text-generation", model, tokenizer=tokenizer)
    most = task["max_new_tokens"]
    chosen = np.linspace(0, len(talks) - 1, min(task["answers"], len(talks))).round().astype(int)
    prompts = [until_last_answer(talks[row]) for row in chosen]
    prompts = [
        prompt
        for prompt in prompts
        if len(chat_tokens(tokenizer, prompt, True)) + most <= task["max_length"]
    ]

    def go_on(prompt: list[dict[str, str]]) -> str:
        options = {"do_sample": False, "max_new_tokens": most, "return_full_text": False}
        return write(prompt, **options)[0]["generated_text"]

    if prompts:
        answers["answers"] = np.array([go_on(prompt) for prompt in prompts], dtype=str)
    return answers, go_on, prompts


def losses_of(read: Callable[[Any], float], inputs: list[Any], seconds: float) -> dict[str, Any]:
    """Return the losses of as many inputs as there is time for."""
    at = [row for some in in_time(len(inputs), seconds) for row in some]
    losses = np.array([read(inputs[row]) for row in at])
    return {"rows": len(at), "losses": losses, "losses at": np.array(at)}


def text_loss(model: Any, tokenizer: Any, task: dict[str, Any], text: str) -> float:
    """Return the mean of -log p over all tokens of a text but the first, and end-of-text."""
    ids, end = tokenizer(text, verbose=False)["input_ids"], tokenizer.eos_token_id
    if end is not None and ids[-1:] != [end]:
        ids = [*ids, end]
    most, nats = task["max_length"], []
    for start in range(0, len(ids) - 1, most - 1):  # parts share one token, told once
        nats += nats_of(model, ids[start : start + most])
    return float(np.mean(nats)) if nats else float("nan")


def talk_loss(model: Any, tokenizer: Any, most: int, talk: list[dict[str, str]]) -> float:
    """Return the mean of -log p over the assistant's tokens within the first `most` tokens."""
    ids = chat_tokens(tokenizer, talk)
    template = tokenizer.get_chat_template()
    if re.search(r"\{%-?\s*generation\s*-?%\}", template):
        found = tokenizer.apply_chat_template(
            talk, return_dict=True, return_assistant_tokens_mask=True
        )
        mine = {place for place, mark in enumerate(found["assistant_masks"]) if mark}
    else:
        mine = set()
        for number, message in enumerate(talk):
            if message["role"] == "assistant":
                start = shared(ids, chat_tokens(tokenizer, talk[:number], True))
                end = shared(ids, chat_tokens(tokenizer, talk[: number + 1]))
                while end > start and not tokenizer.decode(ids[end - 1]).strip():
                    end -= 1
                mine |= set(range(start, end))
    nats = nats_of(model, ids[:most])
    told = [nats[place - 1] for place in sorted(mine) if 0 < place < min(most, len(ids))]
    return float(np.mean(told)) if told else float("nan")


def shared(ids: list[int], beginning: list[int]) -> int:
    """Return how many tokens a beginning takes, one that joins with what follows counted to it."""
    pairs = enumerate(zip(ids, beginning, strict=False))
    same = next((place for place, (one, other) in pairs if one != other), None)
    return len(beginning) if same is None else same + 1


def chat_tokens(tokenizer: Any, talk: list[dict[str, str]], prompt: bool = False) -> list[int]:
    """Return the tokens of a conversation in the tokenizer's chat template."""
    found = tokenizer.apply_chat_template(talk, add_generation_prompt=prompt, return_dict=True)
    return found["input_ids"]


def until_last_answer(talk: list[dict[str, str]]) -> list[dict[str, str]]:
    """Return what stands before the assistant's last message."""
    return talk[: max(n for n, message in enumerate(talk) if message["role"] == "assistant")]


def nats_of(model: Any, ids: list[int]) -> list[float]:
    """Return -log p of each token but the first, given those before it."""
    with torch.inference_mode():
        logits = model(torch.tensor([ids])).logits[0, :-1].float()
    return (-logits.log_softmax(-1).gather(1, torch.tensor(ids[1:])[:, None])[:, 0]).tolist()
