"""A Python that has imported what is slow to import, and forks a child for each that asks.

The child has the asker's streams, working directory, environment and words, and runs them as
`python -m module` or `python -c code` would. Modules of ftkit itself are not imported here: each
child imports them anew. The server ends when the process that started it does.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import io
import json
import os
import random
import runpy
import select
import signal
import socket
import sys
import threading
import traceback
import types
from contextlib import suppress

PLACE = sys.argv[1]
"""Path of the socket."""
IMPORTS = (
    "accelerate",
    "cyclopts",
    "datasets",
    "evaluate",
    "jinja2",
    "matplotlib.pyplot",
    "pandas",
    "peft",
    "psutil",
    "pyarrow.parquet",
    "pydantic.deprecated.class_validators",
    "pydantic.main",
    "pydantic.type_adapter",
    "rich.console",
    "rich.progress",
    "sacrebleu",
    "safetensors.torch",
    "scipy.optimize",
    "scipy.stats",
    "seqeval.metrics",
    "sklearn.feature_extraction.text",
    "sklearn.linear_model",
    "sklearn.metrics",
    "sklearn.model_selection",
    "timm",
    "torch",
    "torchvision.transforms.v2",
    "transformers.models.auto.modeling_auto",
    "transformers.pipelines",
    "transformers.trainer",
)


def serve(listening: socket.socket) -> list[str]:
    """Fork a child for each that asks; return, in the child, the words of its command line."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for those who look after a child
    while True:
        ready, _, _ = select.select([listening, 0], [], [])
        if 0 in ready:  # who started this has ended
            os._exit(0)
        connection, _ = listening.accept()
        if os.fork() == 0:
            listening.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            order, streams = received(connection)
            child = os.fork()
            if child == 0:
                connection.close()
                become(order, streams)
                return order["words"]
            look_after(child, connection)
        connection.close()


def received(connection: socket.socket) -> tuple[dict, list[int]]:
    """Return what is asked for, and the three streams."""
    message, streams, _, _ = socket.recv_fds(connection, 1 << 16, 3)
    length, _, message = message.partition(b"\n")
    while len(message) < int(length):
        message += connection.recv(1 << 16)
    return json.loads(message), streams


def look_after(child: int, connection: socket.socket) -> None:
    """Hand signals to the child and its status back; kill it when the asker is gone."""
    for stream in (0, 1, 2):
        with suppress(OSError):
            os.close(stream)
    ended = os.pidfd_open(child)
    while True:
        ready, _, _ = select.select([ended, connection], [], [])
        if ended in ready:
            _, status = os.waitpid(child, 0)
            with suppress(OSError):
                connection.sendall(f"{os.waitstatus_to_exitcode(status)}\n".encode())
            os._exit(0)
        numbers = b""
        with suppress(OSError):
            numbers = connection.recv(64)
        for number in numbers or [signal.SIGKILL]:
            os.kill(child, number)
        if not numbers:
            os._exit(0)


def become(order: dict, streams: list[int]) -> None:
    """Make this process the one that was asked for."""
    for place, stream in enumerate(streams):
        os.dup2(stream, place)
        os.close(stream)
    os.chdir(order["folder"])
    os.environ.clear()
    os.environ.update(order["environment"])
    os.umask(order["umask"])
    for place, name in enumerate(("stdin", "stdout", "stderr")):
        setattr(sys, name, opened(place, getattr(sys, name)))
        setattr(sys, f"__{name}__", getattr(sys, name))
    sys.executable = os.path.join(os.path.dirname(PLACE), "python")
    sys.executable = os.path.join(os.path.dirname(PLACE), "python")
    random.seed()
    sys.modules["numpy"].random.seed()


def opened(place: int, like: io.TextIOWrapper) -> io.TextIOWrapper:
    """Return a stream as Python opens it at its start: what a stream is, it asks only once."""
    file = os.fdopen(place, "wb" if place else "rb", closefd=False)
    how = {"encoding": like.encoding, "errors": like.errors}
    return io.TextIOWrapper(file, **how, line_buffering=place == 2 or file.isatty())


def run(words: list[str]) -> None:
    """Run what follows `python` on a command line: -m and a module, -c and code, or a script."""
    how, *rest = words[1:] if words[0] == "-u" else words
    if how == "-m":
        sys.argv, sys.path[0] = rest, os.getcwd()
        runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
    elif how == "-c":
        sys.argv, sys.path[0] = [how, *rest[1:]], ""
        sys.modules["__main__"] = main = types.ModuleType("__main__")
        exec(compile(rest[0], "<string>", "exec"), main.__dict__)
    else:
        sys.argv, sys.path[0] = [how, *rest], os.path.dirname(os.path.abspath(how))
        sys.modules["__main__"] = main = types.ModuleType("__main__")
        main.__file__ = how
        with open(how, "rb") as file:
            exec(compile(file.read(), how, "exec"), main.__dict__)


def end(words: list[str]) -> None:
    """Run it and end this process as Python does, but for the taking down of each module.

    That takes as long as the start of many a command, where this many modules are imported.
    """
    status = 0
    try:
        run(words)
    except SystemExit as asked:
        if isinstance(asked.code, str):
            print(asked.code, file=sys.stderr)
        status = 1 if isinstance(asked.code, str) else int(asked.code or 0)
    except Exception:
        traceback.print_exc()
        status = 1
    threading._shutdown()
    atexit._run_exitfuncs()
    try:
        sys.stdout.flush()
    except OSError:
        status = 120
    os._exit(status)


def listening_at(place: str) -> socket.socket:
    """Return a socket that is there for others at once and whole."""
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(f"{place}.new")
    listening.listen(64)
    os.rename(f"{place}.new", place)
    print("ready", flush=True)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    return listening


if __name__ == "__main__":
    for name in IMPORTS:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()
    end(serve(listening_at(PLACE)))
