"""What every test stands on: no network but loopback, caches of its own, tiny real checkpoints."""

from __future__ import annotations

import os
import socket
import tempfile
from pathlib import Path

CACHES = Path(tempfile.mkdtemp(prefix="ftkit-tests-"))
# before any Hugging Face library is imported: they read these once
os.environ |= {
    "HF_HOME": str(CACHES / "huggingface"),
    "FTKIT_CACHE": str(CACHES / "ftkit"),
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_UPDATE_CHECK": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "DISABLE_SAFETENSORS_CONVERSION": "1",
    "ACCELERATE_LOG_LEVEL": "ERROR",
    "TOKENIZERS_PARALLELISM": "false",
    # nothing listens there: a test that reaches for the Hub fails at once instead of going out
    "HF_ENDPOINT": "http://127.0.0.1:9",
}
os.environ.pop("HF_TOKEN", None)

import numpy as np  # noqa: E402
import pytest  # noqa: E402
from PIL import Image  # noqa: E402

from ftkit import Augment, Backbone, Data, ImageClassification, Recipe, Train  # noqa: E402

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
COLOURS = {"blue": (30, 60, 200), "green": (40, 180, 60), "red": (200, 50, 40)}


@pytest.fixture(autouse=True)
def _loopback_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refuse every connection that would leave this machine."""
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: object) -> None:
        host = address[0] if isinstance(address, tuple) else "unix"
        if host not in {"unix", "127.0.0.1", "::1", "localhost"}:
            raise AssertionError(f"a test tried to reach {host}")
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data sets, where it lies beside the checkout."""
    if not SHARED_DATA.is_dir():
        pytest.skip("../shared/data is not here")
    return SHARED_DATA


def make_image(colour: str, number: int, size: tuple[int, int] = (20, 16)) -> Image.Image:
    """Return a noisy image of one colour, always the same for the same number."""
    noise = np.random.default_rng(number).integers(-30, 30, (size[1], size[0], 3))
    return Image.fromarray((np.array(COLOURS[colour]) + noise).clip(0, 255).astype(np.uint8))


@pytest.fixture(scope="session")
def class_folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of three class folders with 24 images each."""
    root = tmp_path_factory.mktemp("colours")
    for colour in COLOURS:
        (root / colour).mkdir()
        for number in range(24):
            make_image(colour, number).save(root / colour / f"{number:03d}.png")
    return root


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory):
    """A function from a family's name to a tiny local checkpoint of it, made on the spot."""
    import checkpoints

    made: dict[str, Path] = {}

    def make(family: str) -> Path:
        if family not in made:
            made[family] = checkpoints.make(family, tmp_path_factory.mktemp(family))
        return made[family]

    return make


@pytest.fixture
def tiny_recipe(class_folders: Path, checkpoint) -> Recipe:
    """A recipe that trains in a second: a tiny ViT on coloured images."""
    return Recipe(
        name="tiny-colours",
        data=Data(path=str(class_folders)),
        backbone=Backbone(id=str(checkpoint("vit"))),
        task=ImageClassification(augment=Augment(crop=(0.8, 1.0))),
        train=Train(epochs=2, batch_size=8),
    )
