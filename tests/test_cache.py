"""Cached features on disk: only whole shards count, damage is seen, old caches make room."""

import os

import numpy as np
import pytest
from safetensors.numpy import load_file

from ftkit import RunError
from ftkit.cli.main import main
from ftkit.strategies import cache


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("FTKIT_CACHE", str(tmp_path))
    return tmp_path / "features"


VALUES = np.random.default_rng(0).normal(size=(1200, 3)).astype(np.float32)


def filled(folder, name="some", shards=(0, 1, 2)):
    store = cache.Store(folder / name, len(VALUES), (3,), "F32")
    store.open({"backbone": name, "rows": len(VALUES)})
    for shard in shards:
        store.write(shard, VALUES[list(store.rows_of(shard))].tobytes())
    return store


def flip(file, place):
    with file.open("r+b") as opened:
        opened.seek(place)
        (byte,) = opened.read(1)
        opened.seek(place)
        opened.write(bytes([byte ^ 1]))


def test_a_whole_cache_is_an_ordinary_safetensors_file(folder):
    store = filled(folder)
    assert store.missing() == []
    assert np.array_equal(load_file(store.file)["features"], VALUES)


def test_shards_may_come_in_any_order_and_what_is_not_there_is_missing(folder):
    store = filled(folder, shards=(2, 0))
    assert store.missing() == [1]
    assert filled(folder, shards=(1,)).missing() == []
    assert np.array_equal(load_file(store.file)["features"], VALUES)


@pytest.mark.parametrize("shard", [0, 1, 2])
def test_one_flipped_bit_costs_its_shard_and_no_other(folder, shard):
    store = filled(folder)
    flip(store.file, len(store.header()) + store.rows_of(shard)[-1] * 12 + 5)
    assert store.missing() == [shard]


@pytest.mark.parametrize("damage", ["header", "cut off", "gone"])
def test_a_file_that_is_none_of_ours_is_made_again(folder, damage):
    store = filled(folder)
    if damage == "header":
        flip(store.file, 20)
    elif damage == "cut off":
        os.truncate(store.file, store.file.stat().st_size - 7)
    else:
        store.file.unlink()
    store.open({})
    assert store.missing() == [0, 1, 2]


def test_a_sum_that_is_damaged_costs_its_shard(folder):
    store = filled(folder)
    (store.folder / "shards" / "00001").write_text("")
    assert store.missing() == [1]


def test_the_longest_unused_is_removed_first_and_what_is_kept_stays(folder):
    for age, name in enumerate(("new", "old", "oldest")):
        about = filled(folder, name).folder / "about.json"
        os.utime(about, (1e9 - age, 1e9 - age))
    assert [entry.about["backbone"] for entry in cache.entries()] == ["oldest", "old", "new"]
    size = cache.entries()[0].bytes_on_disk
    assert size >= VALUES.nbytes
    removed = cache.prune(2 * size, keep=folder / "oldest")
    assert [entry.folder.name for entry in removed] == ["old"]
    assert {path.name for path in folder.iterdir()} == {"oldest", "new"}


def test_a_mapped_cache_outlives_its_removal(folder):
    from safetensors import safe_open

    with safe_open(filled(folder).file, "pt") as file:
        mapped = file.get_tensor("features")
    cache.prune(0)
    assert not any(folder.iterdir())
    assert np.array_equal(mapped.numpy(), VALUES)


def test_the_command_line_lists_and_makes_room(folder, capsys):
    filled(folder, "mine")
    assert main(["cache", "list"]) == 0
    shown = capsys.readouterr().out
    assert "mine" in shown
    assert "1200" in shown
    assert main(["cache", "prune", "--to", "1MB"]) == 0
    assert (folder / "mine").exists()
    assert main(["cache", "prune", "--to", "0"]) == 0
    assert "removed 1 caches" in capsys.readouterr().out
    assert not (folder / "mine").exists()


@pytest.mark.parametrize(
    ("text", "size"), [("0", 0), ("20GB", 20 * 10**9), ("1.5 mb", 1_500_000), ("3T", 3 * 10**12)]
)
def test_sizes_are_read(text, size):
    assert cache.parse_size(text) == size


@pytest.mark.parametrize("text", ["", "much", "20 XB", "-1"])
def test_what_is_no_size_is_refused(text):
    with pytest.raises(RunError, match="expected a number"):
        cache.parse_size(text)


def test_a_folder_that_cannot_be_written_is_one_line_with_the_way_out(folder):
    folder.write_text("a file in its place")
    with pytest.raises(RunError, match=r"cannot be written: .*set FTKIT_CACHE.*cache=false"):
        filled(folder)


def test_a_cache_that_the_disk_cannot_hold_is_refused_before_it_is_filled(folder):
    store = cache.Store(folder / "huge", 10**12, (1280,), "F32")
    with pytest.raises(RunError, match=r"take 5,120,000.0 GB, and .* free .* strategy.views"):
        store.open({"backbone": "huge", "rows": 10**12})
    assert not store.file.exists()


def test_the_list_counts_rows_that_were_read_from_files(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("FTKIT_CACHE", str(tmp_path))
    assert main(["cache", "list"]) == 0
    assert "rows that were read" not in capsys.readouterr().out
    (tmp_path / "rows" / "0a").mkdir(parents=True)
    (tmp_path / "rows" / "0a" / "read").write_bytes(b"x" * 2_000_000)
    assert main(["cache", "list"]) == 0
    assert "beside it 2.0 MB of rows that were read from files" in capsys.readouterr().out
