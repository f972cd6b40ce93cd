"""Where a row of docs/hub.md is played, and what goes wrong there."""

from __future__ import annotations

import contextlib
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hub_server import OWNER, STRANGER
from huggingface_hub import HfApi, constants

from ftkit import Data, publish
from ftkit.data.sources import read_source
from ftkit.hub.checksums import sha256_of
from ftkit.hub.download import fetch

WEIGHTS = {"lfs": "GET /lfs/", "xet": "GET /cas/xorbs/"}

UPLOAD = {"lfs": "PUT /lfs/", "xet": "POST /cas/v1/xorbs/"}

ALWAYS = 1000


@dataclass
class Stage:
    """Where a row is played: a Hub, a transport, a finished run and a published model."""

    hub: object
    transport: str
    patch: pytest.MonkeyPatch
    run: Path
    cleanups: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)
    source: str = "alice/tiny"
    target: str = "alice/target"
    private: bool = False
    act: Callable = None

    def fault(self, pattern, kind, **how):
        self.hub.fault(pattern, kind, **how)

    def spoil_weights(self, kind, **how):
        self.fault(WEIGHTS[self.transport], kind, **how)

    def spoil_upload(self, kind, **how):
        self.fault(UPLOAD[self.transport], kind, **how)

    def pull(self):
        return fetch(self.source)

    def pull_data(self):
        return read_source(Data(path="alice/colours")).splits

    def push(self):
        return publish(self.run, self.target, private=self.private)

    def down(self):
        self.cleanups.enter_context(self.hub.down())

    def offline(self):
        self.patch.setattr(constants, "HF_HUB_OFFLINE", True)
        self.cleanups.callback(self.patch.setattr, constants, "HF_HUB_OFFLINE", False)

    def token(self, token):
        self.patch.setenv("HF_TOKEN", token)

    def cached(self):
        self.pull()
        self.hub.log.clear()

    def repair(self):
        """Put everything right."""
        self.cleanups.close()
        self.hub.faults.clear()
        self.hub.has_xet = True
        self.token(OWNER)
        self.source, self.target, self.private = "alice/tiny", "alice/target", False
        self.hub["alice/tiny"].gated = self.hub["alice/tiny"].private = False
        self.hub.repositories.pop(("models", "bob/his"), None)

    def check(self):
        """Look that what was asked for is there, once."""
        if self.act == self.pull:
            folder, blobs = self.pull(), self.hub["alice/tiny"].head.files
            assert "model.safetensors" in blobs
            for path, blob in blobs.items():
                if path.endswith((".json", ".safetensors")):
                    assert sha256_of(folder / path) == blob.sha256
        elif self.act == self.pull_data:
            rows = self.pull_data()["train"]
            assert rows[0]["label"] == 1
            assert rows.num_rows == 3
        else:
            published = self.hub.files("alice/target")
            for file in (self.run / "model").glob("*.safetensors"):
                assert published[file.name] == file.read_bytes()
            assert len(self.hub["alice/target"].titles) == 2
            assert "alice/target" in published["README.md"].decode()


def private(stage):
    stage.hub["alice/tiny"].private = True
    stage.token(STRANGER)


def gated(stage):
    stage.hub["alice/tiny"].gated = True
    stage.token(STRANGER)


def bad_revision(stage):
    stage.act = lambda: fetch("alice/tiny", "nowhere")
    stage.cleanups.callback(setattr, stage, "act", stage.pull)


