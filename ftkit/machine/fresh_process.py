"""A fresh Python that imports what this one would, whatever lies in the working directory.

`python -m` looks for modules in the working directory first: a random.py or a folder torch/ beside
the user's rows would be taken for the real one. PYTHONSAFEPATH forbids that from Python 3.11 on
alone. PYTHONPATH, and what else this process has on its path, stays.

`waiting_for(module)` gives a process that has imported a module and waits until it is told what to
do. Where torch is not imported here yet, nothing has been computed here either, and the process is
a fork of this one: one import serves both (`Forked`). Otherwise it is a Python of its own
(`Waiting`).
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import threading
import traceback
from collections.abc import Sequence
from multiprocessing import current_process, get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from ftkit.machine.threads import fitting

ROOT = Path(__file__).resolve().parents[2]
NOTHING = "no output"


def command(module: str, *words: str) -> list[str]:
    """Return the command line that runs a module as `python -m` does, with these words."""
    code = (
        f"import sys; sys.path[:] = {search_path()!r}; import runpy; "
        f"runpy.run_module({module!r}, run_name='__main__', alter_sys=True)"
    )
    return [sys.executable, "-c", code, *words]


def waiting_for(module: str) -> FreshProcess:
    """Return a process that imports a module while this one works, and then gets its orders.

    It calls `main(*words)` of the module for each order. It ends without any where this process
    does, however that is. Ctrl-C at the terminal is not for it.
    """
    unused = "torch" not in sys.modules and threading.active_count() == 1
    may_fork = sys.platform == "linux" and not current_process().daemon
    return Forked(module) if unused and may_fork else Waiting(module)


class Waiting:
    """A Python of its own, which reads its orders as one line of JSON from stdin."""

    def __init__(self, module: str) -> None:
        self.process = subprocess.Popen(
            self.command(module),
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | fitting(),
            start_new_session=True,
        )

    @staticmethod
    def command(module: str) -> list[str]:
        """Return the command line that obeys."""
        code = f"from ftkit.machine.fresh_process import obey; obey({module!r})"
        return [sys.executable, "-c", f"import sys; sys.path[:] = {search_path()!r}; {code}"]

    def carry_out(self, orders: Sequence[Sequence[Any]]) -> tuple[int, str]:
        """Return the exit status and the last line of what it said, after all orders or an error.

        It takes orders once.
        """
        _, said = self.process.communicate(json.dumps(orders) + "\n")
        return self.process.returncode, (said.strip().splitlines() or [NOTHING])[-1]

    def has_ended(self) -> bool:
        """Return whether it cannot take orders any more, because something has killed it."""
        return self.process.poll() is not None

    def end(self) -> None:
        """End it, whatever it does."""
        self.process.kill()
        self.process.communicate()


def obey(module: str) -> None:
    """Import a module, and carry out the orders of a line of stdin."""
    main = importlib.import_module(module).main
    for words in json.loads(sys.stdin.readline() or "[]"):
        main(*words)


class Forked:
    """A fork of this process with a module that both have imported; orders come through a pipe.

    OpenMP's threads begin with the first product, and a fork that comes later would wait for them
    for ever; those of OpenBLAS, which begin with the import, end before a fork by themselves.
    """

    def __init__(self, module: str) -> None:
        importlib.import_module(module)
        self.pipe, its_end = get_context("fork").Pipe()
        self.process = get_context("fork").Process(
            target=_obey_through, args=(its_end, self.pipe, module), daemon=True
        )
        self.process.start()
        its_end.close()

    def carry_out(self, orders: Sequence[Sequence[Any]]) -> tuple[int, str]:
        """Return the exit status and the last line of what it said, after all orders or an error.

        It takes orders once.
        """
        try:
            self.pipe.send(orders)
            status, said = self.pipe.recv()
        except (EOFError, OSError):  # it was killed
            self.process.join()
            return self.process.exitcode or 1, NOTHING
        return status, said

    def has_ended(self) -> bool:
        """Return whether it cannot take orders any more, because something has killed it."""
        return not self.process.is_alive()

    def end(self) -> None:
        """End it, whatever it does."""
        self.process.kill()
        self.process.join()


def _obey_through(pipe: Connection, other_end: Connection, module: str) -> None:
    """Carry out the orders of a pipe, in a fork; answer with exit status and last line."""
    other_end.close()  # so that this end is told when the other process has ended
    os.setsid()
    sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: SIM115
    for stream in (1, 2):
        os.dup2(sys.stdout.fileno(), stream)
    try:
        for words in pipe.recv():
            sys.modules[module].main(*words)
    except EOFError:
        return
    except BaseException as error:
        said = "".join(traceback.format_exception_only(error)).strip()
        pipe.send((1, (said.splitlines() or [NOTHING])[-1]))
    else:
        pipe.send((0, NOTHING))


FreshProcess = Waiting | Forked


def search_path() -> list[str]:
    """Return where modules are looked for: as here, without the working directory as such.

    The folder of ftkit itself comes last, for a checkout that is not installed.
    """
    first, *rest = sys.path
    here = first in ("", os.getcwd())
    return [entry for entry in ([] if here else [first]) + rest if entry] + [str(ROOT)]
