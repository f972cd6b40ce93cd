"""ftkit: fine-tune pretrained Transformer and CNN backbones on your own labelled data.

Importing ftkit is quick: what a name needs, torch among it, is imported when it is first used. So
an exported model answers without what trained it.
"""

from __future__ import annotations

import sys

if sys.argv[:1] == ["-m"] and sys.path:  # of python -m ftkit.cli, which looks there first
    sys.path.append(sys.path.pop(0))  # a random.py beside the user's rows is not Python's own

import importlib
from typing import TYPE_CHECKING, Any

from ftkit.errors import (
    DataError,
    FtkitError,
    HubError,
    MachineError,
    ModelError,
    RecipeError,
    RunError,
    TrainingError,
    VerificationError,
)

if TYPE_CHECKING:
    from ftkit.backbones.perceptron import load_perceptron
    from ftkit.data.in_memory import data_of
    from ftkit.finetuning.finetune import finetune
    from ftkit.perceptron.estimators import MlpClassifier, MlpRegressor
    from ftkit.publishing.push import publish
    from ftkit.recipe import (
        Augment,
        Backbone,
        Bitfit,
        Contrastive,
        Data,
        Expect,
        FineTune,
        Full,
        HeadOnly,
        ImageClassification,
        ImageRegression,
        ImageTagging,
        LanguageModelling,
        Lora,
        Lpft,
        Mlp,
        Recipe,
        TabularClassification,
        TabularRegression,
        TextClassification,
        TextRegression,
        TextTagging,
        TokenClassification,
        Train,
        Translation,
    )
    from ftkit.runs.result import RunResult

RECIPE = "ftkit.recipe"
"""Where a public name is that is in neither `ftkit.errors` nor LATER."""
LATER = {
    "MlpClassifier": "ftkit.perceptron.estimators",
    "MlpRegressor": "ftkit.perceptron.estimators",
    "data_of": "ftkit.data.in_memory",
    "finetune": "ftkit.finetuning.finetune",
    "load_perceptron": "ftkit.backbones.perceptron",
    "publish": "ftkit.publishing.push",
    "RunResult": "ftkit.runs.result",
}

__all__ = [
    "Augment",
    "Backbone",
    "Bitfit",
    "Contrastive",
    "Data",
    "DataError",
    "Expect",
    "FineTune",
    "FtkitError",
    "Full",
    "HeadOnly",
    "HubError",
    "ImageClassification",
    "ImageRegression",
    "ImageTagging",
    "LanguageModelling",
    "Lora",
    "Lpft",
    "MachineError",
    "Mlp",
    "MlpClassifier",
    "MlpRegressor",
    "ModelError",
    "Recipe",
    "RecipeError",
    "RunError",
    "RunResult",
    "TabularClassification",
    "TabularRegression",
    "TextClassification",
    "TextRegression",
    "TextTagging",
    "TokenClassification",
    "Train",
    "TrainingError",
    "Translation",
    "VerificationError",
    "data_of",
    "finetune",
    "load_perceptron",
    "publish",
]


def __getattr__(name: str) -> Any:
    """Import what a name needs on first use."""
    if name in __all__:
        return getattr(importlib.import_module(LATER.get(name, RECIPE)), name)
    raise AttributeError(f"module 'ftkit' has no attribute '{name}'")