def disk_full(stage):
    """Let no file grow beyond 8 kB, which is the same error to a program as a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8_000, before[1]))
    stage.cleanups.callback(resource.setrlimit, resource.RLIMIT_FSIZE, before)


def killed(stage):
    blobs = Path(constants.HF_HUB_CACHE) / "models--alice--tiny" / "blobs"
    blobs.mkdir(parents=True)
    old = blobs / "0123.4567abcd.incomplete"
    old.write_bytes(b"half")
    os.utime(old, (time.time() - 2 * 24 * 3600,) * 2)
    (blobs / "0123.89abcdef.incomplete").write_bytes(b"another process is at it")
    stage.cleanups.callback(lambda: check_swept(blobs))


def check_swept(blobs):
    assert [file.name for file in blobs.glob("*.incomplete")] == ["0123.89abcdef.incomplete"]


def climbing(stage):
    repository = stage.hub["alice/tiny"]
    evil = {f"{up}evil.json": stage.hub.keep("x", b"{}") for up in ("../", "../../../", "a/../../")}
    repository.commit("main", "climb", {**repository.head.files, **evil})
    root = Path(constants.HF_HUB_CACHE).parent
    stage.cleanups.callback(lambda: check_nothing_climbed(root))
    stage.cleanups.callback(repository.commit, "main", "mend", dict(repository.head.parent.files))


def check_nothing_climbed(root):
    assert not list(root.rglob("evil.json"))


def data_missing(stage):
    name = ("datasets", "alice/colours")
    stage.cleanups.callback(stage.hub.repositories.__setitem__, name, stage.hub.repositories[name])
    del stage.hub.repositories[name]


def foreign(stage):
    stage.hub.add("bob/his")
    stage.target = "bob/his"


def public(stage):
    HfApi().create_repo("alice/target")
    stage.private = True


def down_later(stage):
    stage.fault("POST .*/preupload/", "drop", times=ALWAYS)


def meanwhile(stage):
    def commit():
        repository = stage.hub["alice/target"]
        note = {"NOTES.md": stage.hub.keep("NOTES.md", b"mine")}
        repository.commit("main", "a note", {**repository.head.files, **note})

    stage.fault("POST .*/commit/", "meanwhile", action=commit)

    def check_note():
        repository = stage.hub["alice/target"]
        assert stage.hub.files("alice/target")["NOTES.md"] == b"mine"
        assert repository.titles[1:] == ["a note", "initial commit"]
        repository.branches["main"] = type(repository.head)(
            "f" * 40, "squashed", repository.head.files, repository.head.parent.parent
        )

    stage.cleanups.callback(check_note)


def push_killed(stage):
    """Push in a process of its own and kill it while the weights travel."""
    stage.spoil_upload("delay", seconds=30)
    words = ["-m", "ftkit.cli", "push", str(stage.run), "alice/target"]
    environment = os.environ | {"HF_HUB_DISABLE_XET": str(int(stage.transport == "lfs"))}
    process = subprocess.Popen([sys.executable, *words], env=environment)
    end = time.time() + 300
    while not stage.hub.count(UPLOAD[stage.transport]):
        assert process.poll() is None
        assert time.time() < end
        time.sleep(0.05)
    process.kill()
    process.wait()
    assert stage.hub["alice/target"].titles == ["initial commit"]


def in_folder(name, content):
    """Return what writes a file into the run, until it is put right."""

    def write(stage):
        file = stage.run / name
        before = file.read_bytes() if file.exists() else None
        file.write_bytes(content if before is None else content + before)
        stage.cleanups.callback(lambda: file.write_bytes(before) if before else file.unlink())

    return write


def unfinished(stage):
    (stage.run / "run.json").rename(stage.run / "aside")
    stage.cleanups.callback((stage.run / "aside").rename, stage.run / "run.json")


def no_xet(stage):
    if stage.transport == "lfs":
        pytest.skip("nothing asks for Xet over LFS")
    stage.hub.has_xet = False


def small_table(folder):
    from conftest import make_image
    from datasets import ClassLabel, Dataset, Features, Image

    features = Features({"image": Image(), "label": ClassLabel(names=["blue", "red"])})
    rows = {"image": [make_image("red", n) for n in range(3)], "label": [1, 1, 1]}
    Dataset.from_dict(rows, features=features).to_parquet(folder / "train.parquet")
    return folder / "train.parquet"
