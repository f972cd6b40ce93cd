"""Finished runs with a file that is cut, flipped, empty, of another form, or gone."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from attacks.commands import Try
from attacks.shared_files import PREDICTED, World

Harm = Callable[[Path], object]


def cut(file: Path) -> None:
    """Keep the first half."""
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def flip(file: Path) -> None:
    """Turn some bits over near the end, where weights are numbers."""
    content = bytearray(file.read_bytes())
    for place in range(len(content) - min(200, len(content) // 3), len(content) - 2, 3):
        content[place] ^= 0x55
    file.write_bytes(content)


def directory(file: Path) -> None:
    """Put a folder in its place."""
    file.unlink()
    file.mkdir()


HARMS: dict[str, Harm] = {
    "cut": cut,
    "flipped": flip,
    "empty": lambda file: file.write_bytes(b""),
    "not-utf8": lambda file: file.write_bytes(b"\xff\xfe\x00\x96" * 40),
    "list": lambda file: file.write_text("[1, 2]"),
    "null": lambda file: file.write_text("null"),
    "deep": lambda file: file.write_text("[" * 100_000),
    "gone": Path.unlink,
    "directory": directory,
}
READ_BY_PREDICT = {
    "texts": ("run.json", "recipe.json", "model/config.json", "model/model.safetensors"),
    "photos": (
        "run.json", "recipe.json", "model/config.json", "model/model.safetensors",
        "model/preprocessor_config.json",
    ),
    "bert": ("model/tokenizer.json", "model/tokenizer_config.json", "model/model.safetensors"),
    "table": ("model/config.json", "model/model.safetensors"),
}  # fmt: skip
READ_BY_COMPARE = ("run.json", "recipe.json", "predictions.parquet", "log.jsonl", "checks.json")
NEEDED = {"run.json", "recipe.json", "predictions.parquet"}
"""Without which there is nothing to compare."""


def tries(world: World) -> Iterator[Try]:
    """Each harm to each file that a command reads."""
    for kind, files in READ_BY_PREDICT.items():
        for file in files:
            for harm in HARMS:
                words = ("predict", "run", str(world.root / PREDICTED[kind]), "--out", "a.csv")
                yield Try(
                    f"damage/predict/{kind}/{file}-{harm}",
                    words,
                    partial(harmed, world, kind, file, harm),
                    statuses=(2,),
                    may_write=("a.csv",),
                )
    for file in READ_BY_COMPARE:
        for harm in HARMS:
            lost = file in NEEDED
            yield Try(
                f"damage/compare/{file}-{harm}",
                ("compare", "run", str(world.run("texts")), str(world.run("texts"))),
                partial(harmed, world, "texts", file, harm),
                statuses=(0, 2) if lost else (0,),
                says=("run",),
            )
    for file in ("run.json", "recipe.json", "model/config.json", "model/model.safetensors"):
        for harm in HARMS:
            yield Try(
                f"damage/push/{file}-{harm}",
                ("push", "run", "joe/photos"),
                partial(harmed, world, "photos", file, harm),
                statuses=(2,),
            )
    for harm in HARMS:
        yield Try(
            f"damage/going-on/{harm}",
            ("train", "mlp-text", "--data", str(world.root / "texts.csv"), "--epochs", "1",
             "--out", "new", "--set", "backbone.start=run/model"),
            partial(harmed, world, "texts", "model/model.safetensors", harm),
            statuses=(2,),
        )  # fmt: skip
    for name, change in FORMS.items():
        yield Try(
            f"damage/predict/run.json-{name}",
            ("predict", "run", "a text"),
            partial(reformed, world, change),
            statuses=(0, 2),
        )
        yield Try(
            f"damage/compare/run.json-{name}",
            ("compare", "run", str(world.run("texts"))),
            partial(reformed, world, change),
            statuses=(0, 2),
        )


FORMS: dict[str, dict[str, object]] = {
    "metrics-list": {"metrics": []},
    "metrics-text": {"metrics": {"accuracy": "high"}},
    "metrics-nan": {"metrics": {"accuracy": {"value": float("nan"), "low": 0, "high": 1}}},
    "huge": {"n": 10**400},
    "negative": {"n": -4},
    "task-null": {"task": None},
    "task-unknown": {"task": {"kind": "seeing"}},
    "strategy-text": {"strategy": "full"},
    "seconds-infinite": {"seconds": {"train": float("inf")}},
    "more-fields": {"colour": "blue"},
    "sums-of-nothing": {"model_sha256": {}},
    "status": {"status": "running"},
}
"""Fields of run.json that hold something else."""


def harmed(world: World, kind: str, file: str, harm: str, folder: Path) -> None:
    """Copy a run to `folder`/run and harm one of its files."""
    there = world.lend(kind, folder) / file
    if not there.is_file():
        raise FileNotFoundError(f"{there}: no run of this kind has it, so nothing is tried")
    HARMS[harm](there)


def reformed(world: World, change: dict[str, object], folder: Path) -> None:
    """Copy the run of texts and write other values into its run.json."""
    file = world.lend("texts", folder) / "run.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
