"""A saved model is asked as many rows as there is time for, and each is compared with its own."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import COLOURS, make_image
from transformers import (
    AutoImageProcessor,
    AutoModelForCausalLM,
    AutoModelForImageClassification,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    AutoTokenizer,
)

from ftkit import Data, ImageClassification, Train, VerificationError
from ftkit.finetuning import in_time as module
from ftkit.finetuning import reload, verify
from ftkit.finetuning.in_time import BATCH, PIPED, PIPED_AT_LEAST, coarse_to_fine, in_time, piped
from ftkit.machine import runtime
from ftkit.tasks import task_of
from ftkit.tasks.evaluation import predict_logits
from ftkit.tasks.image_rows import ImageRows
from ftkit.tasks.loading import load_splits

ROWS = BATCH + 8


@pytest.mark.parametrize("count", [1, 2, 3, 31, 32, 33, 100, 256])
def test_every_beginning_of_the_order_is_spread_over_all(count):
    order = coarse_to_fine(count)
    assert sorted(order) == list(range(count))
    for some in range(1, count + 1):
        gaps = np.diff([-1, *sorted(order[:some]), count])
        assert gaps.max() <= 4 * count / some + 1


def test_batches_come_until_the_time_is_over_and_the_first_always(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    found = []
    for batch in in_time(100, 5.0, 10):
        found += batch
        now[0] += 2.0
    assert len(found) == 30
    now[0] = 0.0
    assert len(list(in_time(100, -1.0, 10))) == 1
    assert sorted(row for some in in_time(100, 5.0, 10) for row in some) == list(range(100))
    assert len(list(piped(100, 5.0))) == PIPED
    assert len(list(piped(100, -1.0))) == PIPED_AT_LEAST
    assert list(piped(2, 5.0)) == [0, 1]


def asked(folder, inputs, seconds, **about):
    """Return what a saved model answers, and how many rows it was asked."""
    (inputs / "inputs.json").write_text(json.dumps({"trusted": False, "seconds": seconds, **about}))
    reload.main(folder, inputs, inputs / "answers.npz", timed=False)
    with np.load(inputs / "answers.npz") as found:
        return dict(found)


@pytest.mark.parametrize(("seconds", "rows"), [(-1.0, BATCH), (1e6, ROWS)])
def test_images_of_which_some_are_asked(checkpoint, tmp_path, seconds, rows):
    folder = checkpoint("vit")
    images = [make_image(list(COLOURS)[n % 3], n) for n in range(2 * ROWS)][::2]
    for number, image in enumerate(images):
        image.save(tmp_path / f"{2 * number:06d}.png")  # every other one was not written in time
    found = asked(folder, tmp_path, seconds, task={}, reads="images", tells="class", columns={})
    model = AutoModelForImageClassification.from_pretrained(folder).eval()
    pixels = AutoImageProcessor.from_pretrained(folder)(images=images, return_tensors="pt")
    with torch.inference_mode():
        logits = model(**pixels).logits
    assert found["rows"] == len(found["logits"]) == rows
    assert (found["logits at"] % 2 == 0).all()
    np.testing.assert_allclose(found["logits"], logits[found["logits at"] // 2], atol=1e-5)
    shares = logits.softmax(1)[found["probabilities at"] // 2]
    np.testing.assert_allclose(found["probabilities"], shares, atol=1e-5)


@pytest.mark.parametrize(("seconds", "rows"), [(-1.0, BATCH), (1e6, ROWS)])
def test_texts_of_which_some_are_asked(checkpoint, tmp_path, seconds, rows):
    folder = checkpoint("bert")
    texts = [" ".join(["red", "plum", "is", "ripe"][: 1 + n % 4]) for n in range(ROWS)]
    about = {"task": {}, "reads": "texts", "tells": "class", "columns": {"text": texts}}
    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    model.save_pretrained(tmp_path / "model")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.save_pretrained(tmp_path / "model")
    found = asked(tmp_path / "model", tmp_path, seconds, **about)
    with torch.inference_mode():
        logits = model(**tokenizer(texts, padding=True, return_tensors="pt")).logits
    assert found["rows"] == len(found["logits"]) == rows
    np.testing.assert_allclose(found["logits"], logits[found["logits at"]], atol=1e-5)


@pytest.mark.parametrize(("seconds", "rows"), [(-1.0, BATCH), (1e6, ROWS)])
def test_words_of_which_some_are_asked(checkpoint, tmp_path, seconds, rows):
    folder = checkpoint("bert")
    words = [["red", "plum", "is", "ripe"][: 1 + n % 4] for n in range(ROWS)]
    torch.manual_seed(0)
    model = AutoModelForTokenClassification.from_pretrained(folder).eval()
    model.save_pretrained(tmp_path / "model")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.save_pretrained(tmp_path / "model")
    about = {"task": {}, "reads": "texts", "tells": "words", "columns": {"tokens": words}}
    found = asked(tmp_path / "model", tmp_path, seconds, **about)
    logits = []
    for row in words:
        given = tokenizer([row], is_split_into_words=True, return_tensors="pt")
        with torch.inference_mode():
            values = model(**given).logits[0]
        places = given.word_ids(0)
        logits += [values[places.index(word)] for word in range(len(row))]
    assert found["rows"] == rows
    at = found["logits at"]
    assert (len(at) == len(logits)) == (rows == ROWS)
    np.testing.assert_allclose(found["logits"], torch.stack(logits)[at], atol=1e-5)
    tags = np.array(list(model.config.id2label.values()))[torch.stack(logits).argmax(1)]
    assert found["tags"].tolist() == tags[found["tags at"]].tolist()


def test_texts_that_a_language_model_is_asked(checkpoint, tmp_path):
    folder = checkpoint("gpt2")
    texts = [f"red plum {'is ripe ' * (n % 3)}" for n in range(ROWS)]
    about = {"reads": "texts", "tells": "continuation", "columns": {"text": texts}}
    found = asked(folder, tmp_path, -1.0, task={"max_length": 16}, **about)
    whole = asked(folder, tmp_path, 1e6, task={"max_length": 16}, **about)
    AutoModelForCausalLM.from_pretrained(folder)
    assert (found["rows"], whole["rows"]) == (BATCH, ROWS)
    by_row = dict(zip(whole["losses at"].tolist(), whole["losses"].tolist(), strict=True))
    assert found["losses"].tolist() == [by_row[row] for row in found["losses at"].tolist()]


@pytest.mark.parametrize(("seconds", "rows"), [(-1.0, BATCH), (1e6, ROWS)])
def test_fewer_rows_are_compared_where_there_is_no_time(
    finished_run, class_folders, monkeypatch, seconds, rows
):
    monkeypatch.setattr(verify, "LEAST_SECONDS", seconds)
    splits = load_splits(Data(path=str(class_folders)), task_of(ImageClassification()))
    test = splits.train.select(range(ROWS))
    task, folder = task_of(ImageClassification()), finished_run / "model"
    model = AutoModelForImageClassification.from_pretrained(folder)
    inputs = ImageRows(test, AutoImageProcessor.from_pretrained(folder), np.zeros(ROWS, int))
    outputs = predict_logits(model, inputs, Train(), runtime.start(0))
    assert verify.verify(folder, task, replace(splits, test=test), outputs).rows == rows
    outputs[:: ROWS // BATCH] += 1  # some of them are always compared
    with pytest.raises(VerificationError, match="logits after reloading differ by 1"):
        verify.verify(folder, task, replace(splits, test=test), outputs)
