"""ftkit: fine-tune pretrained Transformer and CNN backbones on your own labelled data.

Importing ftkit is quick: torch is imported by the first call that needs it.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from ftkit.errors import (
    DataError,
    FtkitError,
    HubError,
    ModelError,
    RecipeError,
    RunError,
    TrainingError,
    VerificationError,
)
from ftkit.recipe import (
    Augment,
    Backbone,
    Data,
    Expect,
    Full,
    HeadOnly,
    ImageClassification,
    Lora,
    Recipe,
    Train,
)
from ftkit.result import RunResult

if TYPE_CHECKING:
    from ftkit.push import publish
    from ftkit.run import finetune

__all__ = [
    "Augment",
    "Backbone",
    "Data",
    "DataError",
    "Expect",
    "FtkitError",
    "Full",
    "HeadOnly",
    "HubError",
    "ImageClassification",
    "Lora",
    "ModelError",
    "Recipe",
    "RecipeError",
    "RunError",
    "RunResult",
    "Train",
    "TrainingError",
    "VerificationError",
    "finetune",
    "publish",
]
LAZY = {"finetune": "ftkit.run", "publish": "ftkit.push"}


def __getattr__(name: str) -> Any:
    """Import what needs torch on first use."""
    if name in LAZY:
        return getattr(importlib.import_module(LAZY[name]), name)
    raise AttributeError(f"module 'ftkit' has no attribute '{name}'")
