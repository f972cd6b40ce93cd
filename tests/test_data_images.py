"""Every kind of image becomes the right RGB, and every file that is none is found with a reason."""

import io
import os
import warnings

import numpy as np
import pytest
from datasets import Dataset, Features
from datasets import Image as ImageFeature
from PIL import Image
from PIL.ImageFile import ImageFile
from transformers.image_utils import load_image

from ftkit.data.duplicates import number_copies
from ftkit.data.images import find_bad_heads, find_bad_images
from ftkit.data.open_images import BadImage, look_at_image, open_image, open_rgb

NOISE = np.random.default_rng(0).integers(0, 256, (6, 9, 4), dtype=np.uint8)
RGBA = Image.fromarray(NOISE)
RGB = RGBA.convert("RGB")


def encode(image, kind="PNG", **options):
    file = io.BytesIO()
    image.save(file, format=kind, **options)
    return file.getvalue()


def opened(content):
    image = open_rgb({"bytes": content, "path": None})
    assert image.mode == "RGB"
    return np.asarray(image)


def grey(values):
    """The RGB array of a grey image with these 8-bit values."""
    return np.repeat(np.asarray(values, dtype=np.uint8)[:, :, None], 3, axis=2)


def reason(row):
    with pytest.raises(BadImage) as caught:
        open_rgb(row)
    return str(caught.value)


# what is an image

PLAIN = {
    "rgb": encode(RGB),
    "grey": encode(RGB.convert("L")),
    "one bit": encode(RGB.convert("1")),
    "palette": encode(RGB.quantize(16)),
    "palette with transparency": encode(RGB.quantize(16), transparency=0),
    "rgba": encode(RGBA),
    "grey with alpha": encode(RGBA.convert("LA")),
    "cmyk jpeg": encode(RGB.convert("CMYK"), "JPEG"),
    "grey jpeg": encode(RGB.convert("L"), "JPEG"),
    "gif": encode(RGB.quantize(16), "GIF"),
    "webp": encode(RGBA, "WEBP", lossless=True),
    "bmp": encode(RGB, "BMP"),
    "tiff": encode(RGB, "TIFF", compression="tiff_lzw"),
}


@pytest.mark.parametrize("kind", PLAIN)
def test_a_plain_image_is_what_transformers_loads(kind, tmp_path):
    file = tmp_path / "image"
    file.write_bytes(PLAIN[kind])
    expected = np.asarray(load_image(str(file)))
    np.testing.assert_array_equal(opened(PLAIN[kind]), expected)
    np.testing.assert_array_equal(
        np.asarray(open_rgb({"bytes": None, "path": str(file)})), expected
    )


def test_grey_fills_all_three_channels():
    values = NOISE[:, :, 0]
    np.testing.assert_array_equal(opened(encode(Image.fromarray(values))), grey(values))


def test_one_bit_becomes_black_and_white():
    values = NOISE[:, :, 0] > 127
    np.testing.assert_array_equal(opened(encode(Image.fromarray(values))), grey(values * 255))


def test_alpha_is_dropped_and_hidden_colours_stay():
    np.testing.assert_array_equal(opened(encode(RGBA)), NOISE[:, :, :3])


def test_cmyk_is_converted():
    flat = Image.new("CMYK", (4, 4), (0, 255, 255, 0))  # no cyan, all magenta and yellow: red
    red, green, blue = opened(encode(flat, "JPEG")).mean((0, 1))
    assert red > 200
    assert max(green, blue) < 60


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bit_grey_keeps_its_range(kind):
    values = np.array([[0, 257, 32768], [65535, 300, 65000]], dtype=np.uint16)
    expected = np.round(values / 65535 * 255)
    assert expected[0, 2] == 128
    np.testing.assert_array_equal(opened(encode(Image.fromarray(values), kind)), grey(expected))


def test_big_endian_sixteen_bit_grey_keeps_its_range():
    values = np.array([[0, 32768, 65535]], dtype=">u2")
    header = b"P5 3 1 65535\n"
    np.testing.assert_array_equal(opened(header + values.tobytes()), grey([[0, 128, 255]]))


def test_dark_sixteen_bit_grey_stays_dark():
    values = np.array([[0, 100, 255]], dtype=np.uint16)
    assert opened(encode(Image.fromarray(values))).max() == 1


def test_float_tiff_of_fractions_is_scaled():
    values = np.array([[0, 0.25, 1.0]], dtype=np.float32)
    np.testing.assert_array_equal(
        opened(encode(Image.fromarray(values), "TIFF")), grey([[0, 64, 255]])
    )


