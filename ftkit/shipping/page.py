"""A page that answers in the visitor's browser: the exported file, and what runs it, in one folder.

Any server of files will do, such as `python -m http.server`, or a static Space. A page that is
opened as a file of the disk is not allowed by browsers to read the model beside it.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

from ftkit.errors import ModelError
from ftkit.exported.about import KEY, About
from ftkit.exported.model import read_record
from ftkit.shipping import onnx_file
from ftkit.shipping.npm_files import RUNTIME, TEXTS, files_of

WEB = Path(__file__).with_name("web")
ALWAYS = ("index.html", "page.js", "answer.js", "pixels.js", "ngrams.js")
"""Files of the page whatever the model reads; of texts tokens.js is another."""
SETTINGS = "page.json"


def write(folder: Path, node_modules: Path | None = None, title: str = "") -> About:
    """Write the page into the folder of an export; return what the exported file says of itself.

    Args:
        node_modules: where onnxruntime-web lies; got by npm when not given.
        title: of the page; the name of the recipe when not given.

    Raises:
        RunError: the folder holds no export.
        ModelError: it is damaged, or not one of ONNX.
        MachineError: onnxruntime-web cannot be had.
    """
    file = str(read_record(folder).get("file"))
    if Path(file).suffix != ".onnx":
        raise ModelError(f"{folder} holds {file}, and browsers run .onnx; export by --to onnx")
    about = About.from_json(onnx_file.told(folder / file).get(KEY), file)
    texts = reads_tokens(about)
    for name, path in files_of({**RUNTIME, **(TEXTS if texts else {})}, node_modules).items():
        shutil.copyfile(path, folder / name)
    for name in (*ALWAYS, *(["tokens.js"] if texts else [])):
        shutil.copyfile(WEB / name, folder / name)
    settings = {
        "title": title or about.recipe or "A model in your browser",
        "source": source_of(about),
        "file": file,
        "bytes": (folder / file).stat().st_size,
        "about": dataclasses.asdict(about),
    }
    (folder / SETTINGS).write_text(json.dumps(settings, indent=1) + "\n", encoding="utf-8")
    return about


def reads_tokens(about: About) -> bool:
    """Return whether texts go into the model as tokens."""
    return about.reads in ("text", "words")


def names_of(about: About) -> tuple[str, ...]:
    """Return the names of all files of the page, the exported file apart."""
    texts = (
        ("tokens.js", *TEXTS, "tokenizer.json", "tokenizer_config.json")
        if reads_tokens(about)
        else ()
    )
    return (*ALWAYS, SETTINGS, *RUNTIME, *texts)


def source_of(about: About) -> str:
    """Return the sentence at the foot of the page."""
    kind = about.task.replace("-", " ")
    return f"A model of {kind}, made with ftkit and run by ONNX Runtime Web."
