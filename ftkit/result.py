"""RunResult: what a run measured, and its run.json. A contract that other programs read."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from ftkit.errors import RecipeError, RunError
from ftkit.settings import Settings

FILE = "run.json"


class Measured(Settings):
    """A figure with its 95 % confidence interval."""

    section = "metric"

    value: float
    low: float
    high: float
    method: str
    """How the interval was made."""
    signature: str | None = None
    """What exactly was computed, of a figure that is computed in several ways (sacrebleu's)."""


class Seconds(Settings):
    """Wall-clock seconds of each stage."""

    section = "seconds"

    data: float
    features: float
    train: float
    evaluate: float
    total: float


class Latency(Settings):
    """Seconds that a user waits for the answer to one example; see `ftkit.latency`."""

    section = "latency"

    median: float
    low: float
    """A quarter of the answers took less."""
    high: float
    """A quarter of the answers took more."""
    threads: int
    """CPU threads."""
    repetitions: int
    """Answers that were timed."""


class RunResult(Settings):
    """What was run, on what, and what came out. Sizes in bytes, rates in fractions of one."""

    section = "run"

    recipe: str
    strategy: dict[str, Any]
    task: dict[str, Any]
    dataset: str
    split: str
    n: int
    """Test examples, each counted once."""
    unseen_words: int = 0
    """Of the test texts, words beyond the tokens that the model reads; told to be in no name."""
    metrics: dict[str, Measured]
    validation: dict[str, float] = Field(default_factory=dict)
    """Loss and figures on the validation rows, of the weights that were kept; empty in runs of
    versions that did not write them."""
    parameters_total: int
    parameters_trained: int
    seconds: Seconds
    examples_per_second: float
    """Training examples per second, over all processes, evaluation left out."""
    peak_memory_bytes: dict[str, int]
    model_bytes: int
    """Size of the weights in model/, without an adapter kept beside them."""
    latency_seconds: float | None = None
    """An example at batch 1, from what a user has to the answer, by the saved model in a fresh
    process on the CPU, the median of `latency`; None where nobody measured it."""
    latency: Latency | None = None
    """The same with its quartiles, threads and repetitions; None where nobody measured it."""
    model_sha256: dict[str, str] = Field(default_factory=dict)
    """Checksum of each weights file below model/, as it was verified."""
    seed: int
    world_size: int
    device: str
    precision: str
    versions: dict[str, str]
    commit: str | None
    started: str
    """UTC, ISO 8601."""
    finished: str
    status: Literal["complete"]

    def write(self, folder: Path) -> None:
        """Write run.json into a run folder, whole or not at all."""
        unfinished = folder / (FILE + ".part")
        unfinished.write_text(self.model_dump_json(indent=2) + "\n", encoding="utf-8")
        unfinished.replace(folder / FILE)

    @classmethod
    def read(cls, folder: Path) -> RunResult:
        """Return the result of a finished run.

        Raises:
            RunError: the folder holds no finished run.
        """
        file = Path(folder) / FILE
        if not file.is_file():
            state = "is not finished" if (Path(folder) / "recipe.json").exists() else "holds no run"
            raise RunError(f"{folder} {state}: there is no {FILE}")
        try:
            return cls.model_validate_json(file.read_text(encoding="utf-8"))
        except (ValueError, RecipeError) as error:
            cause = " ".join(str(error).split())[:200]
            raise RunError(f"{file} is not the record of a run: {cause}") from error
