"""What tasks share that read images."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from datasets import Dataset, Features, Image, Value
from PIL import Image as Pillow
from transformers import (
    MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING,
    AutoImageProcessor,
    AutoModelForImageClassification,
)

from ftkit.data.column_kinds import Use
from ftkit.data.columns import holds_files, is_number, is_text, pick, single_column
from ftkit.data.encoders import Encoder, PixelEncoder
from ftkit.data.open_images import open_rgb
from ftkit.data.sources import as_images
from ftkit.data.splits import Splits
from ftkit.data.usual_columns import IMAGE_NAMES, usually_named
from ftkit.errors import ModelError
from ftkit.hub.errors import loading_errors
from ftkit.recipe import Mlp
from ftkit.tasks.base import Task
from ftkit.tasks.image_rows import ImageRows, augmentation
from ftkit.tasks.inputs import Inputs
from ftkit.tasks.model_inputs import Auto

if TYPE_CHECKING:
    from typing_extensions import Self

AUTO = Auto(
    AutoModelForImageClassification, AutoImageProcessor, MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING
)


class Images(Task):
    """An image in."""

    auto = AUTO
    example = '"image.png"'

    def resolve_columns(self, features: Features) -> Self:
        """Return the task with the column of images, files or their names, and those of labels."""
        images = [name for name, feature in features.items() if isinstance(feature, Image)]
        images = images or [name for name, feature in features.items() if holds_files(feature)]
        if len(images) > 1:
            images = [name for name in IMAGE_NAMES if name in images] or images
        if not images:
            images = [
                name for name in usually_named(IMAGE_NAMES, features) if is_text(features[name])
            ]
        image = pick("image", self.settings.image, images, features)
        return self.changed(image=image, **self.label_fields(features))

    def input_columns(self) -> tuple[str, ...]:
        """Return the column of images."""
        return (self.settings.image,)

    def column_uses(self, features: Features) -> dict[str, Use]:
        """Return the columns that are texts or classes; files may be called 00012."""
        names = {n for n in usually_named(IMAGE_NAMES, features) if is_number(features[n])}
        return super().column_uses(Features({**features, **dict.fromkeys(names, Value("string"))}))

    def with_image_files(self, rows: Dataset, folder: Path | None, images: str | None) -> Dataset:
        """Return the rows, file names in them completed by `data.images` where it is given."""
        return rows if images is None else as_images(rows, self.settings.image, folder, images)

    def inputs(self, rows: Dataset, folder: Path | None) -> Dataset:
        """Return the rows with their images in the column `image`."""
        image = self.settings.image
        return single_column(as_images(rows, image, folder), image, "image")

    def prepare(self, splits: Splits, processor: Any, seed: int) -> Inputs:
        """Return images as the processor makes them, those for training changed at random."""
        changes = self.settings.augment
        augment, classes = augmentation(changes, processor), len(splits.label_names)
        found = Inputs.of(
            splits, lambda rows: ImageRows(rows, processor, self.label_array(rows, classes), seed)
        )
        return replace(
            found,
            train=ImageRows(splits.train, processor, found.train.labels, seed, augment),
            mixing=changes if changes.mixup or changes.cutmix else None,
        )

    def encoder(self, backbone: Mlp, train: Dataset) -> Encoder:
        """Return what makes vectors of pixels, of the first image's size where none is given."""
        if backbone.image_size is not None:
            return PixelEncoder(backbone.image_size, backbone.image_size, backbone.grey)
        width, height = open_rgb(train[0]["image"]).size
        return PixelEncoder(height, width, backbone.grey)

    def raw_inputs(self, rows: Dataset) -> Iterable[Any]:
        """Yield each image in RGB."""
        return (open_rgb(row["image"]) for row in rows)

    def check_forward(self, model: Any, processor: Any, backbone: Any) -> None:
        """Run one grey image through processor and model."""
        with loading_errors("backbone", backbone.id, ModelError):
            pixels = processor(images=Pillow.new("RGB", (64, 64), "gray"), return_tensors="pt")
        size = tuple(pixels["pixel_values"].shape[-2:])
        if backbone.image_size is not None and size != (backbone.image_size, backbone.image_size):
            raise ModelError(
                f"backbone.image_size = {backbone.image_size}: the processor of '{backbone.id}' "
                f"gives {size[0]}x{size[1]} pixels all the same; leave image_size out"
            )
        try:
            with torch.inference_mode():
                model.eval()(**pixels)
        except (ValueError, RuntimeError, AssertionError) as error:
            raise ModelError(
                f"backbone '{backbone.id}' does not take images of {size[0]}x{size[1]} pixels "
                f"({' '.join(str(error).split())[:200]}); leave backbone.image_size out"
            ) from error
