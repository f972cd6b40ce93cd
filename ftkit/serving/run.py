"""The service on an address, until a signal ends it and all that was let in is answered."""

from __future__ import annotations

import errno
import os
import signal
import socket
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType

import uvicorn

from ftkit.errors import MachineError
from ftkit.exported.model import Exported
from ftkit.serving.app import application
from ftkit.serving.border import Border
from ftkit.serving.limits import Limits

BACKLOG = 2048
"""Connections that the system keeps until they are looked at."""
TAKEN = (errno.EADDRINUSE, errno.EACCES, errno.EADDRNOTAVAIL)
GRACE = 10
"""Seconds beyond the time of a request that a client may take to read its answer at the end."""


@dataclass(frozen=True)
class Address:
    """A place on which a service listens."""

    listener: socket.socket
    host: str

    @property
    def url(self) -> str:
        """How a browser on this machine asks it."""
        port = self.listener.getsockname()[1]
        name = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)
        return f"http://[{name}]:{port}/" if ":" in name else f"http://{name}:{port}/"


def listen(host: str, port: int) -> Address:
    """Return an address that nobody else has.

    Args:
        port: 0 takes a free one.

    Raises:
        MachineError: there is none such, or somebody else has it.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, *_, place = found[0]
        # asyncio sends answers at once (TCP_NODELAY) only where the protocol is named; without it
        # the head of each answer waited 40 ms for the client to confirm what it had before
        listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        if os.name == "posix":  # elsewhere it would let two programs have one port
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(place)
        listener.listen(BACKLOG)
    except (OSError, UnicodeError) as error:
        number = getattr(error, "errno", None)
        why = os.strerror(number) if number in TAKEN else str(error)
        advice = "take another by --host and --port; --port 0 finds a free one"
        raise MachineError(f"{host} port {port} cannot be had ({why}); {advice}") from None
    return Address(listener, host)


def server_for(
    exported: Exported,
    address: Address,
    limits: Limits,
    token: str | None = None,
    threads: int | None = None,
) -> uvicorn.Server:
    """Return the server of a model; its `run(sockets=[address.listener])` answers requests.

    Args:
        token: that each request must bring.
        threads: that decode images at the same time; all cores when not given.
    """
    config = uvicorn.Config(
        application(exported, limits, Border.of(address.host, token), threads),
        http="h11",
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        backlog=BACKLOG,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=int(limits.timeout) + GRACE,
    )
    return uvicorn.Server(config)


def serve(server: uvicorn.Server, address: Address, ready: Callable[[], None]) -> None:
    """Answer requests until SIGTERM or Ctrl-C, and then those that were let in before.

    Args:
        ready: is called when requests are let in.
    """

    def stop(number: int, frame: FrameType | None) -> None:
        """End the service; uvicorn hands the signal on to this when it has ended."""
        server.should_exit = True

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    ready()
    server.run(sockets=[address.listener])
