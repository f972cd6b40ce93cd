"""Pretrained models and the perceptron by hand: how each is loaded, checked, saved and asked.

`base.py` holds the class `Family`; `family_of(settings)` gives the family of a recipe's backbone.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ftkit.backbones.base import Family

FAMILIES = {"pretrained": "pretrained", "mlp": "perceptron"}
"""The file of each kind of backbone: perceptron.py has the class `PerceptronFamily`."""


def family_of(settings: Any) -> Family:
    """Return the family that the backbone of a recipe belongs to."""
    name = FAMILIES[settings.kind]
    module = import_module(f"{__name__}.{name}")
    found: Family = getattr(module, f"{name.title()}Family")(settings)
    return found
