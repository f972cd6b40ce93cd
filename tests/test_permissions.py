"""Caches are read by the user alone who wrote them; results by all whom the umask lets."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import save_file
from test_cache import VALUES, filled

from ftkit import Data, MlpClassifier, data_of
from ftkit.backbones import embedded
from ftkit.backbones.embedded import embedded_backbone
from ftkit.data.file_cache import cache_folder_of
from ftkit.data.remote_files import fetch
from ftkit.errors import RunError
from ftkit.machine import cache_folder as caches
from ftkit.machine import permissions
from ftkit.machine.cache_folder import cache_folder
from ftkit.machine.permissions import give_usual_rights, private_folder
from ftkit.runs.checkpoint import whole_checkpoint
from ftkit.strategies import cache


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """The folder of the caches, which is not there yet."""
    monkeypatch.setenv("FTKIT_CACHE", str(tmp_path / "home" / "cache"))
    return tmp_path / "home" / "cache"


@pytest.fixture
def given_away(monkeypatch):
    """A function that lets a file belong to another user."""
    foreign = set()

    def give(path):
        foreign.add(os.path.abspath(path))

    def is_mine(path):
        return os.path.lexists(path) and os.path.abspath(path) not in foreign

    for module in (permissions, caches, cache):
        monkeypatch.setattr(module, "is_mine", is_mine)
    remove = os.unlink
    monkeypatch.setattr(os, "unlink", lambda p, **how: (remove(p, **how), foreign.discard(str(p))))
    return give


def rights(path):
    return path.stat().st_mode & 0o777


def test_every_cache_is_the_user_s_alone(home, tmp_path):
    (tmp_path / "rows.csv").write_text("text,label\na,b\n")
    filled(cache.features_folder())
    cache_folder_of([tmp_path / "rows.csv"])
    fetch(f"file://{tmp_path}/rows.csv", (".csv",))
    data_of(pd.DataFrame({"text": ["a"], "label": ["b"]}))
    embedded_backbone("new-bart")
    assert rights(home) == 0o700
    places = [*home.iterdir(), *(each for kind in home.iterdir() for each in kind.iterdir())]
    assert {place.name for place in places} >= {"features", "rows", "data", "backbones"}
    assert {rights(place) for place in places} == {0o700}


def test_a_cache_that_others_could_look_into_is_closed(home):
    (home / "features").mkdir(parents=True, mode=0o755)
    filled(home / "features")
    assert rights(home / "features") == 0o700


def test_a_cache_in_the_folder_of_somebody_else_is_one_s_own(home, monkeypatch):
    assert cache_folder() == home
    somebody = os.geteuid() + 1
    monkeypatch.setattr(os, "geteuid", lambda: somebody)
    assert cache_folder() == home / f"user-{somebody}"


@pytest.mark.parametrize("name", ["features.safetensors", "shards/00000", "about.json", ""])
def test_features_of_another_user_are_not_read(name, home, given_away, caplog):
    """Sums that are right prove nothing of who computed them."""
    caplog.set_level("WARNING", logger="ftkit")
    store = filled(home / "features")
    assert store.missing() == []
    given_away(store.folder / name)
    store.open({})
    assert store.missing() == [0, 1, 2]
    assert "holds files of another user" in caplog.text


def test_what_is_listed_is_the_user_s_own(home, given_away):
    given_away(filled(home / "features").folder)
    filled(home / "features", "mine")
    assert [entry.folder.name for entry in cache.entries()] == ["mine"]


def test_rows_of_another_user_are_not_read(home, given_away, tmp_path):
    (tmp_path / "rows.csv").write_text("text,label\na,b\n")
    forged = cache_folder_of([tmp_path / "rows.csv"]) / "forged"
    forged.write_text("text,label\nb,a\n")
    given_away(forged)
    assert not (cache_folder_of([tmp_path / "rows.csv"]) / "forged").exists()
    fetched = fetch(f"file://{tmp_path}/rows.csv", (".csv",)) / "rows.csv"
    fetched.write_text("text,label\nb,a\n")
    given_away(fetched)
    assert "a,b" in (fetch(f"file://{tmp_path}/rows.csv", (".csv",)) / "rows.csv").read_text()
    frame = pd.DataFrame({"text": ["a"], "label": ["b"]})
    there = data_of(frame).path
    forged = Path(there) / "train" / "more.parquet"
    forged.touch()
    given_away(forged)
    assert data_of(frame) == Data(path=there)
    assert os.listdir(os.path.join(there, "train")) == ["rows.parquet"]


def test_what_cannot_be_removed_is_refused_in_one_line(home, given_away, monkeypatch):
    (home / "some").mkdir(parents=True)
    given_away(home / "some")
    monkeypatch.setattr("shutil.rmtree", lambda *_: None)
    with pytest.raises(RunError, match="holds files of another user, which are not read; remove"):
        private_folder(home / "some")


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer_config.json"])
@pytest.mark.parametrize("damage", ["cut", "empty", "gone", "no sums"])
def test_a_damaged_embedded_backbone_is_made_anew(name, damage):
    folder = embedded_backbone("new-bart")
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    file = folder / name
    if damage == "cut":
        os.truncate(file, file.stat().st_size // 2)
    elif damage == "empty":
        file.write_bytes(b"")
    elif damage == "gone":
        file.unlink()
    else:  # as earlier versions left it
        (folder / "sums.json").unlink()
        file.write_bytes(b"{}")
    assert embedded_backbone("new-bart") == folder
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == before


def test_a_whole_embedded_backbone_is_not_made_again(monkeypatch):
    folder = embedded_backbone("new-bart")
    monkeypatch.setattr(embedded, "_write_bart", None)
    assert embedded_backbone("new-bart") == folder


@pytest.mark.parametrize("mask", [0o022, 0o027, 0o077, 0o002])
def test_weights_have_the_rights_of_other_files(mask, tmp_path):
    before = os.umask(mask)
    try:
        (tmp_path / "adapter").mkdir()
        for folder in (tmp_path, tmp_path / "adapter"):
            save_file({"a": torch.zeros(2)}, folder / "model.safetensors")
        give_usual_rights(tmp_path)
        network = MlpClassifier(hidden=(4,), epochs=1).fit(VALUES, np.arange(1200) % 2)
        network.save(tmp_path / "mlp")
        with whole_checkpoint(tmp_path / "checkpoint-1") as folder:
            save_file({"a": torch.zeros(2)}, folder / "state.safetensors")
    finally:
        os.umask(before)
    files = [*tmp_path.rglob("*.safetensors")]
    assert len(files) == 4
    assert {rights(file) for file in files} == {0o666 & ~mask}


def test_a_run_s_model_has_the_rights_of_its_record(finished_run):
    files = [file for file in (finished_run / "model").rglob("*") if file.is_file()]
    assert {rights(file) for file in files} == {rights(finished_run / "run.json")}
