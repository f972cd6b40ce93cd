"""Rows as people have them, checked, trained on and answered."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from attacks.commands import Outcome, Try
from attacks.shared_files import World, laid, paint, reviews, table, write_csv

Lay = Callable[[Path], object]


def tries(world: World) -> Iterator[Try]:
    """Each case of texts, tables and photos, through the commands that take rows."""
    for name, (lay, classes) in TEXTS.items():
        yield from _each(f"rows/texts/{name}", "mlp-text", lay, (), world, "texts", classes)
    for name, (lay, says) in PHOTOS.items():
        yield from _each(f"rows/photos/{name}", "effnet-digits", lay, says, world, "photos")
    for name, (lay, says) in TABLES.items():
        yield from _each(f"rows/table/{name}", "mlp-diabetes", lay, says, world, "table")
    for name, lay in REFUSED.items():
        for command in ("check", "train", "compare", "predict"):
            if (name, command) == ("one-class", "predict"):
                continue  # which is a class that the model does not know
            words = _words(command, "mlp-text", world, "texts")
            yield Try(f"rows/refused/{name}/{command}", words, lay, statuses=(2,))


def _each(
    name: str,
    recipe: str,
    lay: Lay,
    says: tuple[str, ...],
    world: World,
    kind: str,
    classes: tuple[str, ...] = (),
) -> Iterator[Try]:
    refused = {"did you mean", "leave them out"} & set(says)
    for command in ("check", "check --json", "train", "compare", "sweep", "predict"):
        if command == "sweep" and len(name) % 3:
            continue  # one of three is tried out
        told = says if command == "check" else ()
        look = _is_json if command == "check --json" else None
        if command == "train" and classes:
            look = partial(_knows, classes)
        yield Try(
            f"{name}/{command.replace(' --', '-')}",
            _words(command, recipe, world, kind),
            lay,
            statuses=(0, 2) if command == "predict" else (2,) if refused else (0,),
            says=told,
            look=look,
            may_write=("runs/*", "answers.csv"),
        )


def _words(command: str, recipe: str, world: World, kind: str) -> tuple[str, ...]:
    if command == "predict":
        return ("predict", str(world.run(kind)), "given", "--out", "answers.csv")
    out = ("--smoke", "--out", "out")
    more = {"train": out, "compare": ("--strategies", "majority", *out)}
    more["sweep"] = ("--trials", "1", "--set", "train.seed=0,1", "--epochs", "1", "--out", "out")
    backbone = ("--backbone", str(world.root / "vit")) if kind == "photos" else ()
    head = ("--strategy", "head") if kind == "photos" and command != "compare" else ()
    label = ("--set", "task.label=y") if kind == "table" else ()
    first, *flags = command.split()
    settings = (*flags, *backbone, *head, *label, *more.get(first, ()))
    return (first, recipe, "--data", "given", *settings)


def _knows(classes: tuple[str, ...], folder: Path, outcome: Outcome) -> str | None:
    """Look whether the model's classes are those of the rows, written as there."""
    config = json.loads((folder / "out/model/config.json").read_text())
    known = config["settings"]["classes"]
    return None if set(classes) <= set(known) else f"the model knows {known}"


def _is_json(folder: Path, outcome: Outcome) -> str | None:
    try:
        json.loads(outcome.out)
    except ValueError as error:
        return f"check --json prints no JSON: {error}"
    return None


def _csv(*columns: str, number: int = 60, name: str = "given/rows.csv", **form: str) -> Lay:
    """Return what lays reviews as CSV under these names of columns."""
    lines = [columns or ("text", "label"), *reviews(number)]
    return lambda folder: write_csv(folder / name, lines, **form)


def _lines(pairs: list[tuple[str, str]]) -> bytes:
    return "".join(f'"{text}",{label}\n' for text, label in pairs).encode()


def _relabelled(**names: str) -> Lay:
    """Return what lays reviews whose labels are others."""
    pairs = [(text, names.get(label, label)) for text, label in reviews(60)]
    return laid("given/rows.csv", b"text,label\n" + _lines(pairs))


def _split(*names: str) -> Lay:
    """Return what lays a table for each of these names of files."""

    def lay(folder: Path) -> None:
        for n, name in enumerate(names):
            rows = reviews(120)[40 * n : 40 * (n + 1)]
            write_csv(folder / "given" / name, [("text", "label"), *rows])

    return lay