def test_float_tiff_of_eight_bit_values_stays():
    values = np.array([[0, 17.4, 256.5, -0.7]], dtype=np.float32)  # resizing overshoots
    expected = grey([[0, 17, 255, 0]])
    np.testing.assert_array_equal(opened(encode(Image.fromarray(values), "TIFF")), expected)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (np.array([[12, 3890.0]], np.float32), "go from 0 to 3890"),
        (np.array([[-200, 90]], np.int32), "go from -200 to 90"),
        (np.array([[0, 1 << 20]], np.int32), "go from 0 to 1,048,576,"),
        (np.array([[0, np.nan]], np.float32), "not finite"),
    ],
)
def test_counts_that_would_be_clipped_are_refused(values, said):
    assert said in reason({"bytes": encode(Image.fromarray(values), "TIFF"), "path": None})


def test_a_large_photo_is_decoded_smaller_and_a_huge_one_is_refused(monkeypatch):
    photo = encode(RGB.resize((640, 480)), "JPEG")
    row = {"bytes": photo, "path": None}
    for limit, size in ((480 * 640, (640, 480)), (480 * 639, (320, 240)), (76_800, (320, 240))):
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
        opened = open_image(row)
        assert opened.image.size == size
        assert ("megapixels" in opened.oddity) == (size != (640, 480))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 76_000)
    assert "307,200 pixels (640 by 480), more pixels than is safe to open (76,000)" in reason(row)


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "TIFF", "PNG"])
def test_an_image_of_several_frames_is_its_first_and_is_marked(kind):
    more = {"save_all": True, "append_images": [RGB.rotate(90), RGB.rotate(180)]}
    assert "several frames" in open_image({"bytes": encode(RGB, kind, **more), "path": None}).oddity
    assert open_image({"bytes": encode(RGB, kind), "path": None}).oddity == ""


# EXIF 2.32, tag 0x0112: what to do to the stored rows and columns to see the image upright
UPRIGHT = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: a.transpose(1, 0, 2)[:, ::-1],
    7: lambda a: a.transpose(1, 0, 2)[::-1, ::-1],
    8: lambda a: a.transpose(1, 0, 2)[::-1],
}


@pytest.mark.parametrize("orientation", UPRIGHT)
def test_an_image_is_turned_upright(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    found = opened(encode(RGB, exif=exif))
    np.testing.assert_array_equal(found, UPRIGHT[orientation](NOISE[:, :, :3]))


# what is none


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "not an image"),
        (b"this is a text file\n", "not an image"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not an image"),
        (PLAIN["rgb"][:-30], "cannot be read"),
        (encode(RGB.resize((99, 99)), "JPEG")[:-400], "truncated"),
        (PLAIN["rgb"][:20], "cannot be read"),
    ],
    ids=["empty", "text", "svg", "cut png", "cut jpeg", "head alone"],
)
def test_a_broken_file_is_bad_for_a_reason(content, said, tmp_path):
    (tmp_path / "file.png").write_bytes(content)
    assert said in reason({"bytes": content, "path": None})
    assert said in reason({"bytes": None, "path": str(tmp_path / "file.png")})


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.HEIC", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "pip install pillow-heif"),
        ("no-name", b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic", "pip install pillow-heif"),
        ("a.CR2", b"II*\0\x10\0\0\0CR\x02\0", "a camera's raw file is not read here"),
        ("a.dng", encode(RGB, "TIFF"), "a camera's raw file is not read here"),  # its preview is
        ("logo.svg", b"<?xml version='1.0'?><svg/>", "a drawing is not read here"),
        ("clip.mp4", b"\0\0\0\x18ftypisom", "save its frames as JPEG"),
        ("a.jpg", b"<!DOCTYPE html>", "a web page"),
        ("a.jpg", b"version https://git-lfs.github.com/spec/v1", "git lfs pull"),
        ("a.png", b"", "it is empty"),
        ("a.jpg", b"\xff\xd8\xff\xe0", "not an image"),
    ],
)
def test_a_picture_that_is_not_read_says_what_to_do(name, content, said, tmp_path):
    (tmp_path / name).write_bytes(content)
    assert said in reason({"bytes": None, "path": str(tmp_path / name)})


def test_a_pipe_and_an_empty_cell_are_bad_and_nobody_waits(tmp_path):
    os.mkfifo(tmp_path / "a.png")
    assert "a pipe" in reason({"bytes": None, "path": str(tmp_path / "a.png")})
    paths = [str(tmp_path / "a.png")] * 2
    rows = Dataset.from_dict({"image": paths}).cast_column("image", ImageFeature(decode=False))
    assert number_copies(rows)[0].tolist() == [0, 1]
    for row in (None, {"bytes": None, "path": ""}):
        assert "there is no image in this row" in reason(row)


