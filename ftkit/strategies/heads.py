"""The head of a model as a model of its own: what it is given, and whether it can stand alone.

Most heads are one module, and what it is given is the module's input. Some are several modules with
the model's own code between them (DistilBERT: a Linear layer, ReLU, dropout, another Linear layer).
Then that code runs as it is, on a body that only hands out what the real one gave before. So it is
with a head that is trained together with the body's pooler.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.modeling_outputs import BaseModelOutputWithPooling

from ftkit.backbones.perceptron import Perceptron
from ftkit.backbones.structure import head_names
from ftkit.machine.runtime import Machine
from ftkit.tasks.evaluation import first_examples
from ftkit.tasks.inputs import Inputs


class Head(nn.Module):
    """The head of a model as a model of its own, from features to logits. Shares its weights."""

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        names = moving_names(model)
        self.config = model.config
        self.keeps_head = bool(getattr(model, "keeps_head", False))
        if len(names) == 1:
            self.head = model.get_submodule(names[0])
        else:
            self.head = _Shell(model, names)

    def forward(self, features: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return {"logits": (B, C)} for the head's inputs (B, ...)."""
        return {"logits": self.head(features)}


class _Shell(nn.Module):
    """The modules of a head of several, and the model's own code around them."""

    def __init__(self, model: PreTrainedModel, names: list[str]) -> None:
        super().__init__()
        parts = {name: model.get_submodule(name) for name in names}
        body = model.base_model_prefix
        pooler = parts.pop(f"{body}.pooler", None)
        self.parts = nn.ModuleDict(parts)
        shell = copy.copy(model)  # the same weights, another list of parts
        shell._modules = {name: part for name, part in model._modules.items() if name != body}
        shell._modules[body] = self.body = _Replay(pooler)
        self.forward_of: Any = [shell]  # in a list, so that its parts are not counted as ours twice

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        (shell,) = self.forward_of
        self.body.given.features = features
        shell.training = self.training
        return shell(input_ids=None).logits


class _OfThread(threading.local):
    """The features of each thread; a copy of a head, to try settings on, begins without any."""

    features: torch.Tensor

    def __deepcopy__(self, memo: Any) -> _OfThread:
        return _OfThread()


class _Replay(nn.Module):
    """A body that gives the features that were put into it, in each thread its own."""

    def __init__(self, pooler: nn.Module | None) -> None:
        super().__init__()
        self.given, self.pooler = _OfThread(), pooler

    def forward(self, *inputs: Any, **settings: Any) -> BaseModelOutputWithPooling:
        features = self.given.features
        pooled = self.pooler(features) if self.pooler is not None else None
        return BaseModelOutputWithPooling(last_hidden_state=features, pooler_output=pooled)


def moving_names(model: PreTrainedModel) -> list[str]:
    """Return the names of the head's modules, and of the pooler where it moves and the body not."""
    names, body = head_names(model), f"{model.base_model_prefix}."
    moving = [
        name.removeprefix(body)
        for name, parameter in model.named_parameters()
        if parameter.requires_grad and name.startswith(body)
    ]
    alone = bool(moving) and all(name.startswith("pooler.") for name in moving)
    return [*names, f"{body}pooler"] if alone else names


def why_not_alone(model: PreTrainedModel, inputs: Inputs, machine: Machine) -> str | None:
    """Return why the head of this model cannot be trained by itself, or None where it can."""
    if isinstance(model, Perceptron):
        return "what is frozen of a perceptron costs one forward pass"
    try:
        head = Head(model).eval()
        with torch.inference_mode(), recorded_head_inputs(model) as given:
            logits = model.eval()(**first_examples(inputs, 1, machine.device)).logits
            if logits.ndim > 2:
                return "its head answers for every token, and rows differ in length"
            if len(given.values) != 1:
                return f"its head is called {len(given.values)} times for one row"
            same = torch.equal(head(given.values[0])["logits"], logits)
    except (TypeError, ValueError, AttributeError, RuntimeError) as error:
        names = ", ".join(moving_names(model))
        return f"its head ({names}) does not stand alone: {' '.join(str(error).split())[:80]}"
    return None if same else "its logits are not the output of its head alone"


def positions_read(head: nn.Module, given: torch.Tensor) -> torch.Tensor:
    """Return of a sequence (B, T, D) the first position (B, 1, D) where the head looks at no other.

    So it is with RoBERTa and others whose head takes the whole sequence and reads one token of it.
    """
    first = given[:, :1]
    try:
        alone = given.ndim == 3 and torch.equal(head(first)["logits"], head(given)["logits"])
    except IndexError:  # it looks at the second, too, as that of a DeiT with a teacher does
        return given
    return first if alone else given


class Recorded(threading.local):
    """What the head was given, in a list for each thread."""

    def __init__(self) -> None:
        self.values: list[torch.Tensor] = []
        self.append, self.pop = self.values.append, self.values.pop


@contextmanager
def recorded_head_inputs(model: PreTrainedModel) -> Iterator[Recorded]:
    """Collect what the head is given in every forward pass inside the block, for each thread."""
    given, names = Recorded(), moving_names(model)
    if len(names) == 1:
        head = model.get_submodule(names[0])
        hook = head.register_forward_pre_hook(lambda _, inputs: given.append(inputs[0]))
    else:
        body = getattr(model, model.base_model_prefix)
        hook = body.register_forward_hook(lambda _, inputs, outputs: given.append(outputs[0]))
    try:
        yield given
    finally:
        hook.remove()
