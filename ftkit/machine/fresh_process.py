"""A fresh Python that imports what this one would, whatever lies in the working directory.

`python -m` looks for modules in the working directory first: a random.py or a folder torch/ beside
the user's rows would be taken for the real one. PYTHONSAFEPATH forbids that from Python 3.11 on
alone. PYTHONPATH, and what else this process has on its path, stays.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def command(module: str, *words: str) -> list[str]:
    """Return the command line that runs a module as `python -m` does, with these words."""
    code = (
        f"import sys; sys.path[:] = {search_path()!r}; import runpy; "
        f"runpy.run_module({module!r}, run_name='__main__', alter_sys=True)"
    )
    return [sys.executable, "-c", code, *words]


def search_path() -> list[str]:
    """Return where modules are looked for: as here, without the working directory as such.

    The folder of ftkit itself comes last, for a checkout that is not installed.
    """
    first, *rest = sys.path
    here = first in ("", os.getcwd())
    return [entry for entry in ([] if here else [first]) + rest if entry] + [str(ROOT)]
