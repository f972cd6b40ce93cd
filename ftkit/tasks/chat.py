"""Conversations to tokens: which of them are the assistant's, and so are to be learned.

A chat template that marks them by {% generation %} is believed. Of any other, growing beginnings of
the conversation are written out: what an answer adds to the one before it is the assistant's.
"""

from __future__ import annotations

import re
from typing import Any

from jinja2 import TemplateError

from ftkit.errors import DataError, ModelError

Messages = list[dict[str, str]]
PLAIN = (
    "{% for message in messages %}{{ '### ' + message['role'] + '\\n' + message['content'] }}"
    "{% if message['role'] == 'assistant' %}{{ eos_token }}{% endif %}{{ '\\n\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '### assistant\\n' }}{% endif %}"
)
"""For a tokenizer without a chat template, as those of models that have only read texts. It needs
no new token: every answer ends in the end-of-text token, at which such models stop already."""
MARKED = re.compile(r"\{%-?\s*generation\s*-?%\}")
NEAR = 3
"""At most so many tokens before an answer may join with its beginning, as two line breaks become
one token."""


def give_template(tokenizer: Any) -> bool:
    """Give the tokenizer the plain template if it has none; return whether it was given.

    Raises:
        ModelError: it has no end-of-text token, without which an answer would never end.
    """
    if tokenizer.chat_template is not None:
        return False
    if tokenizer.eos_token is None:
        raise ModelError(
            "the backbone's tokenizer has no chat template and no end-of-text token, so nothing "
            "says where an answer ends; give a backbone with one of them"
        )
    first = tokenizer("a")["input_ids"][0]
    begins = tokenizer.bos_token_id is not None and first == tokenizer.bos_token_id
    tokenizer.chat_template = ("{{ bos_token }}" if begins else "") + PLAIN
    return True


def encode(tokenizer: Any, messages: Messages) -> tuple[list[int], list[bool]]:
    """Return the tokens of a conversation, and which of them are the assistant's.

    Those are its answers, each with the token that ends it, without what the template puts between
    an answer and what follows.

    Raises:
        DataError: the template refuses the conversation, or writes it in a way that cannot be told.
    """
    try:
        if MARKED.search(tokenizer.get_chat_template()):
            found = tokenizer.apply_chat_template(
                messages, return_dict=True, return_assistant_tokens_mask=True
            )
            return found["input_ids"], [bool(mark) for mark in found["assistant_masks"]]
        return _encode_by_beginnings(tokenizer, messages)
    except TemplateError as error:
        raise DataError(f"the backbone's chat template refuses it: {error}") from error


def _encode_by_beginnings(tokenizer: Any, messages: Messages) -> tuple[list[int], list[bool]]:
    whole = _write(tokenizer, messages)
    ids = _tokens(tokenizer, whole)
    counted = [False] * len(ids)
    for place, message in enumerate(messages):
        if message["role"] != "assistant":
            continue
        before = _write(tokenizer, messages[:place], add_generation_prompt=True)
        after = _write(tokenizer, messages[: place + 1])
        if not (whole.startswith(after) and after.startswith(before)):
            raise DataError(
                f"the backbone's chat template writes message {place + 1} in another way when more "
                f"messages follow, so the assistant's tokens cannot be found; give a template with "
                f"{{% generation %}}, or conversations of one answer"
            )
        start, end = (_length(tokenizer, part, ids) for part in (before, after))
        while end > start and not tokenizer.decode(ids[end - 1]).strip():
            end -= 1  # line breaks that the template puts behind the end of an answer
        counted[start:end] = [True] * (end - start)
    return ids, counted


def _length(tokenizer: Any, beginning: str, ids: list[int]) -> int:
    """Return how many of the tokens are this beginning of the text.

    A token that joins its end with what follows belongs to it: at that place a reader of the
    beginning alone stands before it.

    Raises:
        DataError: what follows changes the tokens of the beginning.
    """
    alone = _tokens(tokenizer, beginning)
    if ids[: len(alone)] == alone:
        return len(alone)
    same = next(place for place, (a, b) in enumerate(zip(alone, ids, strict=False)) if a != b)
    if same < len(alone) - NEAR:
        raise DataError(
            "the tokens of a prompt change when its answer follows, so the assistant's tokens "
            "cannot be found; give a chat template with {% generation %}"
        )
    return same + 1


def _write(tokenizer: Any, messages: Messages, add_generation_prompt: bool = False) -> str:
    return tokenizer.apply_chat_template(
        messages, tokenize=False, add_generation_prompt=add_generation_prompt
    )


def _tokens(tokenizer: Any, text: str) -> list[int]:
    return tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]


def prompt_of(messages: Messages) -> Messages:
    """Return what stands before the last answer of the assistant."""
    last = max(n for n, message in enumerate(messages) if message["role"] == "assistant")
    return messages[:last]


def end_of_turn(tokenizer: Any) -> int | None:
    """Return the token that ends an answer in the backbone's chat template, if a token does."""
    talk = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    try:
        ids, counted = encode(tokenizer, talk)
    except DataError:
        return None
    mine = [token for token, mark in zip(ids, counted, strict=True) if mark]
    return mine[-1] if mine and mine[-1] in tokenizer.all_special_ids else None
