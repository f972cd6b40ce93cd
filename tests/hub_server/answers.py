"""Requests and answers as values, and the refusals that the clients know by their headers."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit


@dataclass(frozen=True)
class Request:
    """What a client asked."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    token: str

    @property
    def path(self) -> str:
        """The path, still quoted: a branch may have a slash in its name."""
        return urlsplit(self.target).path

    @property
    def query(self) -> dict[str, list[str]]:
        """What stands behind the question mark."""
        return parse_qs(urlsplit(self.target).query)

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body or b"{}")

    @property
    def span(self) -> tuple[int, int] | None:
        """The first and last byte that a Range header asks for."""
        asked = next((v for k, v in self.headers.items() if k.lower() == "range"), None)
        if asked is None:
            return None
        first, _, last = asked.removeprefix("bytes=").partition("-")
        return int(first), int(last) if last else 1 << 62


@dataclass(frozen=True)
class Answer:
    """What the Hub says."""

    body: bytes = b"{}"
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)

    @staticmethod
    def of(value: Any, status: int = 200, **headers: str) -> Answer:
        """Return an answer of JSON."""
        return Answer(json.dumps(value).encode(), status, headers)

    def part(self, span: tuple[int, int] | None) -> Answer:
        """Return that part of it, as a Range asks."""
        if span is None:
            return self
        first, last = span[0], min(span[1], len(self.body) - 1)
        if first > last:
            headers = {**self.headers, "Content-Range": f"bytes */{len(self.body)}"}
            return Answer(b"", 416, headers)
        headers = {**self.headers, "Content-Range": f"bytes {first}-{last}/{len(self.body)}"}
        return Answer(self.body[first : last + 1], 206, headers)


@dataclass
class Refusal(Exception):
    """An answer that says no."""

    status: int
    message: str
    code: str | None = None
    headers: dict[str, str] = field(default_factory=dict)

    def answer(self) -> Answer:
        """Return it as an answer, its cause in the headers that the clients read."""
        headers = {**self.headers, "X-Error-Message": self.message}
        if self.code:
            headers["X-Error-Code"] = self.code
        return Answer(json.dumps({"error": self.message}).encode(), self.status, headers)
