"""Does the file make of an image what the run's own processor makes of it?"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from ftkit.data.encoders import PixelEncoder
from ftkit.data.open_images import open_rgb
from ftkit.exported.engines import ENGINES
from ftkit.exported.inputs import IMAGE, as_image
from ftkit.shipping import image_graph, onnx_file
from ftkit.shipping.files import To
from ftkit.shipping.parts import Taken
from ftkit.tasks.image_rows import processed

ROWS = 8
"""So many rows are looked at where a proof has failed."""


def by_processor(taken: Taken, image: Any) -> np.ndarray:
    """Return the numbers that the run's own processor makes of an image of Pillow, one row."""
    if isinstance(taken.processor, PixelEncoder):
        return taken.processor.encode([image])
    return processed([image], taken.processor).numpy()


def by_file(taken: Taken, scratch: Path, to: To) -> Callable[[np.ndarray], np.ndarray]:
    """Return what makes numbers of an image (1, H, W, 3), as the exported file does it.

    Args:
        scratch: a folder for what stands before the model, as a file of its own.
    """
    assert taken.parts.before is not None
    graph = taken.parts.before(to == "onnx")
    file = scratch / "before.onnx"
    onnx_file.write(graph, file)
    if to == "openvino":
        from ftkit.shipping.openvino_file import convert

        convert(file, scratch / "before.xml")
        file = scratch / "before.xml"
    engine, name = ENGINES[file.suffix](file), graph.graph.output[0].name
    return lambda levels: engine.run({IMAGE: levels})[name]


def require_same_pixels(taken: Taken, scratch: Path) -> None:
    """Require that the file makes the numbers that the processor makes, on noise.

    Raises:
        ModelError: it does not.
    """
    assert taken.steps is not None
    run = by_file(taken, scratch, "onnx")
    image_graph.require_alike(run, lambda image: by_processor(taken, image), taken.steps)


def differing_levels(taken: Taken, rows: Iterable[Any], scratch: Path, to: To) -> str:
    """Return how the file resizes these rows otherwise, to end a message; "" where it does not."""
    assert taken.steps is not None
    run, span = by_file(taken, scratch, to), max(map(abs, taken.steps.scale))
    for row in rows:
        image = open_rgb(as_image(row))
        apart = by_processor(taken, image) - run(np.asarray(image)[None])
        levels = np.abs(apart) / span
        if count := int((levels > 0.5).sum()):
            return (
                f"; the reason is the resizing, where {count:,} of {levels.size:,} numbers of one "
                f"of these are up to {levels.max():.0f} levels off"
            )
    return ""
