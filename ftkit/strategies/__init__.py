"""What moves in a fine-tuning and how it is trained: all, the head, LoRA, one after the other.

`base.py` holds the class `Strategy`; full.py, head.py, lora.py and the like hold one strategy each.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from ftkit.recipe import Strategy as Settings

if TYPE_CHECKING:
    from ftkit.strategies.base import Strategy


def strategy_of(settings: Settings) -> Strategy:
    """Return the strategy that these settings of a recipe are for.

    It is the class `LoraStrategy` of lora.py for settings of the type `Lora` and the kind "lora".
    """
    module = import_module(f"{__name__}.{settings.kind.replace('-', '_')}")
    found: Strategy = getattr(module, f"{type(settings).__name__}Strategy")(settings)
    return found
