"""The graph that resizes gives the levels of Pillow and of torchvision, bit for bit."""

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from PIL import Image
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional

from ftkit.data.encoders import PixelEncoder
from ftkit.shipping.image_graph import image_graph, require_alike
from ftkit.shipping.image_steps import ImageSteps, steps_of_encoder, steps_of_processor
from ftkit.tasks.image_rows import processed

AS_THEY_ARE = {"scale": (1.0,) * 3, "offset": (0.0,) * 3}
SIZES = [(1, 1), (5, 5), (8, 8), (96, 96), (17, 300), (300, 17), (224, 100), (97, 95), (400, 600)]
"""Heights and widths; of those that are taller than wide, Pillow resizes some columns first."""


def made(steps, branches=True):
    """Return the function from levels (H, W, 3) to those of the size that the steps give."""
    model = image_graph(steps, "found", branches=branches)
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    return lambda levels: session.run(None, {"image": levels[None]})[0][0].transpose(1, 2, 0)


def noise(height, width):
    draw = np.random.default_rng(height * 1000 + width)
    levels = draw.integers(0, 256, (height, width, 3), dtype=np.uint8)
    return levels if height % 2 else (levels > 127).astype(np.uint8) * 255


@pytest.mark.parametrize("by", ["bilinear", "bicubic", "lanczos"])
@pytest.mark.parametrize("size", [(96, 96), (33, 47)])
def test_levels_are_those_of_pillow(by, size):
    steps = ImageSteps(*size, size, by, True, False, **AS_THEY_ARE)
    height, width = size
    ways = [made(steps), made(steps, branches=False)]
    for shape in SIZES:
        image = Image.fromarray(noise(*shape))
        wanted = np.asarray(image.resize((width, height), Image.Resampling[by.upper()]))
        for resized in ways:
            assert np.array_equal(resized(np.asarray(image)), wanted), shape


@pytest.mark.parametrize("by", ["bilinear", "bicubic"])
@pytest.mark.parametrize("size", [(96, 96), (33, 47)])
def test_levels_are_those_of_torchvision(by, size):
    steps = ImageSteps(*size, size, by, False, False, **AS_THEY_ARE)
    resized = made(steps)
    for shape in SIZES:
        levels = noise(*shape)
        tensor = torch.from_numpy(levels).permute(2, 0, 1)
        how = {"interpolation": InterpolationMode(by), "antialias": True}
        wanted = functional.resize(tensor, list(size), **how).permute(1, 2, 0).numpy()
        assert np.array_equal(resized(levels), wanted), shape


@pytest.mark.parametrize("size", [(1, 1), (7, 100), (61, 23)])
def test_any_two_sizes(size):
    height, width = size
    resized = made(ImageSteps(*size, size, "bicubic", True, False, **AS_THEY_ARE))
    draw = np.random.default_rng(1)
    for _ in range(25):
        shape = tuple(int(side) for side in draw.integers(1, 120, 2))
        levels = draw.integers(0, 256, (*shape, 3), dtype=np.uint8)
        wanted = Image.fromarray(levels).resize((width, height), Image.Resampling.BICUBIC)
        assert np.array_equal(resized(levels), np.asarray(wanted)), shape


def processors():
    import transformers as hf

    yield "ViT", hf.ViTImageProcessor()
    yield "ViT, bicubic", hf.ViTImageProcessor(size={"height": 33, "width": 47}, resample=3)
    yield "ConvNext, cut", hf.ConvNextImageProcessor(size={"shortest_edge": 64})
    yield "ConvNext, squashed", hf.ConvNextImageProcessor(size={"shortest_edge": 384})
    yield "CLIP", hf.CLIPImageProcessor()
    padded = {"size": {"shortest_edge": 30}, "crop_size": {"height": 40, "width": 36}}
    yield "CLIP, cut wider than it is", hf.CLIPImageProcessor(**padded)
    yield "BEiT", hf.BeitImageProcessor()
    yield "MobileViT, blue first", hf.MobileViTImageProcessor()
    yield "EfficientNet", hf.EfficientNetImageProcessor()
    for mode in ("center", "squash"):
        for pct, by in ((0.875, "bicubic"), (0.95, "bilinear"), (1.0, "lanczos")):
            about = {"input_size": [3, 97, 97], "crop_pct": pct, "interpolation": by}
            about |= {"crop_mode": mode, "mean": [0.5, 0.4, 0.3], "std": [0.2, 0.3, 0.4]}
            made = hf.TimmWrapperImageProcessor(pretrained_cfg=about, architecture="resnet18")
            yield f"timm {mode} {pct} {by}", made


@pytest.mark.parametrize(("name", "processor"), processors(), ids=lambda value: str(value)[:30])
def test_processors_of_all_kinds_are_followed(name, processor):
    steps = steps_of_processor(processor)
    model = image_graph(steps, "found")
    session = onnxruntime.InferenceSession(model.SerializeToString())
    require_alike(
        lambda levels: session.run(None, {"image": levels})[0],
        lambda image: processed([image], processor).numpy(),
        steps,
    )


@pytest.mark.parametrize("encoder", [PixelEncoder(8, 8, True), PixelEncoder(20, 28, False)])
def test_the_encoder_of_a_perceptron_is_followed(encoder):
    steps = steps_of_encoder(encoder)
    model = image_graph(steps, "found", flat=True)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    for shape in SIZES:
        image = Image.fromarray(noise(*shape))
        found = session.run(None, {"image": np.asarray(image)[None]})[0]
        assert np.allclose(found, encoder.encode([image]), atol=1e-7)
