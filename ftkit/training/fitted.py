"""Where a training takes place, and what it took and gave: `Session` and `Fitted`."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from ftkit.machine.runtime import Machine
from ftkit.recipe import STRATEGIES, Strategy


@dataclass(frozen=True)
class Session:
    """Where a training takes place, and whether it goes on with an earlier one."""

    machine: Machine
    folder: Path
    """Of the run; checkpoints/ and log.jsonl are written there."""
    resume: bool = False
    """Go on from the newest checkpoint in the folder, if there is one."""


@dataclass(frozen=True)
class Fitted:
    """What training took, over all processes and all sessions of a resumed run."""

    steps: int
    train_seconds: float
    validation_seconds: float
    examples: int
    strategy: Strategy
    """With the settings that were used, where some were chosen by trying."""
    precision: str
    """The arithmetic of training: fp32, bf16 or fp16."""
    features_seconds: float = 0.0
    checkpoint_seconds: float = 0.0
    """In which this session's training stood still for checkpoints; a part of `train_seconds`."""
    validation: dict[str, float] = field(default_factory=dict)
    """Loss and figures on the validation rows, of the weights that were kept."""

    def to_json(self) -> str:
        """Return it as text."""
        return json.dumps(asdict(self) | {"strategy": self.strategy.model_dump(mode="json")})

    @classmethod
    def from_json(cls, text: str) -> Fitted:
        """Return what `to_json` wrote."""
        values = json.loads(text)
        strategy = values.pop("strategy")
        return cls(**values, strategy=STRATEGIES[strategy["kind"]](**strategy))
