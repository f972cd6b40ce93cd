"""What a request has to pass before anything of it is read: who asks, from where, and how much."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from dataclasses import dataclass
from urllib.parse import urlsplit

from starlette.requests import Request

from ftkit.serving.limits import Limits, Place, Refused

LOOPBACK = ("127.0.0.1", "localhost", "::1")
DRAINED = 8
"""Of a body that is refused, so many times the largest one are read and thrown away."""
CLOSE = {"Connection": "close"}


@dataclass(frozen=True)
class Border:
    """Who may ask."""

    hosts: tuple[str, ...] | None
    """Names under which this server may be addressed; None lets any pass."""
    token_digest: bytes | None = None
    """The sha256 of the token."""

    @classmethod
    def of(cls, host: str, token: str | None) -> Border:
        """Return the border of a server that is bound to this host."""
        near = host in LOOPBACK or host.startswith("127.")
        names = tuple({*LOOPBACK, host}) if near else None
        return cls(names, None if token is None else _digest(token))

    def require_known_host(self, request: Request) -> None:
        """Refuse what a web page of others sends through the browser of somebody at this machine.

        A page may reach a server on this machine by a name of its own that leads to 127.0.0.1, or
        by a form that it sends here. The browser names both: in `Host`, and in `Origin`.

        Raises:
            Refused: so it is.
        """
        given = request.headers.get("host", "")
        if self.hosts is not None and _name(given) not in self.hosts:
            raise Refused(421, f"this server is not '{given}'; ask it as http://127.0.0.1:PORT")
        origin = request.headers.get("origin")
        if origin is not None and urlsplit(origin).netloc.lower() != given.lower():
            raise Refused(403, f"a page of {origin} may not ask this server")

    def require_token(self, request: Request) -> None:
        """Require the token, where there is one; the time it takes tells nothing of it.

        Raises:
            Refused: it is missing or wrong.
        """
        if self.token_digest is None:
            return
        kind, _, given = request.headers.get("authorization", "").partition(" ")
        right = hmac.compare_digest(_digest(given.strip()), self.token_digest)
        if kind.lower() != "bearer" or not right:
            what = "wrong" if given else "missing"
            line = f"the token is {what}; send the header 'Authorization: Bearer TOKEN'"
            raise Refused(401, line, {"WWW-Authenticate": "Bearer"})


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()


def _name(host: str) -> str:
    """Return the name in a Host header, without its port."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


class Upload:
    """The body of a request as it comes in."""

    def __init__(self, request: Request, limits: Limits, until: float) -> None:
        """Note what is to be read.

        Args:
            until: the time of the event loop at which the whole body must be there.
        """
        self.request, self.limits, self.until = request, limits, until
        self.ended = False

    async def part(self) -> bytes | None:
        """Return what comes next, or None at the end.

        Raises:
            Refused: nothing came in time, or the client went away.
        """
        if self.ended:
            return None
        left = max(0.0, self.until - asyncio.get_running_loop().time())
        try:
            message = await asyncio.wait_for(self.request.receive(), left)
        except asyncio.TimeoutError:
            self.ended = True
            line = f"the body did not arrive within {self.limits.timeout:g} s; send less, or faster"
            raise Refused(408, line, CLOSE) from None
        if message["type"] == "http.disconnect":
            self.ended = True
            raise Refused(400, "the body broke off")
        self.ended = not message.get("more_body", False)
        return message.get("body", b"")

    async def read(self, place: Place) -> bytes:
        """Return the whole body.

        Raises:
            Refused: it is too large, comes too slowly, is compressed or breaks off.
        """
        headers = self.request.headers
        encoding = headers.get("content-encoding", "identity")
        if encoding.lower() != "identity":
            raise Refused(415, f"content-encoding {encoding} is not read; send the body plain")
        length = headers.get("content-length", "")
        if length.isdecimal() and int(length[:20]) > self.limits.max_body:
            self.ended = "expect" in headers  # such a client sends nothing before it may
            raise self._too_large(f"{int(length[:20]):,} bytes")
        parts: list[bytes] = []
        size = 0
        while (part := await self.part()) is not None:
            size += len(part)
            if size > self.limits.max_body:
                raise self._too_large("more bytes")
            place.take(len(part))
            parts.append(part)
        return b"".join(parts)

    async def drain(self) -> None:
        """Read what is still sent, and keep nothing of it.

        A client that is still sending would otherwise see a broken connection instead of the line.
        """
        left = DRAINED * self.limits.max_body
        try:
            while left > 0 and (part := await self.part()) is not None:
                left -= len(part)
        except Refused:
            return

    def _too_large(self, what: str) -> Refused:
        line = f"the body has {what}, and {self.limits.max_body:,} are read at most (--max-body)"
        return Refused(413, line, CLOSE)