def _json(what: Callable[[list[dict[str, str]]], object], name: str = "rows.json") -> Lay:
    rows = [{"text": text, "label": label} for text, label in reviews(60)]
    return laid(f"given/{name}", json.dumps(what(rows)).encode())


def _zipped(folder: Path) -> None:
    (folder / "given").mkdir()
    with zipfile.ZipFile(folder / "given/rows.zip", "w") as file:
        file.writestr("rows.csv", PLAIN)


PLAIN = b"text,label\n" + _lines(reviews(60))
TEXTS: dict[str, tuple[Lay, tuple[str, ...]]] = {
    "leading-zeros": (_relabelled(good="007", bad="012"), ("007", "012")),
    "zeros-and-word": (_relabelled(good="1e5", bad="100000"), ("1e5", "100000")),
    "truth": (_relabelled(good="true", bad="false"), ("true", "false")),
    "yes-no": (_relabelled(good="yes", bad="no"), ("yes", "no")),
    "signs": (_relabelled(good="c++", bad="c#"), ("c++", "c#")),
    "minus-one": (_relabelled(good="1", bad="-1"), ("-1",)),
    "not-a-number": (_relabelled(good="NaN", bad="null"), ()),
    "dates": (_relabelled(good="2024-01-01", bad="2024-01-02"), ("2024-01-01",)),
    "header-space": (_csv("text", " label"), ()),
    "header-case": (_csv("Text", "LABEL"), ()),
    "header-bom": (laid("given/rows.csv", b"\xef\xbb\xbf" + PLAIN), ()),
    "windows-lines": (laid("given/rows.csv", PLAIN.replace(b"\n", b"\r\n")), ()),
    "blank-lines": (laid("given/rows.csv", b"\n\n" + PLAIN + b"\n\n"), ()),
    "semicolons": (_csv(delimiter=";"), ()),
    "tabs": (_csv(name="given/rows.tsv", delimiter="\t"), ()),
    "upper-suffix": (_csv(name="given/ROWS.CSV"), ()),
    "gz": (laid("given/rows.csv.gz", gzip.compress(PLAIN)), ()),
    "zip": (_zipped, ()),
    "json-list": (_json(lambda rows: rows), ()),
    "json-data": (_json(lambda rows: {"data": rows}), ()),
    "json-columns": (
        _json(lambda rows: {key: [row[key] for row in rows] for key in ("text", "label")}), (),
    ),
    "json-index": (_json(lambda rows: {str(n): row for n, row in enumerate(rows)}), ()),
    "ndjson": (
        laid("given/rows.ndjson", b"".join(
            json.dumps({"text": t, "label": k}).encode() + b"\n" for t, k in reviews(60))), (),
    ),
    "split-words": (_split("reviews_train.csv", "reviews_test.csv"), ()),
    "split-eval": (_split("train.csv", "eval.csv"), ()),
    "split-holdout": (_split("train.csv", "my-holdout.csv"), ()),
    "submission": (_split("train.csv", "test.csv", "sample_submission.csv"), ()),
    "extra-column": (
        laid("given/rows.csv", b"n,text,label\n" + b"".join(
            b"%d," % n + line + b"\n" for n, line in enumerate(_lines(reviews(60)).splitlines()))),
        (),
    ),
    "brackets": (_csv(name="given/rows[1].csv"), ()),
    "quoted-lines": (
        laid("given/rows.csv", b"text,label\n" + b"".join(
            f'"the {n}\nline",{"good" if n % 2 else "bad"}\n'.encode() for n in range(60))), (),
    ),
    "accents": (_relabelled(good="caf\u00e9", bad="th\u00e9"), ("caf\u00e9",)),
    "composed": (
        laid("given/rows.csv", b"text,label\n" + _lines(
            [(t, ("caf\u00e9" if n % 4 else "cafe\u0301") if n % 2 else "tea")
             for n, (t, _) in enumerate(reviews(60))])), (),
    ),
}  # fmt: skip


def _photos(change: Callable[[Path], object]) -> Lay:
    def lay(folder: Path) -> None:
        change(paint(folder / "given", 12))

    return lay


def _broken(folder: Path) -> None:
    (folder / "red/broken.png").write_bytes(b"no image")


def _folders(*names: str) -> Lay:
    def make(root: Path) -> None:
        for name in names:
            (root / name).mkdir()

    return _photos(make)


