"""What a processor does to an image, as settings that a graph can be built from: `ImageSteps`.

Size, filter and cut are read from the processor; what a level becomes is seen from plain images.
Whether the settings are right is not taken on trust: `ftkit.shipping.image_graph` compares what
the graph gives with what the processor gives.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from PIL import Image

from ftkit.data.encoders import PixelEncoder
from ftkit.errors import ModelError
from ftkit.shipping.resize_graph import FILTERS, Filter
from ftkit.tasks.image_rows import processed

PILLOW: dict[int, str] = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic", 4: "box"}
"""Pillow's numbers of filters, by which transformers keeps them."""


@dataclass(frozen=True)
class ImageSteps:
    """How an RGB image of any size becomes numbers: resized, cut, and a level made a number."""

    height: int
    """Of what comes out."""
    width: int
    resized: tuple[int, int] | int
    """To this height and width; or the shorter side to this length, and the longer in proportion.
    """
    by: Filter
    like_pillow: bool
    """Resized by Pillow; else by torchvision as a tensor."""
    cut_even: bool
    """Where an odd number of rows is cut off, half of it is rounded to an even number."""
    scale: tuple[float, ...]
    """A level of a channel is multiplied by its scale, and its offset is added."""
    offset: tuple[float, ...]
    order: tuple[int, ...] = (0, 1, 2)
    """Which of red, green and blue each channel is."""
    grey: bool = False
    """One channel of brightness, as Pillow makes it, instead of three."""


def steps_of_encoder(encoder: PixelEncoder) -> ImageSteps:
    """Return what a perceptron's encoder does."""
    size, channels = (encoder.height, encoder.width), encoder.shape[2]
    level = (1 / 255,) * channels
    return ImageSteps(
        *size, size, "bilinear", True, False, level, (0.0,) * channels, grey=encoder.grey
    )


def steps_of_processor(processor: Any) -> ImageSteps:
    """Return what a processor of transformers or timm does.

    Raises:
        ModelError: it does something that ftkit has no operations for.
    """
    plain = processed([Image.new("RGB", (64, 64), colour) for colour in _COLOURS], processor)
    height, width = plain.shape[2:]
    middle = plain[:, :, height // 2, width // 2]  # where the image is, if it does not fill all
    black, white, *channels = middle.double().numpy()
    scale = (white - black) / 255
    moved = [np.abs(channel - black).argmax() for channel in channels]  # of red, green and blue
    order = tuple(int(np.argmax(np.array(moved) == output)) for output in range(3))
    numbers: dict[str, Any] = {
        "scale": tuple(scale.tolist()),
        "offset": tuple(black.tolist()),
        "order": order,
    }
    of_timm = getattr(processor, "val_transforms", None)
    if of_timm is not None:
        return ImageSteps(height, width, **_of_timm(of_timm.transforms), **numbers)
    return ImageSteps(height, width, **_of_transformers(processor, (height, width)), **numbers)


_COLOURS = ("#000000", "#ffffff", "#ff0000", "#00ff00", "#0000ff")


def _of_timm(transforms: list[Any]) -> dict[str, Any]:
    """Return the settings of torchvision's transforms on Pillow's images."""
    names = [type(step).__name__ for step in transforms]
    if names[:2] != ["Resize", "CenterCrop"]:
        raise _unknown(f"timm's {', '.join(names)}")
    resized, size = transforms[0], transforms[0].size
    if isinstance(size, (list, tuple)):
        size = size[0] if len(size) == 1 else tuple(size)
    by = _known(resized.interpolation.value)
    return {"resized": size, "by": by, "like_pillow": True, "cut_even": True}


def _of_transformers(processor: Any, shape: tuple[int, int]) -> dict[str, Any]:
    """Return the settings of a processor of transformers."""
    size = _as_dict(processor.size) if processor.do_resize else {}
    shortest, crop_pct = size.get("shortest_edge"), getattr(processor, "crop_pct", None)
    resized: tuple[int, int] | int
    if shortest and size.get("longest_edge"):
        raise _unknown("a limit for the longer side")
    if shortest and crop_pct is not None:  # ConvNeXt's
        resized = int(shortest / crop_pct) if shortest < 384 else (shortest, shortest)
    elif shortest:
        resized = int(shortest)
    elif size.get("height"):
        resized = (int(size["height"]), int(size["width"]))
    else:
        raise _unknown("no size")
    if isinstance(resized, int) and not (getattr(processor, "do_center_crop", False) or crop_pct):
        raise _unknown("images of several sizes")
    resample = processor.resample
    by = _known(
        PILLOW.get(resample, str(resample)) if isinstance(resample, int) else resample.value
    )
    pillow = getattr(processor, "backend", "torchvision") == "pil"
    return {"resized": resized, "by": by, "like_pillow": pillow, "cut_even": False}


def _as_dict(size: Any) -> Mapping[str, Any]:
    return size if isinstance(size, Mapping) else vars(size)


def _known(name: str) -> Any:
    if name not in FILTERS:
        raise _unknown(f"resizing by '{name}'")
    return name


def _unknown(what: str) -> ModelError:
    return ModelError(
        f"the processor of this model cannot be put into the file: {what} has no counterpart in "
        f"it; give a model that resizes by {', '.join(FILTERS)} to one size"
    )


@cache
def pillow_goes_down_first() -> bool:
    """Return whether this Pillow resizes columns before rows where height shrinks much more.

    It does since version 13 (github.com/python-pillow/Pillow/pull/9549): where the height shrinks
    by more than twice what the width shrinks by. Rounding between both makes other levels.
    """
    levels = np.random.default_rng(0).integers(0, 256, (90, 30, 3), dtype=np.uint8)
    image = Image.fromarray(levels)
    by = Image.Resampling.BICUBIC
    down_first = image.resize((30, 24), by).resize((28, 24), by)
    return image.resize((28, 24), by).tobytes() == down_first.tobytes()
