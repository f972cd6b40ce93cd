"""Image files of any damage, shape and claim: right RGB, or a reason in one line."""

import io
import random
import struct
import time
import zlib

import numpy as np
import pytest
from conftest import COLOURS, make_image
from fuzzing import FULL, damaged, require_one_line
from PIL import Image

from ftkit import Data, DataError, ImageClassification, finetune
from ftkit.data.open_images import BadImage, open_rgb
from ftkit.tasks import task_of
from ftkit.tasks.loading import load_splits, screen

FORMATS = {
    "jpeg": [("RGB", {}), ("L", {"progressive": True}), ("CMYK", {})],
    "png": [("RGB", {}), ("RGBA", {}), ("P", {}), ("1", {}), ("I;16", {})],
    "webp": [("RGB", {}), ("RGBA", {"lossless": True})],
    "gif": [("P", {}), ("P", {"save_all": True})],
    "tiff": [("RGB", {}), ("L", {"compression": "tiff_lzw"}), ("RGB", {"compression": "jpeg"})],
}
EACH = 120 if FULL else 12
"""Damaged files of each format."""
SECONDS = 20.0
"""No file may take longer; an image of these sizes takes a thousandth."""


def encoded(kind, mode, options, number):
    """Return the bytes of a small image."""
    picture = make_image("red", number, (37, 23))
    if mode == "I;16":
        values = np.arange(37 * 23, dtype=np.uint16).reshape(23, 37) * 60
        picture = Image.fromarray(values)
    else:
        picture = picture.convert(mode)
    more = {"append_images": [picture.rotate(90)]} if options.get("save_all") else {}
    out = io.BytesIO()
    picture.save(out, kind, **options, **more)
    return out.getvalue()


def check(content):
    """Require right RGB, or a reason in one line, soon; return whether it was an image."""
    begin, image, reason = time.process_time(), None, ""
    try:
        image = open_rgb({"bytes": content, "path": None})
    except BadImage as error:
        reason = str(error)
    assert time.process_time() - begin < SECONDS
    if image is None:
        assert reason
        assert len(reason.splitlines()) == 1
        return False
    assert image.mode == "RGB"
    assert np.asarray(image).shape == (image.height, image.width, 3)
    return True


@pytest.mark.parametrize("kind", FORMATS)
def test_damaged_files_are_images_or_have_a_reason(kind):
    draw, good = random.Random(time.time() if FULL else kind), 0
    for number in range(EACH):
        mode, options = FORMATS[kind][number % len(FORMATS[kind])]
        content = encoded(kind, mode, options, number)
        if number < len(FORMATS[kind]):
            assert check(content)
        good += check(damaged(content, draw))
    assert good < EACH


def chunk(kind, content):
    """Return a chunk of a PNG file."""
    sum_ = struct.pack(">I", zlib.crc32(kind + content))
    return struct.pack(">I", len(content)) + kind + content + sum_


def png(width, height, *chunks):
    """Return a grey PNG of one bit that claims this size."""
    head = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    parts = (chunk(b"IHDR", head), *chunks, chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def packed(size):
    """Return so many bytes of zeros, as PNG packs them."""
    return zlib.compress(bytes(size), 9)


def changed(kind, mode, options, place, value):
    """Return a small image with these bytes in this place of its file."""
    content = encoded(kind, mode, options, 0)
    return content[:place] + value + content[place + len(value) :]


def wide_tiff():
    """Return a TIFF file whose width is said to be the largest number."""
    content = encoded("tiff", "L", {"compression": "tiff_lzw"}, 0)
    place = content.index(struct.pack("<HHI", 256, 3, 1))
    entry = struct.pack("<HHII", 256, 4, 1, 2**31 - 1)
    return content[:place] + entry + content[place + len(entry) :]


ROWS = 1_251 * 10_000
SMALL = chunk(b"IDAT", packed(16))
BOMBS = {
    "png of 100 megapixels": lambda: png(10_000, 10_000, chunk(b"IDAT", packed(ROWS))),
    "png that claims 4 gigapixels": lambda: png(2**16, 2**16, chunk(b"IDAT", packed(ROWS))),
    "png of the largest numbers": lambda: png(2**31 - 1, 2**31 - 1, SMALL),
    "png with 50 MB of text": lambda: png(
        8, 8, chunk(b"zTXt", b"Comment\0\0" + packed(50_000_000)), SMALL
    ),
    "png with 50 MB of profile": lambda: png(
        8, 8, chunk(b"iCCP", b"icc\0\0" + packed(50_000_000)), SMALL
    ),
    "gif of 4 gigapixels": lambda: changed("gif", "P", {}, 6, b"\xff" * 4),
    "tiff of 2**31 columns": wide_tiff,
    "webp of 268 megapixels": lambda: changed(
        "webp", "RGB", {"lossless": True}, 21, b"\xff\xff\xff\x0f"
    ),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_small_file_that_unfolds_is_refused_or_small(name):
    content = BOMBS[name]()
    assert len(content) < 1_000_000
    there = check(content)
    assert not there or "MB of" in name  # what is beside the pixels is not read


def folder_of(root, *contents):
    """Make class folders of these files, every second of each class a good image."""
    for place, colour in enumerate(COLOURS):
        (root / colour).mkdir(parents=True)
        for number in range(8):
            make_image(colour, number).save(root / colour / f"{number}.png")
        for number, content in enumerate(contents[place :: len(COLOURS)]):
            (root / colour / f"x{number}.png").write_bytes(content)
    return root


def test_a_folder_with_damaged_files_is_refused_whole_or_read_without_them(tmp_path, tiny_recipe):
    draw, contents = random.Random(7), []
    for number in range(90 if FULL else 18):
        kind = list(FORMATS)[number % len(FORMATS)]
        contents.append(damaged(encoded(kind, *FORMATS[kind][0], number), draw))
    contents.append(b"")
    data = Data(path=str(folder_of(tmp_path / "photos", *contents)), on_bad_row="skip")
    splits = screen(load_splits(data, task_of(ImageClassification())), "skip", lambda look: look())
    kept = [row for split in (splits.train, splits.validation, splits.test) for row in split]
    assert len(kept) == 24 + sum(map(check, contents))
    with pytest.raises(DataError) as caught:
        finetune(tiny_recipe.override({"data.path": data.path}), tmp_path / "run")
    require_one_line(caught.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("size", [(20_000, 1), (1, 20_000), (2, 401)])
def test_an_image_that_is_a_line_is_refused(size):
    out = io.BytesIO()
    Image.new("RGB", size).save(out, "png")
    with pytest.raises(BadImage, match="more than 200 times the other; cut it into pieces"):
        open_rgb({"bytes": out.getvalue(), "path": None})


def test_images_of_odd_shapes_are_trained_on(tmp_path, tiny_recipe):
    root = folder_of(tmp_path / "photos")
    for colour, value in COLOURS.items():
        for number, size in enumerate([(1, 1), (200, 1), (2, 400)]):
            Image.new("RGB", size, value).save(root / colour / f"odd{number}.png")
    recipe = tiny_recipe.override({"data.path": str(root), "train.max_steps": 2})
    assert finetune(recipe, tmp_path / "run").status == "complete"
