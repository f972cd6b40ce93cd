"""A page that answers in the visitor's browser: the exported file, and what runs it, in one folder.

Any server of files will do, such as `python -m http.server`, or a static Space. A page that is
opened as a file of the disk is not allowed by browsers to read the model beside it.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

from ftkit.exported.about import About
from ftkit.shipping.npm_files import RUNTIME, TEXTS, files_of
from ftkit.shipping.parts import Taken

WEB = Path(__file__).with_name("web")
ALWAYS = ("index.html", "page.js", "answer.js", "pixels.js", "ngrams.js")
"""Files of the page whatever the model reads; of texts tokens.js is another."""
SETTINGS = "page.json"


def write(folder: Path, file: str, taken: Taken, node_modules: Path | None = None) -> None:
    """Write the page into the folder of an export.

    Args:
        file: the exported file, as a name in the folder.
        node_modules: where onnxruntime-web lies; got by npm when not given.

    Raises:
        MachineError: onnxruntime-web cannot be had.
    """
    about = taken.parts.about
    texts = reads_tokens(about)
    for name, path in files_of({**RUNTIME, **(TEXTS if texts else {})}, node_modules).items():
        shutil.copyfile(path, folder / name)
    for name in (*ALWAYS, *(["tokens.js"] if texts else [])):
        shutil.copyfile(WEB / name, folder / name)
    settings = {
        "title": about.recipe or "A model in your browser",
        "source": source_of(about),
        "file": file,
        "bytes": (folder / file).stat().st_size,
        "about": dataclasses.asdict(about),
        "tokenizer_config": _tokenizer_config(taken.processor) if texts else None,
    }
    (folder / SETTINGS).write_text(json.dumps(settings, indent=1) + "\n", encoding="utf-8")


def reads_tokens(about: About) -> bool:
    """Return whether texts go into the model as tokens."""
    return about.reads in ("text", "words")


def names_of(about: About) -> tuple[str, ...]:
    """Return the names of all files of the page, the exported file apart."""
    texts = ("tokens.js", *TEXTS, "tokenizer.json") if reads_tokens(about) else ()
    return (*ALWAYS, SETTINGS, *RUNTIME, *texts)


def source_of(about: About) -> str:
    """Return the sentence at the foot of the page."""
    kind = about.task.replace("-", " ")
    return f"A model of {kind}, made with ftkit and run by ONNX Runtime Web."


def _tokenizer_config(tokenizer: Any) -> dict[str, Any]:
    """Return tokenizer_config.json, by which JavaScript knows a few things of a tokenizer."""
    with tempfile.TemporaryDirectory() as scratch:
        tokenizer.save_pretrained(scratch)
        text = (Path(scratch) / "tokenizer_config.json").read_text(encoding="utf-8")
    values: dict[str, Any] = json.loads(text)
    return values
