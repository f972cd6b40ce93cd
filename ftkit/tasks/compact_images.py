"""Images as a GPU is sent them: bytes from the readers, mirrored and normalised on the device.

A pixel is one byte of 256 levels on its way and four afterwards. What a processor makes of each
level is asked of the processor itself and kept in a table, so the numbers are the processor's own,
bit for bit. A processor whose output does not come from such a table, as one that resizes after it
has normalised, is used by the readers as before.

Which images are mirrored, cut and otherwise changed is drawn by the readers from (seed, epoch,
row), as `ftkit.tasks.image_rows` has it; cutting, resizing and RandAugment stay with them, since
each image has a size of its own there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from PIL import Image
from torch.utils.data import Dataset
from torchvision.transforms import v2

from ftkit.tasks.device_batches import Batch
from ftkit.tasks.image_rows import ImageRows, processed
from ftkit.tasks.inputs import Rows

SIZES = ((64, 64), (48, 80), (301, 97), (90, 333))
"""Width and height of the images on which a table is tried."""
MOST_WORK = 256 * 3 * 384 * 384
"""Values that a processor may be asked for to find levels that are in none of these images."""


@dataclass(frozen=True)
class Levels:
    """What a processor makes of each of the 256 levels of a pixel."""

    table: torch.Tensor
    """(3, 256) float32."""

    @classmethod
    def of(cls, processor: Any) -> Levels | None:
        """Return the table of a processor, or None where its output does not come from one.

        The values of nearly all levels are read from a few images that hold many; an image of one
        colour is made for each level that was not among them, where that is little work.
        """
        ends = processed([_plain(0), _plain(255)], processor)
        if ends.ndim != 4 or ends.shape[1] != 3 or ends.dtype != torch.float32:
            return None
        low, high = ends[:, :, ends.shape[2] // 2, ends.shape[3] // 2]
        if not (high > low).all():
            return None
        guess = cls(torch.stack([low, high], 1))
        least, most = torch.full((3, 256), torch.inf), torch.full((3, 256), -torch.inf)

        def agrees(pixels: torch.Tensor) -> bool:
            """Take down the values of each level, and return whether each has one at most."""
            values = pixels.transpose(0, 1).flatten(1)
            places = guess.levels(pixels).transpose(0, 1).flatten(1).long()
            least.scatter_reduce_(1, places, values, "amin")
            most.scatter_reduce_(1, places, values, "amax")
            return not (least < most).any()

        if not agrees(ends):
            return None
        for image in (*_noise(), _ramp()):
            if not agrees(processed([image], processor)):
                return None
        missing = (least > most).any(0).nonzero().flatten().tolist()
        if len(missing) * ends[0].numel() > MOST_WORK:
            return None
        for level in missing:
            if not agrees(processed([_plain(level)], processor)):
                return None
        return cls(least) if (least.diff() > 0).all() else None

    def levels(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return (B, 3, H, W) uint8: the levels of what the processor gave, (B, 3, H, W)."""
        low, high = self.table[:, :1, None], self.table[:, -1:, None]
        return ((pixels - low) / (high - low) * 255).round().clamp(0, 255).to(torch.uint8)

    def pixels(self, levels: torch.Tensor) -> torch.Tensor:
        """Return (B, 3, H, W) float32: what the processor gives for these levels."""
        offset = torch.arange(0, 3 * 256, 256, dtype=torch.int32, device=levels.device)
        places = levels.to(torch.int32) + offset[:, None, None]
        table = self.table.to(levels.device).flatten()
        return table.index_select(0, places.flatten()).view(levels.shape)


