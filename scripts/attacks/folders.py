"""Folders as they are: data under the output, foreign modules, odd paths, rows that change."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from attacks.commands import Try, run_command
from attacks.shared_files import World, paint, reviews, write_csv

SMOKE = ("--smoke",)
BEGUN = ("train", "mlp-text", "--data", "rows.csv", "--epochs", "2", "--out", "run")
NAMES = {
    "brackets": "rows[1].csv",
    "star": "rows*.csv",
    "question": "rows?.csv",
    "colons": "d::x.csv",
    "space": "my rows.csv",
    "dash": "-rows.csv",
    "percent": "rows%20.csv",
    "hash": "rows#1.csv",
    "quotes": "ro'w\"s.csv",
    "newline": "ro\nws.csv",
    "umlaut": "r\u00f6ws.csv",
    "bytes": "r\udc80ws.csv",
    "dollar": "$HOME.csv",
    "backslash": "ro\\ws.csv",
    "long": "r" * 240 + ".csv",
    "braces": "{rows}.csv",
    "equals": "a=b.csv",
    "uppercase": "ROWS.CSV",
    "semicolon": "a;b.csv",
    "tilde": "~rows.csv",
}
MODULES = ("random", "numpy", "types", "json", "torch", "recipes", "datasets", "evaluate", "ftkit",
           "transformers", "logging", "site", "io", "tokenize")  # fmt: skip


def tries(world: World) -> Iterator[Try]:
    """Names of files, runs inside data, files that would be overwritten, foreign modules."""
    vit = ("--backbone", str(world.root / "vit"), "--strategy", "head")
    for name, file in NAMES.items():
        lay = _rows(file)
        held = (0, 2) if name == "bytes" else (0,)  # no JSON can hold it
        yield Try(
            f"folders/name/{name}/check", ("check", "mlp-text", f"--data=./{file}"), lay, held
        )
        yield Try(
            f"folders/name/{name}/train",
            ("train", "mlp-text", f"--data=./{file}", *SMOKE, "--out", "new"),
            lay,
            held,
        )
        yield Try(
            f"folders/name/{name}/predict",
            ("predict", str(world.run("texts")), f"./{file}", "--out", "answers.csv"),
            lay,
            held,
        )
    beside = ("train", "effnet-digits", *vit, "--data", "photos", *SMOKE)
    yield Try("folders/eaten/inside", (*beside, "--out", "photos/run"), _photos, (0, 2))
    yield Try("folders/eaten/as-class", ("check", "effnet-digits", *vit, "--data", "photos"),
              _with_run(world, "photos/run"), says=("run",))  # fmt: skip
    yield Try("folders/eaten/as-runs", ("check", "effnet-digits", *vit, "--data", "photos"),
              _with_run(world, "photos/runs/one"), says=("run",))  # fmt: skip
    yield Try("folders/eaten/texts", ("check", "mlp-text", "--data", "."),
              _with_run(world, "runs/one"), says=("run",))  # fmt: skip
    yield Try(
        "folders/eaten/answers",
        ("predict", str(world.run("photos")), "photos", "--out", "photos/answers.csv"),
        _photos,
        (0, 2),
    )
    for target in ("rows.csv", "./rows.csv", "run/run.json", "run/predictions.parquet", "link.csv"):
        yield Try(
            f"folders/overwritten/{target}",
            ("predict", "run", "rows.csv", "--out", target),
            _with_link(world),
            (2,),
        )
    yield Try("folders/overwritten/asked", ("predict", "run", "rows.csv", "--out", "old.csv",
              "--overwrite"), _with_link(world), (0,), may_write=("old.csv",))  # fmt: skip
    for target in ("rows.csv", "run/run.json"):
        yield Try(
            f"folders/overwritten/asked-{target}",
            ("predict", "run", "rows.csv", "--out", target, "--overwrite"),
            _with_link(world),
            (2,),
        )
    for module in MODULES:
        line = "$FTKIT train mlp-text --data rows.csv --smoke --out new"
        yield Try(f"folders/shadowed/{module}", (), _shadowed(module), (0, 2), shell=_console(line))
    for name, change in CHANGES.items():
        yield Try(
            f"folders/changed/{name}",
            (
                "train",
                "mlp-text",
                "--data",
                "rows.csv",
                "--epochs",
                "2",
                "--out",
                "run",
                "--resume",
            ),
            _changed(world, change),
            (2,),
            may_write=("run/*",),
        )
    yield from _outside(world, vit)


def _console(line: str) -> str:
    """Return the line as the console script starts it: the folder is not on the path."""
    safe = "import sys; sys.path[:] = [p for p in sys.path if p]; from ftkit.cli.main import main; "
    return line.replace("$FTKIT", f"${{FTKIT%% -m*}} -c '{safe}sys.exit(main())'")


def _rows(file: str) -> Callable[[Path], object]:
    return lambda folder: write_csv(folder / file, [("text", "label"), *reviews(60)])


def _photos(folder: Path) -> None:
    paint(folder / "photos", 12)


def _with_run(world: World, place: str) -> Callable[[Path], object]:
    def lay(folder: Path) -> None:
        paint(folder / "photos", 12)
        if place.startswith("runs"):
            shutil.rmtree(folder / "photos")
            write_csv(folder / "rows.csv", [("text", "label"), *reviews(60)])
        shutil.copytree(world.run("texts"), folder / place)

    return lay


def _with_link(world: World) -> Callable[[Path], object]:
    def lay(folder: Path) -> None:
        world.lend("texts", folder)
        write_csv(folder / "rows.csv", [("text", "label"), *reviews(60)])
        (folder / "link.csv").symlink_to("rows.csv")
        (folder / "old.csv").write_text("old")

    return lay


def _shadowed(module: str) -> Callable[[Path], object]:
    def lay(folder: Path) -> None:
        write_csv(folder / "rows.csv", [("text", "label"), *reviews(60)])
        (folder / f"{module}.py").write_text("raise SystemExit('the wrong module')\n")

    return lay


def _relabelled(file: Path) -> None:
    file.write_text(file.read_text().replace(",good", ",GOOD!").replace(",bad", ",good"))


def _same_time(file: Path) -> None:
    times = file.stat()
    text = file.read_text()
    file.write_text(text.replace("the book", "the cook"))
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))


CHANGES: dict[str, Callable[[Path], object]] = {
    "labels": _relabelled,
    "texts-same-time": _same_time,
    "fewer": lambda file: file.write_text("".join(file.open().readlines()[:50])),
    "order": lambda file: file.write_text(
        "".join([(lines := file.open().readlines())[0], *lines[:0:-1]])
    ),
}  # fmt: skip


def _changed(world: World, change: Callable[[Path], object]) -> Callable[[Path], object]:
    """Return what lays an unfinished run of rows that were changed since."""

    def lay(folder: Path) -> None:
        write_csv(folder / "rows.csv", [("text", "label"), *reviews(60)])
        run_command(BEGUN, folder)
        (folder / "run/run.json").unlink()
        change(folder / "rows.csv")

    return lay


OUTSIDE = {"up": "../secret/00.png", "absolute": "ABSOLUTE/secret/00.png", "link": "link.png"}


def _outside(world: World, vit: tuple[str, ...]) -> Iterator[Try]:
    """Tables whose paths leave the folder of the data."""
    for name, path in OUTSIDE.items():

        def lay(folder: Path, path: str = path) -> None:
            paint(folder / "given", 12)
            paint(folder / "elsewhere", 1)
            (folder / "elsewhere/red").rename(folder / "secret")
            (folder / "given/link.png").symlink_to("../secret/00.png")
            inside = [(str(f.relative_to(folder / "given")), f.parent.name)
                      for f in (folder / "given").rglob("*/*.png")]  # fmt: skip
            there = [(path.replace("ABSOLUTE", str(folder)), "red"), *inside]
            write_csv(folder / "given/metadata.csv", [("file_name", "label"), *there])

        for command, more in (("check", ()), ("train", ("--smoke", "--out", "new"))):
            words = (command, "effnet-digits", "--data", "given", *vit, *more)
            yield Try(f"folders/outside/{name}/{command}", words, lay, (2,), says=("outside",))
        allowed = ("check", "effnet-digits", "--data", "given", *vit, "--set", "data.outside=true")
        yield Try(f"folders/outside/{name}/allowed", allowed, lay, (0,))
