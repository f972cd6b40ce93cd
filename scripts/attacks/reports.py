"""Situations from public reports of other tools, not among the cases that ftkit was mended on.

The number is that of the report. Inputs are made up here.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from attacks.commands import Lay, Try
from attacks.shared_files import World, laid, paint, reviews, write_csv

TEXTS, PHOTOS, NAMES, CHAT = "mlp-text", "effnet-digits", "distilbert-ner", "smollm-lora"
BACKBONES = {PHOTOS: "vit", NAMES: "bert", CHAT: "llama"}


def tries(world: World) -> Iterator[Try]:
    """Each situation, checked and trained on."""
    for name, (recipe, lay, statuses, says) in SITUATIONS.items():
        backbone = BACKBONES.get(recipe)
        own: tuple[str, ...] = ("--backbone", str(world.root / backbone)) if backbone else ()
        own += ("--strategy", "head") if recipe == PHOTOS else ()
        for command in ("check", "train"):
            more = ("--smoke", "--out", "out") if command == "train" else ()
            yield Try(
                f"reports/{name}/{command}",
                (command, recipe, "--data", "given", *own, *more),
                lay,
                statuses,
                says=says if command == "check" else (),
            )
    for name, code in FRAMES.items():
        script = f"{BEFORE}{code}{CHECKED}"
        gaps = "None" in code or "pd.NA" in code
        yield Try(
            f"reports/{name}/library",
            (),
            laid("frame.py", script.encode()),
            shell="${FTKIT%% -m*} frame.py",
            says=("leave them out" if gaps else "classes 2",),
        )


def _json_lines(rows: list[dict[str, Any]]) -> Lay:
    return laid("given/rows.jsonl", "".join(json.dumps(row) + "\n" for row in rows).encode())


def _talks(change: Callable[[int], Any], key: str = "messages") -> Lay:
    return _json_lines([{key: change(n)} for n in range(40)])


def _turns(answer: Any, question: Any = "what is it?") -> list[dict[str, Any]]:
    return [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]


def _folders(*roots: str) -> Lay:
    def lay(folder: Path) -> None:
        for root in roots:
            paint(folder / "given" / root, 12)

    return lay


def _numbered(folder: Path) -> None:
    paint(folder / "given", 12, ("2", "10"))


def _cut_jpeg(folder: Path) -> None:
    import io

    from PIL import Image

    root = paint(folder / "given", 12)
    stream = io.BytesIO()
    Image.effect_noise((64, 64), 80).convert("RGB").save(stream, "JPEG")
    (root / "red/cut.jpg").write_bytes(stream.getvalue()[:-200])


def _ragged(folder: Path) -> None:
    lines: list[tuple[str, ...]] = [("text", "label"), *reviews(60)]
    lines[20] = ("a text", "with a comma", "good")
    write_csv(folder / "given/rows.csv", lines)


def _words(tags: Callable[[int], list[str]]) -> Lay:
    return _json_lines([{"tokens": ["the", "book", "was"], "ner_tags": tags(n)} for n in range(40)])


ROWS, QUOTE = reviews(60), '"'
SITUATIONS: dict[str, tuple[str, Lay, tuple[int, ...], tuple[str, ...]]] = {
    "LlamaFactory-9618-no-turns": (CHAT, _talks(lambda n: _turns("b") if n else []), (0, 2), ()),
    "LlamaFactory-9493-empty-question": (
        CHAT, _talks(lambda n: _turns("it is b", "" if n % 5 == 0 else "what?")), (0, 2), (),
    ),
    "LlamaFactory-4249-answer-is-an-object": (
        CHAT, _talks(lambda n: _turns({"a": {"b": None, "c": n}})), (2,), (),
    ),
    "LMFlow-942-ends-with-the-user": (
        CHAT, _talks(lambda n: _turns("b") + _turns("c")[:1] if n % 3 else _turns("b")), (0, 2), (),
    ),
    "Qwen3-1314-from-and-value": (
        CHAT,
        _talks(lambda n: [{"from": "human", "value": "a?"}, {"from": "gpt", "value": "b"}],
               "conversations"),
        (0, 2), (),
    ),
    "spaCy-13533-offsets-in-a-text": (
        NAMES, _json_lines([{"text": "the book was tasty", "entities": [[4, 8, "THING"]]}] * 40),
        (2,), (),
    ),
    "spaCy-4385-unit-tags": (
        NAMES, _words(lambda n: ["O", ("U-THING", "B-THING")[n % 2], "O"]), (0, 2), (),
    ),
    "spaCy-4461-empty-word": (
        NAMES,
        _json_lines([{"tokens": ["the", "" if n == 3 else "book"], "ner_tags": ["O", "B-THING"]}
                     for n in range(40)]),
        (0, 2), (),
    ),
    "datasets-4467-the-word-null": (
        TEXTS,
        laid("given/rows.csv", b"text,label\n" + b"".join(
            f"{('null', 'NA', 'nan', text)[n % 4]},{label}\n".encode()
            for n, (text, label) in enumerate(ROWS))),
        (0,), (),
    ),
    "datasets-743-a-comma-too-many": (TEXTS, _ragged, (0, 2), ()),
    "course-692-null-then-dates": (
        TEXTS,
        _json_lines([{"text": t, "label": k, "closed": None if n < 50 else "2024-01-01T10:00:00Z"}
                     for n, (t, k) in enumerate(ROWS)]),
        (0,), (),
    ),
    "datasets-1989-a-lone-quote": (
        TEXTS,
        laid("given/rows.tsv", b"text\tlabel\n" + b"".join(
            (QUOTE * (n == 9) + f"{t}\t{k}\n").encode() for n, (t, k) in enumerate(ROWS))),
        (0, 2), (),
    ),
    "inspect_ai-1160-empty-text": (
        TEXTS, _json_lines([{"text": "" if n == 7 else t, "label": k}
                            for n, (t, k) in enumerate(ROWS)]), (2,), ("train 7",),
    ),
    "fastai-1552-a-test-folder": (PHOTOS, _folders("train", "test"), (0,), ("test       24 rows",)),
    "fastai-1129-training-and-testing": (PHOTOS, _folders("training", "testing"), (0,),
                                         ("test       24 rows",)),
    "fastai-2569-another-folder": (PHOTOS, _folders("train", "test", "raw"), (0, 2), ("raw",)),
    "fastai-1408-same-names": (PHOTOS, _folders("."), (0,), ()),
    "vision-22566-numbers-as-names": (PHOTOS, _numbered, (0,), ()),
    "vision-138-a-cut-jpeg": (PHOTOS, _cut_jpeg, (0, 2), ("cut.jpg",)),
    "datasets-4015-train-and-val": (PHOTOS, _folders("train", "val"), (0,), ()),
    "ludwig-85-tabs-in-a-csv": (
        TEXTS, laid("given/rows.csv", b"label\ttext\n" + b"".join(
            f"{k}\t{t}\n".encode() for t, k in ROWS)), (0,), (),
    ),
    "ludwig-1296-a-class-called-UNK": (
        TEXTS, laid("given/rows.csv", b"text,label\n" + b"".join(
            f"{t},{'<UNK>' if k == 'good' else k}\n".encode() for t, k in ROWS)), (0,), (),
    ),
    "autogluon-4590-two-classes-of-letters": (
        TEXTS, laid("given/rows.csv", b"text,label\n" + b"".join(
            f"{t},{'ABC' if k == 'good' else 'DEF'}\n".encode() for t, k in ROWS)), (0,), (),
    ),
}  # fmt: skip
TEXT = "text = [f'the book number {n} was tasty' for n in range(60)]\n"
FRAMES = {
    "autogluon-957-string-dtype": TEXT
    + "frame = pd.DataFrame({'text': text, 'label': ['1', '0'] * 30}, dtype=pd.StringDtype())\n",
    "autogluon-5652-category-dtype": TEXT
    + "frame = pd.DataFrame({'text': text, 'label': pd.Categorical(['good', 'bad'] * 30)})\n",
    "autogluon-3238-pd-NA": TEXT
    + "frame = pd.DataFrame({'text': text, 'label': pd.array(['a', 'b'] * 29 + [pd.NA] * 2)})\n",
    "ludwig-2336-labels-of-int64": TEXT
    + "frame = pd.DataFrame({'text': text, 'label': np.array([3, 7] * 30)})\n",
    "ludwig-1143-gap-in-a-category": TEXT
    + "frame = pd.DataFrame({'text': text, 'label': pd.Categorical(['a', 'b', None] * 20)})\n",
}
BEFORE = """
import json, datasets, numpy as np, pandas as pd, ftkit
from recipes import mlp_text
datasets.disable_progress_bars()
"""
CHECKED = """
recipe = mlp_text.recipe.override({"data": ftkit.data_of(frame)})
try:
    ftkit.finetune(recipe.override({"train.max_steps": 2}), "out")
    print("classes", len(json.load(open("out/model/config.json"))["settings"]["classes"]))
except ftkit.DataError as error:
    print(error)
"""
