"""Images that are sent as bytes and finished on the device are those that readers made before."""

import gc
import weakref
from functools import partial

import numpy as np
import pytest
import torch
from conftest import make_image
from test_training import fitted
from transformers import AutoImageProcessor

from ftkit import Augment, ImageClassification
from ftkit.finetuning.finetune import make_ready
from ftkit.machine import runtime
from ftkit.strategies.features import _unique
from ftkit.tasks import evaluation
from ftkit.tasks.compact_images import CompactImages, Levels, compact
from ftkit.tasks.evaluation import collate, predict_logits
from ftkit.tasks.image_rows import processed
from ftkit.tasks.inputs import digests

CPU = torch.device("cpu")
ALWAYS = partial(compact, always=True)
FAMILIES = ("vit", "resnet", "convnext", "timm-resnet", "timm-vit", "timm-efficientnet")


def prepared(recipe, **augment):
    task = ImageClassification(augment=Augment(**{"crop": None, "flip": False, **augment}))
    return make_ready(recipe.override({"task": task}), runtime.start(0)).inputs


def both(rows, keys):
    """Return the images (N, 3, H, W) as the readers make them, and as they are finished."""
    sent, finish = ALWAYS(rows, CPU)
    assert sent is not rows
    batch = collate(sent.__getitems__(keys))
    assert batch["pixel_values"].dtype == torch.uint8
    expected, found = collate(rows.__getitems__(keys)), finish(batch)
    assert set(found) == set(expected)
    assert torch.equal(found["labels"], expected["labels"])
    assert torch.equal(found["index"], expected["index"])
    return expected["pixel_values"], found["pixel_values"]


@pytest.mark.parametrize("family", FAMILIES)
def test_levels_give_back_what_the_processor_gives(checkpoint, family):
    processor = AutoImageProcessor.from_pretrained(checkpoint(family))
    levels = Levels.of(processor)
    images = [make_image("red", number, (40 + 31 * number, 90)) for number in range(4)]
    pixels = processed(images, processor)
    found = levels.pixels(levels.levels(pixels))
    torch.testing.assert_close(found, pixels, rtol=0, atol=1e-6)
    assert torch.equal(found, pixels)
    assert levels.levels(pixels).unique().numel() > 20


class Averaging:
    """A processor whose output is no function of levels: it smooths what it has normalised."""

    def __call__(self, images, return_tensors):
        pixels = torch.stack(
            [
                torch.from_numpy(np.asarray(image.resize((16, 16)))).permute(2, 0, 1) / 127.5 - 1
                for image in images
            ]
        )
        return {"pixel_values": (pixels + pixels.roll(1, -1)) / 2}


def test_a_processor_that_no_table_describes_is_left_to_the_readers(tiny_recipe):
    assert Levels.of(Averaging()) is None
    rows = prepared(tiny_recipe).validation
    rows.processor = Averaging()
    assert ALWAYS(rows, CPU)[0] is rows


class Enlarging:
    """A processor whose output is large, and comes from a table."""

    def __init__(self, size, smoothing=False):
        self.size, self.smoothing, self.images = size, smoothing, 0

    def __call__(self, images, return_tensors):
        self.images += len(images)
        resized = [np.asarray(image.resize(self.size, 3)) for image in images]
        pixels = torch.from_numpy(np.stack(resized)).permute(0, 3, 1, 2) / 127.5 - 1
        return {"pixel_values": (pixels + pixels.roll(1, -1)) / 2 if self.smoothing else pixels}


def test_a_large_output_takes_a_few_images():
    processor = Enlarging((640, 512))
    levels = Levels.of(processor)
    assert processor.images < 12
    assert torch.equal(levels.table, (torch.arange(256) / 127.5 - 1).expand(3, 256))


def test_a_large_output_of_no_table_takes_fewer():
    processor = Enlarging((640, 512), smoothing=True)
    assert Levels.of(processor) is None
    assert processor.images < 5


def test_levels_that_would_take_too_long_to_find_are_left_to_the_readers(monkeypatch):
    monkeypatch.setattr("ftkit.tasks.compact_images.MOST_WORK", 1000)
    processor = Enlarging((16, 16))
    assert Levels.of(processor) is None
    assert processor.images < 12


