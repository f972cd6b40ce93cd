"""Every row of the table in docs/hub.md, over LFS and over Xet.

A row says what goes wrong. The test reads from the document what the user sees, and then looks that
the local files are whole and that the same request ends right afterwards.
"""

from __future__ import annotations

import logging
import re
import shutil
from pathlib import Path

import datasets
import pytest
from hub_server import OWNER, READER
from hub_stage import (
    ALWAYS,
    Stage,
    bad_revision,
    climbing,
    data_missing,
    disk_full,
    down_later,
    foreign,
    gated,
    in_folder,
    killed,
    meanwhile,
    no_xet,
    private,
    public,
    push_killed,
    small_table,
    unfinished,
)
from huggingface_hub import HfApi

import ftkit.hub.errors
from ftkit.errors import FtkitError
from ftkit.hub.checksums import sha256_of

DOCUMENT = Path(__file__).resolve().parent.parent / "docs" / "hub.md"

TABLE = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in DOCUMENT.read_text(encoding="utf-8").splitlines()
    if re.match(r"\| [a-z-]+ \|", line) and not line.startswith("| row ")
]

SEEN = {row: re.findall("`([^`]+)`", sees) for row, _, sees, _ in TABLE}

SOURCE = "GET /api/models/alice/tiny"

PULL = {
    "missing": lambda stage: setattr(stage, "source", "alice/nothing"),
    "private": private,
    "gated": gated,
    "bad-token": lambda stage: stage.token("hf_wrong"),
    "bad-revision": bad_revision,
    "down": Stage.down,
    "down-cached": lambda stage: (stage.cached(), stage.down()),
    "offline": Stage.offline,
    "offline-cached": lambda stage: (stage.cached(), stage.offline()),
    "rate-limit": lambda s: s.fault(SOURCE, "status", code=429, headers={"Retry-After": "1"}),
    "rate-limit-long": lambda s: s.fault(
        SOURCE, "status", code=429, headers={"Retry-After": "3600"}
    ),
    "error-once": lambda s: s.fault(SOURCE, "status", code=503),
    "error-always": lambda s: s.fault(SOURCE, "status", code=503, times=ALWAYS),
    "file-error-once": lambda s: s.spoil_weights("status", code=500),
    "cut-once": lambda s: s.spoil_weights("truncate", after=9_000),
    "cut-always": lambda s: s.spoil_weights("truncate", after=9_000, times=ALWAYS),
    "reset-once": lambda s: s.spoil_weights("reset", after=9_000),
    "stall-once": lambda s: s.spoil_weights("stall", after=9_000, seconds=3),
    "drip": lambda s: s.spoil_weights("drip", rate=1_000),
    "damaged-once": lambda s: s.spoil_weights("corrupt", after=20_000),
    "damaged-always": lambda s: s.spoil_weights("corrupt", after=20_000, times=ALWAYS),
    "disk-full": disk_full,
    "killed": killed,
    "climbing": climbing,
}

DATA = {
    "data-missing": data_missing,
    "data-damaged": lambda s: s.spoil_weights("corrupt", after=100),
}

PUSH = {
    "push-no-token": lambda stage: stage.patch.delenv("HF_TOKEN"),
    "push-read-token": lambda stage: stage.token(READER),
    "push-foreign": foreign,
    "push-public": public,
    "push-down": Stage.down,
    "push-down-later": down_later,
    "push-data-once": lambda s: s.spoil_upload("status", code=500),
    "push-data-always": lambda s: s.spoil_upload("status", code=500, times=ALWAYS),
    "push-data-reset": lambda s: s.spoil_upload("rst"),
    "push-commit-once": lambda s: s.fault("POST .*/commit/", "status", code=503),
    "push-commit-always": lambda s: s.fault("POST .*/commit/", "status", code=500, times=ALWAYS),
    "push-lost-answer": lambda s: s.fault("POST .*/commit/", "lost_response"),
    "push-meanwhile": meanwhile,
    "push-stall": lambda s: s.fault("POST .*/commit/", "delay", seconds=2),
    "push-killed": push_killed,
    "push-bad-card": in_folder("model/README.md", b"---\n{: :\n---\n"),
    "push-changed": in_folder("model/model.safetensors", b"x"),
    "push-unfinished": unfinished,
    "push-pickle": in_folder("model/optimizer.pt", b"\x80"),
    "push-token-inside": in_folder("model/notes.txt", OWNER.encode()),
    "push-no-xet": no_xet,
}

ROWS = {**PULL, **DATA, **PUSH}

GOES_ON = {
    *("down-cached", "offline-cached", "rate-limit", "error-once", "file-error-once", "cut-once"),
    *("reset-once", "stall-once", "drip", "damaged-once", "killed", "climbing", "data-damaged"),
    *("push-data-once", "push-data-reset", "push-commit-once", "push-lost-answer"),
    *("push-meanwhile", "push-stall", "push-killed"),
}


def test_the_document_and_the_tests_have_the_same_rows():
    assert list(SEEN) == list(ROWS)
    assert len(ROWS) >= 20


@pytest.fixture
def stage(hub, transport, monkeypatch, finished_run, checkpoint, tmp_path):
    """A Hub with a model and a data set on it, that came there over this transport."""
    run = shutil.copytree(finished_run, tmp_path / "tiny")
    monkeypatch.setattr(ftkit.hub.errors, "SILENCE_SECONDS", 1.0)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "datasets"))
    api = HfApi()
    api.create_repo("alice/tiny")
    api.upload_folder(repo_id="alice/tiny", folder_path=checkpoint("vit"))
    api.create_repo("alice/colours", repo_type="dataset")
    api.upload_file(
        repo_id="alice/colours",
        repo_type="dataset",
        path_in_repo="train.parquet",
        path_or_fileobj=str(small_table(tmp_path)),
    )
    hub.log.clear()
    return Stage(hub, transport, monkeypatch, run)


@pytest.mark.parametrize("row", ROWS)
def test_a_fault_is_told_or_healed_and_nothing_is_lost(row, stage, caplog):
    caplog.set_level(logging.INFO, logger="ftkit")
    stage.act = stage.pull if row in PULL else stage.pull_data if row in DATA else stage.push
    content = {file: sha256_of(file) for file in stage.run.rglob("*") if file.is_file()}
    with stage.cleanups:
        ROWS[row](stage)
        error = None
        try:
            stage.act()
        except FtkitError as raised:
            error = raised
        said = f"{caplog.text} {error}"
        assert (error is None) == (row in GOES_ON), said
        for words in SEEN[row]:
            assert words in said
        if error is not None:
            assert "\n" not in str(error)
        assert OWNER not in said
        stage.repair()
        stage.act()
        stage.check()
        assert content == {f: sha256_of(f) for f in stage.run.rglob("*") if f.is_file()}
