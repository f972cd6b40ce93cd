"""Run a saved model through public interfaces alone: transformers, and peft for adapters.

A script for a fresh process, which `ftkit.verify` starts; it imports nothing of ftkit but the
clock, so what it computes is what anyone who downloads the folder gets.

    python -m ftkit.reload MODEL_FOLDER INPUTS_FOLDER OUTPUT.npz [untimed]

INPUTS_FOLDER holds inputs.json, {"task": settings, "columns": {name: a value for each row},
"trusted": whether Python code in MODEL_FOLDER may run}, and a PNG file for each image. OUTPUT.npz
has for a classifier `logits` (N, C) float32 by AutoModel, or by PeftModel where the folder holds an
adapter, and `probabilities` (N, C) by `pipeline`; for a regression `numbers` (N, 1) instead, and
for words `tags` and `scores` of each; for a translator `translations` (N,) by `generate`, and
`losses` (N,), the nats of the translations that the data has. For a language model it has `losses`
(N,), nats a token of each text, and `answers`, which `pipeline` writes to some of the prompts.
Unless it should be untimed, `latency` has the values of `ftkit.latency.Waited`: how long one input
by itself takes.
"""

import json
import re
import sys
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
    AutoModelForCausalLM,
    AutoModelForImageClassification,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    AutoTokenizer,
    GenerationConfig,
    pipeline,
)
from transformers.utils import logging

from ftkit.latency import latency_of

BATCH = 32
Answered = tuple[dict[str, Any], Callable[[Any], Any], Sequence[Any]]
"""Arrays of all answers by name; what answers one input by itself; those inputs."""


def main(folder: Path, inputs: Path, output: Path, timed: bool = True) -> None:
    """Write the answers of the model in `folder` for every input, in order."""
    logging.set_verbosity(logging.CRITICAL)  # an error is raised, not only logged
    logging.disable_progress_bar()
    asked = json.loads((inputs / "inputs.json").read_text(encoding="utf-8"))
    columns = asked["columns"] or {"image": sorted(inputs.glob("*.png"))}
    saved = Saved(folder, asked["trusted"])
    answers, answer, examples = ANSWERS[asked["task"]["kind"]](saved, columns, asked["task"])
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


def answer_images(saved: Saved, columns: dict[str, Any], task: dict[str, Any]) -> Answered:
    """Return logits, and probabilities of the pipeline, for every image file."""
    files = columns["image"]
    pictures = [Image.open(file) for file in files]
    processor = saved.read(AutoImageProcessor)

    def encode(batch: list[Any]) -> Any:
        return processor(images=batch, return_tensors="pt")

    model = saved.load(AutoModelForImageClassification)
    classify = saved.pipeline("image-classification", model, image_processor=processor)
    names = list(model.config.id2label.values())

    def tell(file: Path) -> Any:
        return classify(str(file), top_k=len(names))

    answers = {
        "logits": logits_of(model, pictures, encode),
        "probabilities": in_order([tell(file) for file in files], names),
    }
    return answers, tell, files


def answer_texts(saved: Saved, columns: dict[str, Any], task: dict[str, Any]) -> Answered:
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
    function, name = SCORES[task["kind"]]

    def tell(text: dict[str, str]) -> Any:
        """Give softmax also for two classes; long texts are cut where training cut them."""
        return classify(text, top_k=None, function_to_apply=function, truncation=True)

    names = list(model.config.id2label.values())
    answers = {
        "logits": logits_of(model, texts, encode),
        name: in_order([tell(text) for text in texts], names),
    }
    return answers, tell, texts


def answer_words(saved: Saved, columns: dict[str, Any], task: dict[str, Any]) -> Answered:
    """Return logits, and the pipeline's tag and score, of every word that the model sees."""
    rows = columns["tokens"]
    tokenizer = saved.read(AutoTokenizer)
    model = saved.load(AutoModelForTokenClassification)
    logits, firsts = [], []
    for start in range(0, len(rows), BATCH):
        given = tokenizer(
            rows[start : start + BATCH],
            is_split_into_words=True,
            truncation=True,
            padding=True,
            return_tensors="pt",
        )
        with torch.inference_mode():
            outputs = model(**given).logits.float().numpy()
        for row, values in enumerate(outputs):
            words = given.word_ids(row)
            first = [p for p, w in enumerate(words) if w is not None and w not in words[:p]]
            firsts.append(first)
            logits.append(values[first])
    name_words = saved.pipeline("token-classification", model, tokenizer=tokenizer)

    def tell(row: list[str]) -> Any:
        return name_words([row], is_split_into_words=True, ignore_labels=[])[0]

    told = []
    for row, first in zip(rows, firsts, strict=True):
        tokens = {token["index"]: token for token in tell(row)}
        told += [tokens[place] for place in first]
    answers = {
        "logits": np.concatenate(logits),
        "tags": np.array([token["entity"] for token in told]),
        "scores": np.array([token["score"] for token in told]),
    }
    return answers, tell, rows


def answer_translations(saved: Saved, columns: dict[str, Any], task: dict[str, Any]) -> Answered:
    """Return the translation of every text, and the loss of the one that the data has."""
    tokenizer = saved.read(AutoTokenizer)
    model = saved.load(AutoModelForSeq2SeqLM)
    search = GenerationConfig.from_pretrained(saved.folder)
    texts = [task["prefix"] + text for text in columns["source"]]
    translations, losses = [], []
    for start in range(0, len(texts), BATCH):
        batch, targets = texts[start : start + BATCH], columns["target"][start : start + BATCH]
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
        "translations": np.array(translations),
        "losses": np.concatenate([batch.sum(1).numpy() for batch in losses]),
    }
    return answers, translate, texts