class CompactImages(Dataset):
    """The examples of `ImageRows` with their pixels as levels (3, H, W) uint8.

    Where training images are mirrored at random, `flip` says of which.
    """

    def __init__(self, of: ImageRows, levels: Levels) -> None:
        self.of, self.levels, self.rows, self.labels = of, levels, of.rows, of.labels
        changes = [] if of.augment is None else list(of.augment.transforms)  # type: ignore[attr-defined]
        kinds = [type(change) for change in changes]
        self.changes = changes[: kinds.index(v2.ToImage)] if changes else []
        self.flips = bool(self.changes) and type(self.changes[-1]) is v2.RandomHorizontalFlip
        if self.flips:
            self.changes.pop()

    def __len__(self) -> int:
        return len(self.of)

    @property
    def example_bytes(self) -> int | None:
        """Size of an example where it is the same in every epoch, so that it may be kept."""
        return None if self.of.augment else self[0]["pixel_values"].nbytes

    def __getitem__(self, key: int) -> dict[str, Any]:
        return self.__getitems__([key])[0]

    def __getitems__(self, keys: list[int]) -> list[dict[str, Any]]:
        """Return several examples."""
        if self.of.augment is None:
            return [
                {**example, "pixel_values": self.levels.levels(example["pixel_values"])}
                for example in self.of.__getitems__(keys)
            ]
        changed = self.of.with_changes(keys, self._changed)
        return [
            {**example, **example.pop("pixel_values")} if self.flips else example
            for example in changed
        ]

    def _changed(self, image: Image.Image) -> Any:
        """Return an image's levels after the changes, and whether it is to be mirrored.

        Draws what torchvision's own transforms draw, in their order.
        """
        for change in self.changes:
            image = change(image)
        levels = image if torch.is_tensor(image) else v2.functional.pil_to_tensor(image)
        if not self.flips:
            return levels
        return {"pixel_values": levels, "flip": bool(torch.rand(1) < 0.5)}

    def finish(self, batch: Batch) -> Batch:
        """Return a batch as the model takes it, computed where the batch lies."""
        inputs = {name: values for name, values in batch.items() if name != "flip"}
        levels = batch["pixel_values"]
        if "flip" in batch:
            levels = torch.where(batch["flip"][:, None, None, None], levels.flip(-1), levels)
        return {**inputs, "pixel_values": self.levels.pixels(levels)}


def compact(
    rows: Any, device: torch.device, always: bool = False
) -> tuple[Rows, Callable[[Batch], Batch]]:
    """Return rows as this device is sent them, and what makes model inputs of a batch there.

    On a CPU, and for rows that are no images, both leave everything as it is.

    Args:
        always: on a CPU too.
    """
    together = getattr(rows, "compact", None)  # rows of several sources
    if device.type == "cpu" and not always:
        return rows, as_it_is
    if together is not None:
        return together(device, always)
    levels = _levels_of(rows.processor) if isinstance(rows, ImageRows) else None
    if levels is None:
        return rows, as_it_is
    found = CompactImages(rows, levels)
    return found, found.finish


def _levels_of(processor: Any) -> Levels | None:
    """Return the table of a processor, which is found once for all splits.

    It takes as long as some ten images, and up to 256 small ones more.
    """
    if processor not in _FOUND:
        _FOUND[processor] = Levels.of(processor)
    return _FOUND[processor]


_FOUND: WeakKeyDictionary[Any, Levels | None] = WeakKeyDictionary()
"""The tables of the processors that live; it keeps none of them alive."""


def _plain(level: int) -> Image.Image:
    return Image.new("RGB", (64, 64), (level,) * 3)


def _noise() -> Iterator[Image.Image]:
    draw = np.random.default_rng(0)
    for width, height in SIZES:
        yield Image.fromarray(draw.integers(0, 256, (height, width, 3), dtype=np.uint8))


def _ramp() -> Image.Image:
    """Return an image that rises from black to white along its diagonal.

    It does so in its inner two thirds, since processors may cut the edges off.
    """
    y, x = np.mgrid[:384, :384] / 383
    levels = (255 * (1.5 * (x + y) / 2 - 0.25)).round().clip(0, 255).astype(np.uint8)
    return Image.fromarray(levels).convert("RGB")


def as_it_is(batch: Batch) -> Batch:
    """Return the batch."""
    return batch
