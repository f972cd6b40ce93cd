"""One run on 1, 2 and 4 CPU processes, by DDP and FSDP2: has each step the same loss?

python scripts/equality.py [--write docs/processes.md] [--cases text-full ...]

Every run has the same global batches; the last of an epoch cannot be shared equally, and no split
of the rows can. Dropout is off: its masks come from each process's own random numbers. Exit status
1 where a step's loss differs by more than 1e-5 of it, or a row is not counted once.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq

ROOT = Path(__file__).resolve().parent.parent
BOUND = 1e-5
ROWS = {"train": 90, "validation": 33, "test": 41}
KINDS = {"DDP": (1, 2, 4), "FSDP2": (2, 4)}
"""Processes by the way in which they share the work; DDP: each holds the whole model."""
ON_CPU = """
import os, sys
from accelerate import PartialState
from accelerate.utils import DistributedType

begin = PartialState.__init__

def begin_as_if_on_gpus(self, *arguments, **named):
    # accelerate 1.15 shares a model only where it sees GPUs, and trains by DDP here without a word
    begin(self, *arguments, **named)
    if self.distributed_type == DistributedType.MULTI_CPU:
        self.distributed_type = DistributedType.MULTI_GPU

PartialState.__init__ = begin_as_if_on_gpus
os.environ |= {"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2"}
os.environ |= {"FSDP_AUTO_WRAP_POLICY": "TRANSFORMER_BASED_WRAP"}
from ftkit.cli.main import main
sys.exit(main(["train", *sys.argv[1:]]))
"""
SETTINGS = [f"data.{split}_rows={rows}" for split, rows in ROWS.items()]
SETTINGS += [
    "data.validation_fraction=0.4",
    "train.batch_size=16",
    "train.epochs=2",
    "train.precision=fp32",
    "train.warmup=0",
]
IMAGES = [*SETTINGS, "backbone.image_size=48", "task.augment.crop=[0.7,1.0]"]
CASES = {
    "image-head": ("effnet-digits", "head", [*IMAGES, "strategy.cache=false"]),
    "image-lora": ("effnet-digits", "lora", [*IMAGES, "strategy.learning_rate=1e-4"]),
    "text-full": ("minilm-langid", "full", SETTINGS),
    "text-lora": ("minilm-langid", "lora", SETTINGS),
}
MARKS = ("<!-- equality begins -->\n", "<!-- equality ends -->\n")


@dataclass(frozen=True)
class Run:
    """What a run on so many processes gave."""

    kind: str
    processes: int
    losses: list[float]
    """Of each step."""
    validation: list[float]
    """Loss of each epoch."""
    accuracy: float
    index: list[int]
    """Test rows, in the order of predictions.parquet."""


def run(case: str, kind: str, processes: int, folder: Path) -> Run:
    """Train this case on so many processes."""
    recipe, strategy, settings = CASES[case]
    out, script = folder / f"{case}-{kind}-{processes}", ROOT / "scripts" / "finetune.py"
    if kind == "FSDP2":
        script = folder / "on_cpu.py"
        script.write_text(ON_CPU, encoding="utf-8")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += [f"--nproc_per_node={processes}", str(script)]
    command += ["--recipe", recipe, "--strategy", strategy, "--out", str(out)]
    for setting in settings:
        command += ["--set", setting]
    if recipe == "minilm-langid":
        command += ["--backbone", str(without_dropout(folder))]
    threads = {"OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    done = subprocess.run(command, env=os.environ | threads, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{case} on {processes} processes failed:\n{done.stderr[-8000:]}")
    lines = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    return Run(
        kind,
        processes,
        [line["loss"] for line in lines if "loss" in line],
        [line["validation_loss"] for line in lines if "validation_loss" in line],
        json.loads((out / "run.json").read_text())["metrics"]["accuracy"]["value"],
        pq.read_table(out / "predictions.parquet").to_pydict()["index"],
    )


def without_dropout(folder: Path) -> Path:
    """Return MiniLM's folder with dropout off."""
    from ftkit.backbones.embedded import embedded_backbone

    copy = folder / "minilm"
    if not copy.exists():
        shutil.copytree(embedded_backbone("minilm-l6"), copy)
        config = json.loads((copy / "config.json").read_text())
        config |= {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
        (copy / "config.json").write_text(json.dumps(config))
    return copy


def difference(one: list[float], other: list[float]) -> float:
    """Return the largest difference as a share of the value."""
    assert len(one) == len(other)
    return max(abs(a - b) / abs(a) for a, b in zip(one, other, strict=True))


def tables(case: str, runs: list[Run]) -> tuple[list[str], bool]:
    """Return the tables of a case in Markdown, and whether all is equal."""
    recipe, strategy, _ = CASES[case]
    first, *others = runs
    counts = [f"{each.kind}, {each.processes}" for each in others]
    lines = [f"**{recipe}, {strategy}**", "", f"| step | 1 process | {' | '.join(counts)} |"]
    lines.append("|---" * (2 + len(others)) + "|")
    for step, loss in enumerate(first.losses):
        cells = [f"{each.losses[step]:.8f}" for each in others]
        lines.append(f"| {step + 1} | {loss:.8f} | {' | '.join(cells)} |")
    steps = [difference(first.losses, each.losses) for each in others]
    epochs = [difference(first.validation, each.validation) for each in others]
    lines += [
        f"| largest difference | | {' | '.join(f'{value:.1e}' for value in steps)} |",
        f"| of the validation loss, {ROWS['validation']} rows | | "
        f"{' | '.join(f'{value:.1e}' for value in epochs)} |",
        f"| test accuracy, {ROWS['test']} rows | {first.accuracy:.6f} | "
        f"{' | '.join(f'{each.accuracy:.6f}' for each in others)} |",
        "",
    ]
    counted = all(each.index == first.index == sorted(set(first.index)) for each in runs)
    same = all(each.accuracy == first.accuracy for each in others)
    return lines, max(steps + epochs) <= BOUND and counted and same


def main() -> int:
    """Run what is asked for and print the tables."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--cases", nargs="*", choices=CASES, default=list(CASES))
    options.add_argument("--write", type=Path, help="file to write the tables into, at their place")
    given = options.parse_args()
    lines, good = [], True
    with tempfile.TemporaryDirectory() as folder:
        for case in given.cases:
            runs = [
                run(case, kind, processes, Path(folder))
                for kind in KINDS
                for processes in KINDS[kind]
            ]
            shown, equal = tables(case, runs)
            print("\n".join(shown))
            lines += shown
            good = good and equal
    print("equal" if good else f"NOT EQUAL to {BOUND:g}")
    if given.write:
        text = given.write.read_text(encoding="utf-8")
        before, after = text.partition(MARKS[0])[0], text.partition(MARKS[1])[2]
        given.write.write_text(before + MARKS[0] + "\n".join(lines) + MARKS[1] + after)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
