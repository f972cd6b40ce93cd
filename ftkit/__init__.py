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
    Lpft,
    Recipe,
    Train,
)
from ftkit.result import RunResult

if TYPE_CHECKING:
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
    "Lpft",
    "ModelError",
    "Recipe",
    "RecipeError",
    "RunError",
    "RunResult",
    "Train",
    "TrainingError",
    "VerificationError",
    "finetune",
]


def __getattr__(name: str) -> Any:
    """Import what needs torch on first use."""
    if name == "finetune":
        return importlib.import_module("ftkit.run").finetune
    raise AttributeError(f"module 'ftkit' has no attribute '{name}'")
