"""Full fine-tuning: every parameter moves, deeper layers more slowly or later where asked for."""

from __future__ import annotations

from torch import nn
from transformers import PreTrainedModel

from ftkit.backbones.layers import layer_groups
from ftkit.recipe import Full
from ftkit.strategies.base import Strategy, set_keeping_statistics


class FullStrategy(Strategy):
    """See the head of this file."""

    settings: Full

    def adapt(self, model: PreTrainedModel) -> PreTrainedModel:
        """Return the model with every parameter set to move."""
        set_keeping_statistics(model, self.settings.keep_statistics)
        super().adapt(model)
        return model

    def learning_rates(self, model: nn.Module) -> dict[str, float]:
        """Layer-wise decay: decay ** depth, 0 for the head (Howard and Ruder 2018, section 3.2)."""
        if self.settings.layer_decay is None:
            return {}
        groups = enumerate(layer_groups(model))
        return {name: self.settings.layer_decay**depth for depth, names in groups for name in names}

    def unfreezing(self, model: nn.Module) -> list[list[str]]:
        """Return the groups of layers from the head down, where they are unfrozen gradually."""
        return layer_groups(model) if self.settings.unfreeze == "gradually" else []
