"""BitFit: biases and norms move, and the new head; every matrix stays as it was pretrained.

The paper (Ben Zaken et al. 2022) moves biases alone. Here the scales of norms move as well.
"""

from __future__ import annotations

from torch import nn
from transformers import PreTrainedModel

from ftkit.backbones.structure import new_head
from ftkit.recipe import Bitfit
from ftkit.strategies.base import Strategy, set_keeping_statistics


class BitfitStrategy(Strategy):
    """See the head of this file."""

    settings: Bitfit

    def adapt(self, model: PreTrainedModel) -> PreTrainedModel:
        """Return the model with biases, norms and head set to move; BatchNorm's statistics stay."""
        set_keeping_statistics(model, True)
        return super().adapt(model)  # type: ignore[return-value]

    def moves(self, model: nn.Module) -> set[str]:
        """Return the names of all vectors, and of everything in the head.

        Biases and the scales of norms are what a model has of one dimension.
        """
        heads, parameters = new_head(model), dict(model.named_parameters())  # type: ignore[arg-type]
        return {
            name
            for name in super().moves(model)
            if parameters[name].ndim == 1 or name.startswith(tuple(f"{head}." for head in heads))
        }