def test_no_processor_is_kept_alive(tiny_recipe):
    rows = prepared(tiny_recipe).validation
    processor = rows.processor = Enlarging((32, 32))
    assert isinstance(ALWAYS(rows, CPU)[0], CompactImages)
    images = processor.images
    assert isinstance(ALWAYS(rows, CPU)[0], CompactImages)
    assert processor.images == images
    gone = weakref.ref(processor)
    del rows, processor
    gc.collect()
    assert gone() is None


def test_a_cpu_is_sent_what_it_was(tiny_recipe):
    rows = prepared(tiny_recipe).validation
    assert compact(rows, CPU)[0] is rows


def test_rows_for_evaluation_are_equal_bit_for_bit(tiny_recipe):
    rows = prepared(tiny_recipe).test
    expected, found = both(rows, list(range(len(rows))))
    assert torch.equal(found, expected)


@pytest.mark.parametrize(
    "augment",
    [
        {"flip": True},
        {"crop": (0.5, 1.0)},
        {"crop": (0.5, 1.0), "flip": True},
        {"crop": (0.5, 1.0), "flip": True, "randaugment": 9},
    ],
)
def test_training_rows_are_drawn_as_the_readers_draw_them(tiny_recipe, augment):
    rows = prepared(tiny_recipe, **augment).train
    keys = [epoch * len(rows) + row for epoch in (0, 3) for row in range(12)]
    expected, found = both(rows, keys)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)
    alone = torch.cat([both(rows, [key])[1] for key in keys])  # whatever else is in the batch
    assert torch.equal(alone, found)
    assert not torch.equal(found[:12], found[12:])


def test_mirrored_images_have_the_same_levels(tiny_recipe):
    rows = prepared(tiny_recipe, flip=True).train
    sent, _ = ALWAYS(rows, CPU)
    examples = sent.__getitems__(list(range(len(rows))))
    plain, _ = ALWAYS(prepared(tiny_recipe).train, CPU)
    for example, other in zip(examples, plain.__getitems__(list(range(len(rows)))), strict=True):
        assert torch.equal(example["pixel_values"], other["pixel_values"])
    assert 0.2 < np.mean([example["flip"] for example in examples]) < 0.8


def test_training_and_evaluation_give_the_numbers_that_they_gave(
    tiny_recipe, tmp_path, monkeypatch
):
    recipe = tiny_recipe.override({"train.workers": 1})
    plain, _ = fitted(recipe, tmp_path / "plain")
    finish, finished = CompactImages.finish, []

    def counting(self, batch):
        finished.append(len(batch["index"]))
        return finish(self, batch)

    monkeypatch.setattr(CompactImages, "finish", counting)
    for module in ("tasks.evaluation", "training.reading"):
        monkeypatch.setattr(f"ftkit.{module}.compact", ALWAYS)
    ready, _ = fitted(recipe, tmp_path / "compact")
    rows = len(ready.inputs.train) + len(ready.inputs.validation)
    assert sum(finished) == recipe.train.epochs * rows
    torch.testing.assert_close(
        ready.model.state_dict(), plain.model.state_dict(), rtol=1e-4, atol=1e-5
    )
    machine = runtime.start(0)
    logits = predict_logits(plain.model, plain.inputs.test, recipe.train, machine)
    monkeypatch.setattr(evaluation, "compact", compact)
    assert np.array_equal(
        predict_logits(plain.model, plain.inputs.test, recipe.train, machine), logits
    )


@pytest.mark.parametrize(("augment", "bytes_sent"), [({}, True), ({"flip": True}, False)])
def test_features_are_of_the_same_images(tiny_recipe, augment, bytes_sent):
    inputs = prepared(tiny_recipe, **augment)
    wanted, _ = _unique([(inputs.train, 0), (inputs.validation, 0)])
    sent, finish = ALWAYS(wanted, CPU)
    assert (sent is not wanted) == bytes_sent
    rows = list(range(0, len(wanted), 5))
    expected = collate(wanted.__getitems__(rows))["pixel_values"]
    assert torch.equal(finish(collate(sent.__getitems__(rows)))["pixel_values"], expected)
    assert digests(inputs.validation).dtype == np.dtype("S16")
