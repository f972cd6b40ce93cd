"""Requests that are wrong, or ask for more than there is."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

from attacks.commands import Try
from attacks.shared_files import PREDICTED, World

VALUES = ("three", "", "-1", "0", "nan", "inf", "1e400", "9" * 400, "\u0663", "1,5", "[1]", "null")
COUNTS = {"0", "-1", "nan", "inf", "1e400", "three", "", "1,5", "[1]"}
FLAGS = {
    "epochs": ("check", "mlp-text", "--epochs"),
    "learning-rate": ("check", "mlp-text", "--learning-rate"),
    "batch-size": ("check", "mlp-text", "--batch-size"),
    "seed": ("check", "mlp-text", "--seed"),
    "rows": ("mlp", "check", "mlp-digits", "--rows"),
    "budget": ("train", "mlp-text", "--smoke", "--out", "new", "--strategy", "auto", "--budget"),
    "seeds": ("compare", "mlp-text", "--smoke", "--out", "new", "--seeds"),
    "margin": ("compare", "run", "run", "--margin"),
    "trials": ("sweep", "mlp-text", "--epochs", "1", "--out", "new", "--set",
               "train.batch_size=16,32", "--trials"),
}  # fmt: skip
WRONG_EVERYWHERE = ("three", "", "-1", "nan", "1e400", "1,5", "[1]")
"""Values that none of the flags can take; of the others some can be taken by some."""
HUGE = {
    "hidden": ("mlp-text", "backbone.hidden=[1000000000]"),
    "hidden-many": ("mlp-text", "backbone.hidden=[200000,200000,200000]"),
    "buckets": ("mlp-text", "backbone.buckets=1000000000000"),
    "rank": ("effnet-digits", "strategy.rank=100000000"),
    "side": ("effnet-digits", "backbone.image_size=1000000"),
    "hidden-text": ("mlp-text", "backbone.hidden=1000000000"),
}
FIELDS = (
    "strategy.rnak=4", "strategy", "=4", "a=b=c", "task.text=", "data.path=", "data=null",
    "backbone.hidden=[]", "backbone.hidden=[0]", "backbone.hidden=[-3]", "train.seed=-1",
    "train.batch_size=0", "train.epochs=1e9", "task.label=7", "data.test_fraction=1",
    "data.test_fraction=0.999999", "data.validation_fraction=0", "train.least_steps=-5",
    "strategy.kind=lora", "task.kind=translation", "backbone.activation=magic",
    "data.train_rows=0", "data.train_rows=1", "data.encoding=klingon", "data.separator=ab",
    "train.workers=-1", "train.precision=fp7", "task.threshold=2", "\u00fc=1", "train.\udc80=1",
)  # fmt: skip


def tries(world: World) -> Iterator[Try]:
    """Each flag with each wrong value; each command about names that are not there; too much."""

    def lay(folder: Path) -> None:
        world.lend("texts", folder)
        shutil.copy(world.root / "texts.csv", folder)

    for name, words in FLAGS.items():
        for value in VALUES:
            number = f"{words[-1]}={value}"
            yield Try(
                f"asked/flag/{name}/{value[:8] or 'empty'}",
                (*words[:-1], number),
                lay,
                statuses=(2,) if _wrong(name, value) else (0, 2),
                never=("pydantic", "https://errors"),
                may_write=("new/*",),
            )
    for name, (recipe, change) in HUGE.items():
        for command in ("check", "train", "compare"):
            more: tuple[str, ...] = {
                "check": (),
                "train": ("--out", "new"),
                "compare": ("--out", "new"),
            }[command]
            data: tuple[str, ...] = ("--data", "texts.csv") if recipe == "mlp-text" else ()
            lora = ("--strategy", "lora") if name == "rank" and command != "compare" else ()
            if recipe == "effnet-digits":
                data = ("--data", str(world.root / "photos"))
                data += ("--backbone", str(world.root / "vit")) if name == "rank" else ()
            yield Try(
                f"asked/huge/{name}/{command}",
                (command, recipe, *data, *lora, "--set", change, *more),
                lay,
                statuses=(1, 2),
            )
    for field in FIELDS:
        for command, more in (("check", ()), ("train", ("--smoke", "--out", "new"))):
            yield Try(
                f"asked/field/{field.encode('ascii', 'replace').decode()}/{command}",
                (command, "mlp-text", "--data", "texts.csv", "--set", field, *more),
                lay,
                statuses=(0, 2),
                never=("pydantic",),
            )
    for kind in ("texts", "photos", "table", "bert"):
        for field in ("task.text=NOCOLUMN", "task.label=NOCOLUMN", "task.nothing=1"):
            given = str(world.root / PREDICTED[kind])
            yield Try(
                f"asked/predict/{kind}/{field}",
                ("predict", str(world.run(kind)), given, "--set", field, "--out", "a.csv"),
                statuses=(2,),
            )
    unknown = ("no-such", "./no-such", "joe/no-such", "", ".", "/", "a b", "x" * 5000, "\n", "-")
    for command in ("show", "train", "check", "compare", "predict", "push", "play", "sweep"):
        for name in unknown:
            words = (command, *(("tictactoe",) if command == "play" else ()), name)
            words += ("a text",) if command == "predict" else ()
            words += ("joe/x",) if command == "push" else ()
            yield Try(f"asked/unknown/{command}/{name[:9]!r}", words, statuses=(2,))
    for repository in ("me/my model", "me", "a/b/c", "-/-", "me/" + "x" * 200, "../x", "me/\u00fc"):
        yield Try(f"asked/repository/{repository[:12]}", ("push", "run", repository), lay, (2,))


def _wrong(name: str, value: str) -> bool:
    if name == "seed" and value in {"0"}:
        return False
    if name == "margin" and value == "0":
        return False
    return value in WRONG_EVERYWHERE or (value in COUNTS and name in {"rows", "seeds", "trials"})
