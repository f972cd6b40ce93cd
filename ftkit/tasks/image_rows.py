"""Images to model inputs: the processor alone for evaluation, augmentation before it for training.

Random changes are drawn from (seed, epoch, row), never from a stream that others use too. So a
training image comes out the same, bit for bit, for any number of processes and workers, and after a
restart in the middle of an epoch.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import torch
from PIL import Image
from torch.utils.data import Dataset
from torchvision.transforms import InterpolationMode, Normalize, functional, v2

from ftkit.data.images import CHUNK
from ftkit.data.open_images import open_rgb
from ftkit.recipe import Augment
from ftkit.tasks.inputs import digest, label_at

DRAWING = threading.Lock()
"""Held while random changes are drawn: torchvision draws them from the random state of the process,
and features are computed in several threads."""


class ImageRows(Dataset):
    """Tensors of a split: `pixel_values` (3, H, W) float32, `labels` int, `index` row position.

    The key of an example is epoch * N + position, so that a worker process needs no other word of
    the epoch.
    """

    def __init__(
        self,
        rows: datasets.Dataset,
        processor: Any,
        labels: np.ndarray,
        seed: int = 0,
        augment: Callable[[Image.Image], torch.Tensor] | None = None,
    ) -> None:
        self.rows, self.processor, self.seed, self.augment = rows, processor, seed, augment
        self.labels = labels

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def example_bytes(self) -> int | None:
        """Size of an example where it is the same in every epoch, so that it may be kept."""
        return None if self.augment else self[0]["pixel_values"].nbytes

    def __getitem__(self, key: int) -> dict[str, Any]:
        return self.__getitems__([key])[0]

    def __getitems__(self, keys: list[int]) -> list[dict[str, Any]]:
        """Return several examples: reading rows together takes a fraction of the time."""
        return self.with_changes(keys, self.augment)

    def with_changes(
        self, keys: list[int], augment: Callable[[Image.Image], Any] | None
    ) -> list[dict[str, Any]]:
        """Return several examples, their images changed in another way than by `self.augment`."""
        places = [divmod(key, len(self)) for key in keys]
        rows = self.rows[[position for _, position in places]]
        images = [open_rgb(image) for image in rows["image"]]
        pixels = (
            processed(images, self.processor)
            if augment is None
            else [
                self._changed(augment, image, *place)
                for image, place in zip(images, places, strict=True)
            ]
        )
        return [
            {"pixel_values": values, "labels": label_at(self.labels, position), "index": position}
            for values, (_, position) in zip(pixels, places, strict=True)
        ]

    def _changed(
        self, augment: Callable[[Image.Image], Any], image: Image.Image, epoch: int, position: int
    ) -> Any:
        with DRAWING, torch.random.fork_rng(devices=[]):
            state = np.random.SeedSequence((self.seed, epoch, position)).generate_state(1)
            torch.manual_seed(int(state[0]))
            return augment(image)

    def digests(self, epoch: int = 0) -> np.ndarray:
        """Return (N, S16), see `ftkit.tasks.inputs.digests`; no image is decoded.

        Hashed are encoded bytes, the processor's settings, and how images are changed.
        """
        about = [str(self.processor.to_json_string())]
        if self.augment is not None:
            about.append(f"{self.augment} {self.seed} {epoch}")
        base = digest(*(part.encode() for part in about))
        found = []
        for start in range(0, len(self), CHUNK):
            for offset, row in enumerate(self.rows[start : start + CHUNK]["image"]):
                content = (
                    row["bytes"] if row["bytes"] is not None else Path(row["path"]).read_bytes()
                )
                place = b"" if self.augment is None else str(start + offset).encode()
                found.append(digest(base, place, content))
        return np.array(found, dtype="S16")


def processed(images: list[Image.Image], processor: Any) -> torch.Tensor:
    """Return (B, 3, H, W) float32: images as `transformers.pipeline` gives them to the model.

    timm's processors make numbers of each image alone, in three passes over it; for all images
    together that takes a third of the time (docs/performance.md) and gives the same bits.
    """
    known = _timm_steps(processor)
    if known is None:
        return processor(images=images, return_tensors="pt")["pixel_values"]
    cutting, normalise = known
    for step in cutting:
        images = [step(image) for image in images]
    levels = torch.from_numpy(np.stack([np.asarray(image) for image in images]))
    values = levels.permute(0, 3, 1, 2).contiguous().float().div_(255)
    return functional.normalize(values, normalise.mean, normalise.std, inplace=True)


def _timm_steps(processor: Any) -> tuple[list[Any], Normalize] | None:
    """Return what a processor of timm does to an image before it makes numbers of it, and after.

    None where the processor is another one, or does anything else.
    """
    steps = list(getattr(getattr(processor, "val_transforms", None), "transforms", []))
    if len(steps) > 1:
        from timm.data import MaybeToTensor  # who has such a processor has timm

        if type(steps[-2]) is MaybeToTensor and type(steps[-1]) is Normalize:
            return steps[:-2], steps[-1]
    return None


def augmentation(augment: Augment, processor: Any) -> Callable[[Image.Image], torch.Tensor] | None:
    """Return the random transform from image to (3, H, W) for training, or None where all is off.

    Size and normalisation are those that the processor itself shows on a black and a white image.
    """
    changes: list[Any] = []
    colours = [Image.new("RGB", (64, 64), colour) for colour in ("black", "white")]
    black, white = processed(colours, processor)
    size = list(black.shape[1:])
    interpolation = _interpolation(processor)
    if augment.crop is not None:
        changes.append(v2.RandomResizedCrop(size, scale=augment.crop, interpolation=interpolation))
    if augment.flip:
        changes.append(v2.RandomHorizontalFlip())
    if augment.randaugment:
        changes.append(v2.RandAugment(magnitude=augment.randaugment))
    if not changes:
        return None
    low, high = black.mean((1, 2)), white.mean((1, 2))  # (0 - mean) / std and (1 - mean) / std
    if augment.crop is None:
        changes = [AsEvaluated(processor, low, high), *changes]
    std = 1 / (high - low)
    return v2.Compose(
        [
            *changes,
            v2.ToImage(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(mean=(-low * std).tolist(), std=std.tolist()),
            v2.ToPureTensor(),
        ]
    )


class AsEvaluated:
    """Images cut and resized as the processor does it for evaluation, still in 256 steps.

    Random changes come after it, so that training sees the geometry that evaluation sees.
    """

    def __init__(self, processor: Any, black: torch.Tensor, white: torch.Tensor) -> None:
        """Take the processor, and what it makes of a black and of a white pixel, (3,) each."""
        self.processor = processor
        self.black, self.range = black[:, None, None], (white - black)[:, None, None]

    def __call__(self, image: Image.Image) -> torch.Tensor:
        """Return (3, H, W) uint8."""
        pixels = processed([image], self.processor)[0]
        return ((pixels - self.black) / self.range * 255).round().clamp(0, 255).to(torch.uint8)

    def __repr__(self) -> str:  # a part of the key of cached features, which names the processor
        return "AsEvaluated()"


def _interpolation(processor: Any) -> InterpolationMode:
    """Return how the processor resizes, from the attribute of its family."""
    timm = (getattr(processor, "data_config", None) or {}).get("interpolation")
    pillow = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic", 4: "box", 5: "hamming"}
    own = getattr(processor, "resample", None)
    if isinstance(own, InterpolationMode):
        return own
    name = timm or pillow.get(own if own is not None else 2, "bilinear")
    known = {mode.value for mode in InterpolationMode}
    return InterpolationMode(name if name in known else "bilinear")
