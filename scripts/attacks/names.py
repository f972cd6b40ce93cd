"""Names that strangers choose: of classes, columns, files; and texts that they write."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import partial
from html.parser import HTMLParser
from pathlib import Path

from attacks.commands import Outcome, Try, run_command
from attacks.shared_files import World, paint, reviews, write_csv

NAMES = {
    "script": "<script>alert(1)</script>",
    "end-script": "</script><img src=x onerror=alert(1)>",
    "style": "</style><svg onload=alert(1)>",
    "attribute": '" onmouseover="alert(1)',
    "link": "[x](javascript:alert(1))",
    "image": "![x](http://evil.invalid/x.png)",
    "table": "a|b|c",
    "ticks": "```\n# title",
    "front-matter": "x\n---\nlicense: evil",
    "yaml-yes": "yes",
    "yaml-null": "null",
    "yaml-list": "- x",
    "yaml-map": "a: b",
    "yaml-tag": "!!python/object/apply:os.system [ls]",
    "escape": "\x1b[31mred\x1b[0m",
    "title": "\x1b]0;owned\x07",
    "rich": "[bold red]x[/] [/x]",
    "formula": "=HYPERLINK(\"http://evil.invalid\",\"x\")",
    "formula-at": "@SUM(1+1)",
    "formula-minus": "-2+3",
    "tab": "\t=1+1",
    "mathtext": "$x_{1$ ^",
    "right-to-left": "\u202egnp.exe",
    "zero-width": "a\u200bb",
    "emoji": "\U0001f44d\U0001f3fd",
    "script-han": "\u6f22\u5b57",
    "devanagari": "\u0939\u093f\u0928\u094d\u0926\u0940",
    "null-byte": "a\u0000b",
    "long": "x" * 3000,
    "braces": "{{ 7*7 }}{% x %}",
    "percent": "%s %d %(x)s",
    "slash": "../../etc/passwd",
    "space": "   ",
    "surrogate": "\udc80",
}  # fmt: skip

VERIFIED = ("script", "front-matter", "yaml-null", "mathtext", "right-to-left", "surrogate")
"""Names that a model is asked for again in a fresh process."""


def tries(world: World) -> Iterator[Try]:
    """Each name as a class, in a training, its answers and its report."""
    for key, name in NAMES.items():
        yield Try(
            f"names/train/{key}",
            ("train", "mlp-text", "--data", "rows.csv", "--smoke", "--out", "run"),
            partial(_rows, name),
            statuses=(0, 2),
            look=partial(_unharmed, name),
            verified=key in VERIFIED,
        )
        yield Try(
            f"names/compare/{key}",
            ("compare", "run", "--out", "report"),
            partial(_trained, world, key),
            statuses=(0, 2),
            look=partial(_inert, name),
        )
        yield Try(
            f"names/predict/{key}",
            ("predict", "run", "rows.csv", "--out", "answers.csv"),
            partial(_trained, world, key),
            statuses=(0, 2),
        )
        yield Try(
            f"names/check/{key}",
            ("check", "mlp-text", "--data", "rows.csv"),
            partial(_columns, name),
            statuses=(0, 2),
        )
        if "/" not in name and "\0" not in name and len(name) < 200 and name.strip():
            yield Try(
                f"names/photos/{key}",
                ("check", "effnet-digits", "--data", "photos", "--backbone",
                 str(world.root / "vit"), "--strategy", "head"),
                partial(_photos, name),
                statuses=(0, 2),
            )  # fmt: skip


def _rows(name: str, folder: Path) -> None:
    rows = [(f"{text} {name}", name if label == "good" else label) for text, label in reviews(60)]
    write_csv(folder / "rows.csv", [("text", "label"), *rows])


def _columns(name: str, folder: Path) -> None:
    rows = [(text, label, name) for text, label in reviews(60)]
    write_csv(folder / "rows.csv", [("text", "label", name), *rows])


def _photos(name: str, folder: Path) -> None:
    paint(folder / "photos", 12, (name, "plain"))
    first = next((folder / "photos" / name).iterdir())
    first.rename(first.with_name(f"{name}.png"))


def _trained(world: World, key: str, folder: Path) -> None:
    """Lay rows with this name and a run that was trained on them, made once."""
    made = world.root / "names" / key
    if not (made / "done").exists():
        made.mkdir(parents=True, exist_ok=True)
        _rows(NAMES[key], made)
        words = ("train", "mlp-text", "--data", "rows.csv", "--smoke", "--out", "run")
        try:
            run_command(words, made)
        except RuntimeError:
            (made / "run").mkdir(exist_ok=True)  # refused: then there is nothing to be answered
        (made / "done").touch()
    _rows(NAMES[key], folder)
    if (made / "run/run.json").exists():
        import shutil

        shutil.copytree(made / "run", folder / "run")


def _unharmed(name: str, folder: Path, outcome: Outcome) -> str | None:
    """Look whether the model says the name back and the card is well-formed."""
    if outcome.status != 0:
        return None
    config = json.loads((folder / "run/model/config.json").read_text())
    classes = config["settings"]["classes"]
    if name not in classes and name.strip() not in classes:
        return f"the model knows {classes}"
    import yaml

    card = (folder / "run/model/README.md").read_text(encoding="utf-8")
    head = re.match(r"---\n(.*?)\n---\n", card, re.S)
    about = yaml.safe_load(head[1]) if head else None
    if not isinstance(about, dict) or about.get("license") == "evil":
        return "the model card's head is not what ftkit wrote"
    return None if "<script>alert" not in card else "the model card holds a script"


class _Tags(HTMLParser):
    """Notes what a browser would act on."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for key, value in attrs:
            outward = key in {"src", "href"} and re.match(
                r"\s*(https?:|//|javascript:)", value or ""
            )
            if key.startswith("on") or (outward and "evil" in (value or "")):
                self.found.append(f"<{tag} {key}={value}>")


def _inert(name: str, folder: Path, outcome: Outcome) -> str | None:
    """Look for tags in the report that a name brought in."""
    if (folder / "run/run.json").exists() and outcome.status != 0:
        return f"no report: {outcome.said[-200:]}"
    for page in (folder / "report").rglob("*.html"):
        tags = _Tags()
        text = page.read_text(encoding="utf-8")
        tags.feed(text)
        if tags.found or "<script>alert" in text:
            return f"{page.name}: {tags.found[:2] or 'a script'}"
    return None
