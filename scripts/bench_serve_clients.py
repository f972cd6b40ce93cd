"""Clients of `scripts/bench_serve.py`: HTTP with as little work as possible, on the same machine.

A client of a library would take more of the two cores than the service that is measured.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

LOST = 0
"""Stands for the status of a request that got no answer."""


@dataclass(frozen=True)
class Ask:
    """A request to be sent."""

    body: bytes
    kind: str
    key: int = 0
    """What it is called by whoever checks the answers."""

    def wire(self, host: str, port: int) -> bytes:
        """Return its bytes."""
        head = f"POST / HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Type: {self.kind}\r\n"
        return f"{head}Content-Length: {len(self.body)}\r\n\r\n".encode() + self.body


@dataclass
class Seen:
    """What clients saw."""

    statuses: Counter[int] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    """Of each answer with status 200."""
    wrong: int = 0
    """Answers with status 200 that are not what was expected."""
    lines: Counter[bytes] = field(default_factory=Counter)
    """The bodies of other answers."""
    without_advice: int = 0
    """Answers with status 503 that do not say when to ask again."""


class Client:
    """One connection that is kept open."""

    def __init__(self, host: str, port: int) -> None:
        self.host, self.port = host, port
        self.streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, wire: bytes) -> tuple[int, bytes, bytes]:
        """Return status, head and body of an answer; LOST where the connection breaks.

        The server may have closed a connection that was idle; that is tried once more.
        """
        for again in (True, False):
            fresh = self.streams is None
            try:
                if self.streams is None:
                    self.streams = await asyncio.open_connection(self.host, self.port)
                return await self._ask(wire)
            except (OSError, asyncio.IncompleteReadError):
                self.close()
                if fresh or not again:
                    break
        return LOST, b"", b""

    async def _ask(self, wire: bytes) -> tuple[int, bytes, bytes]:
        assert self.streams is not None
        reader, writer = self.streams
        writer.write(wire)
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        length = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0])
        body = await reader.readexactly(length)
        if b"connection: close" in head:
            self.close()
        return int(head.split(None, 2)[1]), head, body

    def close(self) -> None:
        """Close the connection."""
        if self.streams is not None:
            self.streams[1].close()
        self.streams = None


Check = Callable[[int, bytes], bool]
"""Takes the key of a request and its answer; returns whether this is right."""


def note(
    seen: Seen, ask: Ask, answer: tuple[int, bytes, bytes], began: float, check: Check
) -> None:
    """Count one answer."""
    status, head, body = answer
    seen.statuses[status] += 1
    if status == 200:
        seen.seconds.append(time.perf_counter() - began)
        seen.wrong += not check(ask.key, body)
    else:
        seen.lines[body[:200]] += 1
        seen.without_advice += status == 503 and b"retry-after:" not in head


async def closed(
    place: tuple[str, int], asks: Sequence[Ask], clients: int, seconds: float, check: Check
) -> Seen:
    """Return what so many clients saw, each of which asks again when it is answered."""
    seen, end = Seen(), time.perf_counter() + seconds
    wires = [ask.wire(*place) for ask in asks]

    async def one(number: int) -> None:
        client, turn = Client(*place), number
        while (began := time.perf_counter()) < end:
            ask = asks[turn % len(asks)]
            note(seen, ask, await client.ask(wires[turn % len(asks)]), began, check)
            turn += clients + 1
        client.close()

    await asyncio.gather(*(one(number) for number in range(clients)))
    return seen


async def offered(
    place: tuple[str, int], asks: Sequence[Ask], rate: float, seconds: float, check: Check
) -> Seen:
    """Return what happened to so many requests in a second, sent whether others are answered."""
    seen = Seen()
    idle: list[Client] = []
    wires = [ask.wire(*place) for ask in asks]

    async def one(turn: int) -> None:
        client = idle.pop() if idle else Client(*place)
        began = time.perf_counter()
        ask = asks[turn % len(asks)]
        note(seen, ask, await client.ask(wires[turn % len(asks)]), began, check)
        idle.append(client)

    began = time.perf_counter()
    tasks = []
    for turn in range(int(rate * seconds)):
        ahead = began + turn / rate - time.perf_counter()
        if ahead > 0.001:
            await asyncio.sleep(ahead)
        elif turn % 50 == 0:
            await asyncio.sleep(0)  # it falls behind, and lets answers be read all the same
        tasks.append(asyncio.create_task(one(turn)))
    await asyncio.gather(*tasks)
    for client in idle:
        client.close()
    return seen
