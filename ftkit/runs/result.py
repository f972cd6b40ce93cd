"""RunResult: what a run measured, and its run.json. A contract that other programs read."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, field_validator

from ftkit.errors import RecipeError, RunError
from ftkit.errors.addresses import shown
from ftkit.machine.whole_files import write_whole
from ftkit.recipe.settings import Settings, read_json

FILE = "run.json"


def _require_name(values: dict[str, Any]) -> dict[str, Any]:
    """Return settings; their kind, if they have one, must be a text."""
    if not isinstance(values.get("kind", ""), str):
        raise ValueError("kind is no name")
    return values


def _having(key: str) -> AfterValidator:
    """Return what refuses values without this key."""

    def require(values: dict[str, Any]) -> dict[str, Any]:
        if key not in values:
            raise ValueError(f"{key} is missing")
        return values

    return AfterValidator(require)


Count = Annotated[int, Field(ge=0, lt=2**63)]
Time = Annotated[float, Field(ge=0, lt=1e12)]
"""Seconds, in a range that no run leaves."""
Kind = Annotated[dict[str, Any], AfterValidator(_require_name)]


class Measured(Settings):
    """A figure with its 95 % confidence interval."""

    section = "metric"

    value: float
    low: float
    high: float
    method: str
    """How the interval was made."""
    signature: str | None = None
    """How exactly the figure was computed, for figures that are computed in several ways
    (sacrebleu's)."""


class Seconds(Settings):
    """Wall-clock seconds of each stage."""

    section = "seconds"

    data: Time
    features: Time
    train: Time
    evaluate: Time
    total: Time


class Latency(Settings):
    """Seconds that a user waits for the answer to one example; see `ftkit.finetuning.latency`."""

    section = "latency"

    median: Time
    low: Time
    """A quarter of the answers took less."""
    high: Time
    """A quarter of the answers took more."""
    threads: Count
    """CPU threads."""
    repetitions: Count
    """Answers that were timed."""


class RunResult(Settings):
    """What was run, on what, and what came out. Sizes in bytes, rates in fractions of one."""

    section = "run"

    recipe: str
    strategy: Annotated[Kind, _having("kind")]
    task: Kind
    dataset: str
    split: str
    n: Count
    """Test examples, each counted once."""
    unseen_words: Count = 0
    """Words of the test texts beyond the tokens that the model reads. They count as told to be in
    no name."""
    metrics: Annotated[dict[str, Measured], Field(min_length=1)]
    """Figures of the test rows. The first one stands for the run."""
    validation: dict[str, float] = Field(default_factory=dict)
    """Loss and figures of the kept weights on the validation rows; empty in runs of versions that
    did not write them."""
    parameters_total: Count
    parameters_trained: Count
    seconds: Seconds
    examples_per_second: Annotated[float, Field(ge=0, lt=1e15)]
    """Training examples per second, over all processes, evaluation left out."""
    peak_memory_bytes: Annotated[dict[str, Count], _having("host")]
    model_bytes: Count
    """Size of the weights in model/, without an adapter kept beside them."""
    latency_seconds: Time | None = None
    """Seconds from one example, as a user has it, to its answer, by the saved model in a fresh
    process on the CPU: the median of `latency`. None when nobody measured it."""
    latency: Latency | None = None
    """The same with quartiles, threads and repetitions; None when nobody measured it."""
    model_sha256: dict[str, str] = Field(default_factory=dict)
    """The checksum of each verified file below model/ except its card. Earlier versions wrote those
    of weights alone."""
    seed: Count
    world_size: Count
    device: str
    precision: str
    versions: dict[str, str]
    commit: str | None
    started: str
    """UTC, ISO 8601."""
    finished: str
    status: Literal["complete"]

    @field_validator("dataset")
    @classmethod
    def _without_secrets(cls, dataset: str) -> str:
        return shown(dataset)

    def write(self, folder: Path) -> None:
        """Write run.json into a run folder, whole or not at all."""
        write_whole(folder / FILE, self.model_dump_json(indent=2) + "\n")

    @classmethod
    def read(cls, folder: Path) -> RunResult:
        """Return the result of a finished run.

        Raises:
            RunError: the folder holds no finished run, or its record is damaged.
        """
        file = Path(folder) / FILE
        try:
            values = read_json(file.read_text(encoding="utf-8"))
            if not isinstance(values, dict):
                raise ValueError(f"expected an object, got {type(values).__name__}")
            return cls(**values)
        except (FileNotFoundError, NotADirectoryError):
            state = "is not finished" if (Path(folder) / "recipe.json").exists() else "holds no run"
            raise RunError(f"{folder} {state}: there is no {FILE}") from None
        except OSError as error:
            raise RunError(f"{file} cannot be read: {error.strerror}") from None
        except (ValueError, RecipeError) as error:
            cause = "it is not UTF-8" if isinstance(error, UnicodeDecodeError) else str(error)
            raise RunError(f"{file} is not the record of a run: {cause[:200]}") from None
