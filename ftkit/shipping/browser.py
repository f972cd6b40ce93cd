"""What the page of an export says of rows, in Chromium without a window.

A server on the loopback gives the files of the page, the rows, and a page of ftkit's own that
drives the other one as a visitor would: it chooses files, fills fields and presses the button.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Sequence
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from ftkit.errors import MachineError, VerificationError
from ftkit.exported.about import About
from ftkit.shipping.page import WEB

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
BESIDE = (
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "C:/Program Files/Google/Chrome/Application/chrome.exe",
)
"""Where Chrome is on other systems, which do not name it on the path."""
START_SECONDS, ROW_SECONDS = 120, 20
"""A page that has not answered after so long, and so long for each row, hangs."""
PAGE = b"""<!doctype html><meta charset="utf-8"><title>check</title>
<iframe src="/index.html" width="390" height="900"></iframe>
<script type="module" src="/check.js"></script>"""


def find_chromium() -> str | None:
    """Return the program, or None where there is none."""
    named = next(filter(None, map(shutil.which, BROWSERS)), None)
    return named or next((path for path in BESIDE if Path(path).is_file()), None)


def require_chromium() -> str:
    """Return the program.

    Raises:
        MachineError: there is none.
    """
    program = find_chromium()
    if program is None:
        raise MachineError(
            "the page is checked in Chromium before it is pushed, and there is none here; install "
            "chromium, or push without the check by --unchecked"
        )
    return program


def answers_in_browser(folder: Path, rows: Sequence[Any], about: About) -> list[Any]:
    """Return what the page says of each row: `prediction` and `scores`, or `error`.

    Args:
        folder: that the page lies in.
        rows: as `ftkit.exported.inputs` takes them.

    Raises:
        MachineError: there is no Chromium.
        VerificationError: the page does not answer.
    """
    program = require_chromium()
    server = Server(folder, rows, about)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
            process = subprocess.Popen(
                command(program, Path(profile), f"{server.url}/check.html"),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                stdin=subprocess.DEVNULL,
            )
            try:
                until = time.monotonic() + START_SECONDS + ROW_SECONDS * len(rows)
                while not server.told.wait(0.2):
                    if time.monotonic() > until:
                        raise VerificationError(f"the page has not answered in {program} for long")
                    if process.poll() is not None and not server.told.wait(2):
                        raise VerificationError(f"{program} ended before the page had answered")
            finally:
                process.kill()
                process.wait()
    finally:
        server.shutdown()
        server.server_close()
    if "error" in server.found:
        raise VerificationError(f"the page does not answer in Chromium: {server.found['error']}")
    answers: list[Any] = server.found["answers"]
    return answers


def command(program: str, profile: Path, address: str) -> list[str]:
    """Return the command line that opens an address without a window."""
    as_root = ["--no-sandbox"] if getattr(os, "geteuid", lambda: 1)() == 0 else []
    return [
        program,
        "--headless=new",
        *as_root,
        "--disable-gpu",
        "--enable-unsafe-swiftshader",  # textures without a GPU, by which alpha is told
        "--disable-dev-shm-usage",
        "--no-first-run",
        f"--user-data-dir={profile}",
        address,
    ]


class Server(ThreadingHTTPServer):
    """Gives the page and the rows, and takes the answers."""

    daemon_threads = True

    def __init__(self, folder: Path, rows: Sequence[Any], about: About) -> None:
        self.rows, self.about = list(rows), about
        self.told, self.found = threading.Event(), dict[str, Any]()
        super().__init__(("127.0.0.1", 0), partial(_Handler, directory=str(folder)))
        self.url = f"http://127.0.0.1:{self.server_address[1]}"

    def given(self, place: int) -> dict[str, Any]:
        """Return a row as check.js takes it."""
        row = self.rows[place]
        if self.about.reads == "images":
            return {"file": str(place), "name": Path(row).name}
        if self.about.reads == "table":
            values = [_cell(row.get(column.name)) for column in self.about.columns]
        elif self.about.reads == "words":
            values = [" ".join(row)]
        else:
            values = list(row) if self.about.pair else [row]
        return {"values": values}


def _cell(value: Any) -> str:
    """Return what a person would write into a field of a table."""
    missing = value is None or value != value
    return "" if missing else str(value)


class _Handler(SimpleHTTPRequestHandler):
    server: Server
    extensions_map = {  # noqa: RUF012 - as the class above has it
        **SimpleHTTPRequestHandler.extensions_map,
        ".js": "text/javascript",
        ".wasm": "application/wasm",
    }

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        if path == "/check.html":
            return self._send(PAGE, "text/html; charset=utf-8")
        if path == "/check.js":
            return self._send((WEB / "check.js").read_bytes(), "text/javascript")
        if path == "/rows.json":
            rows = [self.server.given(place) for place in range(len(self.server.rows))]
            return self._send(json.dumps(rows).encode(), "application/json")
        if path.startswith("/rows/"):
            content = Path(self.server.rows[int(path.removeprefix("/rows/"))]).read_bytes()
            return self._send(content, "application/octet-stream")
        return super().do_GET()

    def do_POST(self) -> None:
        self.server.found = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self._send(b"{}", "application/json")
        self.server.told.set()

    def _send(self, content: bytes, kind: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        """Print nothing."""
