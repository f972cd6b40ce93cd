"""Texts to learn to write: plain ones, and conversations, which prompt and answer become too."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset, Features, Json, List, Value

from ftkit.data.columns import (
    FIND_BAD,
    input_columns,
    inputs_of,
    is_text,
    label_columns,
    pick,
    resolve_columns,
)
from ftkit.data.labels import read_labels
from ftkit.errors import DataError
from ftkit.recipe import LanguageModelling

ROLES = ("system", "user", "assistant", "tool")
PAIRS = (
    ("prompt", "answer"),
    ("prompt", "completion"),
    ("prompt", "response"),
    ("question", "answer"),
    ("instruction", "response"),
    ("instruction", "output"),
)
"""Names of prompt and answer; believed where there is no other column of text."""
MESSAGES = List({"role": Value("string"), "content": Value("string")})


@resolve_columns.register
def _(task: LanguageModelling, features: Features) -> LanguageModelling:
    found = _asked(task, features) or _certain(features)
    if found is None:
        raise DataError(
            f"which column is the text? Columns are {', '.join(features)}; several or none could "
            f"be it. Use --set task.text=COLUMN, --set task.messages=COLUMN, or --set "
            f"task.prompt=COLUMN --set task.answer=COLUMN"
        )
    return task.model_copy(update=found)


def _asked(task: LanguageModelling, features: Features) -> dict[str, str]:
    """Return the columns that were asked for, by role; refuses those that cannot be it."""
    roles = ("text", "messages", "prompt", "answer")
    found = {role: getattr(task, role) for role in roles if getattr(task, role) is not None}
    for role, column in found.items():
        pick(role, column, [], features)
        fits = _may_hold_messages if role == "messages" else is_text
        wanted = 'lists of {"role": ..., "content": ...}' if role == "messages" else "texts"
        if not fits(features[column]):
            raise DataError(f"column '{column}' holds {features[column]}, not {wanted}")
    return found


def _certain(features: Features) -> dict[str, str] | None:
    """Return the columns that alone can be meant, by role."""
    conversations = [name for name, feature in features.items() if _holds_messages(feature)]
    if "messages" in features and _may_hold_messages(features["messages"]):
        conversations = ["messages"]
    texts = [name for name, feature in features.items() if is_text(feature)]
    if len(conversations) == 1:
        return {"messages": conversations[0]}
    for prompt, answer in PAIRS:
        if sorted(texts) == sorted((prompt, answer)):
            return {"prompt": prompt, "answer": answer}
    if len(texts) == 1 or "text" in texts:
        return {"text": texts[0] if len(texts) == 1 else "text"}
    return None


def _holds_messages(feature: Any) -> bool:
    inside = getattr(feature, "feature", None)
    return isinstance(inside, dict) and all(
        name in inside and is_text(inside[name]) for name in ("role", "content")
    )


def _may_hold_messages(feature: Any) -> bool:
    """Return whether a column said to be conversations can be; then the odd rows are named."""
    inside = getattr(feature, "feature", feature)
    parts = inside.values() if isinstance(inside, dict) else [inside]
    return _holds_messages(feature) or any(isinstance(part, Json) for part in parts)


@input_columns.register
def _(task: LanguageModelling) -> tuple[str, ...]:
    roles = (task.text, task.messages, task.prompt, task.answer)
    return tuple(column for column in roles if column is not None)


@label_columns.register
def _(task: LanguageModelling) -> tuple[str, ...]:
    """None: every text says itself what comes next."""
    return ()


@read_labels.register
def _(
    task: LanguageModelling, splits: Mapping[str, Dataset], strict: bool = True
) -> tuple[tuple[str, ...], dict[str, np.ndarray]]:
    """Return no names, and 0 for each row."""
    return (), {split: np.zeros(len(rows), np.int64) for split, rows in splits.items()}


@inputs_of.register
def _(task: LanguageModelling, rows: Dataset, folder: Path | None) -> Dataset:
    """Return the rows in one column: `text`, or `messages` with role and content of each."""
    if task.text is not None:
        return Dataset.from_dict({"text": rows[task.text][:]}, Features({"text": Value("string")}))
    if task.messages is not None:
        found = [_messages(row) for row in rows[task.messages][:]]
    else:
        pairs = zip(rows[str(task.prompt)][:], rows[str(task.answer)][:], strict=True)
        found = [
            [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}]
            for prompt, answer in pairs
        ]
    return Dataset.from_dict({"messages": found}, Features({"messages": MESSAGES}))


def _messages(row: Any) -> list[dict[str, str | None]]:
    """Return role and content of each message, None where that is no text."""
    found = [one if isinstance(one, dict) else {} for one in (row if isinstance(row, list) else ())]
    texts = [{name: one.get(name) for name in ("role", "content")} for one in found]
    return [{k: v if isinstance(v, str) else None for k, v in one.items()} for one in texts]


def find_bad_conversations(rows: Dataset) -> dict[int, str]:
    """Return the position of every row that is no conversation to learn from, with the reason."""
    found = {position: fault(row) for position, row in enumerate(rows["messages"][:])}
    return {position: reason for position, reason in found.items() if reason}


def fault(messages: list[dict[str, Any]]) -> str:
    """Return what is wrong with a conversation, empty where nothing is."""
    for number, message in enumerate(messages, 1):
        role, content = message["role"], message["content"]
        if role not in ROLES:
            return f"message {number} has role {role!r}; roles are {', '.join(ROLES)}"
        if not (content or "").strip():
            return f"message {number}, of the {role}, has no text"
    spoken = [message["role"] for message in messages if message["role"] != "system"]
    if "assistant" not in spoken:
        return "no message is the assistant's, so there is nothing to learn"
    return "the assistant speaks first, to nobody" if spoken[0] == "assistant" else ""


FIND_BAD["messages"] = find_bad_conversations
