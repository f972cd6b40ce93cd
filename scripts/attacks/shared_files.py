"""What every try may use: tiny data, tiny backbones, and a finished run of each kind."""

from __future__ import annotations

import csv
import os
import random
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from attacks.commands import Lay, run_command

NOUNS = ("book", "film", "song", "shoe", "meal", "coat", "lamp", "game")
KIND, HARSH = ("tasty", "kind", "fresh", "lovely"), ("awful", "harsh", "bland", "dreadful")
COLOURS = {"blue": (30, 60, 200), "red": (200, 50, 40)}


@dataclass(frozen=True)
class World:
    """Folders and files that tries copy from, and never change."""

    root: Path

    @classmethod
    def build(cls, root: Path) -> World:
        """Make everything, or take what an earlier call made there."""
        world = cls(root.resolve())
        os.environ["FTKIT_CACHE"] = str(world.root / "cache")
        if (world.root / "ready").exists():
            return world
        world.root.mkdir(parents=True, exist_ok=True)
        write_csv(world.root / "texts.csv", [("text", "label"), *reviews(60)])
        write_csv(world.root / "table.csv", table(60))
        paint(world.root / "photos", 12)
        _backbones(world.root)
        for kind, words in RUNS.items():
            run_command(["train", *words, "--out", f"runs/{kind}"], world.root)
        (world.root / "ready").touch()
        return world

    def run(self, kind: str) -> Path:
        """Return the folder of a finished run: texts, table, photos or bert."""
        return self.root / "runs" / kind

    def lend(self, kind: str, folder: Path) -> Path:
        """Copy a finished run to `folder`/run and return it."""
        return Path(shutil.copytree(self.run(kind), folder / "run"))


RUNS: dict[str, Sequence[str]] = {
    "texts": ("mlp-text", "--data", "texts.csv", "--epochs", "2"),
    "table": ("mlp-diabetes", "--data", "table.csv", "--set", "task.label=y", "--epochs", "2"),
    "photos": ("effnet-digits", "--data", "photos", "--backbone", "vit", "--strategy", "head"),
    "bert": ("minilm-langid", "--data", "texts.csv", "--backbone", "bert", "--max-steps", "2"),
}
PREDICTED = {"texts": "texts.csv", "table": "table.csv", "photos": "photos", "bert": "texts.csv"}
"""What each run is asked to answer."""


TEMPLATE = (
    "{% for message in messages %}{{ '<|s|>' + message['role'] + ' ' + message['content'] + "
    "'<|e|>' }}{% endfor %}{% if add_generation_prompt %}{{ '<|s|>assistant ' }}{% endif %}"
)


def reviews(number: int) -> list[tuple[str, str]]:
    """Return texts, each with its label."""
    random_ = random.Random(0)
    return [
        (f"the {random_.choice(NOUNS)} number {n} was {random_.choice(words)}", label)
        for n in range(number)
        for label, words in [(("good", "bad")[n % 2], (KIND, HARSH)[n % 2])]
    ]


def table(number: int) -> list[tuple[object, ...]]:
    """Return rows of two numbers and a third that follows from them, after their names."""
    random_ = random.Random(0)
    found: list[tuple[object, ...]] = [("a", "b", "y")]
    for _ in range(number):
        a, b = random_.random(), random_.random()
        found.append((round(a, 4), round(b, 4), round(2 * a - b + 0.1 * random_.random(), 4)))
    return found


def write_csv(file: Path, lines: Iterable[Sequence[object]], **form: str) -> Path:
    """Write lines as CSV and return the file."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w", newline="", encoding="utf-8", errors="surrogateescape") as stream:
        csv.writer(stream, **form).writerows(lines)  # type: ignore[arg-type]
    return file


def laid(name: str, content: bytes) -> Lay:
    """Return what writes a file with this content."""

    def lay(folder: Path) -> None:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)

    return lay


def paint(folder: Path, number: int, names: Sequence[str] = ("blue", "red")) -> Path:
    """Write class folders of noisy images of one colour each and return the folder."""
    import numpy as np
    from PIL import Image

    for name, colour in zip(names, COLOURS.values(), strict=True):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for n in range(number):
            noise = np.random.default_rng(n).integers(-30, 30, (32, 32, 3))
            pixels = (np.array(colour) + noise).clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{n:02d}.png")
    return folder


def _backbones(root: Path) -> None:
    """Save a ViT, a BERT and a Llama of a few thousand random weights."""
    child = os.fork()
    if child:
        if os.waitpid(child, 0)[1]:
            raise RuntimeError("the tiny backbones could not be made")
        return
    import transformers as hf

    small: dict[str, Any] = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    small |= {"intermediate_size": 32}
    vit = hf.ViTConfig(image_size=32, patch_size=8, **small)
    hf.ViTForImageClassification(vit).save_pretrained(root / "vit")
    hf.ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(root / "vit")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "number", "was"]
    words += [*NOUNS, *KIND, *HARSH, *"abcdefghijklmnopqrstuvwxyz0123456789"]
    tokenizer = hf.BertTokenizer(vocab={word: n for n, word in enumerate(words)})
    tokenizer.model_max_length = 32
    tokenizer.save_pretrained(root / "bert")
    bert = hf.BertConfig(vocab_size=len(words), max_position_embeddings=64, **small)
    hf.BertForSequenceClassification(bert).save_pretrained(root / "bert")
    letters = [*words, "<|s|>", "<|e|>"]
    chat = hf.BertTokenizer(vocab={word: n for n, word in enumerate(letters)}, eos_token="<|e|>")
    chat.chat_template = TEMPLATE
    chat.model_max_length = 128
    chat.save_pretrained(root / "llama")
    sizes = small | {"max_position_embeddings": 128, "num_key_value_heads": 2}
    llama = hf.LlamaConfig(vocab_size=len(letters), eos_token_id=len(letters) - 1, **sizes)
    hf.LlamaForCausalLM(llama).save_pretrained(root / "llama")
    os._exit(0)
