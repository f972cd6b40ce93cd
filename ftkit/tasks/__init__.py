"""Tasks: what goes in and what comes out, one file for each kind, and what several of them share.

`task_of(settings)` gives the task of a recipe's settings. The file is named after their `kind`:
image_classification.py has the class `ImageClassification` of the kind image-classification.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ftkit.tasks.base import Task


def task_of(settings: Any) -> Task:
    """Return the task that these settings of a recipe are of."""
    name = settings.kind.replace("-", "_")
    module = import_module(f"ftkit.tasks.{name}")
    return getattr(module, name.title().replace("_", ""))(settings)
