"""What every test stands on: no network but loopback, caches of its own, tiny real checkpoints."""

from __future__ import annotations

import functools
import os
import socket
import tempfile
import time
import types
from contextlib import nullcontext
from pathlib import Path

from hub_server import OWNER, READER, STRANGER, Hub

HUB = Hub()
CACHES = Path(tempfile.mkdtemp(prefix="ftkit-tests-"))
# before any Hugging Face library is imported: they read these once
os.environ |= {
    "HF_HOME": str(CACHES / "huggingface"),
    "FTKIT_CACHE": str(CACHES / "ftkit"),
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_UPDATE_CHECK": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "DISABLE_SAFETENSORS_CONVERSION": "1",
    "FTKIT_PRECISION": "fp32",  # a tiny model on a busy machine may seem faster in bfloat16
    "ACCELERATE_LOG_LEVEL": "ERROR",
    "TOKENIZERS_PARALLELISM": "false",
    # the tests' own Hub: it is empty, so a test that reaches for the real one is refused at once
    "HF_ENDPOINT": HUB.url,
    "NO_PROXY": "127.0.0.1,localhost",
    "HF_HUB_DOWNLOAD_TIMEOUT": "2",
    "HF_HUB_ETAG_TIMEOUT": "2",
    "HF_XET_CLIENT_RETRY_MAX_ATTEMPTS": "2",
    "HF_XET_CLIENT_RETRY_BASE_DELAY": "50ms",
    "HF_XET_CLIENT_READ_TIMEOUT": "2s",
}
os.environ.pop("HF_TOKEN", None)

import numpy as np  # noqa: E402
import pytest  # noqa: E402
import warm  # noqa: E402
from PIL import Image  # noqa: E402

from ftkit import Augment, Backbone, Data, ImageClassification, Recipe, Train  # noqa: E402
from ftkit.machine.fresh_process import Waiting  # noqa: E402

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
COLOURS = {"blue": (30, 60, 200), "green": (40, 180, 60), "red": (200, 50, 40)}


LONGEST = (
    *("test_sweep_ray", "test_attack", "test_readme", "test_launch", "test_translate_runs"),
    *("test_tasks_image_labels", "test_tasks_text_labels", "test_batch_size", "test_push"),
    *("test_choose", "test_tasks_text", "test_tasks_words", "test_sweep", "test_hub_faults"),
    "test_tracking",
)
"""Files that take long begin first: two workers then end at the same time."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest files first, unless the order was asked for."""
    if "FTKIT_NO_TEST_AFTER" not in os.environ:
        order = {name: place for place, name in enumerate(LONGEST)}
        items.sort(key=lambda item: order.get(item.path.stem, len(order)))


@functools.cache
def _begun() -> float:
    """Return when this process began its first test."""
    return time.time()


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Start no test where tests/quick_tests.py has no time left for it.

    A busy machine takes a minute to import torch: it has some seconds for tests all the same.
    """
    now, began = time.time(), _begun()
    if now > float(os.environ.get("FTKIT_NO_TEST_AFTER", "inf")) and now - began > 15:
        pytest.skip("the minute is over")


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


COLD = Waiting.command


def _reload_warm(module: str) -> list[str]:
    """Return the command line that verifies a model, for a Python that starts quickly."""
    _, *rest = COLD(module)
    return warm.python(*rest)


@pytest.fixture(scope="session", autouse=True)
def _verification_starts_quickly():
    """Verify in a process of its own that need not import torch and transformers first.

    The tests of the verification itself have the fixture `cold`.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Waiting, "command", staticmethod(_reload_warm))
        yield


@pytest.fixture
def cold(monkeypatch: pytest.MonkeyPatch) -> None:
    """Verify as a user's run does, in a Python that was started anew."""
    monkeypatch.setattr(Waiting, "command", staticmethod(COLD))


SECRETS = (OWNER, READER, STRANGER)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo):
    """Fail a test that prints or logs a token."""
    report = yield
    if any(secret in text for secret in SECRETS for _, text in report.sections):
        report.outcome, report.longrepr = "failed", "a token was printed or logged"
    return report


@pytest.fixture(scope="session", autouse=True)
def _no_file_holds_a_token(tmp_path_factory: pytest.TempPathFactory):
    """Look through every small file that the tests leave, run folders and caches among them."""
    yield
    for root in (tmp_path_factory.getbasetemp(), CACHES):
        for file in root.rglob("*"):
            if file.is_file() and file.stat().st_size < 5_000_000:
                content = file.read_bytes()
                assert not any(secret.encode() in content for secret in SECRETS), file


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data sets, where it lies beside the checkout."""
    if not SHARED_DATA.is_dir():
        pytest.skip("../shared/data is not here")
    return SHARED_DATA


def leave_unverified(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let runs skip the second process that verifies their model, in tests of something else."""
    from ftkit.finetuning.verify import Verified  # the process that hands out tests needs no torch

    monkeypatch.setattr(
        "ftkit.finetuning.finetune.verify", lambda *_: Verified(rows=0, latency_seconds=None)
    )
    for module in ("ftkit.finetuning.finetune", "ftkit.cli.train"):
        monkeypatch.setattr(f"{module}.fresh_reader", lambda _: nullcontext())


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


@pytest.fixture(scope="session")
def tiny_recipe(class_folders: Path, checkpoint) -> Recipe:
    """A recipe that trains in a second: a tiny ViT on coloured images."""
    return Recipe(
        name="tiny-colours",
        data=Data(path=str(class_folders)),
        backbone=Backbone(id=str(checkpoint("vit"))),
        task=ImageClassification(augment=Augment(crop=(0.8, 1.0))),
        train=Train(epochs=2, batch_size=8),
    )


@pytest.fixture
def unverified(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the fresh process, which other tests of the same kind of model have."""
    leave_unverified(monkeypatch)


@pytest.fixture
def colours(class_folders: Path) -> Recipe:
    """A recipe of a small perceptron for class folders of images."""
    from perceptrons import of_colours

    return of_colours(class_folders)


@pytest.fixture
def flowers(tmp_path: Path) -> Recipe:
    """A recipe of a small perceptron for a table of three kinds of points."""
    from perceptrons import of_flowers

    return of_flowers(tmp_path)


@pytest.fixture(scope="session")
def finished_run(tiny_recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run of the tiny recipe; copy it before you change it."""
    from ftkit import finetune

    folder = tmp_path_factory.mktemp("runs") / "tiny"
    finetune(tiny_recipe, folder)
    return folder


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Hub:
    """The tests' Hub, empty; this process writes to it as alice, with a cache of its own."""
    from huggingface_hub import constants, file_download
    from huggingface_hub.utils import _http, _xet

    import ftkit.hub.errors

    HUB.reset()
    monkeypatch.setenv("HF_TOKEN", OWNER)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub-cache"))
    # hf_xet, which remembers what it has sent, starts anew
    monkeypatch.setenv("HF_XET_CACHE", str(tmp_path / "xet-cache"))
    monkeypatch.setattr(_xet, "_GLOBAL_XET_HOLDER", _xet.XetSessionHolder())
    # nobody waits between tries: the client alone takes 23 s for a server that is gone
    monkeypatch.setattr(ftkit.hub.errors, "WAITS", (0.0, 0.0))
    hurried = types.SimpleNamespace(sleep=lambda _: None, time=time.time)
    for module in (_http, file_download):
        monkeypatch.setattr(module, "time", hurried)
    return HUB


@pytest.fixture(params=["lfs", "xet"])
def transport(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """How large files travel."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", request.param == "lfs")
    return request.param
