"""What goes wrong on purpose: a fault waits for a request that it fits, and spoils the answer."""

from __future__ import annotations

import re
import socket
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

Kind = Literal[
    "status",  # answer with `code` and `headers` instead
    "delay",  # wait `seconds` first
    "drop",  # close the connection without an answer
    "rst",  # the same by a TCP reset
    "truncate",  # close after `after` bytes of the body
    "reset",  # a TCP reset after `after` bytes
    "stall",  # stop for `seconds` after `after` bytes
    "drip",  # `rate` bytes at a time, a hundredth of a second apart
    "corrupt",  # one byte of the body is another, at `after`
    "meanwhile",  # call `action` first, as somebody else would
    "lost_response",  # do what was asked, and drop the connection instead of answering
]
BEFORE = ("status", "delay", "drop", "rst", "meanwhile")


@dataclass(frozen=True)
class Seen:
    """A request that was answered, or not."""

    method: str
    path: str
    authorised: bool  # it carried an Authorization header
    size: int  # of its body

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


@dataclass
class Fault:
    """One fault, for the next `times` requests whose "METHOD path" it matches."""

    pattern: str
    kind: Kind
    times: int = 1
    code: int = 500
    headers: dict[str, str] = field(default_factory=dict)
    seconds: float = 1.0
    after: int = 0
    rate: int = 1000
    action: Callable[[], object] = list
    skip: int = 0  # let so many fitting requests pass first

    def takes(self, request: Seen) -> bool:
        """Return whether this request is spoiled, and count it."""
        if self.times <= 0 or not re.search(self.pattern, str(request)):
            return False
        if self.skip > 0:
            self.skip -= 1
            return False
        self.times -= 1
        return True


def cut(connection: socket.socket, reset: bool = False) -> None:
    """Close a connection at once, by a TCP reset if asked for."""
    if reset:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    else:
        try:
            connection.shutdown(socket.SHUT_RDWR)
        except OSError:
            return
    connection.close()


def send(connection: socket.socket, head: bytes, body: bytes, fault: Fault | None) -> bool:
    """Send an answer as the fault has it; return whether the connection is still good."""
    if fault is None or not body:
        connection.sendall(head + body)
        return True
    if fault.kind == "corrupt":
        place = min(fault.after, len(body) - 1)
        body = body[:place] + bytes([body[place] ^ 0xFF]) + body[place + 1 :]
        connection.sendall(head + body)
        return True
    if fault.kind == "drip":
        connection.sendall(head)
        for start in range(0, len(body), fault.rate):
            connection.sendall(body[start : start + fault.rate])
            time.sleep(0.01)
        return True
    connection.sendall(head + body[: fault.after])
    if fault.kind == "stall":
        time.sleep(fault.seconds)
    cut(connection, reset=fault.kind == "reset")
    return False
