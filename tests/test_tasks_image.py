"""Images to tensors: evaluation by the processor alone, training by keyed random changes."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from conftest import make_image
from PIL import Image
from transformers import AutoImageProcessor

from ftkit import Augment, Backbone, Data, ImageClassification
from ftkit.backbones.pretrained import load_model
from ftkit.tasks import task_of
from ftkit.tasks.image_rows import augmentation, processed
from ftkit.tasks.loading import load_splits
from ftkit.training.batches import NO_LABEL, Keyed

IMAGES = task_of(ImageClassification())


@pytest.fixture
def splits(class_folders):
    return load_splits(Data(path=str(class_folders)), task_of(ImageClassification()))


def inputs_of(splits, checkpoint, family="vit", **augment):
    _, processor = load_model(
        Backbone(id=str(checkpoint(family))), splits.label_names, 0, task=IMAGES
    )
    task = ImageClassification(augment=Augment(**augment))
    return task_of(task).prepare(splits, processor, seed=3), processor


@pytest.mark.parametrize("family", ["vit", "convnext", "timm-resnet"])
def test_evaluation_rows_are_what_the_processor_gives(family, splits, checkpoint):
    inputs, _ = inputs_of(splits, checkpoint, family)
    saved = AutoImageProcessor.from_pretrained(checkpoint(family))
    row = splits.test[5]
    expected = saved(images=Image.open(row["image"]["path"]), return_tensors="pt")["pixel_values"]
    example = inputs.test[5]
    assert torch.equal(example["pixel_values"], expected[0])
    assert (example["labels"], example["index"]) == (row["label"], 5)


@pytest.mark.parametrize("family", ["vit", "timm-resnet", "timm-vit", "timm-efficientnet"])
def test_images_together_are_what_the_processor_gives_for_each(family, checkpoint):
    processor = AutoImageProcessor.from_pretrained(checkpoint(family))
    draw = np.random.default_rng(0)
    images = [
        Image.fromarray(draw.integers(0, 256, (height, width, 3), dtype=np.uint8))
        for width, height in ((40, 40), (64, 31), (33, 200), (301, 97))
    ]
    each = [processor(images=image, return_tensors="pt")["pixel_values"] for image in images]
    assert torch.equal(processed(images, processor), torch.cat(each))


def test_a_processor_that_does_more_is_asked_itself(checkpoint):
    processor = AutoImageProcessor.from_pretrained(checkpoint("timm-resnet"))
    image = make_image("red", 0)
    before = processed([image], processor)
    processor.val_transforms.transforms.append(torch.neg)
    assert torch.equal(processed([image], processor), -before)


@pytest.mark.parametrize("family", ["vit", "convnext", "timm-resnet"])
def test_training_images_have_the_size_and_range_of_evaluation(family, splits, checkpoint):
    inputs, processor = inputs_of(splits, checkpoint, family, crop=(1.0, 1.0), flip=True)
    assert inputs.train[0]["pixel_values"].shape == inputs.test[0]["pixel_values"].shape
    grey = Image.new("RGB", (64, 64), (90, 140, 200))  # no crop or flip can change it
    expected = processor(images=grey, return_tensors="pt")["pixel_values"][0]
    got = augmentation(Augment(crop=(0.5, 1.0), randaugment=0), processor)(grey)
    assert torch.allclose(got, expected, atol=1e-5)


def test_without_augmentation_training_rows_equal_evaluation_rows(splits, checkpoint):
    inputs, _ = inputs_of(splits, checkpoint, crop=None, flip=False)
    for position in (0, 7):
        train, plain = inputs.train[position], inputs.train_plain[position]
        assert torch.equal(train["pixel_values"], plain["pixel_values"])


@pytest.mark.parametrize("family", ["vit", "convnext", "timm-resnet"])
def test_without_a_crop_training_has_the_geometry_of_evaluation(family, checkpoint):
    """A wide picture is not squashed where the processor scales the short side and crops."""
    _, processor = load_model(Backbone(id=str(checkpoint(family))), ("a", "b"), 0, task=IMAGES)
    steps = np.linspace(0, 255, 400).astype(np.uint8)  # every column has a grey of its own
    noise = np.random.default_rng(0).integers(0, 60, (200, 400, 3), dtype=np.uint8)
    image = Image.fromarray(np.maximum(np.broadcast_to(steps[None, :, None], noise.shape), noise))
    expected = processor(images=image, return_tensors="pt")["pixel_values"][0]
    black, white = processor(
        images=[Image.new("RGB", (64, 64), colour) for colour in ("black", "white")],
        return_tensors="pt",
    )["pixel_values"]
    step = float((white - black).max()) / 255
    change = augmentation(Augment(crop=None, flip=True), processor)
    seen = []
    for seed in range(8):
        torch.manual_seed(seed)
        pixels = change(image)
        plain, mirrored = (
            float((pixels - other).abs().max()) for other in (expected, expected.flip(-1))
        )
        assert min(plain, mirrored) < 1.01 * step / 2
        seen.append(plain < mirrored)
    assert set(seen) == {True, False}


def test_processors_resize_as_their_attribute_says(checkpoint):
    _, processor = load_model(Backbone(id=str(checkpoint("vit"))), ("a", "b"), 0, task=IMAGES)
    tall = np.zeros((64, 64, 3), np.uint8)
    tall[::2] = 255  # rows of black and white
    for resample, greys in ((Image.Resampling.NEAREST, False), (Image.Resampling.BILINEAR, True)):
        processor.resample = resample
        change = augmentation(Augment(crop=(1.0, 1.0), flip=False), processor)
        pixels = change(Image.fromarray(tall))
        between = (pixels > pixels.min() + 0.1) & (pixels < pixels.max() - 0.1)
        assert bool(between.any()) == greys, resample


def test_random_changes_depend_on_seed_epoch_and_row_alone(splits, checkpoint):
    inputs, _ = inputs_of(splits, checkpoint, crop=(0.3, 1.0))
    N = len(inputs.train)
    torch.manual_seed(1)
    first = inputs.train[2 * N + 4]["pixel_values"]
    torch.manual_seed(2)
    _ = inputs.train[9]
    assert torch.equal(inputs.train[2 * N + 4]["pixel_values"], first)
    assert not torch.equal(inputs.train[3 * N + 4]["pixel_values"], first)
    assert inputs.train[3 * N + 4]["labels"] == inputs.train[4]["labels"]


def test_random_changes_leave_the_global_random_state_alone(splits, checkpoint):
    inputs, _ = inputs_of(splits, checkpoint, crop=(0.3, 1.0))
    torch.manual_seed(1)
    expected = torch.rand(1)
    torch.manual_seed(1)
    _ = inputs.train[0]
    assert torch.equal(torch.rand(1), expected)


def test_threads_give_the_same_images_as_one(splits, checkpoint):
    rows = inputs_of(splits, checkpoint, crop=(0.3, 1.0))[0].train
    alone = [rows[key]["pixel_values"] for key in range(2 * len(rows))]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda key: rows[key]["pixel_values"], range(2 * len(rows))))
    assert all(map(torch.equal, alone, together))


def test_workers_give_the_same_images_as_none(splits, checkpoint):
    from torch.utils.data import DataLoader

    from ftkit.tasks.evaluation import collate

    inputs, _ = inputs_of(splits, checkpoint, crop=(0.3, 1.0), randaugment=9)
    batches = [
        [
            batch["pixel_values"]
            for batch in DataLoader(inputs.train, 8, collate_fn=collate, num_workers=n)
        ]
        for n in (0, 2)
    ]
    for alone, with_workers in zip(*batches, strict=True):
        assert torch.equal(alone, with_workers)


def test_no_flip_means_no_mirror_image(checkpoint):
    _, processor = load_model(Backbone(id=str(checkpoint("vit"))), ("a", "b"), 0, task=IMAGES)
    half = np.zeros((32, 32, 3), np.uint8)
    half[:, 16:] = 255  # bright on the right
    image = Image.fromarray(half)
    for flip, mirrored in ((False, False), (True, True)):
        change = augmentation(Augment(crop=(1.0, 1.0), flip=flip), processor)
        seen = []
        for seed in range(20):
            torch.manual_seed(seed)
            pixels = change(image)
            seen.append(bool(pixels[:, :, :8].mean() > pixels[:, :, -8:].mean()))
        assert any(seen) == mirrored


def test_grey_and_palette_rows_become_three_channels(tmp_path, checkpoint):
    for colour, mode in (("red", "L"), ("blue", "P")):
        (tmp_path / colour).mkdir()
        for number in range(10):
            make_image(colour, number).convert(mode).save(tmp_path / colour / f"{number}.png")
    splits = load_splits(Data(path=str(tmp_path)), task_of(ImageClassification()))
    inputs, _ = inputs_of(splits, checkpoint)
    assert all(
        inputs.test[row]["pixel_values"].shape == (3, 32, 32) for row in range(len(inputs.test))
    )


@pytest.mark.parametrize("family", ["vit", "timm-resnet", "convnext"])
@pytest.mark.parametrize("augment", [{"crop": None, "flip": False}, {"crop": (0.5, 1.0)}])
def test_rows_read_together_are_those_read_one_by_one(family, augment, splits, checkpoint):
    rows = inputs_of(splits, checkpoint, family, **augment)[0].train
    keys = [3, len(rows) + 3, 0, 2 * len(rows) + 7]
    for key, example in zip(keys, rows.__getitems__(keys), strict=True):
        alone = rows[key]
        assert torch.equal(example["pixel_values"], alone["pixel_values"])
        assert (example["labels"], example["index"]) == (alone["labels"], alone["index"])


def test_what_is_the_same_in_every_epoch_is_read_once_where_it_fits(splits, checkpoint):
    rows = inputs_of(splits, checkpoint, crop=None, flip=False)[0].train
    size = rows.example_bytes * len(rows)
    kept, too_large = Keyed(rows, size), Keyed(rows, size - 1)
    first = kept[2]
    assert kept[len(rows) + 2] is first
    assert too_large[len(rows) + 2] is not too_large[2]
    assert kept[-1 - 2]["labels"] == NO_LABEL != kept[2]["labels"]
    changing = inputs_of(splits, checkpoint)[0].train
    both = Keyed(changing, 10 * size)
    assert not torch.equal(both[2]["pixel_values"], both[len(rows) + 2]["pixel_values"])
