"""A fresh Python that imports what this one would, whatever lies in the working directory.

`python -m` looks for modules in the working directory first: a random.py or a folder torch/ beside
the user's rows would be taken for the real one. PYTHONSAFEPATH forbids that from Python 3.11 on
alone. PYTHONPATH, and what else this process has on its path, stays.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from ftkit.machine.threads import fitting

ROOT = Path(__file__).resolve().parents[2]


def command(module: str, *words: str) -> list[str]:
    """Return the command line that runs a module as `python -m` does, with these words."""
    code = (
        f"import sys; sys.path[:] = {search_path()!r}; import runpy; "
        f"runpy.run_module({module!r}, run_name='__main__', alter_sys=True)"
    )
    return [sys.executable, "-c", code, *words]


class Waiting:
    """A fresh process that imports what it needs while this one works, and then gets its orders.

    When its imports are done the module reads orders from stdin, each a list of words as a line of
    JSON, and ends after the last. It ends without any where this process does, however that is.
    """

    command = staticmethod(command)

    def __init__(self, module: str) -> None:
        """Start it. Ctrl-C at the terminal is not for it."""
        self.process = subprocess.Popen(
            self.command(module),
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | fitting(),
            start_new_session=True,
        )

    def carry_out(self, orders: Sequence[Sequence[str]]) -> tuple[int, str]:
        """Return the exit status and the last line of what it said, after all orders or an error.

        It takes orders once.
        """
        lines = "".join(f"{json.dumps(list(words))}\n" for words in orders)
        _, said = self.process.communicate(lines)
        return self.process.returncode, (said.strip().splitlines() or ["no output"])[-1]

    def has_ended(self) -> bool:
        """Return whether it cannot take orders any more, because something has killed it."""
        return self.process.poll() is not None

    def end(self) -> None:
        """End it, whatever it does."""
        self.process.kill()
        self.process.communicate()


def search_path() -> list[str]:
    """Return where modules are looked for: as here, without the working directory as such.

    The folder of ftkit itself comes last, for a checkout that is not installed.
    """
    first, *rest = sys.path
    here = first in ("", os.getcwd())
    return [entry for entry in ([] if here else [first]) + rest if entry] + [str(ROOT)]
