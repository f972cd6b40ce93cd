"""Output that cannot be written: closed pipes, full disks, encodings, folders that are files."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from attacks.commands import Outcome, Try
from attacks.shared_files import World, paint, reviews, write_csv

PIPED = (0, 141)
COMMANDS = {
    "list": "list",
    "show": "show effnet-digits",
    "help": "train --help",
    "check": "check mlp-text --data texts.csv",
    "check-json": "check mlp-text --data texts.csv --json",
    "train": "train mlp-text --data texts.csv --smoke --out new",
    "predict": "predict run texts.csv",
    "compare": "compare run other --out report",
    "cache": "cache list",
    "doctor": "doctor",
}
QUICK = ("list", "show", "help", "cache")
"""Which import no torch."""


def tries(world: World) -> Iterator[Try]:
    """Each command with each stream that is closed, full or of few characters."""

    def lay(folder: Path) -> None:
        shutil.copy(world.root / "texts.csv", folder)
        world.lend("texts", folder)
        shutil.copytree(world.run("texts"), folder / "other")

    def named(name: str, line: str, statuses: tuple[int, ...], **more: Any) -> Try:
        full = f"set -o pipefail; {line}"
        return Try(f"output/{name}", (), lay, statuses, shell=full, **more)

    for name, words in COMMANDS.items():
        run = f"$FTKIT {words}"
        statuses = (0, 1) if name == "doctor" else (0,)
        yield named(f"head/{name}", f"{run} 2>err | head -1 > /dev/null; cat err; "
                    "exit ${PIPESTATUS[0]}", (*statuses, *PIPED))  # fmt: skip
        yield named(f"true/{name}", f"{run} 2>err | true; s=${{PIPESTATUS[0]}}; cat err; exit $s",
                    (*statuses, *PIPED))  # fmt: skip
        yield named(f"ascii/{name}", run, statuses, environment={"PYTHONIOENCODING": "ascii"})
        if name not in QUICK:
            continue
        yield named(f"both-closed/{name}", f"{run} >&- 2>&-", (*statuses, 1, 2, *PIPED))
        yield named(f"no-stdin/{name}", f"{run} <&-", statuses)
        yield named(f"no-stdout/{name}", f"{run} >&-", (*statuses, 1, *PIPED))
        yield named(f"no-stderr/{name}", f"{run} 2>&-", statuses)
        yield named(f"latin/{name}", run, statuses, environment={"PYTHONIOENCODING": "latin-1"})
        posix = {"LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
        yield named(f"posix/{name}", run, statuses, environment=posix)
        yield named(f"full/{name}", f"{run} > /dev/full", (1, 2), look=_one_line)
        yield named(f"full-stderr/{name}", f"{run} 2> /dev/full", (*statuses, 1))
    for name in ("check", "predict"):
        yield named(f"full/{name}", f"$FTKIT {COMMANDS[name]} > /dev/full", (1, 2), look=_one_line)
    yield from _places(world)


def _one_line(folder: Path, outcome: Outcome) -> str | None:
    lines = outcome.err.decode("utf-8", "replace").strip().splitlines()
    return None if lines and lines[-1].startswith("error") else f"no error line: {lines[-1:]}"


PLACES = {
    "file": "place",
    "below-a-file": "place/deep",
    "kernel": "/proc/ftkit",
    "long": "n" * 300,
    "null": "/dev/null",
    "many-levels": "/".join(["d" * 200] * 25),
}


def _places(world: World) -> Iterator[Try]:
    """Commands that are told to write where nothing can be written."""

    def ready(folder: Path) -> None:
        write_csv(folder / "texts.csv", [("text", "label"), *reviews(60)])
        world.lend("texts", folder)
        paint(folder / "photos", 12)
        (folder / "place").write_text("a file")

    photos = ("--data", "photos", "--backbone", str(world.root / "vit"), "--strategy", "head")
    commands = {
        "train": ("train", "mlp-text", "--data", "texts.csv", "--smoke", "--out"),
        "compare": ("compare", "run", str(world.run("texts")), "--out"),
        "sweep": ("sweep", "mlp-text", "--data", "texts.csv", "--epochs", "1", "--trials", "1",
                  "--set", "train.batch_size=16,32", "--out"),
    }  # fmt: skip
    for name, place in PLACES.items():
        for command, words in commands.items():
            yield Try(f"output/{command}-into/{name}", (*words, place), ready, statuses=(1, 2))
        answers = f"{place}/answers.csv" if name not in {"long", "null"} else f"{place}.csv"
        yield Try(
            f"output/predict-into/{name}",
            ("predict", "run", "texts.csv", "--out", answers),
            ready,
            statuses=(1, 2) if name != "null" else (0, 1, 2),
        )
    for name in ("file", "below-a-file", "kernel"):
        nowhere = {"FTKIT_CACHE": PLACES[name], "MPLCONFIGDIR": PLACES[name], "HOME": PLACES[name]}
        yield Try(
            f"output/cache-in/{name}/head",
            ("train", "effnet-digits", *photos, "--smoke", "--out", "new"),
            ready,
            statuses=(0, 1, 2),
            environment=nowhere,
        )
        embedded = ("--data", "photos", "--strategy", "head")
        yield Try(
            f"output/cache-in/{name}/embedded-check",
            ("check", "effnet-digits", *embedded),
            ready,
            statuses=(0, 1, 2),
            environment=nowhere,
        )
        yield Try(
            f"output/cache-in/{name}/list", ("cache", "list"), ready, (0, 1, 2), environment=nowhere
        )
