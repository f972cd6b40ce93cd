"""Python processes that need no seconds to import torch and transformers.

`warm.python("-m", "ftkit.cli", "list")` is a command line that does what `python -m ftkit.cli list`
does, in a process of its own, which is forked from one that has imported the libraries already. The
modules of ftkit are imported anew in it; streams, signals and the exit status are as ever. What it
starts from its `sys.executable`, verification and the ranks of torchrun, is forked likewise.

Such a process does not show that an import of a library is missing or in the wrong place, nor what
the interpreter says while it takes its modules down. An ordinary Python starts where the
environment differs in what a library may read while it is imported. A test of these things starts
one itself, from `sys.executable`. With FTKIT_COLD=1 in the environment, every test starts them.
"""

from __future__ import annotations

import atexit
import functools
import json
import os
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
ENVIRONMENT = dict(os.environ)
"""As it is when conftest.py imports this, before any test changes it."""
CLIENT = (sys.executable, "-I", "-S", str(HERE / "client.py"))


def python(*words: str) -> list[str]:
    """Return the command line of a Python with these words."""
    if os.environ.get("FTKIT_COLD") or not _possible():
        return [sys.executable, *words]
    return [*CLIENT, _server(), *words]


def executable() -> str:
    """Return a program to be used as `python`, for $PYTHON_EXEC of torchrun."""
    command = python()
    return command[0] if len(command) == 1 else str(Path(_server()).with_name("python"))


@functools.cache
def _possible() -> bool:
    """Return whether this system lets a process be waited for beside a socket: Linux does."""
    try:
        os.close(os.pidfd_open(os.getpid()))
    except (AttributeError, OSError):
        return False
    return True


@functools.cache
def _server() -> str:
    """Start the server of this process, and return where it listens."""
    folder = tempfile.TemporaryDirectory(prefix="ftkit-warm-")
    place = f"{folder.name}/socket"
    Path(f"{place}.json").write_text(json.dumps(ENVIRONMENT), encoding="utf-8")
    program = Path(place).with_name("python")  # what its children take for sys.executable
    program.write_text(f'#!/bin/sh\nexec {shlex.join([*CLIENT, place])} "$@"\n', encoding="utf-8")
    program.chmod(0o700)
    server = subprocess.Popen(
        [sys.executable, str(HERE / "server.py"), place],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=folder.name,
        env=ENVIRONMENT,
        start_new_session=True,  # Ctrl-C ends it by what it reads from us
    )
    assert server.stdout.readline() == b"ready\n"

    def end() -> None:
        server.stdin.close()
        server.wait()
        folder.cleanup()

    atexit.register(end)
    return place
