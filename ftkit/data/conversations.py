"""Conversations: lists of messages with a role and a content, and what is wrong with them."""

from __future__ import annotations

from typing import Any

from datasets import Dataset, List, Value

ROLES = ("system", "user", "assistant", "tool")
MESSAGES = List({"role": Value("string"), "content": Value("string")})


def messages_of(row: Any) -> list[dict[str, str | None]]:
    """Return the role and the content of each message; None for one that is not a text."""
    found = [one if isinstance(one, dict) else {} for one in (row if isinstance(row, list) else ())]
    texts = [{name: one.get(name) for name in ("role", "content")} for one in found]
    return [{k: v if isinstance(v, str) else None for k, v in one.items()} for one in texts]


def find_bad_conversations(rows: Dataset) -> dict[int, str]:
    """Return the position of every row that is no conversation to learn from, with the reason."""
    found = {position: fault(row) for position, row in enumerate(rows["messages"][:])}
    return {position: reason for position, reason in found.items() if reason}


def fault(messages: list[dict[str, Any]]) -> str:
    """Return what is wrong with a conversation, or an empty string."""
    for number, message in enumerate(messages, 1):
        role, content = message["role"], message["content"]
        if role not in ROLES:
            return f"message {number} has role {role!r}; roles are {', '.join(ROLES)}"
        if not (content or "").strip():
            return f"message {number}, of the {role}, has no text"
    spoken = [message["role"] for message in messages if message["role"] != "system"]
    if "assistant" not in spoken:
        return "no message is the assistant's, so there is nothing to learn"
    return (
        "the assistant speaks first, so there is nothing to answer"
        if spoken[0] == "assistant"
        else ""
    )
