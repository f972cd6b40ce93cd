"""Run a saved model through public interfaces alone: transformers, and peft for adapters.

`main` runs in a fresh process, when `ftkit.finetuning.verify` tells it to. This file imports
nothing of ftkit but `in_time`, `latency` and `reload_language` beside it, and none of them computes
by ways of ftkit, so what it computes is what anyone who downloads the folder gets.

The folder of inputs holds inputs.json, {"task": settings, "reads" and "tells": what goes in and
what comes out, "columns": {name: a value for each row}, "trusted": whether Python code in the
model's folder may run, "seconds": for how long it may be asked}, and a PNG file for each image,
named after its position. The output, an npz file, has for a classifier `logits` (n, C) float32 by
AutoModel, or by PeftModel where the folder holds an adapter, and `probabilities` (n, C) by
`pipeline`; for a regression `numbers` (n, 1) instead, and for words `tags` and `scores` of each;
for a translator `translations` (n,) by `generate`, and `losses` (n,), the nats of the translations
that the data has. For a language model it has `losses` (n,), nats a token of each text, and
`answers`, which `pipeline` writes to some of the prompts. The inputs of each array are those at the
positions in "NAME at": all of them, or as many as there was time for, and few for a pipeline.
`rows` is how many inputs the model itself was asked.
Unless it should be untimed, `latency` has the values of `ftkit.finetuning.latency.Waited`: how long
one input by itself takes.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from transformers import (
    AutoConfig,
    AutoImageProcessor,
    AutoModelForImageClassification,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    AutoTokenizer,
    GenerationConfig,
    pipeline,
)
from transformers.utils import logging

from ftkit.finetuning.in_time import in_time, piped
from ftkit.finetuning.latency import latency_of
from ftkit.finetuning.reload_language import answer_language

Answered = tuple[dict[str, Any], Callable[[Any], Any], Sequence[Any]]
"""The arrays of all answers by name, a function that answers one input by itself, and the
inputs."""


def main(folder: str | Path, inputs: str | Path, output: str | Path, timed: bool = True) -> None:
    """Write the answers of the model in `folder` for every input, in order."""
    folder, inputs = Path(folder), Path(inputs)
    logging.set_verbosity(logging.CRITICAL)  # an error is raised, not only logged
    logging.disable_progress_bar()
    asked = json.loads((inputs / "inputs.json").read_text(encoding="utf-8"))
    columns = asked["columns"] or {"image": sorted(inputs.glob("*.png"))}
    saved = Saved(folder, asked["trusted"])
    answers, answer, examples = ANSWERS[asked["reads"], asked["tells"]](saved, columns, asked)
    if timed and len(examples):
        answers["latency"] = np.array(latency_of(answer, examples))
    np.savez(output, **answers)


@dataclass(frozen=True)
class Saved:
    """A model folder, loaded as anyone loads it."""

    folder: Path
    trusted: bool
    """Whether Python code in it may run."""

    @property
    def is_adapter(self) -> bool:
        """Whether the folder holds an adapter instead of a whole model."""
        return (self.folder / "adapter_config.json").exists()

    def read(self, kind: Any) -> Any:
        """Return the tokenizer or image processor."""
        return kind.from_pretrained(self.folder, trust_remote_code=self.trusted)

    def load(self, kind: Any) -> Any:
        """Return the model; of an adapter, the backbone that it names with adapter and head."""
        where = {"trust_remote_code": self.trusted}
        if not self.is_adapter:
            return kind.from_pretrained(self.folder, **where).eval()
        from peft import PeftModel

        file = self.folder / "adapter_config.json"
        settings = json.loads(file.read_text(encoding="utf-8"))
        base = kind.from_pretrained(
            settings["base_model_name_or_path"],
            revision=settings["revision"],
            config=AutoConfig.from_pretrained(self.folder, **where),
            ignore_mismatched_sizes=True,
            **where,
        )
        return PeftModel.from_pretrained(base, self.folder).eval()

    def pipeline(self, kind: str, model: Any, **parts: Any) -> Any:
        """Return the pipeline of the folder; of an adapter, on its backbone."""
        where: dict[str, Any] = {"device": "cpu"}
        if self.is_adapter:
            return pipeline(kind, model=model, **parts, **where)  # type: ignore[call-overload]
        where["trust_remote_code"] = self.trusted
        return pipeline(kind, model=str(self.folder), **where)  # type: ignore[call-overload]


def answer_images(saved: Saved, columns: dict[str, Any], asked: dict[str, Any]) -> Answered:
    """Return logits, and probabilities or numbers of the pipeline, for every image file."""
    files = columns["image"]
    pictures = [Image.open(file) for file in files]
    processor = saved.read(AutoImageProcessor)

    def encode(batch: list[Any]) -> Any:
        return processor(images=batch, return_tensors="pt")

    model = saved.load(AutoModelForImageClassification)
    if not saved.is_adapter:  # peft's DoRA takes views of its own kernels
        model = model.to(memory_format=torch.channels_last)  # the same, and CNNs are faster
    classify = saved.pipeline("image-classification", model, image_processor=processor)
    names = list(model.config.id2label.values())
    function, name = SCORES[asked["tells"]]

    def tell(file: Path) -> Any:
        return classify(str(file), top_k=len(names), function_to_apply=function)

    answers = told_twice(model, pictures, encode, files, tell, names, name, asked["seconds"])
    at = np.array([int(file.stem) for file in files])
    return {n: at[v] if n.endswith(" at") else v for n, v in answers.items()}, tell, files


def answer_texts(saved: Saved, columns: dict[str, Any], asked: dict[str, Any]) -> Answered:
    """Return logits, and probabilities or numbers of the pipeline, for every text or pair."""
    keys = {"text": "text", "pair": "text_pair"}  # as the pipeline calls them
    named = [columns[name] for name in keys if name in columns]
    texts = [dict(zip(keys.values(), row, strict=False)) for row in zip(*named, strict=True)]
    tokenizer = saved.read(AutoTokenizer)

    def encode(batch: list[Any]) -> Any:
        parts = [[row[key] for row in batch] for key in batch[0]]
        return tokenizer(*parts, truncation=True, padding=True, return_tensors="pt")

    model = saved.load(AutoModelForSequenceClassification)
    classify = saved.pipeline("text-classification", model, tokenizer=tokenizer)
    function, name = SCORES[asked["tells"]]

    def tell(text: dict[str, str]) -> Any:
        """Give softmax also for two classes; long texts are cut where training cut them."""
        return classify(text, top_k=None, function_to_apply=function, truncation=True)

    names, seconds = list(model.config.id2label.values()), asked["seconds"]
    return told_twice(model, texts, encode, texts, tell, names, name, seconds), tell, texts


def answer_words(saved: Saved, columns: dict[str, Any], asked: dict[str, Any]) -> Answered:
    """Return logits, and the pipeline's tag and score, of every word that the model sees."""
    rows = columns["tokens"]
    tokenizer = saved.read(AutoTokenizer)
    model = saved.load(AutoModelForTokenClassification)

    def encode(batch: list[list[str]]) -> Any:
        return tokenizer(
            batch, is_split_into_words=True, truncation=True, padding=True, return_tensors="pt"
        )

    def firsts(given: Any, row: int) -> list[int]:
        words = given.word_ids(row)
        return [p for p, w in enumerate(words) if w is not None and w not in words[:p]]

    counts = [len(firsts(encode([row]), 0)) for row in rows]
    begins = np.cumsum([0, *counts])
    logits: list[np.ndarray] = []
    asked_at: list[int] = []
    for some in in_time(len(rows), asked["seconds"]):
        given = encode([rows[row] for row in some])
        with torch.inference_mode():
            outputs = model(**given).logits.float().numpy()
        for place, row in enumerate(some):
            logits.append(outputs[place, firsts(given, place)])
            asked_at += range(begins[row], begins[row + 1])
    name_words = saved.pipeline("token-classification", model, tokenizer=tokenizer)

    def tell(row: list[str]) -> Any:
        return name_words([row], is_split_into_words=True, ignore_labels=[])[0]

    told: list[Any] = []
    told_at: list[int] = []
    for row in piped(len(rows), asked["seconds"]):
        tokens = {token["index"]: token for token in tell(rows[row])}
        told += [tokens[place] for place in firsts(encode([rows[row]]), 0)]
        told_at += range(begins[row], begins[row + 1])
    places = np.array(told_at, dtype=int)
    answers = {
        "rows": len(logits),
        "logits": np.concatenate(logits),
        "logits at": np.array(asked_at, dtype=int),
        "tags": np.array([token["entity"] for token in told]),
        "scores": np.array([token["score"] for token in told]),
        "tags at": places,
        "scores at": places,
    }
    return answers, tell, rows


