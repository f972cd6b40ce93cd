"""Which columns hold what a language model learns to write: texts, conversations, or answers."""

from __future__ import annotations

from typing import Any

from datasets import Features, Json

from ftkit.data.columns import is_text, pick
from ftkit.errors import DataError
from ftkit.recipe import LanguageModelling

PAIRS = (
    ("prompt", "answer"),
    ("prompt", "completion"),
    ("prompt", "response"),
    ("question", "answer"),
    ("instruction", "response"),
    ("instruction", "output"),
)
"""Names of prompt and answer; believed where there is no other column of text."""


def asked_columns(task: LanguageModelling, features: Features) -> dict[str, str]:
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


def certain_columns(features: Features) -> dict[str, str] | None:
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
