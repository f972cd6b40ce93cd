"""Answer every row by an exported file, in a fresh process that has neither torch nor transformers.

`ftkit.shipping.proof` starts it. What trained the model is made impossible to import before
anything else happens, so that the file, and what the service of an export needs, answers alone. The
rows come as JSON, a list of rows as `ftkit.exported.inputs` takes them; the answers go to an npz
file: `logits` and `scores` (N, C), of words those of all rows, one after the other.
"""

from __future__ import annotations

import json
import sys
from importlib.abc import MetaPathFinder
from pathlib import Path
from typing import Any

WITHOUT = ("torch", "torchvision", "transformers", "timm", "peft", "accelerate", "datasets")
"""Packages that the answers must not need."""


class Absent(MetaPathFinder):
    """Makes packages as if they were not installed."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:
        """Raise ImportError for each of `WITHOUT`.

        Raises:
            ImportError: it is one of them.
        """
        if name.partition(".")[0] in WITHOUT:
            raise ImportError(f"an exported model was asked, and it imports {name}")


def main(export: str, rows: str, output: str) -> None:
    """Write the answers of the export to all rows."""
    sys.meta_path.insert(0, Absent())
    import numpy as np

    from ftkit.exported.model import open_export

    exported = open_export(export)
    answers = exported.answer(json.loads(Path(rows).read_text(encoding="utf-8")))
    found = {"logits": answers.logits, "scores": answers.scores}
    if exported.about.reads == "words":
        found = {name: np.concatenate(lists) for name, lists in found.items()}
    np.savez(output, **found)


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except Exception as error:  # whoever started it shows this one line
        sys.exit(f"{type(error).__name__}: {error}")