def answer_language(saved: Saved, columns: dict[str, Any], task: dict[str, Any]) -> Answered:
    """Return nats a token of every text, and what the pipeline writes after some prompts."""
    tokenizer = saved.read(AutoTokenizer)
    model = saved.load(AutoModelForCausalLM)
    if "text" in columns:

        def read(text: str) -> float:
            return text_loss(model, tokenizer, task, text)

        return {"losses": np.array([read(text) for text in columns["text"]])}, read, columns["text"]
    talks = columns["messages"]
    losses = [talk_loss(model, tokenizer, task["max_length"], talk) for talk in talks]
    answers = {"losses": np.array(losses)}
    write = saved.pipeline("text-generation", model, tokenizer=tokenizer)
    most = task["max_new_tokens"]
    chosen = np.linspace(0, len(talks) - 1, min(task["answers"], len(talks))).round().astype(int)
    prompts = [until_last_answer(talks[row]) for row in chosen]
    prompts = [
        prompt
        for prompt in prompts
        if len(chat_tokens(tokenizer, prompt, True)) + most <= task["max_length"]
    ]

    def go_on(prompt: list[dict[str, str]]) -> str:
        options = {"do_sample": False, "max_new_tokens": most, "return_full_text": False}
        return write(prompt, **options)[0]["generated_text"]

    if prompts:
        answers["answers"] = np.array([go_on(prompt) for prompt in prompts], dtype=str)
    return answers, go_on, prompts


def text_loss(model: Any, tokenizer: Any, task: dict[str, Any], text: str) -> float:
    """Return the mean of -log p over all tokens of a text but the first, and end-of-text."""
    ids, end = tokenizer(text, verbose=False)["input_ids"], tokenizer.eos_token_id
    if end is not None and ids[-1:] != [end]:
        ids = [*ids, end]
    most, nats = task["max_length"], []
    for start in range(0, len(ids) - 1, most - 1):  # parts share one token, told once
        nats += nats_of(model, ids[start : start + most])
    return float(np.mean(nats)) if nats else float("nan")


def talk_loss(model: Any, tokenizer: Any, most: int, talk: list[dict[str, str]]) -> float:
    """Return the mean of -log p over the assistant's tokens within the first `most` tokens."""
    ids = chat_tokens(tokenizer, talk)
    template = tokenizer.get_chat_template()
    if re.search(r"\{%-?\s*generation\s*-?%\}", template):
        found = tokenizer.apply_chat_template(
            talk, return_dict=True, return_assistant_tokens_mask=True
        )
        mine = {place for place, mark in enumerate(found["assistant_masks"]) if mark}
    else:
        mine = set()
        for number, message in enumerate(talk):
            if message["role"] == "assistant":
                start = shared(ids, chat_tokens(tokenizer, talk[:number], True))
                end = shared(ids, chat_tokens(tokenizer, talk[: number + 1]))
                while end > start and not tokenizer.decode(ids[end - 1]).strip():
                    end -= 1
                mine |= set(range(start, end))
    nats = nats_of(model, ids[:most])
    told = [nats[place - 1] for place in sorted(mine) if 0 < place < min(most, len(ids))]
    return float(np.mean(told)) if told else float("nan")


def shared(ids: list[int], beginning: list[int]) -> int:
    """Return how many tokens a beginning takes, one that joins with what follows counted to it."""
    pairs = enumerate(zip(ids, beginning, strict=False))
    same = next((place for place, (one, other) in pairs if one != other), None)
    return len(beginning) if same is None else same + 1


def chat_tokens(tokenizer: Any, talk: list[dict[str, str]], prompt: bool = False) -> list[int]:
    """Return the tokens of a conversation in the tokenizer's chat template."""
    found = tokenizer.apply_chat_template(talk, add_generation_prompt=prompt, return_dict=True)
    return found["input_ids"]


def until_last_answer(talk: list[dict[str, str]]) -> list[dict[str, str]]:
    """Return what stands before the assistant's last message."""
    return talk[: max(n for n, message in enumerate(talk) if message["role"] == "assistant")]


def nats_of(model: Any, ids: list[int]) -> list[float]:
    """Return -log p of each token but the first, given those before it."""
    with torch.inference_mode():
        logits = model(torch.tensor([ids])).logits[0, :-1].float()
    return (-logits.log_softmax(-1).gather(1, torch.tensor(ids[1:])[:, None])[:, 0]).tolist()


def logits_of(model: Any, inputs: list[Any], encode: Any) -> np.ndarray:
    """Return (N, C) float32."""
    with torch.inference_mode():
        batches = [inputs[start : start + BATCH] for start in range(0, len(inputs), BATCH)]
        return np.concatenate([model(**encode(b)).logits.float().numpy() for b in batches])


def in_order(answers: list[list[dict[str, Any]]], names: list[str]) -> np.ndarray:
    """Return (N, C) the score of each class."""
    rows = [{answer["label"]: answer["score"] for answer in row} for row in answers]
    return np.array([[row[name] for name in names] for row in rows])


SCORES = {
    "text-classification": ("softmax", "probabilities"),
    "text-tagging": ("sigmoid", "probabilities"),
    "text-regression": ("none", "numbers"),
}
"""What the pipeline makes of logits, and what that is called, by kind of task."""
ANSWERS = {
    "image-classification": answer_images,
    "text-classification": answer_texts,
    "text-tagging": answer_texts,
    "text-regression": answer_texts,
    "token-classification": answer_words,
    "text-generation": answer_language,
    "translation": answer_translations,
}
"""By kind of task."""


if __name__ == "__main__":
    model, given, to = map(Path, sys.argv[1:4])
    main(model, given, to, timed="untimed" not in sys.argv[4:])