def test_a_name_without_its_suffix_says_which_file_is_there(tmp_path):
    (tmp_path / "00001.png").write_bytes(PLAIN["rgb"])
    assert "data.images=*.png" in reason({"bytes": None, "path": str(tmp_path / "00001")})


def test_a_missing_file_a_folder_and_nothing_are_bad(tmp_path):
    assert "no such file" in reason({"bytes": None, "path": str(tmp_path / "nowhere.png")})
    assert "cannot be read" in reason({"bytes": None, "path": str(tmp_path)})
    assert "no image in this row" in reason({"bytes": None, "path": None})


@pytest.mark.parametrize("limit", [30, 10])  # Pillow warns above the limit, refuses above twice it
def test_a_decompression_bomb_is_bad(limit, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    assert "more pixels than is safe" in reason({"bytes": PLAIN["rgb"], "path": None})


@pytest.mark.parametrize("kind", ["AVIF", "DDS", "GIF", "JPEG", "PNG", "TIFF", "WEBP"])
def test_random_damage_is_never_another_error(kind):
    content, random = encode(RGB.resize((24, 24)), kind), np.random.default_rng(0)
    outcomes = set()
    for _ in range(150):
        damaged = bytearray(content)
        for place in random.integers(0, min(len(content), 300), 4):
            damaged[place] = random.integers(256)
        try:
            outcomes.add(open_rgb({"bytes": bytes(damaged), "path": None}).mode)
        except BadImage:
            outcomes.add("bad")
    assert "bad" in outcomes
    assert outcomes <= {"bad", "RGB"}


# all rows


def rows_of(contents):
    images = [{"bytes": content, "path": None} for content in contents]
    features = Features({"picture": ImageFeature(decode=False)})
    return Dataset.from_dict({"picture": images}, features=features)


def test_exactly_the_planted_bad_images_are_found():
    contents, planted = [PLAIN["grey"]] * 700, (0, 255, 256, 257, 511, 512, 600, 699)
    for place in planted:
        contents[place] = b"broken" if place % 2 else PLAIN["rgb"][:-30]
    found = find_bad_images(rows_of(contents), "picture")
    assert sorted(found) == list(planted)
    assert "not an image" in found[255]
    assert "cannot be read" in found[256]


def test_no_bad_image_is_found_where_there_is_none():
    assert find_bad_images(rows_of(PLAIN.values()), "picture") == {}
    assert find_bad_images(rows_of([]), "picture") == {}


def test_every_thread_finds_bombs_and_leaves_the_warning_filters_alone(monkeypatch):
    large, bomb = encode(RGB.resize((150, 150))), encode(Image.new("RGB", (200, 200)))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 150 * 150)  # warns; refuses above twice as many
    before = list(warnings.filters)
    rows = rows_of([large, bomb] * 260)
    for _ in range(6):
        assert sorted(find_bad_images(rows, "picture")) == list(range(1, 520, 2))
    assert warnings.filters == before


def test_head_and_end_tell_what_decoding_tells_but_of_damage_in_the_midst():
    whole = encode(RGB.resize((90, 60)), "PNG")
    photo = encode(RGB.resize((90, 60)), "JPEG")
    damaged = whole[:200] + b"\0" * 100 + whole[300:]
    frames = [RGBA.rotate(90 * turn) for turn in range(3)]
    animated = encode(frames[0], "GIF", save_all=True, append_images=frames[1:])
    halves = [each[: len(each) // 2] for each in (whole, photo)]
    contents = [whole, *halves, b"words", animated, None, photo, photo + b"a camera's", damaged]
    rows = Dataset.from_dict(
        {"image": [each and {"bytes": each, "path": None} for each in contents]},
        features=Features({"image": ImageFeature(decode=False)}),
    )
    seen = {}
    bad = find_bad_images(rows, "image", lambda row, opened: seen.update({row: opened.oddity}))
    by_head, odd = find_bad_heads(rows, "image")
    assert set(bad) == {1, 2, 3, 5, 8}
    assert by_head == {row: why for row, why in bad.items() if row != 8}
    assert odd == {row: oddity for row, oddity in seen.items() if oddity}
    assert set(odd) == {4}


def test_no_whole_photo_is_decoded_to_look_at_it(monkeypatch):
    photo, png = (encode(RGB.resize((90, 60)), kind) for kind in ("JPEG", "PNG"))
    monkeypatch.setattr(ImageFile, "load", lambda self: pytest.fail("it is decoded"))
    for content in (photo, png):
        assert look_at_image({"bytes": content, "path": None}) == ""
