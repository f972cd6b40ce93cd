"""Whether the Hub can be reached and what the token may do there, for `ftkit doctor`.

The token itself goes nowhere but to the Hub: what errors say is cleared of it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import Any

SECONDS = 5.0
"""The command waits so long for an answer of the Hub."""
Found = tuple[str, bool, str, str]
"""Name, whether it is as it should be, what was found, what to do."""


def look() -> Iterator[Found]:
    """Yield what is found of the Hub and of the token."""
    from huggingface_hub import constants, get_token

    endpoint = constants.ENDPOINT
    if constants.HF_HUB_OFFLINE:
        yield "hub", True, "not asked: HF_HUB_OFFLINE is set, so only what is cached is found", ""
        return
    status, answer = _get(f"{endpoint}/api/models?limit=1", None)
    if status == 0:
        yield (
            "hub",
            False,
            f"{endpoint} cannot be reached: {answer}",
            "recipes with embedded data, your own files and what is cached work without; else look "
            "at the network, $HTTPS_PROXY and $HF_ENDPOINT",
        )
        return
    if status >= 500:
        yield "hub", False, f"{endpoint} answers with status {status}", "try again later"
    else:
        yield "hub", True, f"{endpoint} answers", ""
    token = get_token()
    if token is None:
        yield (
            "token",
            True,
            "none: public repositories can be read; to publish, or for private and gated ones, "
            "log in with 'hf auth login'",
            "",
        )
        return
    yield _rights(*_get(f"{endpoint}/api/whoami-v2", token), endpoint)


def without_token(text: str) -> str:
    """Return the text without this machine's token, and without what looks like one."""
    from huggingface_hub import get_token

    token = get_token()
    return re.sub(r"hf_\w+", "hf_***", text.replace(token, "hf_***") if token else text)


def _rights(status: int, answer: Any, endpoint: str) -> Found:
    """Return what the Hub says of the token."""
    source = "$HF_TOKEN" if os.environ.get("HF_TOKEN") else "the file of 'hf auth login'"
    if status == 401:
        todo = "make a new one there and run 'hf auth login', or unset HF_TOKEN"
        return "token", False, f"{endpoint} rejects the token of {source}", todo
    if status != 200 or not isinstance(answer, dict):
        said = f"status {status}" if status else answer
        return "token", False, f"the token of {source} could not be looked at: {said}", ""
    about = (answer.get("auth") or {}).get("accessToken") or {}
    role, who = about.get("role", "unknown"), answer.get("name", "?")
    if role == "fineGrained":
        told = _fine(about.get("fineGrained") or {})
        writes = "repo.write" in told
        rights = f"fine-grained: {told or 'no rights'}"
    else:
        writes = role in ("write", "admin")
        rights = f"it may {'read and write' if writes else role}"
    todo = "" if writes else "ftkit push needs one that may write: 'hf auth login'"
    return "token", writes, f"{who} at {endpoint}, by {source}; {rights}", todo


def _fine(rights: dict[str, Any]) -> str:
    """Return the rights of a fine-grained token: everywhere, and in each of its scopes."""
    parts = list(rights.get("global") or [])
    for scope in rights.get("scoped") or []:
        name = (scope.get("entity") or {}).get("name", "?")
        parts += [f"{right} in {name}" for right in scope.get("permissions") or []]
    return ", ".join(parts)


def _get(address: str, token: str | None) -> tuple[int, Any]:
    """Return (status, JSON of the answer), or (0, why there is none)."""
    from huggingface_hub.utils import httpx

    headers = {"authorization": f"Bearer {token}"} if token else {}
    try:
        answer = httpx.get(address, headers=headers, timeout=SECONDS, follow_redirects=True)
    except Exception as error:  # an odd proxy, address or token raises anything
        # of a token that is no header the error would tell a part
        said = type(error).__name__ if token else f"{type(error).__name__}: {error}"
        return 0, without_token(" ".join(said.split())[:200])
    try:
        return answer.status_code, answer.json()
    except ValueError:
        return answer.status_code, None