def _listed(folder: Path) -> None:
    rows = [(str(file.relative_to(folder)), file.parent.name) for file in folder.rglob("*.png")]
    write_csv(folder / "metadata.csv", [("file_name", "label"), *rows])


def _animated(folder: Path) -> None:
    from PIL import Image

    frames = [Image.new("RGB", (32, 32), (n * 40, 0, 0)) for n in range(4)]
    frames[0].save(folder / "red/moving.gif", save_all=True, append_images=frames[1:])


def _grey(folder: Path) -> None:
    from PIL import Image

    for file in folder.rglob("*.png"):
        Image.open(file).convert("I;16" if file.stem < "06" else "LA").save(file)


PHOTOS: dict[str, tuple[Lay, tuple[str, ...]]] = {
    "system-folders": (_folders("@eaDir", "lost+found", ".git"), ()),
    "dunder": (_photos(lambda root: (root / "red").rename(root / "__background__")),
               ("__background__",)),
    "train-class": (_photos(lambda root: (root / "red").rename(root / "train")), ("train",)),
    "empty-class": (_folders("discs"), ("discs",)),
    "one-too-deep": (
        lambda folder: shutil.move(paint(folder / "x", 12), folder / "given/photos"),
        ("did you mean",),
    ),
    "notes-beside": (_photos(lambda root: (root / "notes.txt").write_text("look")), ("notes.txt",)),
    "notes-inside": (
        _photos(lambda root: (root / "red/notes.txt").write_text("look")), ("notes.txt",),
    ),
    "listed": (_photos(_listed), ()),
    "animated": (_photos(_animated), ()),
    "grey-and-16-bit": (_photos(_grey), ()),
    "link-inside": (
        _photos(lambda root: (root / "red/link.png").symlink_to("../blue/00.png")), (),
    ),
    "spaces": (_photos(lambda root: (root / "red").rename(root / "dark red")), ("dark red",)),
    "upper": (
        _photos(lambda root: [f.rename(f.with_suffix(".PNG")) for f in root.rglob("*.png")]), (),
    ),
}  # fmt: skip


def _table(change: Callable[[list[list[str]]], list[list[str]]], **form: str) -> Lay:
    def lay(folder: Path) -> None:
        rows = change([list(map(str, row)) for row in table(60)])
        write_csv(folder / "given/rows.csv", rows, **form)

    return lay


def _with(column: int, row: int, value: str) -> Callable[[list[list[str]]], list[list[str]]]:
    def change(rows: list[list[str]]) -> list[list[str]]:
        rows[row][column] = value
        return rows

    return change


TABLES: dict[str, tuple[Lay, tuple[str, ...]]] = {
    "plain": (_table(lambda rows: rows), ()),
    "gap": (_table(_with(1, 17, "n.a.")), ()),
    "empty-cell": (_table(_with(1, 17, "")), ()),
    "target-gap": (_table(_with(2, 17, "")), ("leave them out",)),
    "words": (
        _table(lambda rows: [[*row, "colour" if n == 0 else ("red", "blue")[n % 2]]
                             for n, row in enumerate(rows)]), (),
    ),
    "decimal-comma": (
        _table(lambda rows: [[cell.replace(".", ",") for cell in row] for row in rows],
               delimiter=";"), (),
    ),
    "constant-column": (_table(lambda rows: [[*row, "1" if n else "c"]
                                             for n, row in enumerate(rows)]), ()),
    "huge": (_table(_with(0, 9, "1e300")), ("leave them out",)),
}  # fmt: skip


def _pipe(folder: Path) -> None:
    (folder / "given").mkdir()
    os.mkfifo(folder / "given/rows.csv")


REFUSED: dict[str, Lay] = {
    "nothing": lambda folder: (folder / "given").mkdir(),
    "empty-file": laid("given/rows.csv", b""),
    "header-only": laid("given/rows.csv", b"text,label\n"),
    "binary": laid("given/rows.csv", bytes(range(256)) * 40),
    "cut-gz": laid("given/rows.csv.gz", gzip.compress(PLAIN)[:60]),
    "no-zip": laid("given/rows.zip", b"PK\x03\x04 and no more"),
    "cut-parquet": laid("given/rows.parquet", b"PAR1" + b"\0" * 40),
    "deep-json": laid("given/rows.json", b"[" * 100_000),
    "pipe": _pipe,
    "one-class": laid("given/rows.csv", b"text,label\n" + b"hello there,good\n" * 40),
}  # fmt: skip