def answer_translations(saved: Saved, columns: dict[str, Any], asked: dict[str, Any]) -> Answered:
    """Return the translation of every text, and the loss of the one that the data has."""
    tokenizer = saved.read(AutoTokenizer)
    model = saved.load(AutoModelForSeq2SeqLM)
    search = GenerationConfig.from_pretrained(saved.folder)
    texts = [asked["task"]["prefix"] + text for text in columns["source"]]
    at: list[int] = []
    translations, losses = [], []
    for some in in_time(len(texts), asked["seconds"]):
        batch, targets = ([column[row] for row in some] for column in (texts, columns["target"]))
        at += some
        inputs = tokenizer(batch, truncation=True, padding=True, return_tensors="pt")
        labels = tokenizer(text_target=targets, truncation=True, padding=True, return_tensors="pt")
        wanted = labels["input_ids"].masked_fill(labels["attention_mask"] == 0, -100)
        with torch.inference_mode():
            found = model.generate(**inputs, generation_config=search)
            logits = model(**inputs, labels=wanted).logits.float()
        translations += tokenizer.batch_decode(found, skip_special_tokens=True)
        losses.append(
            torch.nn.functional.cross_entropy(logits.transpose(1, 2), wanted, reduction="none")
        )

    def translate(text: str) -> Any:
        given = tokenizer(text, truncation=True, return_tensors="pt")
        with torch.inference_mode():
            return tokenizer.decode(model.generate(**given, generation_config=search)[0])

    answers = {
        "rows": len(at),
        "translations": np.array(translations),
        "translations at": np.array(at),
        "losses": np.concatenate([batch.sum(1).numpy() for batch in losses]),
        "losses at": np.array(at),
    }
    return answers, translate, texts


