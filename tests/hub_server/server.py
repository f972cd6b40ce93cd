"""The Hub itself: its state, which tests set and read, and the sockets that it answers on."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from hub_server import routes, transfers  # noqa: F401 - they register their endpoints
from hub_server.access import route
from hub_server.answers import Answer, Refusal, Request
from hub_server.faults import BEFORE, Fault, Kind, Seen, cut, send
from hub_server.repository import Blob, Repository, is_large
from hub_server.xet import Store

OWNER, READER, STRANGER = (f"hf_{name * 4}" for name in ("Owner", "Reader", "Stranger"))
TOKENS = {OWNER: ("alice", "write"), READER: ("alice", "read"), STRANGER: ("bob", "write")}


class Hub:
    """A Hub on the loopback. `reset` makes it empty again, `close` ends it."""

    def __init__(self) -> None:
        self.tokens: dict[str, tuple[str, str]] = {}
        self.repositories: dict[tuple[str, str], Repository] = {}
        self.large: dict[str, bytes] = {}  # sha256 -> content, of what came over LFS
        self.xet = Store()
        self.has_xet = True
        self.log: list[Seen] = []
        self.faults: list[Fault] = []
        self.lock = threading.RLock()
        self._server: Server | None = None
        self.port = 0
        self.reset()
        self._listen()

    @property
    def url(self) -> str:
        """What HF_ENDPOINT must be."""
        return f"http://127.0.0.1:{self.port}"

    def reset(self) -> None:
        """Forget all repositories, requests and faults."""
        with self.lock:
            self.tokens = dict(TOKENS)
            self.repositories.clear()
            self.large.clear()
            self.xet = Store()
            self.has_xet = True
            self.log.clear()
            self.faults.clear()

    def close(self) -> None:
        """Stop listening and cut every connection."""
        if self._server is not None:
            self._server.stop()
            self._server = None

    @contextmanager
    def down(self) -> Iterator[None]:
        """Refuse connections inside the block."""
        self.close()
        try:
            yield
        finally:
            self._listen()

    def _listen(self) -> None:
        self._server = Server(self, self.port)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def add(
        self,
        name: str,
        files: dict[str, bytes] | None = None,
        kind: str = "models",
        commit: str | None = None,
        **state: Any,
    ) -> Repository:
        """Add a repository with these files as its first commit.

        Args:
            commit: name of that commit.
            state: `private=True`, `gated=True`.
        """
        repository = Repository(name, kind, **state)
        content = {".gitattributes": b"*.safetensors filter=lfs\n", **(files or {})}
        blobs = {path: self.keep(path, data) for path, data in content.items()}
        repository.commit("main", "initial commit", blobs, commit)
        self.repositories[kind, name] = repository
        return repository

    def __getitem__(self, name: str) -> Repository:
        """Return the model repository of that name."""
        return self.repositories["models", name]

    def keep(self, path: str, data: bytes) -> Blob:
        """Store the content of a file and return its blob."""
        blob = Blob.small(data)
        self.large[blob.sha256] = data
        return Blob.pointer(blob.sha256, len(data)) if is_large(path, len(data)) else blob

    def content(self, blob: Blob) -> bytes:
        """Return the bytes of a file, however it came."""
        if blob.sha256 not in self.large:
            self.large[blob.sha256] = self.xet.content(self.xet.by_sha256[blob.sha256])
        return self.large[blob.sha256]

    def knows(self, sha256: str) -> bool:
        """Return whether the content of a large file has been uploaded."""
        return sha256 in self.large or sha256 in self.xet.by_sha256

    def files(self, name: str, revision: str = "main", kind: str = "models") -> dict[str, bytes]:
        """Return the content of every file of a repository."""
        commit = self.repositories[kind, name].find(revision)
        return {path: self.content(blob) for path, blob in commit.files.items()}

    def fault(self, pattern: str, kind: Kind, **how: Any) -> Fault:
        """Spoil the next answers to requests whose "METHOD path" matches; see `Fault`."""
        self.faults.append(Fault(pattern, kind, **how))
        return self.faults[-1]

    def count(self, pattern: str) -> int:
        """Return how many requests so far fit."""
        probe = Fault(pattern, "delay", times=1_000_000)
        return sum(probe.takes(seen) for seen in list(self.log))

    def spoil(self, seen: Seen) -> Fault | None:
        """Note a request and return the fault that is meant for it."""
        with self.lock:
            self.log.append(seen)
            return next((fault for fault in self.faults if fault.takes(seen)), None)


class Server(ThreadingHTTPServer):
    """Listens on the loopback and remembers its connections, to cut them all."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, hub: Hub, port: int) -> None:
        self.hub = hub
        self.open: set[socket.socket] = set()
        super().__init__(("127.0.0.1", port), Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing about clients that went away."""

    def stop(self) -> None:
        """Close the listening socket and every connection."""
        self.shutdown()
        self.server_close()
        for connection in list(self.open):
            with suppress(OSError):
                cut(connection)


class Handler(BaseHTTPRequestHandler):
    """Reads a request, has it answered, and sends the answer, spoiled where a fault fits."""

    protocol_version = "HTTP/1.1"
    server: Server

    def setup(self) -> None:
        """Note the connection."""
        super().setup()
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.server.open.add(self.connection)

    def finish(self) -> None:
        """Forget the connection."""
        self.server.open.discard(self.connection)
        with suppress(OSError, ValueError):
            super().finish()

    def log_message(self, *_: Any) -> None:
        """Print nothing."""

    def answer(self) -> None:
        """Answer one request."""
        hub, body = self.server.hub, self._body()
        authorisation = self.headers.get("Authorization", "")
        fault = hub.spoil(Seen(self.command, self.path, bool(authorisation), len(body)))
        if fault is not None and fault.kind in ("drop", "rst"):
            return self._cut(fault)
        if fault is not None and fault.kind == "delay":
            time.sleep(fault.seconds)
        if fault is not None and fault.kind == "meanwhile":
            fault.action()
        if fault is not None and fault.kind == "status":
            answer = Answer(b'{"error":"spoiled"}', fault.code, dict(fault.headers))
        else:
            token = authorisation.removeprefix("Bearer ")
            request = Request(self.command, self.path, dict(self.headers), body, token)
            try:
                answer = route(hub, request)
            except Refusal as refusal:
                answer = refusal.answer()
        if fault is not None and fault.kind == "lost_response":
            return self._cut(fault)
        return self._send(answer, None if fault is None or fault.kind in BEFORE else fault)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = answer  # noqa: N815

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") == "chunked":
            parts = []
            while size := int(self.rfile.readline().split(b";")[0], 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _send(self, answer: Answer, fault: Fault | None) -> None:
        self.send_response_only(answer.status)
        headers = {"Content-Type": "application/json", **answer.headers}
        headers.setdefault("Content-Length", str(len(answer.body)))
        for name, value in headers.items():
            self.send_header(name, value)
        head = b"".join(self._headers_buffer) + b"\r\n"  # type: ignore[attr-defined]
        self._headers_buffer = []
        body = b"" if self.command == "HEAD" else answer.body
        self.close_connection = not send(self.connection, head, body, fault)

    def _cut(self, fault: Fault) -> None:
        cut(self.connection, reset=fault.kind == "rst")
        self.close_connection = True