def told_twice(
    model: Any,
    inputs: list[Any],
    encode: Any,
    examples: list[Any],
    tell: Any,
    names: list[str],
    name: str,
    seconds: float,
) -> dict[str, Any]:
    """Return logits of the model, and scores of the pipeline under `name`, each of some inputs.

    Args:
        inputs: as `encode` takes them in batches.
        examples: the same as `tell`, the pipeline, takes them one at a time.
    """
    at: list[int] = []
    logits = []
    for some in in_time(len(inputs), seconds):
        at += some
        with torch.inference_mode():
            logits.append(model(**encode([inputs[row] for row in some])).logits.float().numpy())
    told = {row: tell(examples[row]) for row in piped(len(inputs), seconds)}
    return {
        "rows": len(at),
        "logits": np.concatenate(logits),
        "logits at": np.array(at),
        name: in_order(list(told.values()), names),
        f"{name} at": np.array(list(told)),
    }


def in_order(answers: list[list[dict[str, Any]]], names: list[str]) -> np.ndarray:
    """Return (N, C) the score of each class."""
    rows = [{answer["label"]: answer["score"] for answer in row} for row in answers]
    return np.array([[row[name] for name in names] for row in rows])


SCORES = {
    "class": ("softmax", "probabilities"),
    "tags": ("sigmoid", "probabilities"),
    "number": ("none", "numbers"),
}
"""What the pipeline makes of logits, and what that is called, by what is predicted for a row."""
ANSWERS = {
    **{("images", tells): answer_images for tells in SCORES},
    **{("texts", tells): answer_texts for tells in SCORES},
    ("texts", "words"): answer_words,
    ("texts", "continuation"): answer_language,
    ("texts", "translation"): answer_translations,
}
"""The function for each pair of what a model reads and what it predicts."""
